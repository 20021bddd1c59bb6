"""The ledger of plans and their moves: SQL only."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from planner.model import Misfit, Move, MoveKind, ObjectiveTerm, Placement, Plan, PlanStatus
from storage.codecs import from_json, to_json
from storage.records import PlanRecord
from storage.tables.plans import moves, plans


@dataclass(frozen=True, slots=True, kw_only=True)
class _Body:
    """The parts of a plan that are only ever read with it."""

    terms: tuple[ObjectiveTerm, ...]
    placements: tuple[Placement, ...]
    misfits: tuple[Misfit, ...]


def append(connection: Connection, record: PlanRecord) -> None:
    """Writes an entry; its round must be new."""
    plan = record.plan
    body = _Body(terms=plan.terms, placements=plan.placements, misfits=plan.misfits)
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
            body=to_json(body),
        )
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
    """The entry of that round."""
    found = _select(connection, sa.select(plans).where(plans.c.round == round_))
    return found[0] if found else None


def listed(connection: Connection, *, before: int | None, limit: int) -> tuple[PlanRecord, ...]:
    """Entries newest first, of rounds lower than `before`."""
    chosen = sa.select(plans).order_by(plans.c.round.desc()).limit(limit)
    if before is not None:
        chosen = chosen.where(plans.c.round < before)
    return _select(connection, chosen)


def _select(connection: Connection, chosen: sa.Select[Any]) -> tuple[PlanRecord, ...]:
    rows = connection.execute(chosen).mappings().all()
    made: dict[int, list[Move]] = defaultdict(list)
    for row in connection.execute(
        sa.select(moves)
        .where(moves.c.round.in_([row["round"] for row in rows]))
        .order_by(moves.c.round, moves.c.position)
    ).mappings():
        made[row["round"]].append(_move(row))
    return tuple(_record(row, tuple(made[row["round"]])) for row in rows)


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


def _record(row: RowMapping, made: tuple[Move, ...]) -> PlanRecord:
    body = from_json(_Body, row["body"])
    return PlanRecord(
        round=row["round"],
        epoch=row["epoch"],
        trigger=row["trigger"],
        solve_s=row["solve_s"],
        create_s=row["create_s"],
        plan=Plan(
            base_revision=row["base_revision"],
            status=PlanStatus(row["status"]),
            solver=row["solver"],
            objective=row["objective"],
            bound=row["bound"],
            terms=body.terms,
            placements=body.placements,
            moves=made,
            misfits=body.misfits,
        ),
    )
