"""The report of a run, of an engine that is itself a simulation."""

import json

import pytest

from bench.colocate.arms import slo_relative_to
from bench.colocate.fitting import Fitted
from bench.colocate.probing import OnlineOnly
from bench.colocate.scale import Latencies
from bench.colocate.slices import TRACES, OfflinePrompts, Trace, cut
from bench.fidelity.arms import BUDGETS, arms_of
from bench.fidelity.calibrate import Calibrated, Load
from bench.fidelity.compare import judged_run
from bench.fidelity.measured import Bench, Measured
from bench.fidelity.options import read_options
from bench.fidelity.outside import Outside
from bench.fidelity.report import Findings, report_of
from bench.fidelity.twin import Twin
from bench.statistics import Verdict
from nodeagent.plugin_contract import MeasuredIteration
from planner.latency.features import BatchShape
from planner.latency.fit import FitReport
from planner.latency.predictor import default_model
from planner.latency.sample import IterationSample
from planner.simulation.measured import MeasuredTimes
from planner.simulation.settings import EngineSettings, Loop
from planner.workload.generate import generate

_MODEL = default_model("cpu")
_REPORT = FitReport(kind="decode", samples=0, is_accepted=False, reason="the default")
_TRACE = Trace(spec=TRACES["azure"], requests=generate(seed=1, duration_s=60.0), is_generated=True)
_SETTINGS = EngineSettings(
    kv_tokens=32768, chunked_prefill_size=256, max_running_requests=48, mixes=False,
    loop=Loop.OVERLAP_BLOCKING,
)  # fmt: skip
_RATE = 1.5


def _samples() -> list[IterationSample]:
    shapes = [
        BatchShape(decode_rows=1 + i % 16, decode_context_tokens=200 * (1 + i % 16))
        if i % 3
        else BatchShape().with_prefill(new_tokens=16 + i % 200, cached_tokens=0)
        for i in range(600)
    ]
    return [
        IterationSample(shape=s, measured_ms=_MODEL.predict_ms(s) * (0.95 + 0.1 * (i % 2)))
        for i, s in enumerate(shapes)
    ]


def _finished(*, rounds: int = 2, slower: float = 1.0) -> Findings:
    """A run whose engine was the simulation, at another pace than told where asked."""
    run = Findings(options=read_options(["--quick"], budgets=BUDGETS))
    times = MeasuredTimes(_MODEL, _samples())
    slices = [
        cut(_TRACE, number=n, count=18, requests_per_s=_RATE, length_scale=1 / 8,
            max_context_tokens=4096, seed=0)
        for n in range(rounds)
    ]  # fmt: skip
    twin = Twin(
        settings=_SETTINGS, model=_MODEL, times=times, offline=run.offline, window=32,
        outside_ms=4.0,
    )  # fmt: skip
    run.arms = arms_of(_MODEL, budgets=["tight", "loose"])
    run.bench = Bench(
        None,
        "plugin",
        times=times,
        offline=OfflinePrompts(seed=0),
        window=32,
        gauge=slices[0],
        gauge_s=1.0,
    )
    found: dict[str, list[Measured]] = {arm.name: [] for arm in run.arms}
    load = Load(trace=_TRACE, rate=_RATE, slo=slo_relative_to(_alone(), tolerance_ratio=0.5))
    for number, online in enumerate(slices):
        for arm in run.arms:
            run.bench.paces.append(1.0)
            judged = judged_run(arm, online, load, settle_s=1.0)
            simulated = twin.simulate(judged, pace_ratio=slower, seeds=[77 + number])
            passes = tuple(
                MeasuredIteration(
                    sequence=i, shape=s.shape, measured_ms=s.measured_ms * slower,
                    predicted_ms=0.0, bound_ms=0.0, budget_ms=0.0,
                )
                for i, s in enumerate(_samples())
            )  # fmt: skip
            found[arm.name].append(
                Measured(
                    judged=judged, gauge=len(run.bench.paces) - 1, reading=simulated.reading,
                    passes=passes, counters={"passes": simulated.counters.passes},
                )
            )  # fmt: skip
    run.measured, run.slices = {"azure": found}, {"azure": slices}
    latencies = Latencies.of_arms([found["A"][0].reading])
    run.calibrated = Calibrated(
        fitted=Fitted(
            model=_MODEL, decode=_REPORT, prefill=_REPORT, samples=0, noise_ratio=0.05
        ),
        times=times, settings=_SETTINGS, outside=Outside(samples_ms=(3.0, 4.0, 6.0)),
        alone=OnlineOnly(
            seconds=1.0, passes=1, busy_ratio=0.5, plugin_ratio=0.0, latencies=latencies
        ),
        gauge=slices[0],
        loads=(load,),
    )  # fmt: skip
    return run


def _report(findings: Findings, cause: str = ""):
    return report_of(findings, cause=cause, tell=lambda _: None)


def _alone() -> dict[str, float]:
    ms = {"ttft_mean": 70.0, "ttft_p50": 60.0, "ttft_p99": 300.0}
    return ms | {"itl_mean": 12.0, "itl_p50": 11.0, "itl_p99": 60.0}


def test_report_finds_the_simulation_faithful_when_the_engine_is_the_simulation() -> None:
    """Nothing of it is off by more than chance, and everything is JSON."""
    report, invalid = _report(_finished())
    assert not invalid
    assert len(report.figures) == 4 + 5 + 5 + 1
    assert Verdict.NOT_MET not in {figure.verdict for figure in report.figures}
    values = json.loads(json.dumps(report.as_values()))
    compared = values["samples"]["azure"]["compared"]["pace_around"]
    for name in ("A TTFT p50", "A ITL p50", "D@loose ITL p50", "E offline"):
        both = compared[name]
        assert both["simulated"] == pytest.approx(both["measured"], rel=0.1)
    assert values["samples"]["outside_engine"]["ttft_ms"] == 4.0
    assert values["configuration"]["loads"]["A"] is None
    paces = values["samples"]["azure"]["measured"]["E"][0]["own_paces"]
    assert paces == {
        "decode, batch": pytest.approx(1.0, abs=0.06),
        "prompt, batch": pytest.approx(1.0, abs=0.06),
    }


def test_report_says_so_when_the_engine_was_slower_than_its_gauge() -> None:
    """Not met; simulated at the pace of its own iterations it would be."""
    report, _ = _report(_finished(rounds=1, slower=1.5))
    verdicts = {f.name.split(",")[0]: f.verdict for f in report.figures}
    assert verdicts["azure: A ITL p50"] is Verdict.NOT_MET
    assert verdicts["azure: E offline"] is Verdict.NOT_MET
    compared = report.samples["azure"]["compared"]
    for name in ("A ITL p50", "E offline"):
        own, around = (compared[view][name] for view in ("own_pace", "pace_around"))
        assert own["simulated"] == pytest.approx(own["measured"], rel=0.1)
        assert around["simulated"] != pytest.approx(around["measured"], rel=0.2)


@pytest.mark.parametrize("cause", ["interrupted", "engine plugin: ended with status -9"])
def test_what_was_measured_is_written_when_a_run_ends_early(cause: str) -> None:
    """Whole rounds are judged still, unless somebody waits for the end."""
    run = _finished()
    run.measured["azure"]["E"].pop()
    report, invalid = _report(run, cause)
    assert invalid[0] == f"the run ended early: {cause}"
    measured = report.samples["azure"]["measured"]
    assert [len(measured[name]) for name in ("A", "E")] == [2, 1]
    assert bool(report.figures) is (cause != "interrupted")
    json.dumps(report.as_values())


def test_an_empty_report_is_written_when_the_engine_never_started() -> None:
    """With its cause."""
    run = Findings(options=read_options(["--quick"], budgets=BUDGETS))
    report, invalid = _report(run, "engine plugin: not ready")
    assert not report.figures and invalid == ["the run ended early: engine plugin: not ready"]
    json.dumps(report.as_values())
