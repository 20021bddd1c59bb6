"""What no placement can pass.

Owns the bound by relaxation in totals over the fleet, the better one by whole replicas in
whole modes, in totals, and for small fleets the one by whole replicas in every failure
domain. Refuses to find placements. All are valid for any plan on nodes: replicas of one
choice are added up over nodes and domains, and every row holds for the sums. The first is
valid also for replicas divided over modes in fractions, as contestants are compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bench.placement.board import Board, Counts, Floats
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
    return relaxation(board, before, is_integral=False).tiers_in_order()


def bound_of(board: Board, short: Mapping[str, float], *, before: Counts | None = None) -> Bound:
    """The bound by relaxation, beside given shortfalls (a contestant's)."""
    caps = {tier: short[tier] + _room(short[tier]) for tier in SHORTFALLS}
    tiers = relaxation(board, before, is_integral=False).tiers_in_order(caps=caps)
    return Bound(short=caps, offline=tiers.offline, found=None)


def integer_bound_of(
    board: Board,
    short: Mapping[str, float],
    *,
    seconds: float,
    before: Counts | None = None,
) -> Bound:
    """The bound by totals of whole replicas in whole modes, beside given shortfalls.

    Raises:
        ProgrammeError: The solver proved nothing.
    """
    caps = {tier: short[tier] + _room(short[tier]) for tier in SHORTFALLS}
    made = relaxation(board, before, is_integral=True)
    made.keep_modes_whole()
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


def domain_bound_of(
    board: Board,
    short: Mapping[str, float],
    *,
    seconds: float,
    before: Counts | None = None,
    has_whole_modes: bool = True,
) -> Bound:
    """The bound by integers in every failure domain, beside given shortfalls.

    Exact in what the loss of a domain costs, so much better where few replicas are many;
    for small fleets, since it has a column a choice and domain. With modes in fractions it
    says less and is proved sooner.

    Raises:
        ProgrammeError: The solver proved nothing.
    """
    caps = {tier: short[tier] + _room(short[tier]) for tier in SHORTFALLS}
    made = formulate(board)
    by_domain = _divide(made, board)
    _most_replicas(made, board)
    _lose_each(made, board, by_domain)
    if before is not None and board.snapshot.max_moves is not None:
        _moves(made, before.sum(axis=0), most=board.snapshot.max_moves)
    if has_whole_modes:
        made.keep_modes_whole()
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


def _divide(made: Programme, board: Board) -> dict[tuple[int, int], int]:
    """Columns of replicas by (choice, domain), within the domain's devices and memory."""
    columns: dict[tuple[int, int], int] = {}
    for domain in range(board.domains):
        for kind in range(len(board.kinds)):
            nodes = np.nonzero((board.kind == kind) & (board.domain == domain))[0]
            own = [k for k, choice in enumerate(board.choices) if choice.kind == kind]
            for k in own:
                most = int((board.devices[nodes] // board.choices[k].devices).sum())
                columns[k, domain] = made.column(0.0, float(most), is_integer=True)
            made.row(
                [(columns[k, domain], float(board.choices[k].devices)) for k in own],
                most=float(board.devices[nodes].sum()),
            )
            memory = float(board.host_memory_bytes[nodes].sum())
            if np.isfinite(memory) and memory > 0.0:
                made.row(
                    [
                        (columns[k, domain], board.choices[k].host_memory_bytes / memory)
                        for k in own
                    ],
                    most=1.0,
                )
    for k, total in made.counts.items():
        made.is_integer[total] = False
        parts = [(columns[k, domain], -1.0) for domain in range(board.domains)]
        made.row([(total, 1.0), *parts], least=0.0, most=0.0)
    return columns


def _lose_each(made: Programme, board: Board, by_domain: Mapping[tuple[int, int], int]) -> None:
    """Rows of what is left without each domain."""
    for number, own in enumerate(board.of_deployment):
        wanted = board.failover[number]
        if not wanted.any():
            continue
        slacks = _failover_slacks(made, wanted)
        for domain in range(board.domains):
            gone = {k: (by_domain[k, domain], 1.0) for k in own}
            _survive(made, board, own, slacks, keep=1.0, gone=gone)


def _failover_slacks(made: Programme, wanted: Floats) -> list[tuple[int, float]]:
    """(column, demand) of what must survive, by class."""
    return [
        (made.shortfall(tier, float(need)), float(need))
        for tier, need in zip(("failover_tight", "failover_loose"), wanted, strict=True)
    ]


def _room(short: float) -> float:
    return SLACK + 1e-6 * short


def relaxation(board: Board, before: Counts | None, *, is_integral: bool) -> Programme:
    """All placements in totals over the fleet.

    Args:
        board: What there is.
        before: What runs, where moves are bounded; None: they are not.
        is_integral: Whether it is to be solved with whole replicas: then with rows that
            hold for those alone.
    """
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
        slacks = _failover_slacks(made, wanted)
        _survive(made, board, own, slacks, keep=left, gone={})
        if not is_integral:
            continue
        for k in own:
            choice = board.choices[k]
            needs = [need for _, need in slacks]
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
                _survive(made, board, own, slacks, keep=1.0, gone={k: (is_there, 1.0)})


def _survive(
    made: Programme,
    board: Board,
    own: tuple[int, ...],
    slacks: list[tuple[int, float]],
    *,
    keep: float,
    gone: Mapping[int, tuple[int, float]],
) -> None:
    """Rows of what `keep` of the replicas serve, less those `gone`: (column, times) by choice."""
    serving: list[list[tuple[int, float]]] = [[] for _ in range(CLASSES)]
    for k in own:
        choice = board.choices[k]
        parts = []
        for rank in range(CLASSES):
            most = choice.most_online[rank]
            if most > 0.0 and slacks[rank][1] > 0.0:
                b = made.column(0.0, np.inf)
                parts.append((b, 1.0))
                serving[rank].append((b, most))
        if parts:
            row = [*parts, (made.counts[k], -keep)]
            if k in gone:
                row.append(gone[k])
            made.row(row, most=0.0)
    for rank, (slack, need) in enumerate(slacks):
        if need > 0.0:
            made.row([*serving[rank], (slack, 1.0)], least=need)
