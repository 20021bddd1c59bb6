"""What every run checks of itself, and that each check can fail."""

import random

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from simulated_engines import MODEL, offline, online, run, settings, unbounded

from planner.batching.state import Budgets, IterationPlan
from planner.simulation import engine as engine_module
from planner.simulation.engine import Engine
from planner.simulation.ledger import ConservationError, Ledger
from planner.simulation.live import LiveRequest
from planner.simulation.memory import KvMemory
from planner.simulation.settings import Loop, Scheduler
from planner.slo import Chunk


class Erratic:
    """Parks, resumes, evicts, requeues and admits at random, in flight or not."""

    def __init__(self, seed):
        self._draw = random.Random(seed)

    def __call__(self, state, *, model, budgets):
        draw = self._draw

        def some(rows, share):
            return tuple(row.rid for row in rows if draw.random() < share)

        order = [work.rid for work in state.waiting_offline]
        draw.shuffle(order)
        parked = some(state.parked, 0.5)
        return IterationPlan(
            park=some(state.running, 0.15),
            resume=parked,
            evict=some((*state.running, *state.parked), 0.04),
            offline_chunk_tokens=draw.choice([0, 16, 50, 1 << 20]),
            offline_order=tuple(order),
            kv_reserve_tokens=draw.choice([0, 100]),
            requeue_started=draw.random() < 0.1,
        )


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    requests=st.lists(
        st.tuples(st.booleans(), st.integers(1, 300), st.integers(1, 25), st.floats(0.0, 0.4)),
        max_size=12,
    ),
    page_size=st.sampled_from([1, 16]),
    mixes=st.booleans(),
    loop=st.sampled_from(list(Loop)),
    scheduler=st.sampled_from(list(Scheduler)),
    caches_prefixes=st.booleans(),
    kv_tokens=st.sampled_from([400, 900, 4096]),
    rows=st.sampled_from([2, 32]),
)
def test_books_balance_whatever_a_policy_does(
    seed, requests, page_size, mixes, loop, scheduler, caches_prefixes, kv_tokens, rows
):
    """Each request ends once with its tokens, and KV adds up, under plans without sense."""
    made = [
        (online if is_online else offline)(
            f"r{i:02d}", prompt_tokens=prompt, output_tokens=output, at_s=at_s
        )
        for i, (is_online, prompt, output, at_s) in enumerate(sorted(requests, key=lambda r: r[3]))
    ]
    done = run(
        engine=settings(
            page_size=page_size,
            mixes=mixes,
            loop=loop,
            scheduler=scheduler,
            caches_prefixes=caches_prefixes,
            kv_tokens=kv_tokens,
            max_running_requests=rows,
        ),
        policy=Erratic(seed),
        scheduled=made,
    )
    batch = [request for request in made if request.work_class.value == "offline"]
    assert len(done.online) == len(made) - len(batch) and done.offline_ended == len(batch)
    assert done.offline_output_tokens == sum(request.output_tokens for request in batch)
    assert done.offline_prompt_tokens == sum(request.prompt_tokens for request in batch)
    assert done.online_tokens == sum(
        request.prompt_tokens + request.output_tokens for request in made if request not in batch
    )


def engine(**fields):
    """An engine that computes all it is given."""
    return Engine(settings(**fields), policy=unbounded, model=MODEL, budgets=Budgets())


def test_pass_that_settles_twice_is_found():
    """Its request would end twice, or with a token too many."""
    made = engine()
    made.add(online("a", output_tokens=1))
    launched = made.begin_pass(now_s=0.0)
    made.settle(launched, at_s=0.1, lasted_ms=100.0)
    with pytest.raises(ConservationError, match=r"a: ended twice|account for"):
        made.settle(launched, at_s=0.2, lasted_ms=100.0)
        made.audit()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"generated": 1}, "1 tokens generated and 2 emitted of 2"),
        ({"chunks": [Chunk(at_s=0.1, tokens=1)]}, "2 tokens generated and 1 emitted of 2"),
        ({"credited_tokens": 99}, "99 prompt tokens of 100"),
        ({"held_tokens": 1}, "holding 1 tokens of KV"),
        ({"pinned": 1}, "1 cached blocks"),
        ({"in_flight": 1}, "in 1 passes"),
    ],
)
def test_request_that_ends_without_what_it_came_for_is_found(fault, message):
    """With all its tokens, its prompt done, no KV and nothing in flight; else the run ends."""
    ledger = Ledger(KvMemory(total_tokens=100, page_size=1, caches_prefixes=True))
    live = LiveRequest(online("a", output_tokens=2), page_size=1, prompt_key=b"")
    ledger.arrive(live)
    chunks = [Chunk(at_s=at_s, tokens=1) for at_s in (0.1, 0.2)]
    fair = {"generated": 2, "chunks": chunks, "credited_tokens": 100}
    for name, value in (fair | fault).items():
        setattr(live, name, value)
    with pytest.raises(ConservationError, match=message):
        ledger.end(live)


def test_request_that_never_arrived_or_arrives_twice_is_found():
    """An end needs an arrival, and a rid names one request at a time."""
    ledger = Ledger(KvMemory(total_tokens=100, page_size=1, caches_prefixes=True))
    live = LiveRequest(online("a"), page_size=1, prompt_key=b"")
    with pytest.raises(ConservationError, match="never arrived"):
        ledger.end(live)
    ledger.arrive(live)
    with pytest.raises(ValueError, match="a: in the engine already"):
        ledger.arrive(live)


@pytest.mark.parametrize(
    "fault",
    [
        {"held_tokens": -1},
        {"held_tokens": 101},
        {"cached_tokens": 101},
        {"unread_tokens": -1},
        {"unread_tokens": 1},
    ],
)
def test_kv_that_is_negative_or_over_capacity_is_found(fault):
    """In the very pass in which it comes about."""
    memory = KvMemory(total_tokens=100, page_size=1, caches_prefixes=True)
    ledger = Ledger(memory)
    ledger.settle(emitted_tokens=0)
    for name, value in fault.items():
        setattr(memory, name, value)
    with pytest.raises(ConservationError, match="KV: "):
        ledger.settle(emitted_tokens=0)


@pytest.mark.parametrize(
    ("method", "broken", "message"),
    [
        ("leave", lambda _live, _memory: None, "KV|holding"),
        ("receive", lambda _: True, "passes|ended|tokens"),
        ("credit", lambda _: 0, "prompt tokens of 100"),
    ],
)
def test_fault_of_the_engine_ends_the_run(monkeypatch, method, broken, message):
    """A leak of KV, a result never booked or a prompt never counted is found by the run."""
    monkeypatch.setattr(LiveRequest, method, broken)
    with pytest.raises(ConservationError, match=message):
        run(scheduled=[online("a"), offline("b")])


def test_audit_finds_a_lost_request_a_lost_token_and_lost_kv(monkeypatch):
    """What only a look at every request shows."""
    made = engine()
    made.add(online("a"))
    made.add(offline("b"))
    launched = made.begin_pass(now_s=0.0)
    made.settle(launched, at_s=0.1, lasted_ms=100.0)
    made.audit()
    (live, _), *_ = launched.prompts
    for name in ("generated", "held_tokens"):
        before = getattr(live, name)
        setattr(live, name, before + 1)
        with pytest.raises(ConservationError, match=r"output: |KV: "):
            made.audit()
        setattr(live, name, before)
    made.audit()
    made._residents.running.clear()
    with pytest.raises(ConservationError, match="places, 2 are live"):
        made.audit()


def test_long_run_is_audited_on_the_way(monkeypatch):
    """Not only at its end, which a defect may keep it from."""
    audits = []
    monkeypatch.setattr(engine_module, "_AUDIT_PERIOD", 10)
    monkeypatch.setattr(Ledger, "audit", lambda _, residents: audits.append(len(residents)))
    run(scheduled=[online("a", output_tokens=34)])
    assert len(audits) == 3 + 1
