"""The one row about the whole fleet, answered requests, and gateways seen."""

import sqlalchemy as sa

from storage.tables.base import metadata

fleet = sa.Table(
    "fleet",
    metadata,
    sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1", name="one_row"), primary_key=True),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("leader", sa.Text, nullable=False),
    sa.Column("round", sa.BigInteger, nullable=False),  # the newest entry of the ledger
    sa.Column("plan_round", sa.BigInteger, nullable=False, server_default="0"),  # in force
    sa.Column("rollback_round", sa.BigInteger, nullable=False, server_default="0"),  # 0: none
    sa.Column("kill_switch", sa.Boolean, nullable=False),
    sa.Column("kill_switch_reason", sa.Text, nullable=False),
    sa.Column("kill_switch_change_s", sa.Double),
)

requests = sa.Table(
    "requests",
    metadata,
    sa.Column("request_id", sa.Text, primary_key=True),
    sa.Column("method", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.LargeBinary, nullable=False),
    sa.Column("response", sa.LargeBinary, nullable=False),
    sa.Column("create_s", sa.Double, nullable=False, index=True),
)

gateways = sa.Table(
    "gateways",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("seen_s", sa.Double, nullable=False),
)
