"""Rounds: from committed state to a committed plan.

    snapshot  ->  solver (a process of its own)  ->  applier (verifies, commits)

Map:
    demand          what is wanted: expected, observed, forecast; batches with their rates
    demandwatch     observes at fixed intervals; `forecasts` makes and keeps what comes of it
    frontiers       what replicas bear: measured, derived or assumed; `hardwarefacts` of whom
    deriving        derives frontiers in the background; `frontier_process` is its child
    snapshot        committed state and demand to what the planner decides from
    solver          the parent's side of a solve: deadline, kill, incumbent
    solver_*        its process, limits, answers and faults
    apply           verify again, commit under the epoch, note the round in the ledger
    targets         ids of new replicas, and allocations as they stand after a plan
    outcome         how the last round came out
    loop            when rounds run
    resplitting     between rounds: shares follow a load; `departures` tells it from noise
    childprocess    what every child does first
    rollback        the way back to an earlier placement; `unrestored` says what cannot be
    returning       a rollback on its way, a step a round
    drafted         a whole plan of placements that somebody chose
    pinning         whether a pin can ever hold
    dryrun          solves that are not applied, in a process of their own
    supposed        fleets that are not there, for what-ifs
    totals          what a placement serves and takes
    explanation     what binds a deployment, as it is told
    ledgerdiff      from one stored plan to another
"""
