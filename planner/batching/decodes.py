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
from typing import NamedTuple

from planner.batching.eviction import cheapest_first, growth_tokens
from planner.batching.service import in_service_order
from planner.batching.state import Budgets, DecodeRow

_MAX_MISFITS = 8  # rows passed over before the search ends with the smallest

_by_arrival = attrgetter("arrival_s", "rid")

Fits = Callable[[int, int, int], bool]
"""Whether decodes of (rows, context tokens, longest context) fit the iteration."""


def _longest_first(row: DecodeRow) -> tuple[int, float, str]:
    return (-row.context_tokens, row.arrival_s, row.rid)


@dataclass(slots=True)
class _Sums:
    """Running sums over the rows of the decode; changed in place."""

    rows: int
    context_tokens: int
    longest_tokens: int

    def add(self, context_tokens: int) -> None:
        self.rows += 1
        self.context_tokens += context_tokens
        if context_tokens > self.longest_tokens:
            self.longest_tokens = context_tokens


class DecodeChoice(NamedTuple):
    """What becomes of the offline rows; sums are over online and offline rows that run."""

    park: tuple[str, ...]
    resume: tuple[str, ...]
    evict: tuple[str, ...]  # rows beyond the bound on parked ones
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
    min_parked_passes: int,
    rests: bool,
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
        min_parked_passes: Rows parked for fewer stay parked.
        rests: What runs sits this one decode out, as many as may be parked, longest first.
        is_allowed: False: nothing runs but what must.
        needs_progress: Nothing online exists, so one row runs even if it does not fit.
    """
    if is_allowed and not parked and not rests and len(running) <= budgets.max_offline_rows:
        # The usual pass: all go on as they are.
        whole = _sums_with(running, sums=_Sums(*online))
        if page_size * len(running) <= kv_free_tokens and (
            not running or fits(whole.rows, whole.context_tokens, whole.longest_tokens)
        ):
            return _kept(whole, online_rows=online[0], kv_free_tokens=kv_free_tokens)
    sums = _Sums(*online)
    candidates = [row for row in running if row.can_park and not row.must_run]
    bound: list[DecodeRow] = []
    if len(candidates) < len(running):
        bound = [row for row in running if row.must_run or not row.can_park]
    resting: list[DecodeRow] = []
    if rests:
        candidates.sort(key=_longest_first)
        may_park = max(0, budgets.max_parked_rows - len(parked))
        resting, candidates = candidates[:may_park], candidates[may_park:]
    back, may_resume, held = _parted(parked, min_parked_passes=min_parked_passes)
    for row in (*bound, *back):
        sums.add(row.context_tokens)
    candidates += may_resume
    taken: list[DecodeRow] = []
    left = candidates
    if is_allowed:
        within, left = _within_kv(
            candidates,
            budgets=budgets,
            kv_free_tokens=kv_free_tokens - growth_tokens(back, page_size=page_size),
            page_size=page_size,
        )
        room = budgets.max_offline_rows - len(bound) - len(back)
        taken, misfits = _choose(within, room=room, sums=sums, fits=fits, budgets=budgets)
        left += misfits
    if needs_progress and not (taken or bound or back):
        first = _first_in_service(running, parked, budgets=budgets)
        if first is not None:
            sums.add(first.context_tokens)
            taken = [first]
            left = [row for row in left if row is not first]
            held = [row for row in held if row is not first]
    back += [row for row in taken if row.is_parked]
    aside = resting + [row for row in left if not row.is_parked]
    held += [row for row in left if row.is_parked]
    evicted = _beyond_bound(aside, held, budgets=budgets)
    gone = set(evicted)
    return DecodeChoice(
        park=tuple(sorted([row.rid for row in aside if row.rid not in gone])),
        resume=tuple(sorted([row.rid for row in back])),
        evict=evicted,
        rows=sums.rows,
        context_tokens=sums.context_tokens,
        longest_tokens=sums.longest_tokens,
        offline_rows=sums.rows - online[0],
        parked_rows=len(aside) + len(held) - len(evicted),
        kv_free_tokens=kv_free_tokens - growth_tokens(back, page_size=page_size),
    )


def _parted(
    parked: Sequence[DecodeRow], *, min_parked_passes: int
) -> tuple[list[DecodeRow], list[DecodeRow], list[DecodeRow]]:
    """Parked rows that must resume, that may, and that stay parked."""
    must: list[DecodeRow] = []
    may: list[DecodeRow] = []
    stay: list[DecodeRow] = []
    for row in parked:
        if not row.can_resume:
            stay.append(row)
        elif row.must_run:
            must.append(row)
        elif row.passes_in_state >= min_parked_passes:
            may.append(row)
        else:
            stay.append(row)
    return must, may, stay


def _within_kv(
    candidates: list[DecodeRow], *, budgets: Budgets, kv_free_tokens: int, page_size: int
) -> tuple[list[DecodeRow], list[DecodeRow]]:
    """The candidates whose next tokens KV holds, first in service order, and the others.

    A running one that is left out gives up the page counted for it.
    """
    if page_size * len(candidates) <= kv_free_tokens:
        return candidates, []
    kv_left = kv_free_tokens + growth_tokens(
        [row for row in candidates if not row.is_parked], page_size=page_size
    )
    if growth_tokens(candidates, page_size=page_size) <= kv_left:
        return candidates, []
    within: list[DecodeRow] = []
    without: list[DecodeRow] = []
    for group, claim in in_service_order(candidates, budgets=budgets):
        for row in sorted(group, key=claim):
            growth = growth_tokens((row,), page_size=page_size)
            if growth <= kv_left:
                within.append(row)
                kv_left -= growth
            else:
                without.append(row)
    return within, without


def _choose(
    candidates: list[DecodeRow], *, room: int, sums: _Sums, fits: Fits, budgets: Budgets
) -> tuple[list[DecodeRow], list[DecodeRow]]:
    """Takes candidates that fit, in service order, and adds them to `sums`.

    A group that fits whole is taken whole, since `fits` is monotone: only the group in
    which the room ends is gone through row by row. After `_MAX_MISFITS` rows only the
    smallest is tried: if any row fits, it does, so rows that never fit bar no other.

    Args:
        candidates: Rows that may run.
        room: How many of them at most.
        sums: Of the rows that run anyway; changed.
        fits: As of `choose_decodes`.
        budgets: Live settings.

    Returns:
        The candidates taken, and those left.
    """
    if len(candidates) <= room and _take_whole(candidates, sums=sums, fits=fits):
        return candidates, []
    taken: list[DecodeRow] = []
    left: list[DecodeRow] = []
    misfits = 0
    for group, claim in in_service_order(candidates, budgets=budgets):
        if room <= 0 or misfits == _MAX_MISFITS:
            left += group
            continue
        if len(group) <= room and _take_whole(group, sums=sums, fits=fits):
            taken += group
            room -= len(group)
            continue
        group.sort(key=claim)
        for row in group:
            if room > 0 and misfits < _MAX_MISFITS:
                if _take(row, sums=sums, fits=fits):
                    taken.append(row)
                    room -= 1
                    continue
                misfits += 1
            left.append(row)
    if misfits == _MAX_MISFITS:
        smallest = _smallest(left)
        if _take(smallest, sums=sums, fits=fits):
            taken.append(smallest)
            left = [row for row in left if row is not smallest]
    return taken, left


def _take(row: DecodeRow, *, sums: _Sums, fits: Fits) -> bool:
    """Adds a row if it fits."""
    tokens = row.context_tokens
    reach = tokens if tokens > sums.longest_tokens else sums.longest_tokens
    if not fits(sums.rows + 1, sums.context_tokens + tokens, reach):
        return False
    sums.add(tokens)
    return True


def _take_whole(group: Sequence[DecodeRow], *, sums: _Sums, fits: Fits) -> bool:
    """Adds all of a group where all fit; else none."""
    if not group:
        return True
    grown = _sums_with(group, sums=sums)
    if not fits(grown.rows, grown.context_tokens, grown.longest_tokens):
        return False
    sums.rows, sums.context_tokens = grown.rows, grown.context_tokens
    sums.longest_tokens = grown.longest_tokens
    return True


def _sums_with(rows: Sequence[DecodeRow], *, sums: _Sums) -> _Sums:
    contexts = [row.context_tokens for row in rows]
    return _Sums(
        sums.rows + len(contexts),
        sums.context_tokens + sum(contexts),
        max([sums.longest_tokens, *contexts]),
    )


def _first_in_service(
    running: Sequence[DecodeRow], parked: Sequence[DecodeRow], *, budgets: Budgets
) -> DecodeRow | None:
    """The row with the first claim to run, however lately parked; None if there is none."""
    able = [*running, *(row for row in parked if row.can_resume)]
    if not able:
        return None
    group, claim = next(in_service_order(able, budgets=budgets))
    return min(group, key=claim)


def _smallest(rows: Sequence[DecodeRow]) -> DecodeRow:
    """The row with the shortest context, the eldest of several."""
    tokens = min([row.context_tokens for row in rows])
    return min([row for row in rows if row.context_tokens == tokens], key=_by_arrival)


def _beyond_bound(
    running: Sequence[DecodeRow], parked: Sequence[DecodeRow], *, budgets: Budgets
) -> tuple[str, ...]:
    """Names the rows to evict where those to park and those parked exceed their bound."""
    surplus = len(running) + len(parked) - max(0, budgets.max_parked_rows)
    if surplus <= 0:
        return ()
    return tuple([row.rid for row in cheapest_first([*running, *parked])[:surplus]])


def keep_decodes(
    running: Sequence[DecodeRow],
    parked: Sequence[DecodeRow],
    *,
    online: tuple[int, int, int],
    kv_free_tokens: int,
    page_size: int,
) -> DecodeChoice:
    """Leaves every row as it is, but for those that must run, in a pass that decodes nothing."""
    must = [row for row in parked if row.must_run and row.can_resume]
    return _kept(
        _sums_with((*running, *must), sums=_Sums(*online)),
        online_rows=online[0],
        kv_free_tokens=kv_free_tokens - growth_tokens(must, page_size=page_size),
        resume=tuple(sorted([row.rid for row in must])),
        parked_rows=len(parked) - len(must),
    )


def _kept(
    sums: _Sums,
    *,
    online_rows: int,
    kv_free_tokens: int,
    resume: tuple[str, ...] = (),
    parked_rows: int = 0,
) -> DecodeChoice:
    return DecodeChoice(
        park=(),
        resume=resume,
        evict=(),
        rows=sums.rows,
        context_tokens=sums.context_tokens,
        longest_tokens=sums.longest_tokens,
        offline_rows=sums.rows - online_rows,
        parked_rows=parked_rows,
        kv_free_tokens=kv_free_tokens,
    )
