"""The referee: what a placement is worth, and whether it is one.

Owns the judgement of every contestant alike. Refuses the planner's own objective, survey
and verifier: nothing is shared with what is judged but the domain's values.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bench.placement.board import Board, Counts, Floats, held
from bench.placement.failover import failover_short
from bench.placement.linear import SHORTFALLS
from bench.placement.programme import formulate

# Of the scalar objective, per device-equivalent; each tier far above any exchange with a
# later one, so the scalar orders placements as the tiers do. Weighted offline counts -1.
TIER_WEIGHTS = {
    "replicas": 3e6,
    "online_tight": 1e6,
    "online_loose": 3e5,
    "failover_tight": 1e5,
    "failover_loose": 3e4,
    "deadlines": 1e3,
    "fair": 1e2,
}


_NOTHING = 1e-5  # device-equivalents: what the solver's tolerance leaves short


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What a placement is worth.

    Attributes:
        short: Shortfall by tier; replicas, else device-equivalents.
        offline: Weighted offline work, in thousand engine-ms per second times weight.
        replicas: Placed.
        loads: Replicas that were not there before.
        moved_ratio: `loads` over the replicas that were there; 0 for none.
        free_nodes: Nodes without a replica.
    """

    short: Mapping[str, float]
    offline: float
    replicas: int
    loads: int
    moved_ratio: float
    free_nodes: int

    @property
    def objective(self) -> float:
        """Shortfalls at `TIER_WEIGHTS`, less weighted offline work; smaller is better."""
        return sum(TIER_WEIGHTS[tier] * self.short[tier] for tier in SHORTFALLS) - self.offline


def evaluate(
    board: Board,
    counts: Counts,
    *,
    before: Counts | None = None,
    modes: Counts | None = None,
) -> Worth:
    """The worth of a placement.

    Contestants are compared in whatever modes, also in fractions of replicas, their
    placements serve best; what a plan itself says is its worth with `modes`.

    Args:
        board: What there is.
        counts: Replicas, shape (nodes, choices).
        before: The same of what ran; None: nothing.
        modes: Replicas by choice and class held to, as `board.modes_of_plan`.

    Raises:
        ProgrammeError: The solver failed.
    """
    by_domain = board.by_domain(counts)
    tiers = formulate(board, totals=by_domain.sum(axis=1), modes=modes).tiers_in_order()
    tight, loose = failover_short(board, by_domain)
    were = board.empty() if before is None else before
    loads = int(np.maximum(counts - were, 0).sum())
    return Worth(
        short={
            tier: short if short > _NOTHING else 0.0
            for tier, short in {
                **tiers.short,
                "failover_tight": tight,
                "failover_loose": loose,
            }.items()
        },
        offline=tiers.offline,
        replicas=int(counts.sum()),
        loads=loads,
        moved_ratio=loads / int(were.sum()) if were.any() else 0.0,
        free_nodes=int((counts.sum(axis=1) == 0).sum()),
    )


def violations(board: Board, counts: Counts, *, before: Counts | None = None) -> list[str]:
    """What makes it no placement: devices, host memory, bounds on replicas and moves."""
    found = []
    devices: Counts = np.array([choice.devices for choice in board.choices], dtype=np.int64)
    memory: Floats = np.array([choice.host_memory_bytes for choice in board.choices], dtype=float)
    for number in np.nonzero(counts @ devices > board.devices)[0].tolist():
        taken = int(counts[number] @ devices)
        found.append(f"node {number}: {taken} of {board.devices[number]} devices")
    for number in np.nonzero(counts @ memory > board.host_memory_bytes)[0].tolist():
        found.append(f"node {number}: {counts[number] @ memory:.3g} bytes of host memory")
    for number, choice in held(counts):
        if board.choices[choice].kind != board.kind[number]:
            found.append(f"node {number}: has no devices of choice {choice}")
    if (counts < 0).any():
        found.append("negative counts")
    totals = counts.sum(axis=0)
    for own, deployment in zip(board.of_deployment, board.deployments, strict=True):
        placed = int(totals[list(own)].sum())
        if placed > deployment.max_replicas:
            found.append(f"{deployment.id}: {placed} replicas of {deployment.max_replicas}")
    most = board.snapshot.max_moves
    if most is not None and before is not None:
        loads = int(np.maximum(counts - before, 0).sum())
        if loads > most:
            found.append(f"{loads} loads of {most}")
    return found
