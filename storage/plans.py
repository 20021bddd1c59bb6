"""The ledger of rounds, their moves and placements: SQL only.

Invariants: rounds are appended with rising numbers; a round that made no placements of
its own names the one whose placements stayed in force, and is read with those. Bounded:
`prune` keeps the newest `KEPT_ROUNDS` entries, and of them the newest `KEPT_PLACEMENTS`
that have placements of their own.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from planner.model import Misfit, Move, MoveKind, ObjectiveTerm, Placement, Plan, PlanStatus
from storage.codecs import from_json, to_json
from storage.plan_records import DemandRecord, PlanOutcome, PlanRecord
from storage.tables.plans import moves, plan_placements, plans

KEPT_ROUNDS = 10_000
"""A day of rounds at the default interval of 10 s, and 1,360 that something triggered; 8 MB
where nothing changes (819 bytes an entry, measured), and 90 bytes for each deployment with
online work."""
KEPT_PLACEMENTS = 500
"""At 1000 nodes and 3000 replicas such an entry takes 0.56 MB (measured): 280 MB of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Body:
    """The parts of a plan that are only ever read with it."""

    terms: tuple[ObjectiveTerm, ...]
    misfits: tuple[Misfit, ...]
    failure: str = ""
    refused_groups: tuple[int, ...] = ()
    demand: tuple[DemandRecord, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placed:
    """Where everything goes, read only when asked for."""

    placements: tuple[Placement, ...] = ()
    waiting: tuple[Placement, ...] = ()


def append(connection: Connection, record: PlanRecord) -> None:
    """Writes an entry; its round must be new."""
    plan = record.plan
    body = _Body(
        terms=plan.terms,
        misfits=plan.misfits,
        failure=record.failure,
        refused_groups=record.refused_groups,
        demand=record.demand,
    )
    connection.execute(
        sa.insert(plans).values(
            round=record.round,
            base_revision=plan.base_revision,
            epoch=record.epoch,
            status=plan.status.value,
            solver=plan.solver,
            objective=plan.objective,
            bound=plan.bound,
            trigger=record.trigger,
            solve_s=record.solve_s,
            create_s=record.create_s,
            inputs_hash=record.inputs_hash,
            outcome=record.outcome.value,
            placements_from=record.placements_from,
            body=to_json(body),
        )
    )
    if record.placements_from is None:
        placed = _Placed(placements=plan.placements, waiting=plan.waiting)
        connection.execute(
            sa.insert(plan_placements).values(round=record.round, body=to_json(placed))
        )
    if plan.moves:
        connection.execute(
            sa.insert(moves),
            [
                {
                    "round": record.round,
                    "position": position,
                    "move_group": move.group,
                    "kind": move.kind.value,
                    "replica": move.replica,
                    "deployment": move.deployment,
                    "node": move.node,
                    "after": to_json(move.after),
                    "reason": move.reason,
                }
                for position, move in enumerate(plan.moves)
            ],
        )


def get(connection: Connection, round_: int) -> PlanRecord | None:
    """The entry of that round, with the placements that were in force after it."""
    found = _select(connection, sa.select(plans).where(plans.c.round == round_), is_whole=True)
    return found[0] if found else None


def listed(
    connection: Connection,
    *,
    before: int | None,
    limit: int,
    is_whole: bool,
    outcomes: Collection[PlanOutcome] | None = None,
) -> tuple[PlanRecord, ...]:
    """Entries newest first, of rounds lower than `before`.

    Args:
        connection: In a transaction.
        before: None for the newest.
        limit: Entries at the most.
        is_whole: With their placements; else without, and much cheaper.
        outcomes: Only those that came out so.
    """
    chosen = sa.select(plans).order_by(plans.c.round.desc()).limit(limit)
    if before is not None:
        chosen = chosen.where(plans.c.round < before)
    if outcomes is not None:
        chosen = chosen.where(plans.c.outcome.in_(sorted(one.value for one in outcomes)))
    return _select(connection, chosen, is_whole=is_whole)


def prune(
    connection: Connection,
    *,
    newest: int,
    kept: Collection[int],
    rounds: int = KEPT_ROUNDS,
    placements: int = KEPT_PLACEMENTS,
) -> int:
    """Drops the oldest entries.

    Args:
        connection: In a writing transaction.
        newest: Round of the newest entry.
        kept: Rounds that stay however old they are.
        rounds: Entries that stay.
        placements: Entries with placements of their own that stay.

    Returns:
        How many entries went.
    """
    horizon = newest - rounds
    boundary = connection.execute(
        sa.select(plan_placements.c.round)
        .order_by(plan_placements.c.round.desc())
        .offset(placements)
        .limit(1)
    ).scalar()
    old = plans.c.round <= horizon
    if boundary is not None:
        own = sa.select(plan_placements.c.round).where(plan_placements.c.round <= boundary)
        old = sa.or_(old, plans.c.round.in_(own))
    return connection.execute(
        sa.delete(plans).where(old, plans.c.round.not_in(sorted(kept)))
    ).rowcount


def _select(
    connection: Connection, chosen: sa.Select[Any], *, is_whole: bool
) -> tuple[PlanRecord, ...]:
    rows = connection.execute(chosen).mappings().all()
    made: dict[int, list[Move]] = defaultdict(list)
    for row in connection.execute(
        sa.select(moves)
        .where(moves.c.round.in_([row["round"] for row in rows]))
        .order_by(moves.c.round, moves.c.position)
    ).mappings():
        made[row["round"]].append(_move(row))
    placed = _placed(connection, rows) if is_whole else {}
    return tuple(
        _record(row, tuple(made[row["round"]]), placed.get(_source(row), _Placed())) for row in rows
    )


def _source(row: RowMapping) -> int:
    """The round that made the placements in force after this one."""
    source: int | None = row["placements_from"]
    return int(row["round"]) if source is None else source


def _placed(connection: Connection, rows: Sequence[RowMapping]) -> dict[int, _Placed]:
    sources = sorted({_source(row) for row in rows})
    found = connection.execute(
        sa.select(plan_placements).where(plan_placements.c.round.in_(sources))
    ).mappings()
    placed = {row["round"]: from_json(_Placed, row["body"]) for row in found}
    missing = [one for one in sources if one not in placed]
    if missing:  # the first release kept them in the body, under the same name
        old = connection.execute(sa.select(plans).where(plans.c.round.in_(missing))).mappings()
        placed |= {row["round"]: from_json(_Placed, row["body"]) for row in old}
    return placed


def _move(row: RowMapping) -> Move:
    return Move(
        group=row["move_group"],
        kind=MoveKind(row["kind"]),
        replica=row["replica"],
        deployment=row["deployment"],
        node=row["node"],
        after=tuple(row["after"]),
        reason=row["reason"],
    )


def _record(row: RowMapping, made: tuple[Move, ...], placed: _Placed) -> PlanRecord:
    body = from_json(_Body, row["body"])
    return PlanRecord(
        round=row["round"],
        epoch=row["epoch"],
        trigger=row["trigger"],
        solve_s=row["solve_s"],
        create_s=row["create_s"],
        outcome=PlanOutcome(row["outcome"]),
        inputs_hash=row["inputs_hash"],
        failure=body.failure,
        refused_groups=body.refused_groups,
        demand=body.demand,
        placements_from=row["placements_from"],
        plan=Plan(
            base_revision=row["base_revision"],
            status=PlanStatus(row["status"]),
            solver=row["solver"],
            objective=row["objective"],
            bound=row["bound"],
            terms=body.terms,
            placements=placed.placements,
            moves=made,
            misfits=body.misfits,
            waiting=placed.waiting,
        ),
    )
