"""Frontiers from the simulator: what they promise holds, and well beyond them it does not."""

import itertools
from dataclasses import fields, replace

import pytest

from nodeagent.engine.command import EngineNeeds
from planner.batching.baselines.blind_hybrid import BlindHybrid
from planner.batching.state import Budgets
from planner.hardware.device import device_named
from planner.hardware.machine import build_machine
from planner.hardware.model import model_named
from planner.hardware.oracle import oracle_model
from planner.interference.derive import Probing, derive_frontier, derive_offline_only
from planner.interference.derive_mix import RequestMix, work_of
from planner.interference.derive_replica import Engine, Replica, run
from planner.interference.frontier import offline_limit, online_limit
from planner.model import Slo
from planner.simulation import probe

MODEL = model_named("llama3-8b")
H100 = build_machine(device_named("h100"), MODEL)
A100 = build_machine(device_named("a100-80gb"), MODEL)
ONLINE = RequestMix.around(prompt_tokens=500.0, output_tokens=120.0, context_tokens=8192)
OFFLINE = RequestMix.around(prompt_tokens=900.0, output_tokens=150.0, context_tokens=8192)
SLO = Slo(ttft_ms=500.0, tpot_ms=30.0)
ENGINE = Engine(  # 32 ms a chunk on an H100: a scheduler that fills it misses the SLO
    kv_cache_tokens=300_000,
    max_running_requests=256,
    chunked_prefill_size=1024,
    offline_in_flight=64,
)
PROBING = Probing(requests=100, levels=2, seed=3)
BRIEF = Probing(requests=40, levels=1, seed=3)
REPLICA = Replica(
    machine=H100,
    reference=A100,
    online=ONLINE,
    offline=OFFLINE,
    engine=ENGINE,
)


def derive(machine, *, slo=SLO, probing=PROBING):
    return derive_frontier(
        machine,
        slo=slo,
        online=ONLINE,
        offline=OFFLINE,
        reference=A100,
        engine=ENGINE,
        probing=probing,
    )


@pytest.fixture(scope="module")
def derived():
    """On an H100, work counted on an A100."""
    return derive(H100)


@pytest.fixture(scope="module")
def ceiling():
    """The same replica without online requests."""
    return derive_offline_only(
        H100, offline=OFFLINE, reference=A100, engine=ENGINE, probing=PROBING
    )


def test_derived_frontier_falls_and_is_concave(derived):
    """Each unit of online work costs at least as much offline work as the one before."""
    end = online_limit(derived.frontier)
    heights = [offline_limit(derived.frontier, end * i / 40) for i in range(41)]
    losses = [one - other for one, other in itertools.pairwise(heights)]

    assert derived.frontier.source == "derived"
    assert end > 0.0
    assert heights[0] > 0.0
    assert losses == pytest.approx(sorted(losses), abs=1e-6)
    assert losses[0] >= 0.0


def test_derived_frontier_promises_no_more_than_its_levels_showed(derived):
    """At each level that was simulated, the curve lies at or under what was done."""
    for level in derived.levels:
        if level.online_work <= derived.frontier.max_online_work:
            promised = offline_limit(derived.frontier, level.online_work)
            assert promised <= level.seen.offline_work + 1e-6
        assert level.seen.keeps(SLO)


def test_derived_frontier_lies_within_the_ceilings(derived, ceiling):
    """Offline work of the replica alone; online work at which queues grow."""
    most = offline_limit(ceiling.frontier, 0.0)
    assert online_limit(ceiling.frontier) == 0.0
    assert offline_limit(derived.frontier, 0.0) <= most * 1.02  # the windows differ

    rate = REPLICA.sustained_rate(ONLINE)
    work = work_of(ONLINE.sizes, reference=oracle_model(A100)) / len(ONLINE.sizes)
    assert online_limit(derived.frontier) <= rate * work


def test_derived_frontier_is_the_same_when_derived_again(derived):
    """A seed says everything, and another one something else."""
    assert derive(H100) == derived
    load = derived.levels[1].load
    assert run(REPLICA, replace(load, seed=load.seed + 1), slo=SLO) != derived.levels[1]


@pytest.mark.parametrize("seed", [11, 12])
def test_slo_is_kept_inside_when_the_draw_is_another(derived, seed):
    """At the even levels but the last: other arrivals, lengths and noise, near the same work."""
    for level in derived.levels[2:-1]:
        seen = run(REPLICA, replace(level.load, seed=seed), slo=SLO).seen
        assert seen.keeps(SLO)
        assert seen.offline_work >= 0.75 * level.seen.offline_work


def test_slo_is_broken_well_outside_when_online_load_is_too_much(derived):
    """Half as much again as the frontier bears, with no offline work at all."""
    last = derived.levels[-1].load
    alone = replace(last.budgets, enabled=False)
    beyond = run(
        REPLICA,
        replace(last, requests_per_s=1.5 * last.requests_per_s, budgets=alone),
        slo=SLO,
    )
    assert beyond.online_work > 1.2 * derived.frontier.max_online_work
    assert not beyond.seen.keeps(SLO)


def test_slo_is_broken_well_outside_when_offline_work_is_too_much(derived, monkeypatch):
    """A scheduler blind to latency does more of both than the frontier allows, and misses."""
    level = derived.levels[-2]
    monkeypatch.setattr(probe, "plan_iteration", BlindHybrid())
    blind = run(REPLICA, replace(level.load, budgets=Budgets()), slo=SLO)

    promised = offline_limit(derived.frontier, blind.online_work)
    assert blind.seen.offline_work > 1.2 * promised
    assert not blind.seen.keeps(SLO)


def test_faster_device_bears_more_when_work_counts_on_one_reference(derived, ceiling):
    """Frontiers of both count in an A100's milliseconds."""
    slower = derive(A100, probing=BRIEF)
    alone = derive_offline_only(
        A100, offline=OFFLINE, reference=A100, engine=ENGINE, probing=PROBING
    )

    assert online_limit(slower.frontier) < online_limit(derived.frontier)
    assert offline_limit(alone.frontier, 0.0) < offline_limit(ceiling.frontier, 0.0)


def test_derived_frontier_promises_little_when_the_first_requests_cost_most(derived):
    """Near no online load a run finds far less than at none; the curve heeds it."""
    none, near, *_ = derived.levels

    assert 0.0 < near.online_work < 0.2 * derived.frontier.max_online_work
    assert near.seen.offline_work < 0.9 * none.seen.offline_work
    assert offline_limit(derived.frontier, near.online_work) <= near.seen.offline_work


def test_replica_bears_no_online_work_when_the_slo_is_out_of_reach():
    """A token in two milliseconds: offline work remains."""
    derived = derive(A100, slo=Slo(ttft_ms=500.0, tpot_ms=2.0), probing=BRIEF)

    assert online_limit(derived.frontier) == 0.0
    assert offline_limit(derived.frontier, 0.0) > 0.0


@pytest.mark.parametrize(("kv_cache_tokens", "allowed"), [(32_768, 8192), (4000, 4000)])
def test_replica_is_refused_when_a_request_does_not_fit(kv_cache_tokens, allowed):
    """The context or the engine's KV is too short; the error says what is allowed."""
    long = RequestMix(sizes=((9_000, 100),))
    engine = Engine(kv_cache_tokens=kv_cache_tokens)
    with pytest.raises(ValueError, match=f"9100 tokens, context and KV allow {allowed}"):
        derive_offline_only(H100, offline=long, engine=engine)


def test_engine_is_started_as_agents_do_when_nobody_says():
    """A frontier of another engine than the one that runs would promise what it cannot."""
    needs = {f.name: f.default for f in fields(EngineNeeds)}
    assert Engine().chunked_prefill_size == needs["chunked_prefill_size"]
    assert Engine().max_running_requests == needs["max_running_requests"]
    assert Engine().kv_cache_tokens == needs["kv_cache_tokens"]


@pytest.mark.parametrize(("field", "value"), [("requests", 0), ("levels", 0), ("levels", 11)])
def test_probing_is_refused_when_it_looks_at_nothing_or_too_much(field, value):
    """At least one of each, and no more levels than a curve is drawn through."""
    with pytest.raises(ValueError, match=field):
        Probing(**{field: value})
