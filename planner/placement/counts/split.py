"""Counts by device type made counts by cell.

Owns the division over failure domains. Sticky: what runs stays where it runs, as far as
the totals allow. Each further replica goes where its deployment has least, so that the
loss of any one domain costs least. Deployments of few replicas choose first, since each of
theirs counts; then larger shapes, so that what is left over is small.
Refuses to lose what fits elsewhere; what fits nowhere is left out, and the standing of the
counts shows it.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

from planner.placement.counts.problem import Counts, Problem

_FEW = 4  # replicas of a deployment, up to which it chooses before others


def split(problem: Problem, merged: Counts, member: Sequence[int]) -> dict[tuple[int, int], int]:
    """Divides merged counts over the cells.

    Args:
        problem: All of it.
        merged: Counts by merged cell.
        member: Of each cell, its merged one.

    Returns:
        Counts by cell, no more than fits any, with no more moves than the round has.
    """
    room = [float(cell.all_slots) for cell in problem.cells]
    host = [cell.host_bytes * cell.nodes for cell in problem.cells]
    crowd: dict[tuple[int, int | None], float] = defaultdict(float)
    counts: dict[tuple[int, int], int] = defaultdict(int)
    cells_of: dict[int, list[int]] = defaultdict(list)
    moved = 0
    for c, of in enumerate(member):
        cells_of[of].append(c)

    def takes(c: int, q: int) -> bool:
        shape = problem.shapes[q]
        return (
            counts[c, q] < max(problem.fits(c, q), problem.held.get((c, q), 0))
            and room[c] >= shape.slots
            and host[c] >= shape.host_bytes
            and (has_moves() or counts[c, q] < problem.held.get((c, q), 0))
        )

    def has_moves() -> bool:
        return problem.max_moves is None or moved < problem.max_moves

    def add(c: int, q: int) -> None:
        nonlocal moved
        shape = problem.shapes[q]
        moved += counts[c, q] >= problem.held.get((c, q), 0)
        counts[c, q] += 1
        room[c] -= shape.slots
        host[c] -= shape.host_bytes
        crowd[shape.deployment, problem.cells[c].domain] += _weight(problem, q)

    left = dict(merged)
    for (c, q), least in sorted(problem.least.items()):
        for _ in range(min(least, left.get((member[c], q), 0))):
            add(c, q)
            left[member[c], q] -= 1
    for (m, q), count in sorted(merged.items()):
        stays = {c: problem.held.get((c, q), 0) - counts[c, q] for c in cells_of[m]}
        for _ in range(max(0, min(count, left[m, q]))):
            open_cells = [c for c in cells_of[m] if stays[c] > 0 and takes(c, q)]
            if not open_cells:
                break
            d = problem.shapes[q].deployment
            c = min(open_cells, key=lambda c: (crowd[d, problem.cells[c].domain], c))
            add(c, q)
            stays[c] -= 1
            left[m, q] -= 1
    waiting = [(m, q) for (m, q), count in left.items() for _ in range(max(0, count))]
    replicas: Counter[int] = Counter()
    for (_, q), count in merged.items():
        replicas[problem.shapes[q].deployment] += count
    waiting.sort(
        key=lambda item: (
            min(_FEW, replicas[problem.shapes[item[1]].deployment]),
            -problem.shapes[item[1]].slots,
            -_weight(problem, item[1]),
            item[1],
            item[0],
        )
    )
    for m, q in waiting:
        open_cells = [c for c in cells_of[m] if takes(c, q)]
        if open_cells:
            d = problem.shapes[q].deployment
            add(
                min(
                    open_cells,
                    key=lambda c: (round(crowd[d, problem.cells[c].domain], 9), -room[c], c),
                ),
                q,
            )
    return {key: count for key, count in counts.items() if count}


def _weight(problem: Problem, shape: int) -> float:
    """Online work a replica bears at the most; of an offline-only one, next to nothing."""
    return max(mode.max_online for mode in problem.shapes[shape].modes) or 1e-3
