"""The order of waiting offline requests: prefixes together, the eldest with their share."""

import random
from array import array
from collections import Counter
from dataclasses import replace

import pytest
from engine_states import MODEL, NOW_S, engine_state, offline_prompt, offline_row, online_row
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.batching.decide import plan_iteration
from planner.batching.order import OfflineWalk
from planner.batching.prefixes import PromptOrder, from_cursor, queue_of
from planner.batching.state import Budgets, Memory


def key_of(tokens) -> bytes:
    """As the plugin makes it of an engine's prompt."""
    return array("q", tokens).tobytes()


# Few tokens, so that prompts share prefixes; some beyond a byte, whose bytes are not in
# numeric order.
prompts_of_tokens = st.lists(
    st.lists(st.sampled_from([0, 1, 255, 256, 257, 70_000]), max_size=5), max_size=12
)

works = st.builds(
    offline_prompt,
    rid=st.sampled_from([f"w{i}" for i in range(8)]),
    prompt_key=st.binary(max_size=2),
    arrival_s=st.sampled_from([1.0, 2.0, 3.0]),
    queued_pass=st.integers(0, 3),
    deadline_s=st.sampled_from([None, 5.0, 9.0]),
    remaining_tokens=st.integers(1, 9),
)


@given(steps=st.lists(st.one_of(works, st.sampled_from([f"w{i}" for i in range(8)]))))
def test_kept_order_is_the_sorted_one_after_any_changes(steps):
    """Put, put again, discard: always what sorting the survivors gives."""
    order, model = PromptOrder(), {}
    for step in steps:
        if isinstance(step, str):
            order.discard(step)
            model.pop(step, None)
        else:
            order.put(step)
            model[step.rid] = step
        assert order.snapshot() == queue_of(model.values())
        assert len(order) == len(model)


@given(prompts=prompts_of_tokens)
def test_prompt_order_is_a_depth_first_walk_of_the_trie(prompts):
    """Requests under each node of the trie stand side by side, a prefix before its extensions."""
    queue = queue_of(
        offline_prompt(f"w{i:02d}", prompt_key=key_of(tokens)) for i, tokens in enumerate(prompts)
    )
    ordered = [prompts[int(work.rid[1:])] for work in queue.by_prompt]
    nodes = {tuple(tokens[:depth]) for tokens in prompts for depth in range(len(tokens) + 1)}
    for node in nodes:
        places = [i for i, tokens in enumerate(ordered) if tuple(tokens[: len(node)]) == node]
        assert places == list(range(places[0], places[0] + len(places)))
        own = [i for i in places if len(ordered[i]) == len(node)]
        assert own == places[: len(own)]


def test_a_change_compares_few_when_many_wait():
    """One more of 4,096 costs a number of comparisons that grows with the logarithm."""
    compared = Counter()

    class Key(bytes):
        def __lt__(self, other):
            compared["n"] += 1
            return bytes.__lt__(self, other)

        __hash__ = bytes.__hash__

    order = PromptOrder()
    for number in random.Random(1).sample(range(4_096), 4_096):
        order.put(offline_prompt(f"w{number}", prompt_key=Key(number.to_bytes(4))))
    compared.clear()
    order.put(offline_prompt("new", prompt_key=Key((7).to_bytes(4) + b"x")))
    order.discard("w900")
    assert 0 < compared["n"] <= 2 * 2 * 13  # two searches of 12 halvings and one more


@given(
    keys=st.lists(st.binary(max_size=2), min_size=1, max_size=10),
    cursor=st.tuples(st.binary(max_size=2), st.floats(0.0, 2_000.0), st.text(max_size=2)),
)
def test_walk_from_a_cursor_goes_once_around(keys, cursor):
    """Everything after the cursor, then everything before it, each once."""
    queue = queue_of(offline_prompt(f"w{i}", prompt_key=key) for i, key in enumerate(keys))
    walked = [(w.prompt_key, w.arrival_s, w.rid) for w in from_cursor(queue, cursor)]
    ordered = sorted(walked)
    assert walked == [k for k in ordered if k > cursor] + [k for k in ordered if k <= cursor]


def take_all(waiting, *, share, arrivals=(), memory=None):
    """Admits one request a decision until all have run; returns their order and the debts."""
    waiting, arrivals = list(waiting), list(arrivals)
    memory = memory or Memory()
    taken, debts = [], []
    budgets = Budgets(age_share=share)
    while waiting:
        state = engine_state(memory=memory)
        walk = OfflineWalk(queue_of(waiting), state=state, budgets=budgets, token_ms=0.1)
        work = walk.next()
        walk.admit(work)
        memory = replace(memory, prompt_cursor=walk.cursor, age_owed_tokens=walk.owed_tokens)
        waiting.remove(work)
        taken.append(work)
        debts.append(walk.owed_tokens)
        if arrivals:
            waiting.append(arrivals.pop(0))
    return taken, debts


def test_order_is_by_arrival_when_the_eldest_have_all():
    """The live setting that turns prefix order off."""
    rng = random.Random(3)
    waiting = [
        offline_prompt(f"w{i}", prompt_key=rng.randbytes(2), arrival_s=float(i)) for i in range(20)
    ]
    taken, _ = take_all(rng.sample(waiting, 20), share=1.0)
    assert [w.rid for w in taken] == [f"w{i}" for i in range(20)]


def test_order_is_by_prefix_when_the_eldest_have_no_share():
    """One depth-first walk; an arrival before the cursor does not pull it back."""
    waiting = [offline_prompt(f"w{i}", prompt_key=bytes([10 * i + 10])) for i in range(4)]
    late = offline_prompt("late", prompt_key=b"\x01")
    taken, _ = take_all(waiting, share=0.0, arrivals=[late])
    assert [w.rid for w in taken] == ["w0", "w1", "w2", "w3", "late"]


prompt_lengths = st.integers(1, 100)


@settings(max_examples=150, deadline=None)
@given(
    share=st.sampled_from([0.01, 0.1, 0.5, 0.9]),
    elders=st.lists(prompt_lengths, max_size=6),
    own=prompt_lengths,
    newer=st.lists(prompt_lengths, min_size=30, max_size=60),
    owed=st.floats(-1.0, 1.0),
)
def test_waiting_is_bounded_by_the_tokens_of_the_elder_when_preferred_prompts_keep_coming(
    share, elders, own, newer, owed
):
    """T <= (W + p_max)/s tokens are admitted while a request waits, and debts stay bounded.

    Newer prompts are always before it in prefix order (HyGen's fair variant bounds this by
    a utility ratio; here the bound is exact).
    """
    p_max = max([own, *elders, *newer])
    queue = [
        offline_prompt(f"e{i}", remaining_tokens=tokens, arrival_s=1.0 + i, prompt_key=b"\x50")
        for i, tokens in enumerate(elders)
    ]
    me = offline_prompt("me", remaining_tokens=own, arrival_s=90.0, prompt_key=b"\xff")
    arrivals = [
        offline_prompt(f"n{i}", remaining_tokens=tokens, arrival_s=100.0 + i, prompt_key=b"\x60")
        for i, tokens in enumerate(newer)
    ]
    bounds = (-(1.0 - share) * p_max, share * p_max)
    start = min(bounds[1], max(bounds[0], owed * p_max))
    taken, debts = take_all(
        [*queue, me, arrivals[0]],
        share=share,
        arrivals=arrivals[1:],
        memory=Memory(age_owed_tokens=start, prompt_cursor=(b"\x59", 0.0, "")),
    )
    assert all(bounds[0] - 1e-6 <= debt <= bounds[1] + 1e-6 for debt in debts)
    before = taken[: taken.index(me)]
    assert sum(w.remaining_tokens for w in before) <= (sum(elders) + p_max) / share + 1e-6
    assert len(taken) == len(elders) + 1 + len(newer)


def test_the_share_of_the_eldest_is_what_they_get():
    """Of 2,000 prompts of equal length, a tenth is taken for its age."""
    rng = random.Random(5)
    waiting = [
        offline_prompt(f"w{i:04d}", prompt_key=rng.randbytes(4), arrival_s=float(i))
        for i in range(2_000)
    ]
    order, memory, by_age = PromptOrder(), Memory(), 0
    for work in waiting:
        order.put(work)
    for _ in range(1_000):
        state = engine_state(memory=memory)
        walk = OfflineWalk(order.snapshot(), state=state, budgets=Budgets(), token_ms=0.1)
        work = walk.next()
        by_age += work is order.snapshot().by_age[0]
        walk.admit(work)
        order.discard(work.rid)
        memory = replace(memory, prompt_cursor=walk.cursor, age_owed_tokens=walk.owed_tokens)
    assert by_age == pytest.approx(100, abs=5)  # of 1,000; some lead both orders


def test_eldest_that_lacks_kv_leaves_its_share_to_the_next_eldest():
    """Who fits is not kept waiting by elders that do not; once one fits it goes first."""
    waiting = (
        offline_prompt("big", remaining_tokens=900, arrival_s=1.0, prompt_key=b"z"),
        offline_prompt("a", remaining_tokens=50, prompt_key=b"a"),
        offline_prompt("old", remaining_tokens=50, arrival_s=2.0, prompt_key=b"y"),
    )
    memory = Memory(age_owed_tokens=10.0)
    budgets = Budgets(kv_reserve_ratio=0.0, idle_budget_ms=1_000.0)
    state = engine_state(waiting_offline=waiting, kv_free_tokens=600, memory=memory)
    plan = plan_iteration(state, model=MODEL, budgets=budgets)
    assert plan.offline_order[:2] == ("old", "a")
    assert plan.memory.age_owed_tokens == 10.0 + 0.1 * 100 - 50
    state = replace(state, kv_free_tokens=2_000)
    assert plan_iteration(state, model=MODEL, budgets=budgets).offline_order[0] == "big"


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("large", [8, 9, 30])
@pytest.mark.parametrize("claim", ["prefix", "aged", "urgent"])
def test_prompts_beyond_kv_bar_no_smaller_one_for_ever(share, large, claim):
    """One that fits is come to within n/8 searches, though online never gives KV back.

    The large ones stand first by prefix, by age and, in turn, by claim.
    """
    first = {
        "prefix": {},
        "aged": {"queued_pass": -5_000},
        "urgent": {"deadline_s": NOW_S},
    }[claim]
    waiting = (
        *(
            offline_prompt(
                f"big{i:02d}", remaining_tokens=900, arrival_s=1.0, prompt_key=b"a", **first
            )
            for i in range(large)
        ),
        offline_prompt("small", remaining_tokens=50, prompt_key=b"b"),
    )
    state = engine_state(
        running=(online_row(),),
        waiting_offline=waiting,
        kv_free_tokens=100,
        mixes_prefill_and_decode=True,
        memory=Memory(age_owed_tokens=10.0),
    )
    budgets = Budgets(kv_reserve_ratio=0.0, age_share=share)
    for _ in range(-(-len(waiting) // 8)):
        plan = plan_iteration(state, model=MODEL, budgets=budgets)
        if plan.offline_chunk_tokens:
            break
        state = replace(state, memory=plan.memory)
    assert plan.offline_order[0] == "small"
    assert plan.offline_chunk_tokens == 50


def test_aged_request_holds_the_line_when_offline_rows_hold_its_kv():
    """Past aged_passes, nothing younger takes the KV that comes free: it starts in the end."""
    aged = offline_prompt("aged", remaining_tokens=500, queued_pass=-5_000, prompt_key=b"z")
    small = offline_prompt("small", remaining_tokens=50, prompt_key=b"a")
    state = engine_state(
        running=(offline_row("off0", context_tokens=400),),
        waiting_offline=(aged, small),
        kv_free_tokens=200,
        kv_total_tokens=1_000,
        mixes_prefill_and_decode=True,
    )
    budgets = Budgets(kv_reserve_ratio=0.0)
    assert plan_iteration(state, model=MODEL, budgets=budgets).offline_chunk_tokens == 0
    hopeless = replace(state, running=(online_row(context_tokens=400),))
    assert plan_iteration(hopeless, model=MODEL, budgets=budgets).offline_order == ("small",)


@settings(max_examples=100, deadline=None)
@given(
    waiting=st.lists(works, max_size=8, unique_by=lambda w: w.rid),
    owed=st.sampled_from([-20.0, 0.0, 20.0]),
    share=st.sampled_from([0.0, 0.1, 1.0]),
    cursor=st.sampled_from([None, (b"\x80", 1.0, "w3")]),
)
def test_plan_is_the_same_when_the_driver_keeps_the_order(waiting, owed, share, cursor):
    """A kept queue and a bare tuple in any order make one plan."""
    order = PromptOrder()
    for work in waiting:
        order.put(work)
    queue = order.snapshot()
    bare = engine_state(
        pass_number=2_000,
        waiting_offline=tuple(waiting),
        memory=Memory(age_owed_tokens=owed, prompt_cursor=cursor),
    )
    kept = replace(bare, waiting_offline=queue.by_prompt, offline_queue=queue)
    budgets = Budgets(age_share=share, urgent_laxity_s=0.0, aged_passes=1_998)
    assert plan_iteration(kept, model=MODEL, budgets=budgets) == plan_iteration(
        bare, model=MODEL, budgets=budgets
    )


@settings(max_examples=300, deadline=None)
@given(
    waiting=st.lists(works, max_size=8, unique_by=lambda work: work.rid),
    owed=st.sampled_from([-5.0, 0.0, 3.0]),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    now_s=st.sampled_from([0.0, 4.0, 100.0]),
    aged_passes=st.sampled_from([0, 2, 9]),
    steps=st.lists(st.sampled_from(["admit", "pass over", "turn"]), max_size=6),
    count=st.integers(0, 9),
)
def test_names_behind_are_those_that_come_one_by_one(
    waiting, owed, share, now_s, aged_passes, steps, count
):
    """Whatever was taken or passed over before, and whyever the next ones come."""

    def walk():
        made = OfflineWalk(
            queue_of(waiting),
            state=engine_state(now_s=now_s, pass_number=4, memory=Memory(age_owed_tokens=owed)),
            budgets=Budgets(age_share=share, aged_passes=aged_passes, urgent_laxity_s=6.0),
            token_ms=1.0,
        )
        for step in steps:
            work = made.next()
            if work is None:
                break
            match step:
                case "admit":
                    made.admit(work)
                case "pass over":
                    made.pass_over(work)
                case "turn":
                    made.turn_to_prefixes()
        return made

    one_by_one = walk()
    expected = [work.rid for _ in range(count) if (work := one_by_one.next()) is not None]
    assert walk().names_behind(count) == expected


@pytest.mark.parametrize("deadline_s", [-1e308, -1.0, 0.0, NOW_S, 1e308])
def test_deadlines_are_taken_as_they_are_when_absurd(deadline_s):
    """Missed by eons or never near: the request runs, and online is held to nothing by it."""
    state = engine_state(
        running=(online_row(),),
        waiting_offline=(
            offline_prompt("odd", deadline_s=deadline_s, prompt_key=b"b"),
            offline_prompt("plain", prompt_key=b"a"),
        ),
    )
    plan = plan_iteration(state, model=MODEL, budgets=Budgets())
    assert plan.offline_order[0] == ("odd" if deadline_s <= NOW_S else "plain")
    assert plan.offline_chunk_tokens > 0 and plan.bound_ms <= plan.budget_ms
