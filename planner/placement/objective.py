"""What a draft costs: the one measure that all candidates of a round share.

Owns the terms; `weights` has what they weigh. The solver's models minimise the same terms,
hysteresis is their move cost, and a plan reports them. Refuses to change a draft. Minimised, for
each deployment d with work counted in replica-equivalents (1000 engine-ms per second):

    REPLICA   * (min_replicas_d - N_d)+          N_d = good + due + new
    ONLINE    * (online_work_d - X_d)+                 + WAITING_VALUE * waiting
    DEADLINE  * (min_offline_work_d - Y_d)+            + BROKEN_VALUE * broken kept
    DUE / 2   * (due kept + (due kept - waiting)+)
    BROKEN    * broken kept
    FORGOTTEN * (broken - broken kept - new - waiting)+
    SPREAD    * (largest domain's replicas - ceil(good, new and waiting / domains))
   -OFFLINE   * offline_weight_d * Y_d
    MOVE      * (new + waiting)
    DROP      * good dropped

Where devices cost something (`Snapshot.device_cost`, D) a fleet goes by counts, with

    OFFLINE*D * devices held, at their price over the mean
    RESERVE*D * reserve given up (`counts.reserve`)
    SPARE*D   * what a higher demand would lack (likewise)

and the terms above offline work weigh `TIERS_BY_DEVICE_COST`*D times as much more.

Where offline work weighs more than `MOST_WEIGHED` a fleet goes by counts too, and those terms
weigh as much more as it is above that. Where less is short than a replica does, even so a later
tier may weigh more: answers in counts are compared tier by tier, and later tiers yield to
earlier ones by `counts.repair`.

Invariants: the earlier tier outweighs any exchange with a later one at equal size; every
term but offline work is never negative. A replica that waits for devices counts for less
than one that is placed, and for more than none: so room is made for it, and never by
giving up as much as it gains.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from planner.interference.frontier import offline_limit
from planner.model import Deployment, ObjectiveTerm
from planner.placement.fleet import Draft, Fleet, Standing
from planner.placement.flow import Flow, carry
from planner.placement.weights import (
    BROKEN_VALUE,
    OFFLINE,
    REPLICA_WORK,
    WAITING_VALUE,
    WEIGHTS,
    weights_of,
)


@dataclass(slots=True, kw_only=True)
class Tally:
    """One deployment's replicas in a draft, counted as the objective sees them."""

    good: int = 0
    due: int = 0
    broken: int = 0
    new: int = 0
    waiting: int = 0
    good_before: int = 0
    broken_before: int = 0
    effective: dict[str, float] = field(default_factory=dict)  # device type -> replicas
    domains: Counter[str] = field(default_factory=Counter)  # domain -> good, new, waiting

    def copy(self) -> "Tally":
        """An independent copy."""
        return Tally(
            good=self.good,
            due=self.due,
            broken=self.broken,
            new=self.new,
            waiting=self.waiting,
            good_before=self.good_before,
            broken_before=self.broken_before,
            effective=dict(self.effective),
            domains=self.domains.copy(),
        )

    def keep(self, standing: Standing, *, kind: str, domain: str, count: int = 1) -> None:
        """Counts `count` kept replicas of that standing (negative takes them out)."""
        match standing:
            case Standing.GOOD:
                self.good += count
                self.domains[domain] += count
            case Standing.DUE:
                self.due += count
            case Standing.BROKEN:
                self.broken += count
            case Standing.LEAVING | Standing.DROPPED:
                raise ValueError(f"a {standing.value} replica cannot be kept")
        value = BROKEN_VALUE if standing is Standing.BROKEN else 1.0
        self.effective[kind] = self.effective.get(kind, 0.0) + count * value

    def add(self, *, kind: str, domain: str, is_waiting: bool) -> None:
        """Counts one new or waiting replica."""
        if is_waiting:
            self.waiting += 1
        else:
            self.new += 1
        value = WAITING_VALUE if is_waiting else 1.0
        self.effective[kind] = self.effective.get(kind, 0.0) + value
        self.domains[domain] += 1

    @property
    def now(self) -> int:
        """Replicas wanted to run by the draft."""
        return self.good + self.due + self.broken + self.new

    @property
    def later(self) -> int:
        """Replicas once what waits has replaced what is due or broken."""
        return self.good + self.new + self.waiting

    def can_add(self, deployment: Deployment) -> bool:
        """Whether one more keeps the deployment within max_replicas."""
        return max(self.now, self.later) < deployment.max_replicas


def tallies(fleet: Fleet, draft: Draft) -> dict[str, Tally]:
    """Counts a draft, by deployment in order of id."""
    counted = {deployment: Tally() for deployment in fleet.deployments}
    is_costly = fleet.snapshot.device_cost > 0.0
    for replica, allocation in fleet.allocations.items():
        standing = fleet.standing[replica]
        if not standing.is_keepable:
            continue
        tally = counted[allocation.deployment]
        tally.good_before += standing is Standing.GOOD
        tally.broken_before += standing is Standing.BROKEN and not (
            is_costly and not fleet.nodes[allocation.node].is_ready  # may be done without
        )
        if replica in draft.kept:
            tally.keep(
                standing,
                kind=fleet.device_type(allocation.node, allocation.devices),
                domain=fleet.nodes[allocation.node].failure_domain,
            )
    for seats, is_waiting in ((draft.new, False), (draft.waiting, True)):
        for seat in seats:
            counted[seat.deployment].add(
                kind=fleet.device_type(seat.node, seat.devices),
                domain=fleet.nodes[seat.node].failure_domain,
                is_waiting=is_waiting,
            )
    return counted


def offline_wanted(deployment: Deployment) -> float:
    """Offline work that counts, in engine-ms per second; none before its stage allows."""
    if not deployment.stage.runs_offline:
        return 0.0
    return max(deployment.offline_work, deployment.min_offline_work)


def online_wanted(deployment: Deployment) -> float:
    """Online work of all its SLO classes, in engine-ms per second."""
    return sum(cls.online_work for cls in deployment.classes)


def deadline_wanted(deployment: Deployment) -> float:
    """Offline work its deadlines rest on, in engine-ms per second."""
    return deployment.min_offline_work if deployment.stage.runs_offline else 0.0


def flow_of(fleet: Fleet, deployment: Deployment, tally: Tally) -> Flow:
    """The work the deployment's counted replicas carry."""
    tightest = deployment.classes[0].id
    return carry(
        tally.effective,
        {kind: fleet.frontier(deployment.id, kind, slo_class=tightest) for kind in tally.effective},
        online_work=online_wanted(deployment),
        offline_work=offline_wanted(deployment),
    )


def values(fleet: Fleet, deployment: Deployment, tally: Tally) -> dict[str, float]:
    """The deployment's summands before their weights, by name."""
    flow = flow_of(fleet, deployment, tally)
    seated = tally.good + tally.new + tally.waiting
    concentration = 0.0
    if deployment.spread and seated:
        even = -(-seated // fleet.spread_over[deployment.id])
        concentration = float(max(0, max(tally.domains.values()) - even))
    return {
        "replica_shortfall": max(0.0, deployment.min_replicas - sum(tally.effective.values())),
        "online_shortfall": max(0.0, online_wanted(deployment) - flow.online_work) / REPLICA_WORK,
        "deadline_shortfall": max(0.0, deadline_wanted(deployment) - flow.offline_work)
        / REPLICA_WORK,
        "due_kept": float(tally.due),
        "due_uncovered": float(max(0, tally.due - tally.waiting)),
        "broken_kept": float(tally.broken),
        "broken_forgotten": float(
            max(0, tally.broken_before - tally.broken - tally.new - tally.waiting)
        ),
        "concentration": concentration,
        "offline_work": deployment.offline_weight * flow.offline_work / REPLICA_WORK,
        "moves": float(tally.new + tally.waiting),
        "drops": float(tally.good_before - tally.good),
    }


def cost(fleet: Fleet, deployment: Deployment, tally: Tally) -> float:
    """The deployment's part of the objective."""
    return sum(WEIGHTS[name] * value for name, value in values(fleet, deployment, tally).items())


def evaluate(
    fleet: Fleet, draft: Draft, *, work_terms: Mapping[str, float] | None = None
) -> tuple[ObjectiveTerm, ...]:
    """The objective's terms, summed over deployments; their sum of products is minimised.

    Of a fleet that is not plain, the terms of work are those of its counts together.
    """
    weights = weights_of(fleet.snapshot)
    sums = dict.fromkeys(weights, 0.0)
    for name, tally in tallies(fleet, draft).items():
        for term, value in values(fleet, fleet.deployments[name], tally).items():
            sums[term] += value
    if work_terms is not None:
        sums |= work_terms
    elif not fleet.is_plain:
        # Loads OR-Tools, which a fleet whose deployments stand alone never needs here.
        from planner.placement import carrying

        sums |= carrying.work_terms(fleet, draft)
    return tuple(
        ObjectiveTerm(name=name, weight=weights[name], value=value) for name, value in sums.items()
    )


def total(terms: tuple[ObjectiveTerm, ...]) -> float:
    """Weighted sum of the terms."""
    return sum(term.weight * term.value for term in terms)


def floor(fleet: Fleet) -> float:
    """A lower bound no plan can pass: all offline work served, at no other cost."""
    named = {one.deployment for one in fleet.snapshot.batches}
    best = sum(one.weight * one.offline_work for one in fleet.snapshot.batches)
    kinds = sorted({d.device_type for node in fleet.nodes.values() for d in node.devices})
    for deployment in fleet.deployments.values():
        if deployment.id in named:
            continue
        wanted = offline_wanted(deployment)
        if fleet.is_plain:
            replica = max(
                (offline_limit(fleet.frontier(deployment.id, kind), 0.0) for kind in kinds),
                default=0.0,
            )
            # Waiting ones count by half on top of those that run, each up to max_replicas.
            wanted = min(wanted, (1.0 + WAITING_VALUE) * deployment.max_replicas * replica)
        best += deployment.offline_weight * wanted
    return -OFFLINE * best / REPLICA_WORK
