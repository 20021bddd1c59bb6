"""The ledger: plans, and the moves each of them committed."""

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
    sa.Column("body", sa.JSON, nullable=False),  # terms, placements, misfits
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
