"""That the moves lead exactly from the allocations to the placements.

Owns additions, removals, and that each move is about the replica it names. Refuses to judge
their order beyond what they wait for.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from planner.model import Desired, Move, MoveKind, Placement
from planner.placement.verification.facts import Facts
from planner.placement.verification.violation import Violation, broken


def moves(
    facts: Facts, placements: Sequence[Placement], planned: Sequence[Move]
) -> Iterator[Violation]:
    """One ADD for each new placement, one REMOVE for each that is no longer placed."""
    keys = {f"new:{i}": p for i, p in enumerate(placements) if p.replica is None}
    kept = {p.replica: p for p in placements if p.replica is not None}
    gone = {
        replica
        for replica, allocation in facts.allocations.items()
        if allocation.desired is Desired.RUNNING and replica not in kept
    }
    added = Counter(move.replica for move in planned if move.kind is MoveKind.ADD)
    removed = Counter(move.replica for move in planned if move.kind is MoveKind.REMOVE)
    for key in sorted(keys.keys() | added.keys()):
        if added[key] != 1 or key not in keys:
            yield broken("moves", key, f"{added[key]} ADD moves for it")
    for replica in sorted(gone | removed.keys()):
        if removed[replica] != 1 or replica in kept or replica not in facts.allocations:
            yield broken("moves", replica, f"{removed[replica]} REMOVE moves for it")
    for move in planned:
        unknown = [other for other in move.after if other not in keys and other not in kept]
        if unknown:
            yield broken("moves", move.replica, f"waits for {unknown}, which is not planned")
        yield from _about(facts, move, keys=keys, kept=kept)


def _about(
    facts: Facts, move: Move, *, keys: Mapping[str, Placement], kept: Mapping[str, Placement]
) -> Iterator[Violation]:
    """A move names the deployment and node of its replica, and adjusts only what stays."""
    subject = {
        MoveKind.ADD: keys.get(move.replica),
        MoveKind.ADJUST: kept.get(move.replica),
        MoveKind.REMOVE: facts.allocations.get(move.replica),
    }[move.kind]
    if subject is None:
        if move.kind is MoveKind.ADJUST:
            yield broken("moves", move.replica, "adjusts a replica that is not kept")
    elif (move.deployment, move.node) != (subject.deployment, subject.node):
        yield broken(
            "moves",
            move.replica,
            f"says {move.deployment} on {move.node}, is {subject.deployment} on {subject.node}",
        )
