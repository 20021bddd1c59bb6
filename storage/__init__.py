"""The only SQL: tables, codecs, store, migrations.

Owns durability: what is acknowledged survives `kill -9`. Refuses decisions.

Map:
    database   engine, transactions, migrations at open
    tables     the schema
    migrations Alembic's versions
"""
