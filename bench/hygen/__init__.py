"""`make bench-hygen`: HyGen's experiments in simulation, with every rival as a peer.

Map:
    settings   what is simulated: machine, model, trace, rate, batch
    pool       replays of one slice, none run twice
    cells      metric x tolerance: each policy tuned, then judged
    bounds     what a clairvoyant scheduler could have done at most
    panel      all of one slice: floor, ceiling, every cell, bounds
    figures    what the panels come to
    run        options, processes, the report
"""
