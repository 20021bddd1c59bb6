"""Which batch goes next: deadlines at risk, then tenants in turn, then age."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from planner.dispatch.pick import Candidate, Pick, pick


def candidate(batch: str, **given_: object) -> Candidate:
    values: dict[str, object] = {
        "tenant": "default",
        "create_s": 0.0,
        "start_s": 0.0,
        "deadline_s": None,
        "pending": 100,
        "leased": 0,
    }
    return Candidate(batch=batch, **(values | given_))  # type: ignore[arg-type]


def test_pick_takes_the_oldest_batch_when_one_tenant_has_several() -> None:
    """Age decides within a tenant; a batch is finished before the next is begun."""
    picks = pick(
        [candidate("new", create_s=5.0), candidate("old", pending=3)], now_s=10.0, max_items=5
    )
    assert picks == (Pick(batch="old", items=3), Pick(batch="new", items=2))


def test_pick_takes_turns_when_tenants_compete() -> None:
    """Equal weights share equally, whatever the number of their batches."""
    picks = pick(
        [
            candidate("a1", tenant="a"),
            candidate("a2", tenant="a"),
            candidate("b1", tenant="b", create_s=9.0),
        ],
        now_s=10.0,
        max_items=10,
    )
    assert Counter({one.batch: one.items for one in picks}) == {"a1": 5, "b1": 5}


def test_pick_follows_weights_and_item_sizes_when_tenants_differ() -> None:
    """Tokens in flight per weight are what is levelled, not items."""
    picks = pick(
        [
            candidate("a", tenant="a", item_tokens=100.0),
            candidate("b", tenant="b", item_tokens=100.0),
        ],
        now_s=0.0,
        max_items=8,
        weights={"a": 3.0},
    )
    assert {one.batch: one.items for one in picks} == {"a": 6, "b": 2}
    picks = pick(
        [
            candidate("a", tenant="a", item_tokens=30.0),
            candidate("b", tenant="b", item_tokens=10.0),
        ],
        now_s=0.0,
        max_items=8,
    )
    assert {one.batch: one.items for one in picks} == {"a": 2, "b": 6}


def test_pick_levels_what_is_in_flight_when_one_tenant_is_ahead() -> None:
    """What is leased already counts, so fairness survives a restart."""
    picks = pick(
        [candidate("a", tenant="a", leased=6), candidate("b", tenant="b")],
        now_s=0.0,
        max_items=6,
    )
    assert picks == (Pick(batch="b", items=6),)


def test_pick_prefers_a_deadline_at_risk_when_its_laxity_is_short() -> None:
    """A batch that needs more than half of its time left goes before everyone else."""
    slow = candidate("due", create_s=0.0, deadline_s=200.0, pending=50, leased=0, done=10)
    other = candidate("other", create_s=-100.0, tenant="b", leased=0)
    # 10 items in 100 s: 50 more need 500 s, 100 s are left.
    assert pick([other, slow], now_s=100.0, max_items=4)[0] == Pick(batch="due", items=4)
    relaxed = candidate("due", create_s=0.0, deadline_s=5000.0, pending=50, done=10)
    taken = {one.batch: one.items for one in pick([other, relaxed], now_s=100.0, max_items=4)}
    assert taken == {"due": 2, "other": 2}


def test_pick_serves_what_can_be_met_when_another_deadline_cannot() -> None:
    """A hopeless batch does not drag a feasible one down with it."""
    hopeless = candidate("hopeless", deadline_s=110.0, pending=1000, done=50)
    feasible = candidate("feasible", deadline_s=200.0, pending=60, done=50)
    picks = pick([hopeless, feasible], now_s=100.0, max_items=10)
    assert picks[0] == Pick(batch="feasible", items=10)


def test_pick_watches_the_clock_when_the_pace_is_unknown() -> None:
    """Before anything is done, half of the granted time is where risk begins."""
    due = candidate("due", deadline_s=100.0, tenant="z")
    other = candidate("other", tenant="a")
    assert pick([due, other], now_s=10.0, max_items=1) == (Pick(batch="other", items=1),)
    assert pick([due, other], now_s=60.0, max_items=1) == (Pick(batch="due", items=1),)
    assert pick([due, other], now_s=101.0, max_items=1) == (Pick(batch="other", items=1),)


CANDIDATES = st.lists(
    st.builds(
        Candidate,
        batch=st.uuids().map(str),
        tenant=st.sampled_from("abc"),
        create_s=st.floats(0, 1e3),
        start_s=st.floats(0, 1e3),
        deadline_s=st.none() | st.floats(0, 1e4),
        pending=st.integers(0, 40),
        leased=st.integers(0, 40),
        done=st.integers(0, 40),
        item_tokens=st.floats(1, 1e4),
    ),
    max_size=8,
)


@given(CANDIDATES, st.floats(0, 2e4), st.integers(0, 64), st.randoms())
def test_pick_takes_all_there_is_when_there_is_room(
    candidates: list[Candidate], now_s: float, max_items: int, random: object
) -> None:
    """Work-conserving, never beyond pending or room, once per batch, order-independent."""
    picks = pick(candidates, now_s=now_s, max_items=max_items)
    pending = {one.batch: one.pending for one in candidates}
    assert sum(one.items for one in picks) == min(max_items, sum(pending.values()))
    assert all(0 < one.items <= pending[one.batch] for one in picks)
    assert len({one.batch for one in picks}) == len(picks)
    shuffled = sorted(candidates, key=lambda _: random.random())  # type: ignore[attr-defined]
    assert pick(shuffled, now_s=now_s, max_items=max_items) == picks
