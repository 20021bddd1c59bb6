"""Offline chunks where the engine runs prefill or decode in a pass, never both.

Owns the rule that such a chunk stalls every online decode for its whole length (measured:
an offline slice in every pass takes ITL p99 from 83 to 1,585 ms). So the chunk and the
decode that follows it are one gap, and it is the gap that is held:

    stalls since online last decoded + chunk + next decode <= gap limit
    gap limit = min(max(latency budget, max stall), tightest slack)

A gap beyond the latency budget is a debt; decodes that end under the budget earn it back,
and no chunk starts before. With `max_stall_ms` at or below the latency budget there is
never a debt, and the budget holds each gap by itself.

Refuses measured durations: it books upper bounds when they are planned, so that every
rank keeps the same book.
"""

from planner.batching.state import Budgets, Memory


def chunk_room_ms(
    memory: Memory, *, budgets: Budgets, decode_bound_ms: float, slack_ms: float
) -> float:
    """What the bound of a pass with an offline chunk may reach, in milliseconds.

    Args:
        memory: The book so far.
        budgets: Live settings.
        decode_bound_ms: Bound of the decode that follows, all rows that run in it.
        slack_ms: Tightest slack of the online rows, stalls so far taken off already.

    Returns:
        Milliseconds, >= 0; 0 while a debt is open.
    """
    if memory.debt_ms > 0.0:
        return 0.0
    gap_ms = max(budgets.latency_budget_ms, budgets.max_stall_ms)
    return max(0.0, min(gap_ms - memory.stall_ms, slack_ms) - decode_bound_ms)


def decode_room_ms(memory: Memory, *, budgets: Budgets) -> float:
    """What the bound of a decode may reach after the stalls of its gap, in milliseconds."""
    gap_ms = max(budgets.latency_budget_ms, budgets.max_stall_ms)
    return max(0.0, min(budgets.latency_budget_ms, gap_ms - memory.stall_ms))


def debt_after_decode_ms(memory: Memory, *, budgets: Budgets, decode_bound_ms: float) -> float:
    """What is still owed once a decode has closed the gap, in milliseconds.

    The decode earns what it leaves of the latency budget.
    """
    earned_ms = max(0.0, budgets.latency_budget_ms - decode_bound_ms)
    return max(0.0, memory.debt_ms + memory.stall_ms - earned_ms)
