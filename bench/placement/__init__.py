"""Global placement against baselines and bounds, on fleets drawn by a documented generator.

Map, in the order of a run:
    hardware    GPU types and nodes: vendor sheets, prices, what splitting a model costs
    catalogue   the models that deployments serve
    roofline    predicted time of one engine iteration, and the loads that fit into it
    frontiers   chords under the predicted curve, per device type, TP size and SLO class
    batches     offline demand: batches with deadlines, weights and tenants
    instances   sizes, loads, shapes: the names of instances
    generate    an instance as a Snapshot
    drift       demand of later rounds
    files       instances written and read back
    modes       what one replica bears, by SLO class
    board       a snapshot as arrays; placements as counts
    linear      rows, columns and tiers on HiGHS
    programme   the measure of the bench as a linear programme
    failover    what is lost with the worst failure domain
    evaluate    the referee: what a placement is worth, and whether it is one
    bounds      what no placement can pass
    fairness    what tenants are entitled to, a tier of the measure
    packing     where replicas lie on nodes
    needs       what a deployment lacks
    eviction    what the sticky greedy takes away
    baselines   first fit, best fit, spread, and the fair sticky greedy
    contestants the calls of the product's solver
    solving     one solve in a process of its own, watched
    sessions    one instance: all contestants, judged
    rounds      drifting rounds: chains that carry their own placements
    figures     gaps, targets, tables
    run         `make bench-placement`
"""
