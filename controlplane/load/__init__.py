"""The open-loop load generator: what a client sees, without mercy or retries.

Map:
    record    what became of one request
    sender    one request over one channel
    openloop  sending a workload at its scheduled times
    report    the summary against an SLO, as JSON
"""
