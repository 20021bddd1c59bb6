"""Arms, their order and their SLOs; readings; figures."""

import math
from pathlib import Path

import numpy as np
import pytest

from bench.colocate.arms import (
    ArmKind,
    arms_of,
    attained_slo,
    pooled_metrics,
    round_order,
    slo_of,
)
from bench.colocate.client import ArmRun, OfflineTally
from bench.colocate.engines import EngineSpec, command_of
from bench.colocate.judgement import Judge
from bench.colocate.reading import METRICS, ArmReading, ArmSamples, read_arm
from bench.colocate.validity import problems
from bench.harness import Figure
from bench.statistics import Verdict, whole
from controlplane.load.record import RequestRecord
from planner.slo import Chunk, Outcome, RequestTrace

_ARMS = arms_of(caps=[1, 4], tolerances=[0.1, 0.5], only=[])


def _run(
    *, scale: float = 1.0, offline_per_s: int = 0, seconds: float = 9.0, seed: int = 0
) -> ArmRun:
    """Nine requests a second; latencies vary with the seed and grow with the scale."""
    source = np.random.default_rng(seed)
    began_s, records = 1000.0, []
    for index in range(int(seconds * 9)):
        scheduled_s = began_s + index / 9.0
        at_s = scheduled_s + scale * source.gamma(2.0, 0.03)
        chunks = [Chunk(at_s=at_s, tokens=1)]
        for _ in range(5):
            at_s += scale * source.gamma(2.0, 0.005)
            chunks.append(Chunk(at_s=at_s, tokens=1))
        trace = RequestTrace(
            scheduled_s=scheduled_s, chunks=tuple(chunks), outcome=Outcome.COMPLETED
        )
        records.append(
            RequestRecord(index=index, trace=trace, sent_s=scheduled_s, prompt_tokens=10)
        )
    tally = OfflineTally()
    for tick in range(int(-2 / 0.1), int((seconds + 2) / 0.1)):  # before and after as well
        tally.prompts.append((began_s + (tick + 0.5) * 0.1, offline_per_s // 10))
    return ArmRun(
        began_s=began_s, duration_s=seconds, records=tuple(records), offline=tally,
        client_cpu_ratio=0.1,
    )  # fmt: skip


def _reading(name: str, **changed: float) -> ArmReading:
    return read_arm(_run(**changed), arm=name)  # type: ignore[arg-type]


def _judged(readings: dict[str, list[ArmReading]], only: list[str]) -> dict[str, Figure]:
    arms = arms_of(caps=[1, 4], tolerances=[0.1, 0.5], only=only)
    judge = Judge(trace="t", arms=arms, readings=readings, seed=0, replicates=100)
    return {figure.name.removeprefix("t: "): figure for figure in judge.figures()}


# ---------------------------------------------------------------- arms


@pytest.mark.parametrize("rounds", [1, 2, 3, 5])
def test_every_slo_is_measured_first_when_a_round_is_rotated(rounds: int) -> None:
    """In the first round by order, later by the rounds before; none is left out."""
    measured: set[str] = set()
    for number in range(rounds):
        order = round_order(_ARMS, number=number, rounds=rounds)
        assert sorted(a.name for a in order) == sorted(a.name for a in _ARMS)
        for arm in order:
            assert set(arm.needs) <= measured, (number, arm.name)
            measured.add(arm.name)


def test_first_arm_changes_when_rounds_go_on() -> None:
    """What drifts over a round does not always hit the same arm."""
    firsts = {round_order(_ARMS, number=n, rounds=3)[0].name for n in range(3)}
    assert len(firsts) == 3


def test_what_an_arm_needs_is_kept_when_only_it_is_asked_for() -> None:
    """An arm at a cap's latencies needs the cap and online alone."""
    assert [a.name for a in arms_of(caps=[1, 4], tolerances=[0.1], only=["D@C4"])] == [
        "A", "C4", "D@C4",
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"arms \['X'\]: there are"):
        arms_of(caps=[1], tolerances=[], only=["X"])


def test_slo_allows_the_stated_growth_when_it_is_relative() -> None:
    """Tails 1.15 and 1.10 at every tolerance; mean and median by the tolerance."""
    alone = [_reading("A")]
    pooled = pooled_metrics(alone)
    arm = next(a for a in _ARMS if a.name == "D@50%")
    slo = slo_of(arm, {"A": alone})
    growth = {name: slo.limits_ms[name] / pooled[name] for name in METRICS}
    assert growth == pytest.approx(
        {"ttft_mean": 1.5, "ttft_p50": 1.5, "ttft_p99": 1.15,
         "itl_mean": 1.5, "itl_p50": 1.5, "itl_p99": 1.1}
    )  # fmt: skip
    assert attained_slo(alone).ttft_ms == pytest.approx(slo.ttft_ms)


def test_slo_is_the_caps_own_median_and_tail_when_at_a_cap() -> None:
    """Means are free; without the cap measured there is no SLO."""
    alone, cap = [_reading("A")], [_reading("C4", scale=2.0)]
    arm = next(a for a in _ARMS if a.name == "D@C4")
    slo = slo_of(arm, {"A": alone, "C4": cap})
    expected = {n: v for n, v in pooled_metrics(cap).items() if not n.endswith("mean")}
    assert dict(slo.limits_ms) == pytest.approx(expected)
    with pytest.raises(ValueError, match="needs arm C4 measured first"):
        slo_of(arm, {"A": alone, "C4": []})


# ---------------------------------------------------------------- readings


def test_blocks_hold_every_request_and_only_the_judged_time_when_read() -> None:
    """Offline tokens before and after do not count; requests count where scheduled."""
    reading = _reading("A", offline_per_s=500.0, seconds=8.0)
    assert [b.duration_s for b in reading.blocks] == [3.0, 3.0, 2.0]
    assert [len(b.ttft_ms) for b in reading.blocks] == [27, 27, 18]
    assert reading.offline_tokens_per_s == pytest.approx(500.0)
    assert reading.total_tokens_per_s == pytest.approx(500.0 + 9 * (10 + 6))
    assert reading.ttft.count == 72
    assert reading.itl.count == 72 * 5


def test_metrics_of_all_blocks_equal_the_quantiles_when_nothing_is_resampled() -> None:
    """The bootstrap's point is the figure of the table."""
    reading = _reading("A")
    draw = whole([len(reading.blocks)])
    for name in METRICS:
        assert ArmSamples((reading,)).metric(name, draw) == pytest.approx(reading.metric(name))


# ---------------------------------------------------------------- figures


def test_figures_are_met_when_latencies_are_those_of_online_alone() -> None:
    """An arm that is online alone but for the batch meets every latency target."""
    readings = {
        "A": [_reading("A", seed=s) for s in range(3)],
        "D@10%": [_reading("D", seed=s, offline_per_s=900.0) for s in range(3)],
        "E": [_reading("E", seed=s, offline_per_s=2000.0) for s in range(3)],
    }
    figures = _judged(readings, ["A", "D@10%", "E"])
    latencies = [f for name, f in figures.items() if name.endswith("/ A") and f.target]
    assert len(latencies) == len(METRICS)
    assert {f.verdict for f in latencies} == {Verdict.MET}
    assert figures["D@10% harvest (offline / E)"].value == pytest.approx(0.45)


def test_figures_are_not_met_when_latencies_double() -> None:
    """And those of stock priority scheduling break the SLO."""
    readings = {
        "A": [_reading("A", seed=s) for s in range(3)],
        "D@10%": [_reading("D", seed=s, scale=2.0) for s in range(3)],
        "B": [_reading("B", seed=s, scale=3.0) for s in range(3)],
    }
    figures = _judged(readings, ["A", "D@10%", "B"])
    latencies = [f for n, f in figures.items() if n.startswith("D@10%") and f.target]
    assert {f.verdict for f in latencies if f.name.endswith("/ A")} == {Verdict.NOT_MET}
    assert figures["B worst latency over the SLO of the first tolerance"].met is True


def test_caps_are_interpolated_when_their_latencies_straddle_the_slo() -> None:
    """Cap 1 within it at 300 tokens/s counts whole; cap 4 far beyond hardly at all."""
    readings = {
        "A": [_reading("A")],
        "C1": [_reading("C1", offline_per_s=300.0)],
        "C4": [_reading("C4", offline_per_s=1300.0, scale=2.0)],
        "D@10%": [_reading("D", offline_per_s=600.0)],
    }
    figure = _judged(readings, list(readings))["D@10% offline / caps interpolated to its SLO"]
    # All metrics double from cap 1 to cap 4: the tightest limit, 1.1, is a tenth of the way.
    assert figure.value == pytest.approx(600.0 / 400.0, rel=0.02)


def test_offline_work_at_a_cap_is_compared_with_that_cap_when_paired() -> None:
    """Twice the work at the cap's latencies: both figures are met."""
    readings = {
        "A": [_reading("A")],
        "C4": [_reading("C4", offline_per_s=500.0, scale=1.5)],
        "D@C4": [_reading("D", offline_per_s=1000.0, scale=1.4)],
    }
    figures = _judged(readings, list(readings))
    assert figures["D@C4 offline / C4"].value == pytest.approx(2.0)
    assert figures["D@C4 offline / C4"].met is True
    assert figures["D@C4 worst of p50 and p99 / C4"].met is True


# ---------------------------------------------------------------- validity


def test_run_is_invalid_when_an_arm_does_more_than_the_batch_alone() -> None:
    """A harvest over 100 % means that the ceiling was not one."""
    readings = {
        "D@10%": [_reading("D", offline_per_s=900.0)],
        "E": [_reading("E", offline_per_s=800.0)],
    }
    assert any("112% of what the batch alone does" in p for p in problems("t", readings))
    assert problems("t", {"A": [_reading("A")]}) == []


def test_run_is_invalid_when_requests_fail_or_others_use_the_machine() -> None:
    """Each cause is a sentence with arm, round, value and bound."""
    run = _run()
    broken = RequestTrace(scheduled_s=1000.0, chunks=(), outcome=Outcome.FAILED)
    records = (RequestRecord(index=0, trace=broken, sent_s=1000.05, prompt_tokens=1),)
    late = ArmRun(
        began_s=run.began_s, duration_s=run.duration_s, records=records, offline=run.offline,
        client_cpu_ratio=0.9,
    )  # fmt: skip
    reading = read_arm(late, arm="A", idle_engine_cpu_s=1.0, foreign_cores=0.5)
    assert math.isclose(reading.lateness_p99_ms, 50.0, rel_tol=1e-3)
    assert len(problems("t", {"A": [reading]})) == 5


def test_arm_kinds_say_what_runs_when_asked() -> None:
    """Online alone has no batch, the batch alone no online."""
    kinds = {a.kind: (a.has_online, a.has_offline) for a in _ARMS}
    assert kinds[ArmKind.ONLINE] == (True, False)
    assert kinds[ArmKind.BATCH] == (False, True)
    assert kinds[ArmKind.SLACKTIDE] == (True, True)


# ---------------------------------------------------------------- engines


def _argv(*, device: str, has_plugin: bool, **changed: object) -> tuple[set[str], dict[str, str]]:
    spec = EngineSpec(
        name="x", model_path=Path("/m"), device=device, has_plugin=has_plugin, **changed
    )  # type: ignore[arg-type]
    command = command_of(spec, port=20000, environment={"PATH": "/bin"})
    return set(command.argv), dict(command.environment)


def test_engines_differ_in_the_plugin_alone_when_they_are_compared() -> None:
    """Equal flags; stock loads no plugin, the CPU platform it needs all the same."""
    stock, stock_environment = _argv(device="cpu", has_plugin=False)
    plugin, plugin_environment = _argv(device="cpu", has_plugin=True)
    assert stock == plugin
    assert "--enable-priority-scheduling" in stock
    assert "--enable-mixed-chunk" not in stock
    different = {k for k in stock_environment if stock_environment[k] != plugin_environment[k]}
    assert different == {"SGLANG_PLUGINS"}
    assert stock_environment["SGLANG_PLUGINS"] == "none"


def test_engine_keeps_sglangs_own_sizes_when_none_are_given() -> None:
    """On a GPU: its own chunk and KV, mixed chunk on, a share of the memory."""
    argv, _ = _argv(
        device="cuda", has_plugin=True, kv_cache_tokens=None, chunked_prefill_size=None,
        memory_ratio=0.4, dtype="bfloat16",
    )  # fmt: skip
    assert not any(a.startswith(("--max-total-tokens", "--chunked-prefill-size")) for a in argv)
    assert {"--enable-mixed-chunk", "--mem-fraction-static=0.4", "--dtype=bfloat16"} <= argv
    cpu, _ = _argv(device="cpu", has_plugin=False, mixed_chunk=True)
    assert "--enable-mixed-chunk" in cpu
