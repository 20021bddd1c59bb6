"""What does not survive the loss of a failure domain, as a plan has to say it.

Owns which replicas make up for a lost domain: those that serve or are on their way. One that
failed, drains by itself or sits on a lost node is placed and bears nothing, so counts of
placements alone would promise too much. Refuses to place.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from planner.model import Placement, ReplicaState
from planner.placement.counts.problem import Problem, failover_needs
from planner.placement.fleet import Fleet

_SERVES_NOT = (ReplicaState.FAILED, ReplicaState.DRAINING, ReplicaState.STOPPED)
_LEAST = 1e-6  # replica-equivalents


def unsurvived(
    fleet: Fleet,
    problem: Problem,
    placements: Sequence[Placement],
    keys: Sequence[tuple[int, int] | None],
) -> dict[int, float]:
    """Work that is to survive the loss of any one domain and does not.

    Args:
        fleet: The survey.
        problem: The fleet in counts.
        placements: All that run or are to run.
        keys: (cell, shape) of each.

    Returns:
        Replica-equivalents by deployment that is short, in the worst domain.
    """
    replicas: dict[int, dict[tuple[int | None, int], int]] = defaultdict(lambda: defaultdict(int))
    for placement, key in zip(placements, keys, strict=True):
        if key is not None and _serves(fleet, placement):
            c, q = key
            replicas[problem.shapes[q].deployment][problem.cells[c].domain, q] += 1
    short = {}
    for d in range(len(problem.wanted)):
        lost = _lost(problem, d, replicas[d])
        if lost > _LEAST:
            short[d] = lost
    return short


def _lost(problem: Problem, d: int, replicas: Mapping[tuple[int | None, int], int]) -> float:
    wanted = problem.wanted[d]
    own = problem.shapes_of(d)
    asked = sum(cls.failover_ratio * cls.work for cls in wanted.classes)
    worst = 0.0
    for needed, gives in failover_needs(wanted, tuple(problem.shapes[q] for q in own)):
        by_domain: dict[int | None, float] = defaultdict(float)
        for (domain, q), count in replicas.items():
            by_domain[domain] += count * gives[own.index(q)]
        left = sum(by_domain.values()) - max(by_domain.values(), default=0.0)
        worst = max(worst, (needed - left) / needed)
    return worst * asked


def _serves(fleet: Fleet, placement: Placement) -> bool:
    """Whether it is new, or serves, or is on its way."""
    if placement.replica is None:
        return True
    is_up = fleet.nodes[placement.node].is_ready
    return is_up and fleet.allocations[placement.replica].state not in _SERVES_NOT
