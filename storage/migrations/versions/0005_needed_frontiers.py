"""When a frontier was last needed, so that derived ones nobody needs can go.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "frontiers", sa.Column("need_s", sa.Double, nullable=False, server_default=sa.text("0"))
    )
    op.execute("UPDATE frontiers SET need_s = create_s")


def downgrade() -> None:
    op.drop_column("frontiers", "need_s")
