"""A fleet replayed in discrete events, on the production code.

Map:
    scenario    what there is and what happens: nodes, services, batches, outages, rounds
    demand      online requests over time: constant, a day's shape, a trace
    lengths     what requests of drawn lengths are in the mean: tokens, work
    profile     what one replica bears, at a few levels, and the frontier rounds plan by
    measure     profiles from probes of the simulated engine, at steady levels of load
    forecasts   the seam to planner.forecast; the last value by default
    rounds      the seam to planner.placement
    desires     the fleet and its demand as a round's snapshot
    committing  a plan made into allocations
    live        one engine on a node
    assigning   what agents are told, and what they see
    hosts       nodes, allocations and engines, agents acting on plans
    warmth      weights that stay in host memory
    book        batches under way, in the order of planner.dispatch
    flows       one deployment's flows over a short while
    aggregate   the aggregated mode: replicas as profiles
    arrivals    online requests of the whole fleet, by time
    replica     one engine among others on one clock
    seat        a replica of the exact mode: its engine, its budgets, whether it may pull
    exact       the exact mode: requests routed by planner.routing, every pass decided
    recording   sums over intervals, and totals
    reckoning   the record of a replay that has ended
    run         the calendar
"""
