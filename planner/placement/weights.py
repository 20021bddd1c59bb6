"""What a unit of each of the objective's terms costs.

Owns the weights; the one place that the greedy, the solver's models and the terms a plan
shows take them from. An earlier tier outweighs any exchange with a later one at equal size;
where sizes differ, the comparison of standings decides tier by tier, not the weights.
"""

from collections.abc import Mapping

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

LOAD_HORIZON_S = 1200.0  # over which a load has to pay for itself; placements outlive rounds

WAITING_VALUE = 0.5
BROKEN_VALUE = 0.4
REPLICA_WORK = 1000.0  # engine-ms per second: one engine that never idles

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
