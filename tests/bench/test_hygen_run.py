"""The bench end to end, on what it has without any trace; and what its options run."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from bench import harness
from bench.hygen import run as module
from bench.hygen import settings
from bench.hygen.cells import ARRIVAL, CELLS, PAIRS, Cell
from bench.hygen.panel import run_panel
from bench.hygen.settings import SETTINGS, Spec
from planner.replay.predictors import Predictor

CELL = Cell(metrics=("itl_mean",), tolerance_ratio=0.5)


def jobs(*arguments):
    return module._jobs(module._parser().parse_args(arguments))


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """An empty folder for traces and results."""
    (tmp_path / "traces").mkdir()
    monkeypatch.setenv(settings.TRACES_VARIABLE, str(tmp_path / "traces"))
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    for cached in (settings.machine_of, settings._trace, settings._arxiv_lengths):
        cached.cache_clear()
    yield tmp_path
    for cached in (settings.machine_of, settings._trace, settings._arxiv_lengths):
        cached.cache_clear()


def test_bench_runs_without_traces_and_says_what_stands_in(alone, monkeypatch, capsys):
    """Options to report, in processes of its own: two policies, one SLO, one short slice."""
    monkeypatch.setattr(module, "CELLS", (CELL,))
    monkeypatch.setattr(module, "PAIRS", ())
    monkeypatch.setattr(module, "AS_THEY_ARE", ())
    monkeypatch.setattr(module, "TUNED", ("hygen", "slacktide"))
    options = "--quick --settings hygen --slices 1 --duration 3 --predictors --errors --processes 1"
    assert module.main(options.split()) == 0
    report = json.loads((alone / "hygen.json").read_text())
    assert report["configuration"]["settings"] == {
        "hygen": {
            "online": "generated, like Azure's",
            "offline": "generated, like arxiv",
            "machine": "a100-40gb llama2-7b tp1 (derived)",
        }
    }
    assert report["configuration"]["slice_s"] == 3.0 and report["configuration"]["slices"] == 1
    (title,) = report["samples"]
    (sample,) = report["samples"][title]
    assert title == "hygen 1/s" and sample["predictor"] == "fitted"
    entries = {entry["policy"]: entry for entry in sample["judged"]}
    assert set(entries) == {"hygen", "slacktide"}
    kept = [entry for entry in entries.values() if entry["keeps_slo"]]
    assert kept and all(entry["worst_ratio"] <= 1.0 for entry in kept)
    assert len(sample["bounds"]) == len(entries)
    assert {f["name"]: f["value"] for f in report["figures"]}[
        "hygen 1/s: Slacktide and a batch, simulated seconds a second of one core"
    ] > 0
    assert all(0.0 <= bound["ratio"] <= 1.0 for bound in sample["bounds"])
    figures = {figure["name"]: figure["value"] for figure in report["figures"]}
    for policy, shown in (("hygen", "HyGen†"), ("slacktide", "Slacktide")):
        share = figures[f"hygen 1/s: {shown} keeps the SLO, share of cells"]
        assert share == float(entries[policy]["keeps_slo"])
    table = capsys.readouterr().out
    assert "hygen 1/s: offline tokens/s, medians of 1 slice(s)" in table


def test_run_that_ends_early_leaves_the_titles_it_has(alone, monkeypatch):
    """And names the slices it lacks."""
    panel = module.run_panel(
        settings.Spec(setting="hygen", rate=1.0, number=1, duration_s=3.0),
        policies=("hygen",),
        cells=(CELL,),
        has_bounds=False,
    )

    def one_then_none(found, *, processes):
        yield 0, panel
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_run", one_then_none)
    monkeypatch.setattr(module, "CELLS", (CELL,))
    monkeypatch.setattr(module, "PAIRS", ())
    with pytest.raises(KeyboardInterrupt):
        module.main(
            [
                "--settings",
                "hygen",
                "--rates",
                "1",
                "--slices",
                "1",
                "--errors",
                "0.2",
                "--predictors",
                "oracle",
            ]
        )
    report = json.loads((alone / "hygen.json").read_text())
    assert list(report["samples"]) == ["hygen 1/s"] and report["figures"]
    assert report["configuration"]["not_run"] == [
        "hygen 1/s, predictor oracle",
        "hygen 1/s, prediction error 20%",
    ]


def test_bench_that_is_stopped_stops_its_workers(tmp_path):
    """A worker's slice takes minutes; SIGTERM is how a bench is stopped."""
    options = ["--settings", "hygen", "--rates", "1", "--duration", "600", "--processes", "2"]
    bench = subprocess.Popen(
        [sys.executable, "-m", "bench", "hygen", *options],
        cwd=Path(module.__file__).parents[2],
        env=os.environ | {settings.TRACES_VARIABLE: str(tmp_path)},
        stderr=subprocess.DEVNULL,
    )
    itself = psutil.Process(bench.pid)
    deadline = time.monotonic() + 60.0
    while len(workers := itself.children()) < 3:  # two, and multiprocessing's resource tracker
        assert bench.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    bench.terminate()
    assert bench.wait(timeout=60.0) != 0
    _, alive = psutil.wait_procs(workers, timeout=30.0)
    assert not alive


def test_no_slice_is_judged_that_the_model_was_fitted_on():
    """Slices begin at 1, and are as long as the fit's or longer by default."""
    found = jobs()
    assert all(job.spec.number != settings._FIT_SLICE for job in found)
    assert all(job.spec.duration_s >= settings._FIT_S for job in found)


def test_every_setting_has_its_policies_and_slos():
    """Once by the fitted model; bounds on the first slice of a rate alone."""
    found = jobs("--errors", "--predictors", "--slices", "3")
    expected = Counter(
        (name, rate, number)
        for name, setting in SETTINGS.items()
        for rate in setting.rates
        for number in range(1, (3 if name == "hygen" else 1) + 1)
    )
    assert Counter((j.spec.setting, j.spec.rate, j.spec.number) for j in found) == expected
    assert all(job.spec.predictor is Predictor.FITTED for job in found)
    assert all(job.has_bounds == (job.spec.number == 1) for job in found)
    for job in found:
        if job.spec.setting == "hygen":
            assert job.cells == (*CELLS, *PAIRS)
        if job.spec.setting == "mmlu":
            assert job.policies == ("hygen", "slacktide", ARRIVAL)
        else:
            assert set(job.policies) > {"hygen", "slacktide", "rate-cap", "blind-hybrid"}


def test_predictors_and_errors_are_of_hygens_setting_and_its_rivals_pair():
    """The same slices by HyGen's features and by the oracle; the oracle with each error."""
    found = jobs("--settings", "hygen", "mmlu", "--slices", "1", "--errors", "0.05", "0.2")
    kinds = Counter(job.spec.predictor for job in found if not job.spec.error_ratio)
    rates = len(SETTINGS["hygen"].rates)
    assert kinds == {Predictor.FITTED: rates + 1, Predictor.HYGEN: rates, Predictor.ORACLE: rates}
    blurred = [job for job in found if job.spec.error_ratio]
    assert [(job.spec.rate, job.spec.error_ratio) for job in blurred] == [
        (rate, error) for rate in SETTINGS["hygen"].rates for error in (0.05, 0.2)
    ]
    assert all(job.spec.predictor is Predictor.ORACLE for job in blurred)
    for job in found:
        if job.spec.predictor is not Predictor.FITTED:
            assert job.policies == ("hygen", "slacktide") and job.spec.setting == "hygen"
    assert len({job.title for job in found}) == len(found)


def test_errors_are_at_the_rates_asked_for():
    """Each has a table of its own, which names its rate; without them it is one rate if quick."""
    for asked, rates in (
        (("--rates", "1.5", "4"), (1.5, 4.0)),
        (("--quick",), SETTINGS["hygen"].rates[:1]),
    ):
        found = jobs(*asked, "--settings", "hygen", "--errors", "0.1", "--predictors")
        blurred = {job.title: job.spec.rate for job in found if job.spec.error_ratio}
        assert blurred == {f"hygen {rate:g}/s, prediction error 10%": rate for rate in rates}


def test_panel_is_the_same_when_run_again(alone):
    """Another seed is another slice; the ceiling is the best of its chunks."""
    spec = Spec(setting="hygen", rate=1.0, number=1, duration_s=3.0, predictor=Predictor.ORACLE)
    one, again = (
        run_panel(spec, policies=("qoserve",), cells=(CELL,), has_bounds=False) for _ in range(2)
    )
    assert one == again and one.bounds == () and one.replays >= 6 + 2
    assert one.ceiling.choice.name.startswith("offline-only:")
    assert one.ceiling.probe.offline_tokens_per_s > 0.0 == one.floor.probe.offline_tokens_per_s
    assert one.of("qoserve", CELL) is one.judged[0] and one.of("hygen", CELL) is None
