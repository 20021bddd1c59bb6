"""Batches, their items, and the segments that hold results.

Invariants: the counts of a batch always equal those of its items, since both change in
one transaction; `attempt` of an item only grows and fences its leases; bodies and
results stay in the object store, rows hold where they lie.
"""

import sqlalchemy as sa

from storage.tables.base import metadata

batches = sa.Table(
    "batches",
    metadata,
    sa.Column("id", sa.String(63), primary_key=True),
    sa.Column("request_id", sa.String(36), nullable=False, unique=True),
    sa.Column("deployment", sa.String(63), nullable=False),
    sa.Column("tenant", sa.String(63), nullable=False, server_default="default"),
    sa.Column("input_uri", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("message", sa.Text, nullable=False, server_default=""),
    # Unix seconds.
    sa.Column("deadline_s", sa.Double),
    sa.Column("create_s", sa.Double, nullable=False),
    sa.Column("start_s", sa.Double),
    sa.Column("end_s", sa.Double),
    # Where intake goes on: everything before is in `items`.
    sa.Column("intake_offset", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("intake_line", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("is_intake_done", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("pending", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("leased", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("succeeded", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("failed", sa.BigInteger, nullable=False, server_default="0"),
    # Estimates of the valid items, made at intake.
    sa.Column("valid_items", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("estimated_prompt_tokens", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("estimated_output_tokens", sa.BigInteger, nullable=False, server_default="0"),
    # Of finished items.
    sa.Column("prompt_tokens", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("output_tokens", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("output_uri", sa.Text),
    sa.Column("error_uri", sa.Text),
    sa.Index("ix_batches_state_deployment", "state", "deployment"),
    sa.Index("ix_batches_create_s_id", "create_s", "id"),
)

segments = sa.Table(
    "segments",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("uri", sa.Text, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("create_s", sa.Double, nullable=False),
)

items = sa.Table(
    "items",
    metadata,
    sa.Column("batch", sa.String(63), sa.ForeignKey("batches.id"), primary_key=True),
    # Line of the input, from 1.
    sa.Column("line", sa.BigInteger, primary_key=True, autoincrement=False),
    # NULL where the line has none that could be used.
    sa.Column("custom_id", sa.String(512)),
    sa.Column("url", sa.String(32), nullable=False, server_default=""),
    # Where its body lies in the input object; 0, 0 for an error line.
    sa.Column("body_offset", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("body_length", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
    # Retryable failures reported; executions lost with their replica or node.
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("losses", sa.Integer, nullable=False, server_default="0"),
    # Who holds the lease, or held the last one.
    sa.Column("node", sa.String(63)),
    sa.Column("replica", sa.String(63)),
    # Of a failed item whose error line no segment holds.
    sa.Column("error_code", sa.String(64)),
    sa.Column("error_message", sa.Text),
    sa.Column("segment", sa.String(36), sa.ForeignKey("segments.id")),
    sa.Column("segment_offset", sa.BigInteger),
    sa.Column("segment_length", sa.BigInteger),
    sa.Index(
        "ix_items_custom_id",
        "batch",
        "custom_id",
        unique=True,
        sqlite_where=sa.text("custom_id IS NOT NULL"),
        postgresql_where=sa.text("custom_id IS NOT NULL"),
    ),
    # Not partial: SQLite would walk the primary key instead, past every finished line.
    sa.Index("ix_items_batch_state_line", "batch", "state", "line"),
    sa.Index(
        "ix_items_leased",
        "node",
        "replica",
        sqlite_where=sa.text("state = 'leased'"),
        postgresql_where=sa.text("state = 'leased'"),
    ),
)

LEASED = sa.literal("leased", literal_execute=True)
"""The state as a literal: that is how SQLite sees that `ix_items_leased` serves."""
