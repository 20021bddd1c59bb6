"""Figures of a data set's verdicts.

Owns which numbers stand for a comparison, and their targets. Refuses to leave a row out:
every split and kind judged is in the report's samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from bench.harness import Figure, figure_of
from bench.latency.compare import ARMS, KINDS, TARGET_COVERAGE_RATIO, Verdict

_RATIO_TARGET = "<= 0.5"  # of HyGen's error, where context varies
_PROFILE_TARGET = "<= 3"
_COVERAGE_TARGET = "<= 2"  # points
_RANDOM, _LONGER = "random", "longer contexts"


def engine_figures(verdicts: Sequence[Verdict]) -> list[Figure]:
    """Of one engine's samples: errors, ratios, noise and coverage."""
    figures = []
    for split in (_RANDOM, _LONGER):
        chosen = [v for v in verdicts if v.split == split]
        for kind in KINDS:
            present = [v for v in chosen if kind in v.coverage]
            if not present:
                continue
            where = f"engine, {split}, {kind}"
            for arm in ARMS:
                figures += _percent(f"{where}: MAPE {arm}", [_mape(v, arm, kind) for v in present])
            figures += _percent(f"{where}: noise of like iterations", _noise(present, kind))
            for rival in ("hygen", "hygen_terms"):
                figures += _ratio(where, present, kind, rival=rival)
            if split == _RANDOM and kind != "all":
                figures.append(_coverage_figure(where, [v.coverage[kind] for v in present]))
    return figures


def profile_figures(verdicts: Mapping[str, Sequence[Verdict]]) -> list[Figure]:
    """Of several profiles: the median profile of each arm, and our worst."""
    figures = []
    for split in (_RANDOM, _LONGER):
        for kind in ("decode", "prefill"):
            where = f"profiles (synthetic), {split}, {kind}"
            rows = _by_profile(verdicts, split=split, kind=kind)
            if not rows:
                continue
            for arm in ARMS:
                errors = [_median_mape(row, arm, kind) for row in rows]
                figures.append(figure_of(f"{where}: MAPE {arm}, median profile", errors, "%"))
            worst = Figure(
                name=f"{where}: MAPE slacktide, worst profile",
                value=max(_median_mape(row, "slacktide", kind) for row in rows),
                unit="%",
                target=_PROFILE_TARGET if split == _RANDOM else None,
            )
            figures.append(worst)
            figures += [_worst_ratio(where, rows, kind, rival=r) for r in ("hygen", "hygen_terms")]
            if split == _RANDOM:
                pooled = [v.coverage[kind] for row in rows for v in row]
                figures.append(_coverage_figure(f"{where}, all profiles", pooled))
                off = [_off_target([v.coverage[kind] for v in row]) for row in rows]
                figures.append(
                    Figure(
                        name=f"{where}: coverage off its target, worst profile",
                        value=max(off),
                        unit="points",
                        target=_COVERAGE_TARGET,
                    )
                )
    return figures


def jitter_figures(verdicts: Mapping[str, Sequence[Verdict]]) -> list[Figure]:
    """Of profiles whose all-reduces were read raw: without targets, since the jitter is
    noise that the profile holds fast by message size.
    """
    figures = []
    for kind in ("decode", "prefill"):
        rows = _by_profile(verdicts, split=_RANDOM, kind=kind)
        where = f"profiles (synthetic), all-reduce jitter left in, random, {kind}"
        if rows:
            errors = [_median_mape(row, "slacktide", kind) for row in rows]
            figures.append(figure_of(f"{where}: MAPE slacktide, median profile", errors, "%"))
            figures.append(
                Figure(name=f"{where}: MAPE slacktide, worst profile", value=max(errors), unit="%")
            )
    return figures


def rows_of(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Every split as JSON; of its model what is not 0."""
    return [
        {
            "split": verdict.split,
            "errors": {
                arm: {kind: asdict(errors) for kind, errors in kinds.items()}
                for arm, kinds in verdict.errors.items()
            },
            "coverage": dict(verdict.coverage),
            "noise": dict(verdict.noise),
            "reason": verdict.reason,
            "model": {name: value for name, value in verdict.model.to_values().items() if value},
        }
        for verdict in verdicts
    ]


def _by_profile(
    verdicts: Mapping[str, Sequence[Verdict]], *, split: str, kind: str
) -> list[list[Verdict]]:
    rows = [
        [v for v in chosen if v.split == split and kind in v.coverage]
        for chosen in verdicts.values()
    ]
    return [row for row in rows if row]


def _median_mape(verdicts: Sequence[Verdict], arm: str, kind: str) -> float:
    return 100.0 * median(_mape(v, arm, kind) for v in verdicts)


def _worst_ratio(where: str, rows: Sequence[Sequence[Verdict]], kind: str, *, rival: str) -> Figure:
    ratios = [
        median(_mape(v, "slacktide", kind) / _mape(v, rival, kind) for v in row) for row in rows
    ]
    return Figure(
        name=f"{where}: error over {rival}'s, worst profile",
        value=max(ratios),
        unit="ratio",
        target=_RATIO_TARGET,
    )


def _percent(name: str, ratios: Sequence[float]) -> list[Figure]:
    return [figure_of(name, [100.0 * ratio for ratio in ratios], "%")] if ratios else []


def _ratio(where: str, verdicts: Sequence[Verdict], kind: str, *, rival: str) -> list[Figure]:
    """Ours over a rival's: sample by sample, and between medians of like iterations."""
    figures = [
        figure_of(
            f"{where}: error over {rival}'s",
            [_mape(v, "slacktide", kind) / _mape(v, rival, kind) for v in verdicts],
            "ratio",
            target=_RATIO_TARGET,
        )
    ]
    medians = []
    for verdict in verdicts:
        mine = verdict.errors["slacktide"][kind].cell_mape
        other = verdict.errors[rival][kind].cell_mape
        if mine is not None and other:
            medians.append(mine / other)
    if medians:
        name = f"{where}: error over {rival}'s, medians of like iterations"
        figures.append(figure_of(name, medians, "ratio", target=_RATIO_TARGET))
    return figures


def _coverage_figure(where: str, coverages: Sequence[float]) -> Figure:
    return Figure(
        name=f"{where}: coverage off its target of {TARGET_COVERAGE_RATIO:.0%}",
        value=_off_target(coverages),
        unit="points",
        target=_COVERAGE_TARGET,
        spread=50.0 * (max(coverages) - min(coverages)),
    )


def _off_target(coverages: Sequence[float]) -> float:
    """Of the mean over splits: coverage is promised over the draw of the samples."""
    return 100.0 * abs(sum(coverages) / len(coverages) - TARGET_COVERAGE_RATIO)


def _mape(verdict: Verdict, arm: str, kind: str) -> float:
    return verdict.errors[arm][kind].mape


def _noise(verdicts: Sequence[Verdict], kind: str) -> list[float]:
    return [noise for v in verdicts if (noise := v.noise[kind]) is not None]
