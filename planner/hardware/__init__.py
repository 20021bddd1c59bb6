"""How long an iteration takes on hardware: from measured tables, or from the vendor's sheet.

Map:
    device     what a vendor's sheet says of a device
    model      what a model's configuration says
    curve      a line through measured points, and the nearest that never falls
    operators  measured tables of operators and all-reduces, read from lines
    derived    the same tables from sheet and configuration, where none was measured
    machine    a model on devices: KV it holds, the smooth time of an iteration
    effects    what real iterations do beyond that: padding, steps, launches, short attention
    duration   the time of an iteration with its effects, from sums, never falling
    truth      what a simulated iteration lasts: with noise, drift and stalls
    oracle     the time model that knows the truth but for noise
    simulated  a machine as the engine that a simulation runs
    sampling   iterations as a server might run, to fit predictors on
"""
