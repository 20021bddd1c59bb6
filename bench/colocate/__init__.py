"""Co-location on one real engine: online latency and offline throughput, arm by arm.

Map:
    compare     `make bench-colocate`: the order of everything, and a machine left clean
    options     what a run is asked to do
    arms        which arms there are, and in which order a round runs them
    slices      which requests every arm of a round is sent, and the batch's prompts
    model       the model of the bench on a CPU
    stage       one machine: engines, which of them may run, and one arm on it
    engines     engines pinned, stopped, woken and flushed
    client      one arm's load: open-loop online requests, a bounded window of offline ones
    reading     what an arm came to: blocks of arrivals, quantiles, tokens
    prepare     what the arms rest on: latency model, rates, pilot
    probing     loads on the engine that no arm is judged by
    fitting     the engine's latency model
    rehearsal   a slice in simulation, and the rate at which it is half busy
    scale       measured milliseconds and simulated ones
    tuning      budgets of an SLO searched in simulation
    tuner       what earlier rounds say to later ones
    caps        static caps interpolated to an SLO
    validity    what makes a run one that proves nothing
    judgement   figures with intervals and verdicts
    tables      the table of arms
"""
