"""Pins in counts: what a cell must hold.

Owns how much of a pin is granted. Refuses what would break another limit: what a freeze
keeps comes first, then pins in order of deployment and node, each as far as devices, host
memory, max_replicas and the round's moves allow; what is not granted stays unmet, and the
plan says so. So contradictory pins make no problem infeasible.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite

from planner.placement.counts.problem import Counts, Problem
from planner.placement.fleet import Fleet


def pinned(
    fleet: Fleet,
    problem: Problem,
    *,
    cells: Sequence[Sequence[str]],
    deployments: Sequence[str],
) -> Problem:
    """The problem with its cells held to what is pinned there.

    Args:
        fleet: With the pins.
        problem: Its `least` holds what freezes keep.
        cells: Nodes of each cell; a node that is pinned to is alone in its cells.
        deployments: Names by index.
    """
    pins = {(pin.deployment, pin.node): pin.replicas for pin in fleet.snapshot.pins}
    least = dict(problem.least)
    for (name, node), wanted in sorted(pins.items()):
        if name not in deployments:
            continue
        d = deployments.index(name)
        own = [
            (c, q)
            for c, members in enumerate(cells)
            if node in members
            for q in problem.shapes_of(d)
            if problem.shapes[q].kind == problem.cells[c].kind
        ]
        own.sort(key=lambda key: (-problem.held.get(key, 0), problem.shapes[key[1]].slots))
        for key in own:  # what runs first, then the smallest
            granted = max(least.get(key, 0), min(wanted, _room_for(problem, least, key)))
            if granted > 0:
                least[key] = granted
                break
    return replace(problem, least=least)


def _room_for(problem: Problem, least: Counts, key: tuple[int, int]) -> int:
    """Replicas of a (cell, shape) that may be forced beside all that is forced already."""
    c, q = key
    cell, shape = problem.cells[c], problem.shapes[q]
    others = [(of, n) for (at, of), n in least.items() if at == c and of != q]
    room = cell.all_slots - sum(n * problem.shapes[of].slots for of, n in others)
    most = min(problem.fits(c, q), room // shape.slots)
    if shape.host_bytes > 0.0 and isfinite(cell.host_bytes):
        taken = sum(n * problem.shapes[of].host_bytes for of, n in others)
        most = min(most, int((cell.nodes * cell.host_bytes - taken) / shape.host_bytes + 1e-9))
    replicas = sum(
        n
        for at, n in least.items()
        if at != key and problem.shapes[at[1]].deployment == shape.deployment
    )
    most = min(most, problem.wanted[shape.deployment].max_replicas - replicas)
    if problem.max_moves is not None:
        moved = sum(max(0, n - problem.held.get(at, 0)) for at, n in least.items() if at != key)
        most = min(most, problem.held.get(key, 0) + max(0, problem.max_moves - moved))
    return max(0, most)
