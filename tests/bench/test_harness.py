"""Figures and reports."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import harness
from bench.__main__ import BENCHES, main
from bench.harness import Figure, Report, figure_of, publish
from bench.statistics import Verdict


@given(st.lists(st.floats(-1e6, 1e6), min_size=1))
def test_figure_lies_within_its_samples_when_there_are_repeats(samples: list[float]) -> None:
    """The value is the median, the spread half the range; one run has no spread."""
    figure = figure_of("x", samples, "ms")
    assert min(samples) <= figure.value <= max(samples)
    assert (figure.spread is None) == (len(samples) == 1)


@pytest.mark.parametrize(
    ("target", "met"), [("<= 250", True), ("<= 249", False), (">= 250", True), (None, None)]
)
def test_figure_says_whether_its_target_is_met_when_it_has_one(
    target: str | None, met: bool | None
) -> None:
    """Met follows from value and target, and cannot be set."""
    assert Figure(name="x", value=250, unit="ms", target=target).met is met


def test_figure_is_judged_by_its_interval_when_it_has_one() -> None:
    """Met or not by the whole interval; else the run cannot tell, and `met` is neither."""
    figure = Figure(name="x", value=1.0, unit="ratio", target="<= 1.1", interval=(0.9, 1.2))
    assert figure.verdict is Verdict.CANNOT_TELL
    assert figure.met is None
    values = figure.as_values()
    assert (values["interval"], values["verdict"]) == ([0.9, 1.2], "cannot tell")
    assert Figure(name="x", value=1, unit="ratio", target="<= 1.1", interval=(1, 1.1)).met is True


def test_figure_is_valid_json_when_its_interval_has_no_end() -> None:
    """JSON knows neither NaN nor infinity."""
    figure = Figure(name="x", value=math.nan, unit="ratio", interval=(-math.inf, math.inf))
    assert json.loads(json.dumps(figure.as_values(), allow_nan=False))["value"] is None


def test_figure_refuses_when_its_target_has_no_sign() -> None:
    """A target without a direction is meaningless."""
    with pytest.raises(ValueError, match="expected '<= NUMBER'"):
        _ = Figure(name="x", value=1, unit="ms", target="250").met


def test_report_has_the_promised_keys_when_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Configuration, seed, machine, samples and figures; the table goes to stdout."""
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    report = Report(
        name="x", seed=7, configuration={"rate": 3}, samples={"ttft_ms": [1.0]},
        figures=[Figure(name="ttft p50", value=1.0, unit="ms", target="<= 2")],
    )  # fmt: skip
    values = json.loads(publish(report).read_text())
    assert {"configuration", "seed", "machine", "samples", "figures"} <= values.keys()
    assert values["figures"] == [
        {"name": "ttft p50", "value": 1.0, "unit": "ms", "spread": None, "target": "<= 2",
         "met": True}
    ]  # fmt: skip
    assert "ttft p50" in capsys.readouterr().out


def test_main_names_the_benches_when_there_is_no_such(capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong name is exit code 2 and a list."""
    assert main(["nothing"]) == 2
    said = capsys.readouterr().err
    assert "'nothing': no such bench; there are: " in said
    assert all(name in said for name in BENCHES)


@pytest.mark.parametrize("name", sorted(BENCHES))
def test_bench_is_documented_when_it_exists(name: str) -> None:
    """bench/README.md has a section for every bench."""
    assert f"## {name}" in (Path(harness.__file__).parent / "README.md").read_text()
