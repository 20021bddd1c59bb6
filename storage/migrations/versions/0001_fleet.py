"""Fleet: nodes, deployments, allocations, plans, requests.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    fleet = op.create_table(
        "fleet",
        sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1", name="one_row"), primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("leader", sa.Text, nullable=False),
        sa.Column("round", sa.BigInteger, nullable=False),
        sa.Column("kill_switch", sa.Boolean, nullable=False),
        sa.Column("kill_switch_reason", sa.Text, nullable=False),
        sa.Column("kill_switch_change_s", sa.Double),
    )
    op.bulk_insert(
        fleet,
        [
            {
                "id": 1,
                "revision": 0,
                "epoch": 0,
                "leader": "",
                "round": 0,
                "kill_switch": False,
                "kill_switch_reason": "",
                "kill_switch_change_s": None,
            }
        ],
    )
    op.create_table(
        "requests",
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("response", sa.LargeBinary, nullable=False),
        sa.Column("create_s", sa.Double, nullable=False, index=True),
    )
    op.create_table(
        "gateways",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("seen_s", sa.Double, nullable=False),
    )
    op.create_table(
        "nodes",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("failure_domain", sa.Text, nullable=False),
        sa.Column("agent_version", sa.Text, nullable=False),
        sa.Column("sglang_version", sa.Text, nullable=False),
        sa.Column("protocol_version", sa.Integer, nullable=False),
        sa.Column("incarnation", sa.Text, nullable=False),
        sa.Column("labels", sa.JSON, nullable=False),
        sa.Column("is_ready", sa.Boolean, nullable=False),
        sa.Column("is_cordoned", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("drain_deadline_s", sa.Double),
        sa.Column("message", sa.Text, nullable=False),
    )
    op.create_table(
        "devices",
        sa.Column("node", sa.Text, sa.ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("index", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("device_type", sa.Text, nullable=False),
        sa.Column("memory_bytes", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "deployments",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("needs", sa.JSON(none_as_null=True)),
        sa.Column("needs_error", sa.Text, nullable=False),
        sa.Column("is_deleted", sa.Boolean, nullable=False),
        sa.Column("create_s", sa.Double, nullable=False),
        sa.Column("update_s", sa.Double, nullable=False),
    )
    op.create_table(
        "allocations",
        sa.Column("replica", sa.Text, primary_key=True),
        sa.Column(
            "deployment", sa.Text, sa.ForeignKey("deployments.id"), nullable=False, index=True
        ),
        sa.Column("node", sa.Text, sa.ForeignKey("nodes.id"), nullable=False, index=True),
        sa.Column("devices", sa.JSON, nullable=False),
        sa.Column("desired", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("online_share", sa.Double, nullable=False),
        sa.Column("offline_share", sa.Double, nullable=False),
        sa.Column("latency_budget_ms", sa.Double, nullable=False),
        sa.Column("after", sa.JSON, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("engine", sa.JSON, nullable=False),
        sa.Column("round", sa.BigInteger, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("create_s", sa.Double, nullable=False),
    )
    op.create_table(
        "plans",
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
        sa.Column("body", sa.JSON, nullable=False),
    )
    op.create_table(
        "moves",
        sa.Column(
            "round",
            sa.BigInteger,
            sa.ForeignKey("plans.round", ondelete="CASCADE"),
            primary_key=True,
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


def downgrade() -> None:
    for table in (
        "moves",
        "plans",
        "allocations",
        "deployments",
        "devices",
        "nodes",
        "gateways",
        "requests",
        "fleet",
    ):
        op.drop_table(table)
