"""A judged run's twin, what is outside the engine, and the judgement."""

from dataclasses import replace

import numpy as np
import pytest

from bench.colocate.client import SloLabels
from bench.colocate.reading import read_arm
from bench.colocate.rehearsal import simulated_batch, simulated_engine, simulated_online
from bench.colocate.slices import TRACES, OfflinePrompts, Trace, cut
from bench.fidelity.arms import BUDGETS, Arm, arms_of, fixed_budgets, round_order
from bench.fidelity.judgement import Pair, compare, judge
from bench.fidelity.options import read_options
from bench.fidelity.outside import first_token_ms, one_at_a_time
from bench.fidelity.twin import JudgedRun, Twin, merged
from bench.harness import Figure
from bench.statistics import Verdict
from nodeagent.plugin_contract import MeasuredIteration
from planner.batching.decide import plan_iteration
from planner.latency.features import BatchShape
from planner.latency.predictor import default_model
from planner.latency.sample import IterationSample
from planner.simulation.measured import MeasuredTimes
from planner.simulation.replay import replay
from planner.simulation.workload import ClosedLoop
from planner.workload.generate import generate

_MODEL = default_model("cpu")
_TRACE = Trace(spec=TRACES["azure"], requests=generate(seed=1, duration_s=60.0), is_generated=True)
_ENGINE = simulated_engine(is_cpu=True, mixes=False, kv_tokens=32768, chunk_tokens=256, max_rows=48)
_OFFLINE = OfflinePrompts(seed=0)


def _times(*, ratio=1.0):
    shapes = [
        BatchShape(decode_rows=1 + i % 16, decode_context_tokens=200 * (1 + i % 16))
        if i % 3
        else BatchShape().with_prefill(new_tokens=16 + i % 200, cached_tokens=0)
        for i in range(400)
    ]
    return MeasuredTimes(
        _MODEL,
        [
            IterationSample(
                shape=s, measured_ms=ratio * _MODEL.predict_ms(s) * (0.9 + 0.2 * (i % 2))
            )
            for i, s in enumerate(shapes)
        ],
    )


def _twin(*, outside_ms=0.0, ratio=1.0):
    return Twin(
        settings=_ENGINE, model=_MODEL, times=_times(ratio=ratio), offline=_OFFLINE, window=8,
        outside_ms=outside_ms,
    )  # fmt: skip


def _judged(name="D@loose", *, seconds=12.0):
    arm = next(a for a in arms_of(_MODEL, budgets=["loose"]) if a.name == name)
    online = cut(
        _TRACE, number=0, count=round(seconds * 1.5), requests_per_s=1.5, length_scale=1 / 8,
        max_context_tokens=4096, seed=0,
    )  # fmt: skip
    return JudgedRun(
        arm=arm,
        online=online if arm.has_online else None,
        labels=SloLabels(),
        duration_s=online.duration_s,
        settle_s=2.0,
    )


def _reading(name="D@loose", *, seed=0, **twin):
    return _twin(**twin).simulate(_judged(name), pace_ratio=1.0, seeds=[seed]).reading


# ---------------------------------------------------------------- the twin


def test_twin_counts_what_the_replay_counts_when_clients_read_it() -> None:
    """Latencies and output tokens exactly; prompts to the item on its way at either end."""
    judged = _judged()
    run, _ = _twin()._once(judged, pace_ratio=1.0, seed=3)
    replayed = replay(
        settings=_ENGINE, policy=plan_iteration, model=_MODEL, budgets=judged.arm.budgets,
        truth=_times().truth(seed=3),
        scheduled=simulated_online(judged.online, SloLabels(), at_s=2.0),
        clients=(ClosedLoop(source=simulated_batch(_OFFLINE), in_flight=8),),
        from_s=2.0, to_s=2.0 + judged.duration_s,
    )  # fmt: skip
    reading = read_arm(run, arm="D")
    assert reading.ttft == pytest.approx(replayed.ttft)
    assert reading.itl == pytest.approx(replayed.itl)
    assert reading.offline_output_tokens_per_s * judged.duration_s == pytest.approx(
        replayed.offline_output_tokens
    )
    assert replayed.offline_prompt_tokens > 0
    difference = reading.offline_prompt_tokens_per_s * judged.duration_s
    assert abs(difference - replayed.offline_prompt_tokens) <= 2 * 384 * 2


def test_time_outside_the_engine_is_in_every_ttft_and_in_no_gap() -> None:
    """Online alone, where nothing else depends on it."""
    near, far = _reading("A"), _reading("A", outside_ms=7.0)
    for before, after in zip(near.blocks, far.blocks, strict=True):
        np.testing.assert_allclose(after.ttft_ms, before.ttft_ms + 7.0)
        np.testing.assert_allclose(after.itl_ms, before.itl_ms, atol=1e-6)


def test_batch_alone_has_no_online_requests_when_simulated() -> None:
    """And online alone no batch."""
    batch, alone = _reading("E"), _reading("A")
    assert batch.ttft.count == 0 and batch.offline_tokens_per_s > 0
    assert alone.offline_tokens_per_s == 0 and alone.ttft.count == 18


def test_runs_of_several_seeds_are_one_reading_when_merged() -> None:
    """Samples of all, tokens in the mean; blocks as before."""
    one, other = _reading(seed=1), _reading(seed=2)
    both = merged([one, other])
    assert len(both.blocks) == len(one.blocks)
    assert sum(len(b.ttft_ms) for b in both.blocks) == 2 * one.ttft.count
    tokens = (one.offline_tokens_per_s + other.offline_tokens_per_s) / 2
    assert both.offline_tokens_per_s == pytest.approx(tokens, rel=0.01)


def test_slower_machine_is_slower_in_simulation_when_its_pace_says_so() -> None:
    """A pace of 1.5 is passes half as long again."""
    twin, judged = _twin(), _judged("A")
    fast = twin.simulate(judged, pace_ratio=1.0, seeds=[1]).reading
    slow = twin.simulate(judged, pace_ratio=1.5, seeds=[1]).reading
    assert slow.itl.p50 == pytest.approx(1.5 * fast.itl.p50, rel=0.05)


# ---------------------------------------------------------------- the loads


def test_budgets_bind_less_by_name_when_fixed_on_a_model() -> None:
    """Each of the four limits that are set grows from tight to loose."""
    found = [fixed_budgets(_MODEL, name=name) for name in BUDGETS]
    for field in ("latency_budget_ms", "max_stall_ms", "idle_budget_ms"):
        values = [getattr(budgets, field) for budgets in found]
        assert values == sorted(values) and len(set(values)) == len(values)


def test_loads_take_turns_in_being_first_when_rounds_go_on() -> None:
    """None is always first."""
    arms = arms_of(_MODEL, budgets=BUDGETS)
    assert [round_order(arms, number=n)[0].name for n in range(5)] == [a.name for a in arms]


def test_default_run_is_of_the_tightest_and_the_loosest_budgets() -> None:
    """A quick one is shorter in everything."""
    usual, quick = (read_options(a, budgets=BUDGETS) for a in ([], ["--quick"]))
    assert usual.budgets == ("tight", "loose")
    assert usual.load.rounds == {"azure": 3} and quick.load.rounds == {"azure": 1}
    assert quick.mixed_s < usual.mixed_s and quick.load.least_s < usual.load.least_s


# ---------------------------------------------------------------- outside the engine


def _pass(ms, *, prompt):
    shape = BatchShape(prefill_rows=1, prefill_tokens=9) if prompt else BatchShape(decode_rows=1)
    return MeasuredIteration(
        sequence=0, shape=shape, measured_ms=ms, predicted_ms=0.0, bound_ms=0.0, budget_ms=0.0
    )


def test_first_token_takes_all_chunks_and_one_decode_when_requests_run_alone() -> None:
    """Of three requests, one in two chunks; later decodes are not in it."""
    series = [(40, 1), (30, 1), (5, 0), (6, 0), (20, 1), (7, 0), (8, 0), (9, 0), (21, 1), (4, 0)]
    passes = [_pass(float(ms), prompt=bool(prompt)) for ms, prompt in series]
    assert first_token_ms(passes) == [75.0, 27.0, 25.0]
    assert first_token_ms(passes[3:]) == [27.0, 25.0]  # the rest of an earlier request


def test_requests_are_apart_when_sent_one_at_a_time() -> None:
    """Same prompts."""
    online = _judged().online
    alone = one_at_a_time(online)
    gaps = {b.at_s - a.at_s for a, b in zip(alone.requests, alone.requests[1:], strict=False)}
    assert gaps == {0.5} and alone.prompts == online.prompts


# ---------------------------------------------------------------- the judgement


def _pair(*, ratio=1.0, rounds=3):
    arm = Arm(name="D@loose", budgets=fixed_budgets(_MODEL, name="loose"))
    measured = tuple(_reading(seed=n) for n in range(rounds))
    simulated = tuple(
        replace(
            r,
            blocks=tuple(
                replace(b, ttft_ms=b.ttft_ms * ratio, itl_ms=b.itl_ms * ratio) for b in r.blocks
            ),
        )
        for r in measured
    )
    return Pair(arm=arm, measured=measured, simulated=simulated)


def _verdicts(figures: list[Figure]) -> set[Verdict | None]:
    return {figure.verdict for figure in figures if "offline" not in figure.name}


def test_targets_are_met_when_both_sides_are_the_same() -> None:
    """All five of a load with a batch."""
    figures = judge("azure", [_pair()], seed=0, replicates=60)
    assert [figure.value for figure in figures] == [0.0] * 5
    assert _verdicts(figures) == {Verdict.MET}


@pytest.mark.parametrize("ratio", [1.4, 0.7])
def test_targets_are_not_met_when_simulation_is_off_to_either_side(ratio) -> None:
    """By more than any of them allows; what is compared says by how much."""
    pair = _pair(ratio=ratio)
    assert _verdicts(judge("azure", [pair], seed=0, replicates=60)) == {Verdict.NOT_MET}
    ratios = {c.name: c.ratio for c in compare([pair])}
    assert ratios["D@loose TTFT p50"] == pytest.approx(ratio)
    assert ratios["D@loose offline"] == pytest.approx(1.0)


def test_limits_are_those_of_the_claim() -> None:
    """p50 within 15 %, p99 within 25 %, throughput within 10 %."""
    figures = judge("azure", [_pair(rounds=1)], seed=0, replicates=60)
    found = {
        f.name.split(" ", 1)[1].split(",")[0].removeprefix("D@loose "): f.target for f in figures
    }
    assert found == {
        "TTFT p50": "<= 0.15", "TTFT p99": "<= 0.25", "ITL p50": "<= 0.15", "ITL p99": "<= 0.25",
        "offline": "<= 0.1",
    }  # fmt: skip
