"""`make bench-latency`: how well an iteration's duration is predicted, and how fast.

Map:
    run        the command line, the order of the parts, the report
    engine     one real engine, driven through a sweep and a workload, read without a gap
    sweep      what the sweep asks of it
    samples    measured iterations as a file
    profiles   iterations composed from measured operator times of GPUs (synthetic)
    compare    HyGen's regression against the model here: splits, errors, coverage
    drifting   what the drift window says of an engine that got slower
    report     figures of all that
    speed      microseconds a prediction and a fit take
"""
