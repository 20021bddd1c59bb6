"""A fleet replayed in discrete events, on the production code.

Map:
    scenario   what there is and what happens: nodes, services, batches, outages, rounds
    demand     online requests over time: constant, a day's shape, a trace
    engines    the engine behind a replica, for the exact mode
    profile    what one replica bears, at a few levels, and the frontier rounds plan by
    measure    profiles taken on the engine simulator
    forecasts  the seam to a demand forecast; the last value by default
    rounds     the seam to planner.placement
    desires    the fleet and its demand as a round's snapshot
    hosts      nodes, allocations and engines: plans committed, agents acting on them
    book       batches under way, in the order of planner.dispatch
    flows      one deployment's flows over a short while
    aggregate  the aggregated mode: replicas as profiles
    replica    one engine among others on one clock
    exact      the exact mode: requests routed by planner.routing, every pass decided
    recording  what happened, over intervals and in all
    run        the calendar
"""
