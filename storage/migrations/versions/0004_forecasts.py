"""What rounds learned: forecasts of demand, frontiers of replicas.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "forecasts",
        sa.Column("deployment", sa.Text, primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("update_s", sa.Double, nullable=False),
    )
    op.create_table(
        "frontiers",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("create_s", sa.Double, nullable=False),
    )


def downgrade() -> None:
    for table in ("frontiers", "forecasts"):
        op.drop_table(table)
