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
the rows parked meanwhile: many at once cost less a row than a few in every pass. A gap that
online decodes fill by themselves is ordinary, however long: offline work lengthened nothing.

Such a burst waits for `burst_rows` rows, but only while another can still join them, and
only until a row has been parked for more than `max_parked_passes`. So nothing starves where
a row fits the gap limit G and online decodes alone end under the latency budget L by e > 0.
Of n rows parked, each decodes within

    max(max_parked_passes, min_parked_passes) + n (1 + max(calm_gaps, (G - L)/e))

passes that decode: after each burst the gaps owed and the debt are over in the time of the
second term, and the row parked longest goes first. Chunks come between as gaps of their own.

No chunk starts beside an online prompt. While a first token is on its way no chunk starts,
and the offline rows sit the decode out, as many as `max_parked_rows` lets, but for those
parked for more than `max_parked_passes`: where a launch blocks, the token leaves only after
the pass that follows. They come back in the next decode, whatever hysteresis says; the bound
above counts decodes without a first token.

Refuses measured durations: it books upper bounds when they are planned, so that every
rank keeps the same book.
"""

from collections.abc import Sequence

from planner.batching.state import Budgets, DecodeRow, Memory


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


def is_burst_due(parked: Sequence[DecodeRow], *, budgets: Budgets, can_grow: bool) -> bool:
    """Whether parked rows are worth a long gap now.

    Args:
        parked: Offline rows set aside, which a burst would decode.
        budgets: Live settings.
        can_grow: Whether another request could still join them.
    """
    if len(parked) >= budgets.burst_rows or not can_grow:
        return True
    longest = budgets.max_parked_passes
    return any(row.passes_in_state > longest for row in parked)


def decode_room_ms(memory: Memory, *, budgets: Budgets, is_burst: bool) -> float:
    """What the bound of a decode may reach after the stalls of its gap, in milliseconds.

    Args:
        memory: The book so far.
        budgets: Live settings.
        is_burst: Whether the parked rows are worth a long gap (`is_burst_due`).
    """
    gap_ms = max(budgets.latency_budget_ms, budgets.max_stall_ms) - memory.stall_ms
    if not is_calm(budgets):
        return max(0.0, min(budgets.latency_budget_ms, gap_ms))
    if is_burst and may_lengthen(memory):
        return max(0.0, gap_ms)
    return max(0.0, min(budgets.calm_budget_ms, gap_ms))


def is_calm(budgets: Budgets) -> bool:
    """Whether gaps are of two kinds."""
    return 0.0 < budgets.calm_budget_ms < budgets.latency_budget_ms


def calm_gaps_after_decode(
    memory: Memory, *, budgets: Budgets, decode_bound_ms: float, has_offline: bool
) -> int:
    """Ordinary gaps owed once a decode, with offline rows in it or not, has closed this one."""
    if not is_calm(budgets):
        return 0
    if memory.has_stalled or (has_offline and decode_bound_ms > budgets.calm_budget_ms):
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
