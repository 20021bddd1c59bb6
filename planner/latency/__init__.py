"""The batch latency predictor: how long an engine iteration will take.

Map:
    features      what of a batch the time depends on, and O(1) marginal updates of it
    coefficients  the terms of the time model and their valid values
    defaults      cautious coefficients to start from, per device family
    predictor     prediction, upper bound, the largest chunk within a budget, flat form
    sample        one measured iteration
    window        which measured iterations are kept
    fit           coefficients and margin from measured iterations, or why not
    work          a request's predicted solo engine-milliseconds
"""
