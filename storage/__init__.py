"""The only SQL: tables, codecs, store, migrations.

Owns durability: what is acknowledged survives `kill -9`. Refuses decisions.

Map:
    database     engine, transactions, migrations at open
    errors       what can go wrong
    records      what is stored beyond the planner's values
    plan_records the ledger's entries, pins, freezes, tenants
    forecast_records
                 what rounds learned: forecasts of demand, frontiers
    codecs       values to JSON documents and back
    store        the facade over fleet state: revisions, epochs, request ids
    transaction  one writing transaction of it
    fleet, nodes, deployments, allocations, plans, holds, forecasts
                 SQL, a subject each; used by those two only
    batches      the facade over batches, their items and segments
    batch_records, offline_facts
                 its values, and how it sees the fleet
    batch_rows, batch_counts, item_intake, item_leases, item_returns
                 SQL, a subject each; used by batches only
    tables       the schema
    migrations   Alembic's versions
"""
