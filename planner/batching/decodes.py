"""Which offline decodes run in the next iteration, and which are parked.

Owns selection with hysteresis. Refuses the time model: the caller says what fits. Order:
rows that must run; rows parked too long, eldest first; rows just resumed; then the least
served, in steps coarse enough that two rows do not take turns at every pass.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from planner.batching.eviction import cheapest_first
from planner.batching.state import Budgets, DecodeRow

_SERVICE_STEP_TOKENS = 32  # rows within a step of each other count as equally served
_MAX_MISFITS = 8  # rows passed over for smaller ones before the search ends

Fits = Callable[[int, int, int], bool]
"""Whether decodes of (rows, context tokens, longest context) fit the iteration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeChoice:
    """What becomes of the offline rows; sums are over online and offline rows that run."""

    park: tuple[str, ...] = ()
    resume: tuple[str, ...] = ()
    evict: tuple[str, ...] = ()  # rows beyond the bound on parked ones
    rows: int
    context_tokens: int
    longest_tokens: int
    offline_rows: int
    parked_rows: int  # that stay or become parked


def choose_decodes(
    running: Sequence[DecodeRow],
    parked: Sequence[DecodeRow],
    *,
    online: tuple[int, int, int],
    fits: Fits,
    budgets: Budgets,
    is_allowed: bool,
    needs_progress: bool,
) -> DecodeChoice:
    """Selects the offline decodes of an iteration.

    Args:
        running: Offline rows in the running batch.
        parked: Offline rows set aside.
        online: Rows, context tokens and longest context of the online decodes.
        fits: Whether a set of decodes is within the limit; monotone in each argument.
        budgets: Live settings.
        is_allowed: False: nothing runs but what must.
        needs_progress: Nothing online exists, so one row runs even if it does not fit.
    """
    rows, context, longest = online
    chosen: set[str] = set()
    for row in running:
        if row.must_run or not row.can_park:
            chosen.add(row.rid)
            rows, context = rows + 1, context + row.context_tokens
            longest = max(longest, row.context_tokens)
    for row in parked:
        if row.must_run and row.can_resume:
            chosen.add(row.rid)
            rows, context = rows + 1, context + row.context_tokens
            longest = max(longest, row.context_tokens)
    if is_allowed:
        candidates = [row for row in running if row.rid not in chosen]
        candidates += [
            row
            for row in parked
            if row.can_resume
            and row.passes_in_state >= budgets.min_parked_passes
            and row.rid not in chosen
        ]
        all_rows, all_context = rows + len(candidates), context
        all_longest = longest
        for row in candidates:
            tokens = row.context_tokens
            all_context += tokens
            if tokens > all_longest:
                all_longest = tokens
        room = budgets.max_offline_rows - len(chosen)
        if len(candidates) <= room and fits(all_rows, all_context, all_longest):
            chosen.update([row.rid for row in candidates])
            rows, context, longest = all_rows, all_context, all_longest
        else:
            misfits = 0
            for row in in_service_order(candidates, budgets=budgets):
                if room <= 0:
                    break
                tokens = row.context_tokens
                reach = tokens if tokens > longest else longest
                if fits(rows + 1, context + tokens, reach):
                    chosen.add(row.rid)
                    rows, context, longest, room = rows + 1, context + tokens, reach, room - 1
                    continue
                misfits += 1
                if misfits == _MAX_MISFITS:
                    break
        if needs_progress and not chosen:
            first = next(
                iter(
                    in_service_order(
                        [*running, *(row for row in parked if row.can_resume)], budgets=budgets
                    )
                ),
                None,
            )
            if first is not None:
                chosen.add(first.rid)
                rows, context = rows + 1, context + first.context_tokens
                longest = max(longest, first.context_tokens)
    return _settled(running, parked, chosen=chosen, sums=(rows, context, longest), budgets=budgets)


def keep_decodes(
    running: Sequence[DecodeRow], parked: Sequence[DecodeRow], *, online: tuple[int, int, int]
) -> DecodeChoice:
    """Leaves every row as it is, but for those that must run, in a pass that decodes nothing."""
    rows, context, longest = online
    must = [row for row in parked if row.must_run and row.can_resume]
    for row in (*running, *must):
        rows, context = rows + 1, context + row.context_tokens
        longest = max(longest, row.context_tokens)
    return DecodeChoice(
        resume=tuple(sorted(row.rid for row in must)),
        rows=rows,
        context_tokens=context,
        longest_tokens=longest,
        offline_rows=len(running) + len(must),
        parked_rows=len(parked) - len(must),
    )


def in_service_order(rows: Sequence[DecodeRow], *, budgets: Budgets) -> list[DecodeRow]:
    """Offline rows, the one with the first claim to run first.

    A parked row becomes eldest after `max_parked_passes`, and then only rows parked
    longer go before it: no row is starved by newer ones.
    """
    min_resident = budgets.min_resident_passes
    max_parked = budgets.max_parked_passes

    def claim(row: DecodeRow) -> tuple[int, int, bool, float, str]:
        passes = row.passes_in_state
        if row.is_parked:
            if passes > max_parked:
                return (0, -passes, True, row.arrival_s, row.rid)
        elif passes < min_resident:
            return (1, 0, False, row.arrival_s, row.rid)
        served = row.generated_tokens // _SERVICE_STEP_TOKENS
        return (2, served, row.is_parked, row.arrival_s, row.rid)

    return sorted(rows, key=claim)


def _settled(
    running: Sequence[DecodeRow],
    parked: Sequence[DecodeRow],
    *,
    chosen: set[str],
    sums: tuple[int, int, int],
    budgets: Budgets,
) -> DecodeChoice:
    """Names what changes state, and evicts what the bound on parked rows leaves over."""
    aside = [row for row in running if row.rid not in chosen]
    waiting = [row for row in parked if row.rid not in chosen]
    resume = tuple(sorted(row.rid for row in parked if row.rid in chosen))
    surplus = len(aside) + len(waiting) - max(0, budgets.max_parked_rows)
    evicted: tuple[str, ...] = ()
    if surplus > 0:
        evicted = tuple(row.rid for row in cheapest_first([*aside, *waiting])[:surplus])
    rows, context, longest = sums
    return DecodeChoice(
        park=tuple(sorted(row.rid for row in aside if row.rid not in evicted)),
        resume=resume,
        evict=evicted,
        rows=rows,
        context_tokens=context,
        longest_tokens=longest,
        offline_rows=len(chosen),
        parked_rows=len(aside) + len(waiting) - len(evicted),
    )
