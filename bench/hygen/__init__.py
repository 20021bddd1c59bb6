"""`make bench-hygen`: HyGen's experiments in simulation, with every rival as a peer.

Map:
    settings   what is simulated: machine, model, trace, rate, batch
    pool       replays of one slice, none run twice
    cells      metric x tolerance: each policy tuned, then judged
    panel      all of one slice: floor, ceiling, bound, every cell
    extras     prefix sharing, predictor noise, two SLOs at once, burst and idle
    figures    what the panels come to
    run        options, processes, the report
"""
