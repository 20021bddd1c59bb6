"""Every decision Slacktide makes, as pure functions over frozen values.

Owns: what runs where (`placement`, `reconcile`), what runs now (`batching`, `latency`),
where a request or an item goes (`routing`, `dispatch`), what a replica bears
(`interference`), and the workloads all of these are judged on (`workload`, `simulation`).
Refuses: clocks, I/O, gRPC, SQL, torch. Time, seeds and ids are arguments.

Map:
    model         the domain's frozen values
    slo           attainment of requests, slack
    latency       batch features, the latency predictor
    interference  the frontier: what a replica bears within its SLO
    batching      what one engine iteration runs
    placement     the global problem: formulation, solve, greedy, verify, diff
    reconcile     desired and observed state to ordered steps
    routing       which replica serves a request
    dispatch      which batch item is next
    workload      trace readers and generators
"""
