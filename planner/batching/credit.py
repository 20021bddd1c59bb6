"""How much offline work may lengthen online gaps on average, where passes mix.

Owns the book in row-milliseconds. A pass that offline work lengthens by t while k online
requests are in it costs k*t; each of these requests earns `gap_credit_ms` a pass. What is
saved may be spent at once, so the mean is held and not each pass:

    k * (pass - the same pass without offline work) <= credit saved + k * gap credit

So a chunk worth a pass waits until it is paid for instead of being cut to what one pass
earns, and work moves to passes that few online requests wait for, where it costs least.
`latency_budget_ms` and slack hold each single pass besides. Saved is at most what one whole
latency budget costs the online requests of the moment: no credit is hoarded for a burst.

Refuses measured durations: it books means when they are planned, so that every rank keeps
the same book. Source: ours. A mean over gaps is a sum over rows and passes; HyGen's one
budget (arXiv 2501.14808) holds each pass alike, whoever waits for it.
"""

from math import inf

from planner.batching.state import Budgets, Memory


def spendable_ms(memory: Memory, *, budgets: Budgets, requests: int) -> float:
    """By how much offline work may lengthen the next pass; inf where no credit is kept.

    Args:
        memory: The book so far.
        budgets: Live settings.
        requests: Online requests that decode in the pass or wait for their first token.
    """
    if budgets.gap_credit_ms <= 0.0 or requests <= 0:
        return inf
    return max(0.0, memory.credit_ms / requests + budgets.gap_credit_ms)


def credit_after(memory: Memory, *, budgets: Budgets, requests: int, lengthened_ms: float) -> float:
    """What is saved once a pass is planned, in row-milliseconds.

    Args:
        memory: The book so far.
        budgets: Live settings.
        requests: As of `spendable_ms`.
        lengthened_ms: Mean of the pass over that of its online part alone, >= 0.
    """
    if budgets.gap_credit_ms <= 0.0:
        return 0.0
    if requests <= 0:
        return memory.credit_ms
    saved = memory.credit_ms + requests * (budgets.gap_credit_ms - lengthened_ms)
    return min(saved, requests * budgets.latency_budget_ms)
