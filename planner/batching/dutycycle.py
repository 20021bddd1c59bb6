"""Offline work where the engine runs prefill or decode in a pass, never both.

Owns the rule that a chunk there stalls every online decode for its whole length (measured:
an offline slice in every pass takes ITL p99 from 83 to 1,585 ms). So the chunk and the
decode that follows it are one gap, and it is the gap that is held:

    stalls since online last decoded + chunk + next decode <= gap limit
    gap limit = min(max(latency budget, max stall), tightest slack)

A gap beyond the latency budget is a debt; decodes that end under the budget earn it back,
and no chunk starts before. With `max_stall_ms` at or below the latency budget there is
never a debt, and the budget holds each gap by itself.

With a calm budget gaps are of two kinds, so that the median and the mean of a gap can be
held apart: ordinary ones end within the calm budget, and at least `calm_gaps` of them
separate the long ones. A gap is long by a chunk, by an online prompt, or because it decodes
the rows parked meanwhile: many at once cost less a row than a few in every pass (simulated
against the measured CPU engine: 1.24 of what concurrency cap 4 does at its own tails,
where gaps held alike gave 0.95).

No chunk starts while a first token is on its way, or beside an online prompt: where a launch
blocks, the token leaves only after the pass that follows.

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
        Milliseconds, >= 0; 0 while a debt is open or calm gaps are owed.
    """
    if not may_lengthen(memory):
        return 0.0
    gap_ms = max(budgets.latency_budget_ms, budgets.max_stall_ms)
    return max(0.0, min(gap_ms - memory.stall_ms, slack_ms) - decode_bound_ms)


def may_lengthen(memory: Memory) -> bool:
    """Whether offline work may make this gap a long one, or a long one longer."""
    return memory.debt_ms <= 0.0 and (memory.calm_gaps_left <= 0 or memory.has_stalled)


def decode_room_ms(memory: Memory, *, budgets: Budgets, parked_rows: int) -> float:
    """What the bound of a decode may reach after the stalls of its gap, in milliseconds.

    Args:
        memory: The book so far.
        budgets: Live settings.
        parked_rows: Offline rows set aside, which a burst would decode.
    """
    gap_ms = max(budgets.latency_budget_ms, budgets.max_stall_ms) - memory.stall_ms
    if not is_calm(budgets):
        return max(0.0, min(budgets.latency_budget_ms, gap_ms))
    if parked_rows >= budgets.burst_rows and may_lengthen(memory):
        return max(0.0, gap_ms)
    return max(0.0, min(budgets.calm_budget_ms, gap_ms))


def is_calm(budgets: Budgets) -> bool:
    """Whether gaps are of two kinds."""
    return 0.0 < budgets.calm_budget_ms < budgets.latency_budget_ms


def calm_gaps_after_decode(memory: Memory, *, budgets: Budgets, decode_bound_ms: float) -> int:
    """Ordinary gaps owed once a decode has closed this one."""
    if not is_calm(budgets):
        return 0
    if memory.has_stalled or decode_bound_ms > budgets.calm_budget_ms:
        return max(0, budgets.calm_gaps)
    return max(0, memory.calm_gaps_left - 1)


def debt_after_decode_ms(memory: Memory, *, budgets: Budgets, decode_bound_ms: float) -> float:
    """What is still owed once a decode has closed the gap, in milliseconds.

    The decode earns what it leaves of the latency budget; one beyond it, a burst, adds to
    the debt.
    """
    earned_ms = budgets.latency_budget_ms - decode_bound_ms
    if not is_calm(budgets):
        earned_ms = max(0.0, earned_ms)
    return max(0.0, memory.debt_ms + memory.stall_ms - earned_ms)
