"""What online and offline load do to each other on one replica.

Map:
    frontier       the curve a replica bears within its SLO: known, or the stated default
    targets        limits on latency statistics
    search, climb, dimensions
                   budgets that meet them: bisection, climbs, what is moved
    derive         a frontier where none was measured, with the engine simulator
    derive_mix     the requests it is derived with
    derive_replica what it is derived of, at one level of load
    derive_hull    the largest concave curve that exceeds no point
"""
