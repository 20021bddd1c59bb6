"""Giving devices back: what a plan of the greedy holds beyond what its demand needs.

Owns the rule, for rounds that know no device cost: a replica goes if the rest bears the
forecast's bound and the deadlines' rate, with a reserve for those that run, so that none goes
to come back the next round. The dearest for what it bears goes first. Refuses to add or to move,
and to touch plans of rounds that weigh what devices cost.
"""

from collections import Counter

from bench.fleet.placing import bears, frontiers_of, planned, wanted_offline
from planner.interference.frontier import online_limit
from planner.model import Deployment, Frontier, Placement, Plan, Snapshot
from planner.simulation.fleet.rounds import Rounds

RESERVE_RATIO = 0.1
"""Of demand: what the rest must bear beyond it before a replica that runs is given up."""


class Thrifty:
    """Rounds whose plans hold no more than they need.

    Args:
        rounds: Makes the plans.
    """

    def __init__(self, rounds: Rounds) -> None:
        self._rounds = rounds
        self.given_back = 0

    def plan(self, snapshot: Snapshot) -> Plan | None:
        """The plan, less what it does not need."""
        plan = self._rounds.plan(snapshot)
        if plan is None:
            return None
        placements = trimmed(snapshot, plan.placements)
        if len(placements) == len(plan.placements):
            return plan
        self.given_back += len(plan.placements) - len(placements)
        return planned(snapshot, placements, by=plan.solver)

    def resplit(self, snapshot: Snapshot) -> tuple[Placement, ...]:
        """As it was."""
        return self._rounds.resplit(snapshot)


def trimmed(snapshot: Snapshot, placements: tuple[Placement, ...]) -> tuple[Placement, ...]:
    """Those placements that the demand needs."""
    kinds = {node.id: node.devices[0].device_type for node in snapshot.nodes}
    curves, prices = frontiers_of(snapshot), dict(snapshot.prices)
    crowd = Counter(placement.node for placement in placements)
    kept = list(placements)
    for deployment in snapshot.deployments:
        own = [p for p in placements if p.deployment == deployment.id]
        # The dearest for its work first; what is new before what runs, lonely ones before others.
        dear = {
            kind: prices.get(kind, 1.0) / max(1e-9, online_limit(curve))
            for kind, curve in curves[deployment.id].items()
        }
        ranked = sorted(
            (p.replica is not None, -dear[kinds[p.node]], crowd[p.node], p.node, p.devices, at)
            for at, p in enumerate(own)
        )
        own = [own[at] for *_, at in ranked]
        counts = Counter(kinds[p.node] for p in own)
        for placement in own:
            reserve = RESERVE_RATIO if placement.replica is not None else 0.0
            if counts.total() <= deployment.min_replicas:
                break
            kind = kinds[placement.node]
            counts[kind] -= 1
            if _is_enough(deployment, counts, curves[deployment.id], reserve=reserve):
                kept.remove(placement)
                crowd[placement.node] -= 1
            else:
                counts[kind] += 1
    return tuple(kept)


def _is_enough(
    deployment: Deployment,
    counts: Counter[str],
    curves: dict[str, Frontier],
    *,
    reserve: float,
) -> bool:
    return bears(
        counts,
        curves,
        online_work=deployment.online_work * (1.0 + reserve),
        offline_work=wanted_offline(deployment) * (1.0 + reserve),
    )
