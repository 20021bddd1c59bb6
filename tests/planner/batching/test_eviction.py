"""Which offline rows give up their KV."""

from engine_states import offline_row
from hypothesis import given
from hypothesis import strategies as st

from planner.batching.eviction import cheapest_first, choose_evictions, is_evictable

rows = st.lists(
    st.builds(
        offline_row,
        rid=st.uuids().map(str),
        context_tokens=st.integers(1, 500),
        recompute_tokens=st.integers(0, 5),
        is_parked=st.booleans(),
        can_park=st.booleans(),
        can_resume=st.booleans(),
        must_run=st.sampled_from([False, False, True]),
        arrival_s=st.sampled_from([1.0, 2.0]),
    ),
    max_size=12,
)


@given(rows=rows, short_tokens=st.integers(-5, 2_000), short_rows=st.integers(-1, 5))
def test_eviction_is_cheapest_first_and_never_a_row_too_many(rows, short_tokens, short_rows):
    """Every row spared costs at least as much to compute again; without the last one, short.

    The order is the project's own: by what an eviction would have to compute again.
    """
    gone = choose_evictions(rows, short_tokens=short_tokens, short_rows=short_rows)
    able = [row for row in rows if is_evictable(row)]
    spared = [row for row in able if row not in gone]
    assert all(row in able for row in gone)
    assert all(a.recompute_tokens <= b.recompute_tokens for a in gone for b in spared)
    freed = sum(row.context_tokens for row in gone)
    if spared:
        assert freed >= short_tokens and len(gone) >= short_rows
    if gone:
        assert freed - gone[-1].context_tokens < short_tokens or len(gone) - 1 < short_rows


@given(rows=rows, seed=st.randoms(use_true_random=False))
def test_eviction_order_does_not_depend_on_the_order_of_rows(rows, seed):
    """Every rank evicts alike; a parked row goes before a running one that costs the same."""
    shuffled = list(rows)
    seed.shuffle(shuffled)
    assert cheapest_first(shuffled) == cheapest_first(rows)
    costs = [(row.recompute_tokens, not row.is_parked) for row in cheapest_first(rows)]
    assert costs == sorted(costs)
