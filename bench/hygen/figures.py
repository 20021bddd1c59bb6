"""What the panels come to: a table of cells, and the figures claims rest on.

Owns medians over slices and their spread. Refuses replays.
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from bench.harness import Figure, figure_of
from bench.hygen.cells import ARRIVAL, METRICS, Cell, Judged
from bench.hygen.panel import Panel
from controlplane.cli.output import show_table

PUBLISHED = {"total over online only": 3.87, "offline over HyGen*": 5.84, "of the ceiling": 0.843}
"""HyGen's figures: the first two at best, the third typical (arXiv 2501.14808)."""

_RIVALS = ("blind-hybrid", "sglang-priority", "rate-cap", "hygen", "cap", "qoserve")

_TITLES = {
    "blind-hybrid": "Sarathi++",
    "sglang-priority": "SGLang",
    "rate-cap": "HyGen*",
    "hygen": "HyGen†",
    "cap": "cap",
    "qoserve": "QoServe",
    "slacktide": "Slacktide",
    ARRIVAL: "by arrival",
}


def show_cells(title: str, panels: Sequence[Panel], cells: Sequence[Cell]) -> None:
    """Offline tokens a second of each policy; in brackets where a slice missed its SLO."""
    policies = [p for p in _TITLES if any(panel.of(p, cells[0]) for panel in panels)]
    floor = statistics.median(panel.floor.total_tokens_per_s for panel in panels)
    ceiling = statistics.median(panel.ceiling.probe.offline_tokens_per_s for panel in panels)
    print(
        f"\n{title}: offline tokens/s, medians of {len(panels)} slice(s); online alone does "
        f"{floor:.0f}, the batch alone {ceiling:.0f}; [x]: SLO missed on a slice; "
        "†: a reconstruction"
    )
    rows = []
    for cell in cells:
        row = [cell.name]
        for policy in policies:
            found = _found(panels, policy, cell)
            shown = f"{_offline(found):.0f}" if found else "-"
            row.append(shown if all(j.keeps_slo for j in found) else f"[{shown}]")
        rows.append(row)
    headers = ["SLO", *(_TITLES[policy] for policy in policies)]
    show_table(headers, rows, right=[False, *(True for _ in policies)])


def figures_of(title: str, panels: Sequence[Panel], cells: Sequence[Cell]) -> list[Figure]:
    """Slacktide over HyGen by metric, both against floor, ceiling and HyGen*."""
    figures: list[Figure] = []
    for metric in METRICS:
        of_metric = [cell for cell in cells if cell.metrics == (metric,)]
        if not of_metric:
            continue
        by_cell = [_ratios(panels, "slacktide", "hygen", cell) for cell in of_metric]
        ratios = [statistics.median(found) for found in by_cell if found]
        if ratios:
            figures.append(
                figure_of(f"{title}: {metric}: Slacktide / HyGen, offline", ratios, "ratio",
                          target=">= 1.15")
            )  # fmt: skip
            figures.append(
                Figure(
                    name=f"{title}: {metric}: the least of its tolerances",
                    value=min(ratios),
                    unit="ratio",
                    target=">= 1",
                )
            )
            figures.append(
                Figure(
                    name=f"{title}: {metric}: the least of its tolerances and slices",
                    value=min(ratio for found in by_cell for ratio in found),
                    unit="ratio",
                )
            )
    for policy in ("hygen", "slacktide"):
        figures += _of_policy(title, panels, cells, policy)
    over_best = [found for cell in cells if (found := _over_best(panels, cell))]
    if over_best and any(
        panel.of(rival, cell)
        for panel in panels
        for rival in _RIVALS
        if rival != "hygen"
        for cell in cells
    ):
        every = [ratio for found in over_best for ratio in found]
        name = f"{title}: Slacktide / best rival of each SLO, offline"
        figures.append(figure_of(name, every, "ratio", target=">= 1"))
        least = min(statistics.median(found) for found in over_best)
        figures.append(Figure(name=f"{name}: the least SLO", value=least, unit="ratio"))
    speeds = [panel.speed for panel in panels if panel.speed is not None]
    if speeds:
        name = f"{title}: Slacktide and a batch, simulated seconds a second of one core"
        figures.append(figure_of(name, speeds, "ratio", target=">= 300"))
    for other, target in ((ARRIVAL, None), ("cap", ">= 1"), ("qoserve", None)):
        ratios = [r for cell in cells for r in _ratios(panels, "slacktide", other, cell)]
        if ratios:
            name = f"{title}: Slacktide / {_TITLES[other]}, offline"
            figures.append(figure_of(name, ratios, "ratio", target=target))
    return figures


def _of_policy(
    title: str, panels: Sequence[Panel], cells: Sequence[Cell], policy: str
) -> list[Figure]:
    """A policy against floor, ceiling and HyGen*, and whether it keeps its SLOs."""
    name = f"{title}: {_TITLES[policy]}"
    judged = [[j for cell in cells if (j := panel.of(policy, cell))] for panel in panels]
    kept = [[j for j in found if j.keeps_slo] for found in judged]
    if not any(judged):
        return []
    held = [(panel, found) for panel, found in zip(panels, kept, strict=True) if found]
    share = figure_of(
        f"{name} keeps the SLO, share of cells",
        [len(k) / len(j) for k, j in zip(kept, judged, strict=True) if j],
        "ratio",
        target=">= 1",
    )
    if not held:
        return [share]
    figures = [
        share,
        figure_of(
            f"{name} total / online only, best SLO",
            [
                max(j.seen.total_tokens_per_s for j in found) / panel.floor.total_tokens_per_s
                for panel, found in held
            ],
            "ratio",
            target=f">= {PUBLISHED['total over online only']}",
        ),
        figure_of(
            f"{name} total / ceiling, every SLO",
            [
                j.seen.total_tokens_per_s / panel.ceiling.probe.offline_tokens_per_s
                for panel, found in held
                for j in found
            ],
            "ratio",
            target=f">= {PUBLISHED['of the ceiling']}",
        ),
        figure_of(
            f"{name} total / ceiling, best SLO",
            [
                max(j.seen.total_tokens_per_s for j in found)
                / panel.ceiling.probe.offline_tokens_per_s
                for panel, found in held
            ],
            "ratio",
        ),
    ]
    over = [
        max(found)
        for panel in panels
        if (found := [r for cell in cells for r in _ratios([panel], policy, "rate-cap", cell)])
    ]
    if over:
        figures.append(
            figure_of(
                f"{name} / HyGen*, offline, best SLO",
                over,
                "ratio",
                target=f">= {PUBLISHED['offline over HyGen*']}",
            )
        )
    every = [r for cell in cells for r in _ratios(panels, policy, "rate-cap", cell)]
    if every:
        figures.append(figure_of(f"{name} / HyGen*, offline, every SLO", every, "ratio"))
    shares = [b.ratio for panel in panels for b in panel.bounds if b.policy == policy]
    if shares:
        target = ">= 0.85" if policy == "slacktide" else None
        figures.append(figure_of(f"{name} / clairvoyant bound", shares, "ratio", target=target))
    narrow = [
        ratio
        for panel in panels
        for b in panel.bounds
        if b.policy == policy and (ratio := b.no_worse_ratio) is not None
    ]
    if narrow:
        figures.append(figure_of(f"{name} / most with nobody worse off", narrow, "ratio"))
    idle = [
        j.idle_tokens_per_s / panel.ceiling.probe.offline_tokens_per_s
        for panel, found in held
        for j in found
        if j.idle_tokens_per_s is not None
    ]
    if idle:
        figures.append(
            figure_of(f"{name} / ceiling while nobody is online", idle, "ratio", target=">= 0.9")
        )
    return figures


def samples_of(panels: Iterable[Panel]) -> list[dict[str, Any]]:
    """Every slice, policy and SLO, for the report."""
    return [
        {
            "slice": panel.spec.name,
            "predictor": panel.spec.predictor.value,
            "seed": panel.spec.number,
            "replays": panel.replays,
            "online_only": _values(panel.floor.probe.ttft, panel.floor.probe.itl)
            | {"tokens_per_s": round(panel.floor.total_tokens_per_s, 1)},
            "ceiling_tokens_per_s": round(panel.ceiling.probe.offline_tokens_per_s, 1),
            "ceiling": panel.ceiling.choice.name,
            "bounds": [asdict(bound) | {"ratio": round(bound.ratio, 4)} for bound in panel.bounds],
            "judged": [_judged(judged) for judged in panel.judged],
        }
        for panel in panels
    ]


def _judged(judged: Judged) -> dict[str, Any]:
    seen = judged.seen
    budgets = seen.choice.budgets
    return {
        "slo": judged.cell.name,
        "policy": seen.choice.name,
        "latency_budget_ms": round(budgets.latency_budget_ms, 2),
        "idle_budget_ms": round(budgets.idle_budget_ms, 2),
        "keeps_slo": judged.keeps_slo,
        "worst_ratio": round(judged.worst_ratio, 4),
        "offline_tokens_per_s": round(seen.probe.offline_tokens_per_s, 1),
        "total_tokens_per_s": round(seen.total_tokens_per_s, 1),
        "evicted": seen.evicted,
        "recomputed_tokens": seen.recomputed_tokens,
        **_values(seen.probe.ttft, seen.probe.itl),
    }


def _values(ttft: Any, itl: Any) -> dict[str, float]:
    return {
        f"{family}_{share}_ms": round(getattr(found, share), 3)
        for family, found in (("ttft", ttft), ("itl", itl))
        for share in ("mean", "p50", "p99")
    }


def _found(panels: Sequence[Panel], policy: str, cell: Cell) -> list[Judged]:
    return [judged for panel in panels if (judged := panel.of(policy, cell))]


def _offline(found: Sequence[Judged]) -> float:
    return statistics.median(judged.seen.probe.offline_tokens_per_s for judged in found)


def _ratios(panels: Sequence[Panel], one: str, other: str, cell: Cell) -> list[float]:
    """Offline work of one over the other, of the slices where the other keeps its SLO and works.

    Where the one misses its SLO it has lost: 0.
    """
    found = []
    for panel in panels:
        a, b = panel.of(one, cell), panel.of(other, cell)
        if a is None or b is None or not b.keeps_slo:
            continue
        below = b.seen.probe.offline_tokens_per_s
        if below > 0.0:
            found.append(a.seen.probe.offline_tokens_per_s / below if a.keeps_slo else 0.0)
    return found


def _over_best(panels: Sequence[Panel], cell: Cell) -> list[float]:
    """Slacktide's offline work over that of the best of its rivals, slice by slice."""
    found = []
    for panel in panels:
        ours = panel.of("slacktide", cell)
        best = max(
            (
                rival.seen.probe.offline_tokens_per_s
                for policy in _RIVALS
                if (rival := panel.of(policy, cell)) and rival.keeps_slo
            ),
            default=0.0,
        )
        if ours is not None and best > 0.0:
            work = ours.seen.probe.offline_tokens_per_s if ours.keeps_slo else 0.0
            found.append(work / best)
    return found
