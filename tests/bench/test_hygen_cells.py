"""Each policy at its best within an SLO, on one small slice: no replay twice, none passed over."""

from functools import partial

import pytest

from bench.hygen.cells import ARRIVAL, Cell, judge
from bench.hygen.pool import Pool
from planner.batching.state import Budgets
from planner.hardware.device import device_named
from planner.hardware.machine import build_machine
from planner.hardware.model import model_named
from planner.hardware.oracle import oracle_model
from planner.hardware.truth import ground_truth
from planner.replay.policies import policy_named
from planner.replay.scenario import Scenario, engine_settings
from planner.workload.generate import generate
from planner.workload.offline import arxiv_summarization

MACHINE = build_machine(device_named("a100-40gb"), model_named("llama2-7b"))
CELL = Cell(metrics=("itl_mean",), tolerance_ratio=0.5)
TIGHT = Cell(metrics=("itl_mean",), tolerance_ratio=0.1)


@pytest.fixture(scope="module")
def pool():
    chat = generate(seed=1, duration_s=5.0, requests_per_s=1.5)
    return Pool(
        Scenario(
            machine=MACHINE,
            settings=engine_settings(MACHINE),
            online=lambda: chat,
            offline=partial(arxiv_summarization, seed=1),
            duration_s=5.0,
            truth=partial(ground_truth, MACHINE, seed=1),
            model=oracle_model(MACHINE),
            offline_in_flight=8,
            settle_s=1.0,
        )
    )


def floor_of(pool):
    return pool.see(policy_named("online-only", budgets=Budgets())).probe


def within(pool, targets, policy, *, age_share=None):
    return [
        seen
        for seen in pool.of(policy)
        if targets.worst_ratio(ttft=seen.probe.ttft, itl=seen.probe.itl) <= 1.0
        and (age_share is None or seen.choice.budgets.age_share == age_share)
    ]


def test_pool_runs_no_replay_twice_and_tells_budgets_apart(pool, monkeypatch):
    """One per policy, knob and budgets; the second look is the first's very result."""
    runs = []
    run = Scenario.run
    monkeypatch.setattr(
        Scenario,
        "run",
        lambda self, choice, **rest: runs.append(choice) or run(self, choice, **rest),
    )
    before = len(pool)
    one = policy_named("hygen", budgets=Budgets(latency_budget_ms=31.25))
    other = policy_named("hygen", budgets=Budgets(latency_budget_ms=31.5))
    assert pool.see(one) is pool.see(one) and pool.see(other) is not pool.see(one)
    assert runs == [one, other] and len(pool) == before + 2
    assert pool.probe(one) is pool.see(one).probe
    assert pool.see(one) in list(pool.of("hygen")) and not list(pool.of("hyge"))


def test_replay_is_kept_as_its_statistics(pool):
    """As a run of its own has them."""
    choice = policy_named("blind-hybrid", budgets=Budgets())
    seen = pool.see(choice)
    replayed = pool.scenario.run(choice)
    assert (seen.probe.ttft, seen.probe.itl) == (replayed.ttft, replayed.itl)
    assert seen.probe.offline_tokens_per_s == replayed.offline_tokens_per_s
    total = replayed.offline_tokens_per_s + replayed.online_tokens / replayed.window_s
    assert seen.total_tokens_per_s == pytest.approx(total)


def test_idle_work_is_the_policys_on_the_batch_alone(pool):
    """More than beside online load; and no probe of a search, since nobody waits in it."""
    choice = policy_named("slacktide", budgets=Budgets())
    beside = pool.see(choice).probe.offline_tokens_per_s
    assert pool.idle(choice) > beside
    assert [seen.choice.serves_online for seen in pool.of("slacktide")] == [True]


@pytest.mark.parametrize("policy", ["hygen", "rate-cap"])
def test_rival_is_judged_by_its_best_within_the_slo_of_all_its_replays(pool, policy):
    """Also by one that another cell's tuning ran; and by the edge of its knob."""
    floor = floor_of(pool)
    loose = judge(pool, CELL, policy, floor=floor)
    tight = judge(pool, TIGHT, policy, floor=floor)
    for judged, cell in ((loose, CELL), (tight, TIGHT)):
        passing = within(pool, cell.targets(floor), policy)
        assert judged.keeps_slo == bool(passing)
        if passing:
            most = max(seen.probe.offline_tokens_per_s for seen in passing)
            assert judged.seen.probe.offline_tokens_per_s == most
    assert loose.keeps_slo
    if tight.keeps_slo:
        offline = [j.seen.probe.offline_tokens_per_s for j in (tight, loose)]
        assert offline == sorted(offline)


@pytest.mark.parametrize("policy", ["slacktide", ARRIVAL])
def test_slacktide_is_judged_by_its_best_with_its_own_share_of_age(pool, policy, monkeypatch):
    """Prefix order and order of arrival never borrow from one another."""
    monkeypatch.setattr("bench.hygen.cells.SEARCHED_PROBES", 10)
    share = 1.0 if policy == ARRIVAL else Budgets().age_share
    floor = floor_of(pool)
    judged = judge(pool, CELL, policy, floor=floor)
    assert judged.policy == policy and judged.seen.choice.budgets.age_share == share
    passing = within(pool, CELL.targets(floor), "slacktide", age_share=share)
    assert judged.keeps_slo and judged.seen.probe.offline_tokens_per_s == max(
        seen.probe.offline_tokens_per_s for seen in passing
    )


def test_policy_blind_to_slos_runs_as_it_is_and_is_said_to_miss(pool):
    """Sarathi++ fills every pass; ITL p99 of online alone is not to be kept so."""
    cell = Cell(metrics=("itl_mean",), tolerance_ratio=0.05)
    before = len(pool)
    judged = judge(pool, cell, "blind-hybrid", floor=floor_of(pool))
    assert not judged.keeps_slo and judged.worst_ratio > 1.05
    assert judged.seen.choice.name == "blind-hybrid" and len(pool) <= before + 1
