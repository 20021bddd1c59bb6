"""Rows of `batches`, and the reads over their items: SQL only."""

from collections.abc import Collection, Mapping
from dataclasses import fields

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from storage.batch_records import (
    Backlog,
    BatchRecord,
    BatchState,
    FinishedItem,
    ItemState,
    NewBatch,
)
from storage.errors import RequestReusedError
from storage.tables.batches import batches, items, segments

_FIELDS = tuple(field.name for field in fields(BatchRecord))
_MEASURED_FROM_ITEMS = 16
"""Finished items from which their mean size replaces intake's estimate."""


def get(connection: Connection, batch: str) -> BatchRecord | None:
    """The batch of that id."""
    row = connection.execute(_select().where(batches.c.id == batch)).mappings().one_or_none()
    return None if row is None else _record(row)


def repeated(connection: Connection, new: NewBatch) -> BatchRecord | None:
    """The batch an earlier call with this request_id made, or None.

    Raises:
        RequestReusedError: it was made for another submission.
    """
    row = (
        connection.execute(_select().where(batches.c.request_id == new.request_id))
        .mappings()
        .one_or_none()
    )
    if row is None:
        return None
    found = _record(row)
    after_s = None if found.deadline_s is None else found.deadline_s - found.create_s
    is_same_deadline = (
        after_s == new.deadline_after_s
        if after_s is None or new.deadline_after_s is None
        else abs(after_s - new.deadline_after_s) < 1e-3
    )
    is_same = (found.deployment, found.input_uri) == (new.deployment, new.input_uri)
    if not (is_same and is_same_deadline):
        raise RequestReusedError(request_id=new.request_id, method="CreateBatch")
    return found


def insert(connection: Connection, new: NewBatch) -> None:
    """Stores a batch in VALIDATING."""
    after_s = new.deadline_after_s
    connection.execute(
        sa.insert(batches).values(
            id=new.id,
            request_id=new.request_id,
            deployment=new.deployment,
            tenant=new.tenant,
            input_uri=new.input_uri,
            state=BatchState.VALIDATING.value,
            create_s=new.create_s,
            deadline_s=None if after_s is None else new.create_s + after_s,
        )
    )


def page(
    connection: Connection, *, limit: int, before: tuple[float, str] | None
) -> tuple[BatchRecord, ...]:
    """Batches, newest first, older than (create_s, id)."""
    wanted = _select().order_by(batches.c.create_s.desc(), batches.c.id.desc()).limit(limit)
    if before is not None:
        create_s, batch = before
        wanted = wanted.where(
            sa.or_(
                batches.c.create_s < create_s,
                sa.and_(batches.c.create_s == create_s, batches.c.id < batch),
            )
        )
    return tuple(_record(row) for row in connection.execute(wanted).mappings())


def in_states(connection: Connection, states: Collection[BatchState]) -> tuple[BatchRecord, ...]:
    """Batches in any of those states, oldest first."""
    rows = connection.execute(
        _select()
        .where(batches.c.state.in_([state.value for state in states]))
        .order_by(batches.c.create_s, batches.c.id)
    )
    return tuple(_record(row) for row in rows.mappings())


def request_cancel(connection: Connection, batch: str) -> None:
    """VALIDATING and IN_PROGRESS become CANCELLING; others stay."""
    stoppable = (BatchState.VALIDATING.value, BatchState.IN_PROGRESS.value)
    connection.execute(
        sa.update(batches)
        .where(batches.c.id == batch, batches.c.state.in_(stoppable))
        .values(state=BatchState.CANCELLING.value)
    )


def note(connection: Connection, batch: str, message: str) -> None:
    """Sets the message of a batch that is not over."""
    connection.execute(
        sa.update(batches)
        .where(batches.c.id == batch, batches.c.state.in_(_OPEN))
        .values(message=message)
    )


def fail(connection: Connection, batch: str, message: str, *, now_s: float) -> bool:
    """FAILED, for a batch whose intake is not done; False for any other."""
    failed = connection.execute(
        sa.update(batches)
        .where(
            batches.c.id == batch,
            batches.c.state.in_((BatchState.VALIDATING.value, BatchState.CANCELLING.value)),
            ~batches.c.is_intake_done,
        )
        .values(state=BatchState.FAILED.value, message=message, end_s=now_s)
    )
    return bool(failed.rowcount)


def publish(
    connection: Connection, batch: str, *, output_uri: str, error_uri: str, now_s: float
) -> bool:
    """Names the files and ends the batch, if no one has."""
    ended = sa.case(
        (batches.c.state == BatchState.CANCELLING.value, BatchState.CANCELLED.value),
        else_=BatchState.COMPLETED.value,
    )
    published = connection.execute(
        sa.update(batches)
        .where(
            batches.c.id == batch,
            batches.c.state.in_((BatchState.FINALIZING.value, BatchState.CANCELLING.value)),
            batches.c.is_intake_done,
            batches.c.pending == 0,
            batches.c.leased == 0,
        )
        .values(state=ended, output_uri=output_uri, error_uri=error_uri, end_s=now_s, message="")
    )
    return bool(published.rowcount)


def finished_items(
    connection: Connection, batch: str, *, after_line: int, limit: int
) -> tuple[FinishedItem, ...]:
    """Decided items in line order, with where their lines lie."""
    rows = connection.execute(
        sa.select(items, segments.c.uri)
        .outerjoin(segments, segments.c.id == items.c.segment)
        .where(
            items.c.batch == batch,
            items.c.line > after_line,
            items.c.state.in_((ItemState.SUCCEEDED.value, ItemState.FAILED.value)),
        )
        .order_by(items.c.line)
        .limit(limit)
    )
    return tuple(
        FinishedItem(
            line=row.line,
            custom_id=row.custom_id,
            is_success=row.state == ItemState.SUCCEEDED.value,
            error_code=row.error_code,
            error_message=row.error_message,
            segment_uri=row.uri,
            segment_offset=row.segment_offset or 0,
            segment_length=row.segment_length or 0,
        )
        for row in rows
    )


def backlog(connection: Connection) -> Mapping[str, Backlog]:
    """Pending and leased work of batches in progress, by deployment."""
    by_deployment: dict[str, list[BatchRecord]] = {}
    for record in in_states(connection, (BatchState.IN_PROGRESS,)):
        by_deployment.setdefault(record.deployment, []).append(record)
    return {name: _backlog(records) for name, records in sorted(by_deployment.items())}


def tenant_backlog(connection: Connection) -> Mapping[tuple[str, str], Backlog]:
    """As `backlog`, by deployment and tenant."""
    by_tenant: dict[tuple[str, str], list[BatchRecord]] = {}
    for record in in_states(connection, (BatchState.IN_PROGRESS,)):
        by_tenant.setdefault((record.deployment, record.tenant), []).append(record)
    return {key: _backlog(records) for key, records in sorted(by_tenant.items())}


def _backlog(records: Collection[BatchRecord]) -> Backlog:
    left_items = prompt = output = 0
    due: list[tuple[float, int]] = []
    for record in records:
        left = record.pending + record.leased
        prompt_left, output_left = (round(left * mean) for mean in _mean_tokens(record))
        left_items += left
        prompt += prompt_left
        output += output_left
        if record.deadline_s is not None:
            due.append((record.deadline_s, prompt_left + output_left))
    return Backlog(
        items=left_items, prompt_tokens=prompt, output_tokens=output, due=tuple(sorted(due))
    )


def _mean_tokens(record: BatchRecord) -> tuple[float, float]:
    if record.succeeded >= _MEASURED_FROM_ITEMS:
        return (
            record.prompt_tokens / record.succeeded,
            record.output_tokens / record.succeeded,
        )
    valid = max(1, record.valid_items)
    return record.estimated_prompt_tokens / valid, record.estimated_output_tokens / valid


_OPEN = [state.value for state in BatchState if not state.is_terminal]


def _select() -> sa.Select[tuple[object, ...]]:
    return sa.select(*(batches.c[name] for name in _FIELDS))


def _record(row: RowMapping) -> BatchRecord:
    return BatchRecord(**{**row, "state": BatchState(row["state"])})
