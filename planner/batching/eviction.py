"""Which offline rows give up their KV, and when.

Owns the order of eviction and what counts as short. Refuses online rows, and rows the
engine cannot take apart now (a result in flight, state that only its batch holds). The order
is this project's own: the row that is cheapest to compute again goes first, a parked one
before a running one, since nothing of an evicted row is kept but what the prefix cache still
holds.
"""

from collections.abc import Iterable, Sequence

from planner.batching.state import DecodeRow


def is_evictable(row: DecodeRow) -> bool:
    """Whether the engine can give up this offline row's KV now."""
    return not row.must_run and (row.can_resume if row.is_parked else row.can_park)


def growth_tokens(rows: Sequence[DecodeRow], *, page_size: int) -> int:
    """KV that one decode of `rows` takes: a page for each row whose last page is full."""
    if page_size == 1:
        return len(rows)
    return page_size * len([row for row in rows if row.context_tokens % page_size == 0])


def choose_evictions(
    candidates: Iterable[DecodeRow], *, short_tokens: int, short_rows: int
) -> tuple[DecodeRow, ...]:
    """The cheapest offline rows that free what is short.

    Args:
        candidates: Offline rows, running and parked.
        short_tokens: KV tokens to free; <= 0 when none are short.
        short_rows: Engine rows to free, likewise.

    Returns:
        Rows in the order of eviction; all evictable ones when even they do not suffice.
    """
    victims: list[DecodeRow] = []
    if short_tokens <= 0 and short_rows <= 0:
        return ()
    for row in cheapest_first(candidates):
        if short_tokens <= 0 and short_rows <= 0:
            break
        victims.append(row)
        short_tokens -= row.context_tokens
        short_rows -= 1
    return tuple(victims)


def cheapest_first(rows: Iterable[DecodeRow]) -> list[DecodeRow]:
    """Evictable rows in the order of eviction."""
    keyed = [
        (row.recompute_tokens, not row.is_parked, row.arrival_s, row.rid, row)
        for row in rows
        if is_evictable(row)
    ]
    keyed.sort()  # rids are unique: rows are never compared
    return [entry[4] for entry in keyed]
