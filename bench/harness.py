"""Figures, reports and how they are kept.

Owns the shape of `build/bench/NAME.json`: configuration, seed, machine, raw samples or
their quantiles, and `figures`, a list of name, value, unit, spread, target and met.
Refuses a figure without a unit, and a target without saying whether it is met.
"""

import json
import math
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from slacktide.wire.version import build_version

from bench.statistics import Interval, Verdict, verdict
from controlplane.cli.output import show_table

RESULTS = Path("build/bench")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number a bench stands for.

    Args:
        spread: half the distance of the least and the greatest repeat, in `unit`; None
            for a single run.
        target: "<= 250", ">= 0.95" or None; `verdict` and `met` follow from it.
        interval: least and greatest the figure may be, 95 % sure; with one, a target is
            met only by the whole interval.
    """

    name: str
    value: float
    unit: str
    spread: float | None = None
    target: str | None = None
    interval: tuple[float, float] | None = None

    @property
    def verdict(self) -> Verdict | None:
        """What the value, or all of its interval, says of the target; None without one.

        Raises:
            ValueError: the target is not "<= NUMBER" or ">= NUMBER".
        """
        if self.target is None:
            return None
        low, high = self.interval or (self.value, self.value)
        return verdict(Interval(value=self.value, low=low, high=high), self.target)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one, and where none can tell.

        Raises:
            ValueError: as of `verdict`.
        """
        match self.verdict:
            case Verdict.MET:
                return True
            case Verdict.NOT_MET:
                return False
            case _:
                return None

    def as_values(self) -> dict[str, Any]:
        """JSON-like; a number that is none is null, an unbounded interval's end too."""
        values = asdict(self)
        values["value"] = _finite(self.value)
        if self.interval is None:
            del values["interval"]
        else:
            values["interval"] = [_finite(end) for end in self.interval]
        values["met"] = self.met
        if self.interval is not None and self.verdict is not None:
            values["verdict"] = self.verdict.value
        return values


def figure_of(
    name: str, samples: Sequence[float], unit: str, *, target: str | None = None
) -> Figure:
    """The median of repeats, with their spread.

    Raises:
        ValueError: no sample.
    """
    if not samples:
        raise ValueError(f"figure {name}: no sample")
    spread = (max(samples) - min(samples)) / 2 if len(samples) > 1 else None
    value = statistics.median(samples)
    return Figure(name=name, value=value, unit=unit, spread=spread, target=target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All a bench found."""

    name: str
    seed: int
    configuration: Mapping[str, Any]
    samples: Mapping[str, Any]
    figures: Sequence[Figure]

    def as_values(self) -> dict[str, Any]:
        """JSON-like."""
        return {
            "name": self.name,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "version": build_version(),
            "seed": self.seed,
            "machine": machine(),
            "configuration": dict(self.configuration),
            "samples": dict(self.samples),
            "figures": [figure.as_values() for figure in self.figures],
        }


def publish(report: Report) -> Path:
    """Prints the figures as a table and writes the report; returns its path."""
    rows = [
        [
            figure.name,
            f"{figure.value:.4g}",
            figure.unit,
            _spread(figure),
            figure.target or "",
            _MET[figure.verdict],
        ]
        for figure in report.figures
    ]
    headers = ["figure", "value", "unit", "spread", "target", "met"]
    show_table(headers, rows, right=[False, True, False, True, False, False])
    return write(report)


def write(report: Report) -> Path:
    """Writes the report over that of an earlier run; returns its path."""
    path = RESULTS / f"{report.name}.json"
    write_json(path, report.as_values())
    return path


_MET = {
    None: "",
    Verdict.MET: "yes",
    Verdict.NOT_MET: "NO",
    Verdict.CANNOT_TELL: "cannot tell",
}


def _spread(figure: Figure) -> str:
    if figure.interval is not None:
        return f"{figure.interval[0]:.3g} … {figure.interval[1]:.3g}"
    return "" if figure.spread is None else f"± {figure.spread:.2g}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def write_json(path: Path, values: object) -> None:
    """Writes JSON for people and machines, the folder included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n")
    partial.replace(path)


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or "unknown"
