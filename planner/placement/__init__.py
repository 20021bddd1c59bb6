"""Which replica runs on which devices, and what it carries: one optimisation a round.

Map, in the order of a solve:
    fleet         the snapshot surveyed: what may be kept, must go, or is free
    flow          the online and offline work that given replicas carry
    objective     what a draft costs, term by term; the one measure for all candidates
    seats         where a further replica can sit
    greedy        sticky and fair: keeps what runs, repairs, evicts offline for online
    formulation   the same question as a MIP in counts, on OR-Tools
    disaggregate  counts to nodes and devices
    shares        online share, offline share and latency budget of each placement
    diff          from what runs to what is planned: moves in groups
    explain       why a wish does not fit, with the remedy
    publish       a draft made into a plan
    verify        the independent check of a plan
    solve         verified incumbents, best last

Only `formulation` loads ortools, and only `solve` imports it.
"""
