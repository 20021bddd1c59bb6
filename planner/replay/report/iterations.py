"""How long iterations lasted, and the budget they were held to.

Owns one histogram a policy, on one axis. Refuses averages over kinds: an iteration that an
online request waits for is not one that none does.
"""

from collections.abc import Iterator
from math import log

from planner.replay.document import ReplayDocument, Run
from planner.replay.histogram import Distribution
from planner.replay.report import wording
from planner.replay.report.drawing import (
    WIDTH,
    Frame,
    area,
    bottom_axis,
    box_swatch,
    figure,
    label,
    left_axis,
    legend,
    line,
)
from planner.replay.report.markup import element, text
from planner.replay.report.scales import Scale, round_down, round_up
from planner.replay.report.style import look
from planner.replay.report.tables import table

_LEFT, _RIGHT = 66.0, WIDTH - 16.0
_PANEL, _GAP = 96.0, 34.0
_BARS = 72
_BUDGETS = (("latency_budget_ms", "latency budget"), ("idle_budget_ms", "idle budget"))

_Bars = dict[str, list[float]]  # share of the iterations in each bar, by kind


def iteration_times(document: ReplayDocument) -> str:
    """Histograms of every policy's iterations."""
    runs = [(n, run) for n, run in enumerate(document.runs) if run.recorded.iterations.count]
    if not runs:
        return ""
    across = _across([run for _, run in runs])
    counted = {n: _bars(run, across) for n, run in runs}
    peak = max(
        sum(kinds) for bars in counted.values() for kinds in zip(*bars.values(), strict=True)
    )
    high = round_up(peak)
    marks: list[str] = []
    for place, (n, run) in enumerate(runs):
        top = 24.0 + place * (_PANEL + _GAP)
        frame = Frame(left=_LEFT, right=_RIGHT, top=top, bottom=top + _PANEL)
        up = Scale(low=0.0, high=high, start=frame.bottom, end=frame.top)
        marks.append(left_axis(up, frame, shown=wording.percent, values=up.ticks(3)))
        marks.extend(_panel(run, n, bars=counted[n], across=across, up=up, frame=frame))
    last = Frame(left=_LEFT, right=_RIGHT, top=24.0, bottom=frame.bottom)
    marks.append(
        bottom_axis(
            across,
            last,
            shown=wording.tick,
            grid=False,
            unit="milliseconds an iteration lasted, logarithmic",
        )
    )
    return figure(
        name="iterations",
        title="Iteration times against the budget",
        described=(
            f"Histograms of the duration of iterations of {len(runs)} policies, by whom they"
            " served, with the budgets each policy was held to."
        ),
        height=last.bottom + 46.0,
        marks=marks,
        legend=legend(
            [
                (box_swatch("online"), "served online requests alone"),
                (box_swatch("area p0"), "online and offline together, in each policy's colour"),
                (box_swatch("area alone p0"), "offline alone, no online request waiting"),
            ]
        ),
        reading=(
            "the engine works in iterations, each giving every running request a token. Across"
            " is how long one lasted, up is which share of that policy's iterations did. The"
            " dashed red lines are the budgets: an iteration that online and offline requests"
            " share should end left of the latency budget. Online work is never held to it, so"
            " iterations of long online prompts may exceed it."
        ),
        table=_table([run for _, run in runs]),
    )


def _kinds(run: Run) -> dict[str, Distribution]:
    iterations = run.recorded.iterations
    return {"online": iterations.online, "shared": iterations.shared, "alone": iterations.offline}


def _across(runs: list[Run]) -> Scale:
    filled = [d for run in runs for d in _kinds(run).values() if d.count]
    low = round_down(max(0.01, min(d.quantile(0.005) for d in filled)))
    high = max(d.quantile(0.999) for d in filled)
    budgets = [ms for run in runs for _, ms in _budgets(run)]
    return Scale(
        low=low,
        high=max(round_up(max([high, *budgets]) * 1.02), low * 4.0),
        start=_LEFT,
        end=_RIGHT,
        is_log=True,
    )


def _budgets(run: Run) -> list[tuple[str, float]]:
    """What held its iterations; nothing where it looks at no budget."""
    if not run.recorded.iterations.budgeted:
        return []
    return [
        (words, float(value))
        for key, words in _BUDGETS
        if isinstance(value := run.settings.get(key), int | float)
    ]


def _bars(run: Run, across: Scale) -> _Bars:
    total = run.recorded.iterations.count
    return {kind: _shares(d, across, total=total) for kind, d in _kinds(run).items()}


def _shares(distribution: Distribution, across: Scale, *, total: int) -> list[float]:
    shares = [0.0] * _BARS
    per_log = _BARS / log(across.high / across.low)
    for upper, samples in distribution.buckets:
        bar = int(log(upper / across.low) * per_log) if upper > across.low else 0
        shares[min(bar, _BARS - 1)] += samples / total
    shares[0] += distribution.zeros / total
    return shares


def _panel(
    run: Run, number: int, *, bars: _Bars, across: Scale, up: Scale, frame: Frame
) -> Iterator[str]:
    width = (frame.right - frame.left) / _BARS
    colour = look(number).class_name
    classes = {"online": "online", "shared": f"area {colour}", "alone": f"area alone {colour}"}
    floor = [0.0] * _BARS
    for kind, shares in bars.items():
        for bar, share in enumerate(shares):
            if share <= 0.0:
                continue
            left = frame.left + bar * width
            low, high = up.at(floor[bar]), up.at(floor[bar] + share)
            floor[bar] += share
            yield area(
                [(left, high), (left + width - 1.0, high)],
                [(left, low), (left + width - 1.0, low)],
                classes[kind],
            )
    yield line([(frame.left, frame.bottom), (frame.right, frame.bottom)], "axis")
    iterations = run.recorded.iterations
    yield label(run.title, frame.left, frame.top - 8, classes="name")
    yield label(_gist(run), frame.right, frame.top - 8, anchor="end")
    budgets = _budgets(run)
    if len({ms for _, ms in budgets}) < len(budgets):
        budgets = [("budget", budgets[0][1])]
    for row, (words, budget_ms) in enumerate(budgets):
        x = across.at(budget_ms)
        title = element("title", text(f"{words} {wording.milliseconds(budget_ms)}"))
        yield element("g", title, line([(x, frame.top), (x, frame.bottom)], "limit"))
        is_left = x < (frame.left + frame.right) * 0.7
        yield label(
            f"{words} {wording.milliseconds(budget_ms)}",
            x + 6.0 if is_left else x - 6.0,
            frame.top + 12.0 + 16.0 * row,
            anchor="start" if is_left else "end",
            classes="limit-text",
        )
    assert iterations.count  # the caller left empty ones out


def _gist(run: Run) -> str:
    iterations = run.recorded.iterations
    words = [wording.count(iterations.count, "iteration")]
    if iterations.budgeted:
        over = wording.percent(iterations.over_budget / iterations.budgeted)
        words.append(f"with offline work {over} over their budget")
    elif run.runs_offline:
        words.append("offline work held to no budget")
    if iterations.prediction_error_ratio is not None:
        error = wording.percent(iterations.prediction_error_ratio)
        words.append(f"predictions off by {error} on average")
    return "; ".join(words)


def _table(runs: list[Run]) -> str:
    rows = []
    for run in runs:
        words = {"online": "online alone", "shared": "both", "alone": "offline alone"}
        for kind, distribution in _kinds(run).items():
            if not distribution.count:
                continue
            rows.append(
                [
                    run.title,
                    words[kind],
                    f"{distribution.count:,}",
                    wording.milliseconds(distribution.mean),
                    *(
                        wording.milliseconds(distribution.quantile(share))
                        for share in (0.5, 0.9, 0.99)
                    ),
                    wording.milliseconds(distribution.most),
                ]
            )
    heads = ["policy", "served", "iterations", "mean", "p50", "p90", "p99", "longest"]
    return table(heads, rows, caption="Iteration times", words=2)
