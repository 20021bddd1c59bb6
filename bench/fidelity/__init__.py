"""How near the simulator comes to a real engine.

Map:
    compare     `make bench-fidelity`: the order of everything, and a machine left clean
    options     what a run is asked to do
    arms        which loads are judged
    calibrate   what simulation is told of the engine, measured apart from the judged runs
    outside     how long a token takes outside the engine
    gauge       the machine's pace before and after a judged run
    measured    judged runs on the real engine
    twin        a judged run in simulation, read as the clients read the real one
    report      what a run found, simulated and judged
    judgement   simulated over measured, with intervals and verdicts
"""
