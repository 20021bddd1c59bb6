"""The whole fleet in counts: how many replicas of each shape on nodes alike.

Map, in the order of a solve:
    problem         what is counted: cells, shapes, modes, demands
    programme       the MIP and the LP of it, whole or in part; the formulation
    sparse          columns and rows as arrays, made into a MathOpt model
    solver          MathOpt: one LP, one MIP, under limits that are no time
    standing        how good counts are, tier by tier; which of two is better
    reserve         what is to be left when replicas are given up for their cost
    capacity        what counts bear of online work, kept up to date
    repair          sticky greedy: what online work lacks, added; offline replicas yield
    merging         cells merged by device type: what bounds and patterns are of
    blocks          deployments apart, and the rows they share
    patterns        prices of those rows, and the best of each deployment at them
    choosing        one of the patterns found of each deployment, within those rows
    evenness        what dividing a deployment over domains would lose
    split           counts by device type made counts by cell
    balance         replicas exchanged between domains, until no exchange helps
    neighbourhoods  which part to free next
    parts           one part after another freed and solved
    choices         choices of patterns divided over the cells and repaired
    limits          how much of all this
    search          better and better counts: the order of these, until the work is spent

Counts know neither nodes nor devices; `planner.placement.seating` finds those. Only
`sparse` and `solver` load ortools.
"""
