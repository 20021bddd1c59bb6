"""The ledger: every round's plan, its moves, and the placements of those that made any.

Placements lie apart, so that a page of the ledger is read without them.
"""

import sqlalchemy as sa

from storage.tables.base import metadata

plans = sa.Table(
    "plans",
    metadata,
    sa.Column("round", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("base_revision", sa.BigInteger, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("solver", sa.Text, nullable=False),
    sa.Column("objective", sa.Double, nullable=False),
    sa.Column("bound", sa.Double, nullable=False),
    sa.Column("trigger", sa.Text, nullable=False),
    sa.Column("solve_s", sa.Double, nullable=False),
    sa.Column("create_s", sa.Double, nullable=False),
    sa.Column("inputs_hash", sa.Text, nullable=False, server_default=""),
    sa.Column("outcome", sa.Text, nullable=False, server_default="applied"),
    sa.Column("placements_from", sa.BigInteger),  # null: its own, in plan_placements
    sa.Column("body", sa.JSON, nullable=False),  # terms, misfits, failure, demand
)

plan_placements = sa.Table(
    "plan_placements",
    metadata,
    sa.Column(
        "round",
        sa.BigInteger,
        sa.ForeignKey("plans.round", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("body", sa.JSON, nullable=False),  # placements, waiting
)

moves = sa.Table(
    "moves",
    metadata,
    sa.Column(
        "round", sa.BigInteger, sa.ForeignKey("plans.round", ondelete="CASCADE"), primary_key=True
    ),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("move_group", sa.Integer, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("replica", sa.Text, nullable=False, index=True),
    sa.Column("deployment", sa.Text, nullable=False),
    sa.Column("node", sa.Text, nullable=False),
    sa.Column("after", sa.JSON, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)
