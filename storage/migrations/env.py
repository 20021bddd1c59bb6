"""Alembic's environment: migrations run on the engine `storage.database` opened.

Invariant: all migrations of a start are one transaction under the write lock, on SQLite
too: killed at any point, the database is as it was before; of two processes that start
at once one migrates and the other finds it done.
"""

from alembic import context

from storage.tables import metadata

engine = context.config.attributes["engine"]
with engine.connect() as raw:
    connection = raw.execution_options(slacktide_writes=True)
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transactional_ddl=True,  # not Alembic's default for SQLite; `database` emits BEGIN
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
