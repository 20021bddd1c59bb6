"""Which replica runs on which devices, and what it carries: one optimisation a round.

Map, in the order of a solve:
    fleet         the snapshot surveyed: what may be kept, must go, or is free
    rolling       which replica of an old generation goes before its successor comes
    flow          the online and offline work that given replicas of one deployment carry
    weights       what a unit of each of the objective's terms costs
    objective     what a draft costs, term by term; the one measure for all candidates
    seats         where a further replica can sit
    greedy        sticky and fair: keeps what runs, repairs, evicts offline for online
    formulation   a small fleet as a MIP over devices alike
    pools         the devices alike and replicas alike that it counts
    disaggregate  its counts to nodes and devices
    counting      a large fleet, or one with SLO classes, tenants or several shapes, in counts
    cells         which nodes are alike, and what they must or may hold
    shapes        what a replica may be (type, devices, SLO class) and what it bears as that
    pinning       pins and freezes as the least that counts must have
    surviving     replicas that count when a failure domain is lost
    counts/       the search in counts
    neighbours    who shares a node with whom, and its host memory
    seating       counts to nodes and devices
    staying       what a draft may not take away while seats wait
    carrying      SLO class and work of each placement, where deployments share tenants
    fairness      who lacks of a fair share, by how much, and what binds
    quotas        whose quota stands in the way of deadlines
    shares        online share, offline share and latency budget of each placement
    diff          from what runs to what is planned: moves in groups
    explain       what a plan leaves unmet, with the remedy
    explaining/   why a deployment has what it has; what small changes would bring
    publish       a draft made into a plan
    resplit       between rounds: the placement stays, the work is split anew
    verify        the independent check of a plan; its rules are in verification/
    solve         verified incumbents, best last

Only `formulation`, `counts.sparse` and `counts.solver` load ortools. They come in with
`solve` and `carrying`; the objective and the shares load `carrying` where they need it.
"""
