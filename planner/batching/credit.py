"""By how much offline work may lengthen online gaps on average, and beside whom.

Owns the book in request-milliseconds, and the rule of when to spend. A pass that offline
work lengthens by t while k online requests wait for it costs k*t; each of them earns
`gap_credit_ms` a pass. So over passes lengthened by t_i with k_i requests waiting for them

    sum k_i t_i <= gap_credit_ms * sum k_i  (but for one pass's debt):

the mean gap grows by the credit at most, whatever single passes do; those are held by
`latency_budget_ms` and slack. The most offline work for such a sum is done where k is
smallest, since a millisecond brings the same beside one request as beside ten. So offline
work runs only in passes of at most K requests, K in proportion to what is saved:

    K = 2 * (saved / most that is saved) * mean of k

Saved little, only passes beside one request are lengthened; saved half of the most, those
beside fewer than the mean. The most is what `_HORIZON_PASSES` earn, so that K follows the
load over tens of seconds and not a burst. A debt stops offline work until it is earned back.

The mean comes out a little higher: what lengthens passes keeps requests in the engine
longer, so that more of them share one. A budget search finds the credit that holds a target.

Refuses measured durations: it books means when they are planned, so that every rank keeps
the same book. Source: ours; the threshold is the greedy solution of a fractional knapsack
(Dantzig 1957). HyGen's one budget (arXiv 2501.14808) holds each pass alike, whoever waits.
"""

from planner.batching.state import Budgets, Memory

_HORIZON_PASSES = 2000
_MEAN_STEP = 1.0 / 500.0  # of the running mean of k


def may_lengthen(memory: Memory, *, budgets: Budgets, requests: int) -> bool:
    """Whether offline work may run in a pass that so many online requests wait for."""
    if budgets.gap_credit_ms <= 0.0 or requests <= 0:
        return True
    most = _HORIZON_PASSES * budgets.gap_credit_ms  # a request's
    return requests * most <= 2.0 * memory.credit_ms


def book(
    memory: Memory, *, budgets: Budgets, requests: int, lengthened_ms: float
) -> tuple[float, float]:
    """What is saved once a pass is planned, in request-milliseconds, and the mean of k.

    Args:
        memory: The book so far.
        budgets: Live settings.
        requests: Online requests that decode in the pass or wait for their first token.
        lengthened_ms: Mean of the pass over that of its online part alone, >= 0.
    """
    if budgets.gap_credit_ms <= 0.0:
        return 0.0, 0.0
    if requests <= 0:
        return memory.credit_ms, memory.mean_requests
    mean = memory.mean_requests
    mean = requests if mean <= 0.0 else mean + _MEAN_STEP * (requests - mean)
    saved = memory.credit_ms + requests * (budgets.gap_credit_ms - lengthened_ms)
    return min(saved, _HORIZON_PASSES * budgets.gap_credit_ms * mean), mean
