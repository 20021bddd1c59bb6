"""Two ranks with clocks of their own decide alike from one recorded broadcast."""

import math
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from rank import Arrival, Broadcast, Decision, Rank, fresh_scheduler, release_by
from token_allocator import TokenAllocator

from nodeagent.sglang_plugin.rows import record_of
from planner.batching.state import Budgets

PASSES = 400
BUDGETS = Budgets(
    latency_budget_ms=14.0,
    idle_budget_ms=40.0,
    min_chunk_tokens=16,
    min_parked_passes=2,
    min_resident_passes=2,
    max_parked_rows=4,
    uncalibrated_ratio=1.0,
)


def workload(seed: int) -> dict[int, tuple[Arrival, ...]]:
    """Bursts of both classes, with idle stretches between; pass -> arrivals."""
    draw = random.Random(seed)
    arrivals: dict[int, tuple[Arrival, ...]] = {}
    number = 0
    for at in sorted(draw.sample(range(PASSES - 120), 24)):
        group = []
        for _ in range(draw.randint(1, 3)):
            offline = draw.random() < 0.6
            group.append(
                Arrival(
                    rid=f"r{number:03d}",
                    tokens=draw.choice((40, 180, 420) if offline else (24, 200)),
                    start=number * 1000,
                    new_tokens=draw.randint(8, 48),
                    offline=offline,
                    deadline_in_s=draw.choice((None, 0.4, 2.0, 1e9)) if offline else None,
                )
            )
            number += 1
        arrivals[at] = tuple(group)
    return arrivals


def engine_clock(seed: int) -> Callable[[], float]:
    """A clock whose passes last as long as it pleases, as an engine's do."""
    draw = random.Random(seed)
    now = 100.0

    def read() -> float:
        nonlocal now
        now += draw.uniform(0.002, 0.045)
        return now

    return read


def skewed(*, offset_s: float, drift: float) -> Callable[[], float]:
    """A clock far off, that runs at a speed of its own and stumbles."""
    readings = 0

    def read() -> float:
        nonlocal readings
        readings += 1
        return offset_s + drift * readings + 0.4 * math.sin(readings)

    return read


@pytest.fixture
def make_rank(scheduler: Any, make_request: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes ranks that hold nothing in common; KV for about half of what would like to run."""

    def request(arrival: Arrival) -> Any:
        made = make_request(
            arrival.rid, arrival.tokens, offline=arrival.offline, start=arrival.start
        )
        made.sampling_params.max_new_tokens = arrival.new_tokens
        if arrival.deadline_in_s is not None:
            made.sampling_params.custom_params["slacktide_deadline_in_s"] = arrival.deadline_in_s
        return made

    def make(clock: Callable[[], float], **kwargs: Any) -> Rank:
        own = fresh_scheduler(
            scheduler,
            tree_cache=type(scheduler.tree_cache).create_simulated(),
            token_to_kv_pool_allocator=TokenAllocator(1400),
            max_total_num_tokens=1400,
        )
        rank = Rank(make=request, scheduler=own, clock=clock, **kwargs)
        rank.colocation.settings.budgets = BUDGETS
        return rank

    def run(rank: Rank, heard: list[Broadcast]) -> list[Decision]:
        release_by(rank, monkeypatch)
        return [rank.run_pass(broadcast) for broadcast in heard]

    return SimpleNamespace(make=make, run=run, use=lambda rank: release_by(rank, monkeypatch))


def record(ranks: Any, seed: int) -> tuple[Rank, list[Broadcast], list[Decision]]:
    """Rank 0 runs a workload; what it broadcast, and what it decided."""
    rank = ranks.make(engine_clock(seed))
    ranks.use(rank)
    arrivals = workload(seed)
    heard, decided = [], []
    for number in range(PASSES):
        heard.append(rank.broadcast(arrivals.get(number, ())))
        decided.append(rank.run_pass(heard[-1]))
    return rank, heard, decided


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("offset_s", "drift"), [(0.0, 0.0), (-5e6, 0.5), (1e9, 1e-5), (3.0, -0.2)])
def test_ranks_decide_alike_when_their_own_clocks_are_skewed(
    make_rank: Any, seed: int, offset_s: float, drift: float
) -> None:
    """Every plan, order, chunk, parked row and recorded date is the same on both ranks."""
    rank0, heard, decided = record(make_rank, seed)
    rank1 = make_rank.make(skewed(offset_s=offset_s, drift=drift))
    for number, (one, other) in enumerate(zip(decided, make_rank.run(rank1, heard), strict=True)):
        assert other == one, f"pass {number}"
    assert rank0.colocation.fault == rank1.colocation.fault == ""
    assert rank1.colocation._counts == rank0.colocation._counts


def test_recorded_run_is_worth_comparing_when_seed_is_any(make_rank: Any) -> None:
    """The runs above park, resume, evict, cap chunks, finish both classes and fall idle."""
    seen: dict[str, int] = {}
    limits: set[float] = set()
    for seed in (1, 2, 3):
        rank, heard, decided = record(make_rank, seed)
        for name, count in rank.colocation._counts.items():
            seen[name] = seen.get(name, 0) + count
        assert any(b.stamp is None for b in heard)
        assert {record_of(r).is_offline for r in rank.known if r.rid in rank.finished} == {
            True,
            False,
        }
        limits |= {d.plan.budget_ms for d in decided}
    assert len(limits) > 10  # slack moves with the time
    assert all(seen[name] for name in ("parked", "resumed", "evicted", "chunks_capped")), seen


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ranks_part_when_one_decides_by_its_own_clock(make_rank: Any, seed: int) -> None:
    """The comparison above can fail: without the stamp the same clocks lead apart."""
    _, heard, decided = record(make_rank, seed)
    stray = make_rank.make(skewed(offset_s=3.0, drift=0.05), decides_by_own_clock=True)
    plans = [decision.plan for decision in make_rank.run(stray, heard)]
    assert plans != [decision.plan for decision in decided]
