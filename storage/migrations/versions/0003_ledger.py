"""The ledger of every round; pins, freezes, tenants; what nodes report of host memory.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table, column in _columns():
        op.add_column(table, column)
    # Until now the newest entry of the ledger was the plan in force.
    op.execute("UPDATE fleet SET plan_round = round")
    op.create_table(
        "plan_placements",
        sa.Column(
            "round",
            sa.BigInteger,
            sa.ForeignKey("plans.round", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("body", sa.JSON, nullable=False),
    )
    op.create_table(
        "pins",
        sa.Column("deployment", sa.Text, primary_key=True),
        sa.Column("node", sa.Text, primary_key=True),
        sa.Column("replicas", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("create_s", sa.Double, nullable=False),
    )
    op.create_table(
        "freezes",
        sa.Column("target", sa.Text, primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("create_s", sa.Double, nullable=False),
    )
    op.create_table(
        "tenants",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("weight", sa.Double, nullable=False),
        sa.Column("max_offline_work", sa.Double),
        sa.Column("create_s", sa.Double, nullable=False),
        sa.Column("update_s", sa.Double, nullable=False),
    )


def downgrade() -> None:
    for table in ("tenants", "freezes", "pins", "plan_placements"):
        op.drop_table(table)
    for table, column in _columns():
        op.drop_column(table, column.name)


def _columns() -> list[tuple[str, sa.Column[object]]]:
    none = sa.text("0")
    return [
        ("fleet", sa.Column("plan_round", sa.BigInteger, nullable=False, server_default=none)),
        ("fleet", sa.Column("rollback_round", sa.BigInteger, nullable=False, server_default=none)),
        ("plans", sa.Column("inputs_hash", sa.Text, nullable=False, server_default="")),
        ("plans", sa.Column("outcome", sa.Text, nullable=False, server_default="applied")),
        ("plans", sa.Column("placements_from", sa.BigInteger)),
        ("nodes", sa.Column("operator_labels", sa.JSON, nullable=False, server_default="{}")),
        (
            "nodes",
            sa.Column("host_memory_bytes", sa.BigInteger, nullable=False, server_default=none),
        ),
        ("nodes", sa.Column("warm_models", sa.JSON, nullable=False, server_default="[]")),
        ("allocations", sa.Column("slo_class", sa.Text, nullable=False, server_default="")),
    ]
