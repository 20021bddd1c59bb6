"""The rules of `placement.verify`, one idea a file.

None of them shares code with the survey, the objective or the solver's model: they read the
domain's values alone, so that a mistake there cannot hide itself here.

Map:
    violation  a rule that is broken, and where
    facts      the snapshot indexed: nodes, devices, frontiers, who holds what
    seating    each placement by itself: it stays, or goes where it may and where it fits
    sharing    replicas of one node: devices, host memory, anti-affinity
    limits     replicas and moves at most, what is frozen, what is pinned
    serving    what a deployment's placements serve of each SLO class
    loads      shares, frontiers, budgets
    failover   what is served though a failure domain is lost
    offline    stages, demand and tenants' quotas
    fairness   what is said of tenants' fair shares
    transport  whether sources can feed sinks: the maximum flow between them
    moves      that the moves lead from what runs to what is planned
"""
