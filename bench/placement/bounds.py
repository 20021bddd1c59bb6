"""What no placement can pass.

Owns the bound by relaxation in totals over the fleet, and the better one by integers in
totals. Refuses to find placements. Both are valid for any placement on nodes, in whatever
SLO modes: replicas of one kind are added up over its nodes and domains, and every row
holds for the sums.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bench.placement.board import Board, Counts
from bench.placement.linear import SHORTFALLS, SLACK, Programme, Tiers
from bench.placement.modes import CLASSES
from bench.placement.programme import formulate

_EXCESS = 1e3  # of a device-equivalent more than allowed: far above what offline work brings


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A bound on weighted offline work, the earlier tiers being allowed `short`.

    Attributes:
        short: Shortfalls that the bound allows, by tier.
        offline: No placement with no more of them has more weighted offline work.
        found: Weighted offline work of the best totals found; no plan, only how far the
            bound itself may be from the truth. None where none was found.
    """

    short: Mapping[str, float]
    offline: float
    found: float | None


def relaxed(board: Board, *, before: Counts | None = None) -> Tiers:
    """The least shortfall of every tier in order, and the most offline work beside them."""
    return _free(board, before, is_integral=False).tiers_in_order()


def bound_of(board: Board, short: Mapping[str, float], *, before: Counts | None = None) -> Bound:
    """The bound by relaxation, beside given shortfalls (a contestant's)."""
    caps = {tier: short[tier] + _room(short[tier]) for tier in SHORTFALLS}
    tiers = _free(board, before, is_integral=False).tiers_in_order(caps=caps)
    return Bound(short=caps, offline=tiers.offline, found=None)


def integer_bound_of(
    board: Board,
    short: Mapping[str, float],
    *,
    seconds: float,
    before: Counts | None = None,
) -> Bound:
    """The bound by integer totals within so many seconds, beside given shortfalls.

    Raises:
        ProgrammeError: The solver proved nothing.
    """
    caps = {tier: short[tier] + _room(short[tier]) for tier in SHORTFALLS}
    made = _free(board, before, is_integral=True)
    solved = made.solve(
        {column: -value for column, value in made.values.items()},
        caps=caps,
        seconds=seconds,
        is_relaxed=False,
        excess_cost=_EXCESS,
    )
    return Bound(
        short=caps,
        offline=-solved.bound,
        found=None if -solved.objective < 0.0 else -solved.objective,
    )


def _room(short: float) -> float:
    return SLACK + 1e-6 * short


def _free(board: Board, before: Counts | None, *, is_integral: bool) -> Programme:
    made = formulate(board)
    _capacity(made, board)
    _most_replicas(made, board)
    _failover(made, board, is_integral=is_integral)
    if before is not None and board.snapshot.max_moves is not None:
        _moves(made, before.sum(axis=0), most=board.snapshot.max_moves)
    return made


def _capacity(made: Programme, board: Board) -> None:
    for kind in range(len(board.kinds)):
        own = [k for k, choice in enumerate(board.choices) if choice.kind == kind]
        devices = int(board.devices[board.kind == kind].sum())
        memory = float(board.host_memory_bytes[board.kind == kind].sum())
        made.row(
            [(made.counts[k], float(board.choices[k].devices)) for k in own],
            most=float(devices),
        )
        if np.isfinite(memory):
            made.row(
                [(made.counts[k], board.choices[k].host_memory_bytes / memory) for k in own],
                most=1.0,
            )


def _most_replicas(made: Programme, board: Board) -> None:
    for own, deployment in zip(board.of_deployment, board.deployments, strict=True):
        terms = [(made.counts[k], 1.0) for k in own]
        made.row(terms, most=float(deployment.max_replicas))


def _moves(made: Programme, now: Counts, *, most: int) -> None:
    new = []
    for k, column in made.counts.items():
        added = made.column(0.0, np.inf)
        made.row([(column, 1.0), (added, -1.0)], most=float(now[k]))
        new.append((added, 1.0))
    made.row(new, most=float(most))


def _failover(made: Programme, board: Board, *, is_integral: bool) -> None:
    """Mean loss of all domains; with integers, also the loss of each single large replica."""
    left = (board.domains - 1.0) / board.domains
    for number, own in enumerate(board.of_deployment):
        wanted = board.failover[number]
        if not wanted.any():
            continue
        slacks = [
            (tier, made.shortfall(tier, float(need)), float(need))
            for tier, need in zip(("failover_tight", "failover_loose"), wanted, strict=True)
        ]
        _survive(made, board, own, slacks, keep=left)
        if not is_integral:
            continue
        for k in own:
            choice = board.choices[k]
            needs = [need for _, _, need in slacks]
            # Smaller ones are what the mean says already.
            is_large = any(
                choice.most_online[rank] > need / max(1, board.domains - 1)
                for rank, need in enumerate(needs)
                if need > 0.0
            )
            if is_large:
                is_there = made.column(0.0, 1.0, is_integer=True)
                column = made.counts[k]
                made.row([(column, 1.0), (is_there, -made.upper[column])], most=0.0)
                _survive(made, board, own, slacks, keep=1.0, gone=(k, is_there))


def _survive(
    made: Programme,
    board: Board,
    own: tuple[int, ...],
    slacks: list[tuple[str, int, float]],
    *,
    keep: float,
    gone: tuple[int, int] | None = None,
) -> None:
    """Rows of what `keep` of the replicas, without one of `gone`'s choice, serve."""
    serving: list[list[tuple[int, float]]] = [[] for _ in range(CLASSES)]
    for k in own:
        choice = board.choices[k]
        parts = []
        for rank in range(CLASSES):
            most = choice.most_online[rank]
            if most > 0.0 and slacks[rank][2] > 0.0:
                b = made.column(0.0, np.inf)
                parts.append((b, 1.0))
                serving[rank].append((b, most))
        if parts:
            row = [*parts, (made.counts[k], -keep)]
            if gone is not None and gone[0] == k:
                row.append((gone[1], 1.0))
            made.row(row, most=0.0)
    for rank, (_, slack, need) in enumerate(slacks):
        if need > 0.0:
            made.row([*serving[rank], (slack, 1.0)], least=need)
