"""The batch latency predictor: how long an engine iteration will take.

Map:
    features   what of a batch the time depends on, and O(1) marginal updates of it
    predictor  coefficients, prediction, upper bound, the largest chunk within a budget
    fit        coefficients from measured iterations
"""
