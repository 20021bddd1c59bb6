"""Cells of one device type merged into one: the LP bound's problem, and the first guess's.

Owns what is lost and kept by forgetting failure domains. Invariants: counts of the whole
problem, summed by type, are counts of the merged one at no higher cost, so the merged LP
is a lower bound of every plan (it equalled the LP of the whole to all printed digits at
50 nodes and more).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from planner.placement.counts.problem import Cell, Counts, Problem


def merged_cells(problem: Problem) -> tuple[Problem, tuple[int, ...]]:
    """The problem with one cell a device type and node size.

    Returns:
        The merged problem, and for each cell the merged one it is part of.
    """
    kinds: dict[tuple[int, int, float, float, float], int] = {}
    member: list[int] = []
    for cell in problem.cells:
        key = (cell.kind, cell.slots, cell.host_bytes, cell.node_cost, cell.device_cost)
        member.append(kinds.setdefault(key, len(kinds)))
    cells = [
        Cell(
            kind=kind,
            domain=None,
            nodes=sum(
                cell.nodes for cell, of in zip(problem.cells, member, strict=True) if of == index
            ),
            slots=slots,
            host_bytes=host_bytes,
            node_cost=node_cost,
            device_cost=device_cost,
        )
        for (kind, slots, host_bytes, node_cost, device_cost), index in kinds.items()
    ]
    most: dict[tuple[int, int], int] = defaultdict(int)
    for c, cell in enumerate(problem.cells):
        for q, shape in enumerate(problem.shapes):
            if shape.kind == cell.kind:
                most[member[c], q] += max(problem.fits(c, q), problem.held.get((c, q), 0))
    merged = replace(
        problem,
        cells=tuple(cells),
        held=summed(problem.held, member),
        least=summed(problem.least, member),
        most=dict(most),
        wanted=tuple(replace(one, is_alone=False, is_spread=False) for one in problem.wanted),
    )
    return merged, tuple(member)


def summed(counts: Counts, member: Sequence[int]) -> dict[tuple[int, int], int]:
    """Counts by merged cell of counts by cell."""
    summed: dict[tuple[int, int], int] = defaultdict(int)
    for (c, q), count in counts.items():
        summed[member[c], q] += count
    return dict(summed)
