"""What a unit of each of the objective's terms costs.

Owns the weights; the one place that the greedy, the solver's models and the terms a plan
shows take them from. An earlier tier outweighs any exchange with a later one at equal size;
where sizes differ, the comparison of standings decides tier by tier, not the weights.
"""

from collections.abc import Mapping

from planner.model import Snapshot

REPLICA = 50_000.0  # a replica below min_replicas
ONLINE = 10_000.0  # a replica-equivalent of online work not served
DEADLINE = 300.0  # a replica-equivalent of deadline work not served
DUE = 100.0  # a replica kept on a draining node or at an old generation
FORGOTTEN = 25.0  # a broken one dropped unreplaced: the next round would try there again
BROKEN = 20.0  # a broken one kept
OFFLINE = 10.0  # a replica-equivalent of offline work served, by offline_weight
SPREAD = 5.0  # a replica above the even share in the worst domain; two moves' worth
MOVE = 2.0  # a model load: what a gain has to exceed
DROP = 0.5  # a warm replica given up
NODE = 0.2  # a node in use, at the mean price of its kind
FAILOVER = 4_000.0  # a replica-equivalent of online work not served when a domain is lost
FAIR = 60.0  # a claim below a tenant's fair share (`counts.claims` has its unit)
RESERVE = 8_000.0  # of device_cost: what a deployment gives up of its reserve (`counts.reserve`)
SPARE = 2.0  # of device_cost: nothing beyond a deployment's demand is borne; a fifth of a device

MOST_DEVICE_COST = 100.0
"""That may be asked for: beyond what any device does, far within what solvers tell apart."""

TIERS_BY_DEVICE_COST = 20.0
"""By how much of itself a device_cost of 1 raises what tiers above offline work weigh, so that
a hundredth of a replica-equivalent of deadline work outweighs the devices of any replica of up
to six devices of mean price, at any device_cost."""

LOAD_HORIZON_S = 300.0  # over which a load has to pay for itself, in offline work

WAITING_VALUE = 0.5
BROKEN_VALUE = 0.4
REPLICA_WORK = 1000.0  # engine-ms per second: one engine that never idles

MOST_WEIGHED = DEADLINE / OFFLINE / 3.0
"""Offline weight up to which the weights alone keep tiers apart: at it, one replica-equivalent
of offline work weighs what a third of deadline work does, or a hundredth of online work. Fleets
with a greater one are decided in counts, tier by tier."""

WEIGHTS: Mapping[str, float] = {
    "replica_shortfall": REPLICA,
    "online_shortfall": ONLINE,
    "failover_shortfall": FAILOVER,
    "deadline_shortfall": DEADLINE,
    "fair_shortfall": FAIR,
    "due_kept": DUE / 2,
    "due_uncovered": DUE / 2,
    "broken_kept": BROKEN,
    "broken_forgotten": FORGOTTEN,
    "concentration": SPREAD,
    "offline_work": -OFFLINE,
    "moves": MOVE,
    "drops": DROP,
    "nodes": NODE,
}
"""While devices are free."""

_ABOVE_OFFLINE = (
    "replica_shortfall",
    "online_shortfall",
    "failover_shortfall",
    "deadline_shortfall",
    "fair_shortfall",
    "concentration",
)


def weights_of(snapshot: Snapshot) -> Mapping[str, float]:
    """The weights that a snapshot is decided with."""
    own = [one.offline_weight for one in snapshot.deployments if one.offline_work > 0.0]
    batches = [one.weight for one in snapshot.batches]
    return weights_at(snapshot.device_cost, most_weight=max([*own, *batches], default=1.0))


def weights_at(device_cost: float, *, most_weight: float = 1.0) -> Mapping[str, float]:
    """The weights where devices cost something, or offline work weighs much.

    "devices" are those held, at the mean price.

    Args:
        device_cost: As of a snapshot, >= 0.
        most_weight: The greatest weight of offline work; tiers above it weigh as much more as
            it is above `MOST_WEIGHED`.
    """
    factor = max(1.0, most_weight / MOST_WEIGHED)
    if device_cost <= 0.0 and factor <= 1.0:
        return WEIGHTS
    factor += TIERS_BY_DEVICE_COST * device_cost
    raised = {name: WEIGHTS[name] * factor for name in _ABOVE_OFFLINE}
    if device_cost <= 0.0:
        return {**WEIGHTS, **raised}
    costs = {
        "devices": OFFLINE * device_cost,
        "reserve_shortfall": RESERVE * device_cost,
        "spare_shortfall": SPARE * device_cost,
    }
    return {**WEIGHTS, **raised, **costs}
