"""Which offline decodes run in the next iteration, and which are parked.

Owns the selection, with hysteresis: a row just parked stays parked for a while. Each row
that runs has KV for its next token. Refuses the time model, the caller says what fits,
and the order (`service`).

Source: HyGen (arXiv 2501.14808), phase 2 of two-phase scheduling: an offline decode is
admitted if its marginal time is within what is left of the budget. HyGen preempts what
is not; here it is parked with its KV held.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from planner.batching.eviction import cheapest_first, growth_tokens
from planner.batching.service import in_service_order
from planner.batching.state import Budgets, DecodeRow

_MAX_MISFITS = 8  # rows passed over before the search ends with the smallest

_smallest_first = attrgetter("context_tokens", "arrival_s", "rid")

Fits = Callable[[int, int, int], bool]
"""Whether decodes of (rows, context tokens, longest context) fit the iteration."""


@dataclass(slots=True)
class _Sums:
    """Running sums over the rows of the decode; changed in place, once a row."""

    rows: int
    context_tokens: int
    longest_tokens: int

    def add(self, context_tokens: int) -> None:
        self.rows += 1
        self.context_tokens += context_tokens
        if context_tokens > self.longest_tokens:
            self.longest_tokens = context_tokens


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
    kv_free_tokens: int  # after a decode of every row that ran or runs; < 0 where KV lacks it


def choose_decodes(
    running: Sequence[DecodeRow],
    parked: Sequence[DecodeRow],
    *,
    online: tuple[int, int, int],
    fits: Fits,
    budgets: Budgets,
    kv_free_tokens: int,
    page_size: int,
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
        kv_free_tokens: Free once every row of `running` has the KV of its next token.
        page_size: Tokens a KV page holds.
        is_allowed: False: nothing runs but what must.
        needs_progress: Nothing online exists, so one row runs even if it does not fit.
    """
    sums = _Sums(*online)
    chosen: set[str] = set()
    min_parked = budgets.min_parked_passes
    candidates = [row for row in running if row.can_park and not row.must_run]
    bound = [row for row in parked if row.must_run and row.can_resume]
    kv_left = kv_free_tokens - growth_tokens(bound, page_size=page_size)
    if len(candidates) < len(running):
        bound += [row for row in running if row.must_run or not row.can_park]
    for row in bound:
        chosen.add(row.rid)
        sums.add(row.context_tokens)
    candidates += [
        row
        for row in parked
        if row.passes_in_state >= min_parked and row.can_resume and not row.must_run
    ]
    if is_allowed:
        _choose(
            _within_kv(candidates, budgets=budgets, kv_free_tokens=kv_left, page_size=page_size),
            chosen=chosen,
            sums=sums,
            fits=fits,
            budgets=budgets,
        )
        if needs_progress and not chosen:
            able = [*running, *(row for row in parked if row.can_resume)]
            if able:
                group, claim = next(in_service_order(able, budgets=budgets))
                first = min(group, key=claim)
                chosen.add(first.rid)
                sums.add(first.context_tokens)
    return _settled(
        running,
        parked,
        chosen=chosen,
        sums=sums,
        budgets=budgets,
        kv_free_tokens=kv_free_tokens,
        page_size=page_size,
    )


def _within_kv(
    candidates: list[DecodeRow], *, budgets: Budgets, kv_free_tokens: int, page_size: int
) -> list[DecodeRow]:
    """The candidates whose next tokens KV holds, in service order where it does not hold all.

    A running one that is left out gives up the page counted for it.
    """
    if page_size * len(candidates) <= kv_free_tokens:
        return candidates
    kv_left = kv_free_tokens + growth_tokens(
        [row for row in candidates if not row.is_parked], page_size=page_size
    )
    if growth_tokens(candidates, page_size=page_size) <= kv_left:
        return candidates
    within: list[DecodeRow] = []
    for group, claim in in_service_order(candidates, budgets=budgets):
        for row in sorted(group, key=claim):
            growth = growth_tokens((row,), page_size=page_size)
            if growth <= kv_left:
                within.append(row)
                kv_left -= growth
    return within


def _choose(
    candidates: list[DecodeRow],
    *,
    chosen: set[str],
    sums: _Sums,
    fits: Fits,
    budgets: Budgets,
) -> None:
    """Adds the candidates that fit, in service order, to `chosen` and `sums`.

    A group that fits whole is taken whole, since `fits` is monotone: only the group in
    which the room ends is gone through row by row. After `_MAX_MISFITS` rows only the
    smallest is tried: if any row fits, it does, so rows that never fit bar no other.
    """
    room = budgets.max_offline_rows - len(chosen)
    if len(candidates) <= room and _take_whole(candidates, chosen=chosen, sums=sums, fits=fits):
        return
    misfits = 0
    for group, claim in in_service_order(candidates, budgets=budgets):
        if len(group) <= room and _take_whole(group, chosen=chosen, sums=sums, fits=fits):
            room -= len(group)
            continue
        group.sort(key=claim)
        for row in group:
            if room <= 0:
                return
            if _take(row, chosen=chosen, sums=sums, fits=fits):
                room -= 1
                continue
            misfits += 1
            if misfits == _MAX_MISFITS:
                rest = [row for row in candidates if row.rid not in chosen]
                _take(min(rest, key=_smallest_first), chosen=chosen, sums=sums, fits=fits)
                return


def _take(row: DecodeRow, *, chosen: set[str], sums: _Sums, fits: Fits) -> bool:
    """Adds a row if it fits."""
    tokens = row.context_tokens
    reach = tokens if tokens > sums.longest_tokens else sums.longest_tokens
    if not fits(sums.rows + 1, sums.context_tokens + tokens, reach):
        return False
    chosen.add(row.rid)
    sums.add(tokens)
    return True


def _take_whole(group: Sequence[DecodeRow], *, chosen: set[str], sums: _Sums, fits: Fits) -> bool:
    """Adds all of a group where all fit; else none."""
    contexts = [row.context_tokens for row in group]
    if not contexts:
        return True
    rows, context = sums.rows + len(contexts), sums.context_tokens + sum(contexts)
    longest = max(sums.longest_tokens, *contexts)
    if not fits(rows, context, longest):
        return False
    chosen.update([row.rid for row in group])
    sums.rows, sums.context_tokens, sums.longest_tokens = rows, context, longest
    return True


def keep_decodes(
    running: Sequence[DecodeRow],
    parked: Sequence[DecodeRow],
    *,
    online: tuple[int, int, int],
    kv_free_tokens: int,
    page_size: int,
) -> DecodeChoice:
    """Leaves every row as it is, but for those that must run, in a pass that decodes nothing."""
    sums = _Sums(*online)
    must = [row for row in parked if row.must_run and row.can_resume]
    for row in (*running, *must):
        sums.add(row.context_tokens)
    return DecodeChoice(
        resume=tuple(sorted([row.rid for row in must])),
        rows=sums.rows,
        context_tokens=sums.context_tokens,
        longest_tokens=sums.longest_tokens,
        offline_rows=len(running) + len(must),
        parked_rows=len(parked) - len(must),
        kv_free_tokens=kv_free_tokens - growth_tokens(must, page_size=page_size),
    )


def _settled(
    running: Sequence[DecodeRow],
    parked: Sequence[DecodeRow],
    *,
    chosen: set[str],
    sums: _Sums,
    budgets: Budgets,
    kv_free_tokens: int,
    page_size: int,
) -> DecodeChoice:
    """Names what changes state, and evicts what the bound on parked rows leaves over."""
    aside = [row for row in running if row.rid not in chosen]
    waiting = [row for row in parked if row.rid not in chosen]
    resume: list[str] = []
    if len(waiting) < len(parked):
        back = [row for row in parked if row.rid in chosen]
        resume = sorted([row.rid for row in back])
        kv_free_tokens -= growth_tokens(back, page_size=page_size)
    surplus = len(aside) + len(waiting) - max(0, budgets.max_parked_rows)
    evicted: tuple[str, ...] = ()
    park = [row.rid for row in aside]
    if surplus > 0:
        evicted = tuple([row.rid for row in cheapest_first([*aside, *waiting])[:surplus]])
        gone = set(evicted)
        park = [rid for rid in park if rid not in gone]
    park.sort()
    return DecodeChoice(
        park=tuple(park),
        resume=tuple(resume),
        evict=evicted,
        rows=sums.rows,
        context_tokens=sums.context_tokens,
        longest_tokens=sums.longest_tokens,
        offline_rows=len(chosen),
        parked_rows=len(aside) + len(waiting) - len(evicted),
        kv_free_tokens=kv_free_tokens,
    )
