"""How long online requests waited, against what was allowed.

Owns the two tail drawings, TTFT and ITL. A tail shows what a p99 target is about: the few
slow ones, which a plain histogram hides. Refuses offline-only runs: nobody waited there.
"""

from collections.abc import Iterator

from planner.replay.document import ReplayDocument, Run, Target
from planner.replay.histogram import Distribution
from planner.replay.report import wording
from planner.replay.report.drawing import (
    WIDTH,
    Frame,
    Point,
    bottom_axis,
    curve,
    figure,
    label,
    left_axis,
    legend,
    line,
    line_swatch,
)
from planner.replay.report.markup import element, text
from planner.replay.report.scales import Scale, round_down, round_up
from planner.replay.report.style import look
from planner.replay.report.tables import table

_LEAST_SHARE = 0.0005  # below it a line is single samples
_SHARES = (1.0, 0.5, 0.1, 0.01, 0.001)
_SHARE_WORDS = {0.5: "50 % (p50)", 0.1: "10 % (p90)", 0.01: "1 % (p99)"}
_QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
_TARGET_SHARE = {"p50": 0.5, "p99": 0.01}
_FRAME = Frame(left=96.0, right=WIDTH - 24.0, top=24.0, bottom=304.0)


def latencies(document: ReplayDocument, *, metric: str) -> str:
    """One metric of every policy that served online requests.

    Args:
        document: What was found.
        metric: `ttft` or `itl`.
    """
    served = [
        (n, run, distribution)
        for n, run in enumerate(document.runs)
        if run.serves_online and (distribution := _distribution(run, metric)).count
    ]
    if not served:
        return ""
    targets = [t for t in document.targets if t.statistic.startswith(f"{metric}_")]
    across = _across([d for _, _, d in served], targets)
    up = Scale(low=_LEAST_SHARE, high=1.0, start=_FRAME.bottom, end=_FRAME.top, is_log=True)
    marks = [
        left_axis(up, _FRAME, shown=_share_words, values=_SHARES),
        bottom_axis(across, _FRAME, shown=wording.tick, unit="milliseconds, logarithmic"),
    ]
    for n, run, distribution in served:
        points = list(_tail(distribution, across=across, up=up))
        title = element("title", text(f"{run.title}: {_gist(distribution)}"))
        marks.append(element("g", title, curve(points, look(n))))
    marks.extend(_target_marks(targets, across=across, up=up))
    gists = [f"{run.title} {_gist(distribution)}" for _, run, distribution in served]
    name = {"ttft": "Time to first token (TTFT)", "itl": "Gaps between tokens (ITL)"}[metric]
    return figure(
        name=metric,
        title=f"{name} of online requests, against the SLO",
        described=f"{name}, p50 and p99: {'; '.join(gists)}.",
        height=_FRAME.bottom + 46.0,
        marks=marks,
        legend=legend([(line_swatch(look(n)), run.title) for n, run, _ in served]),
        reading=_reading(metric, targets),
        table=_table(served, name),
    )


def _distribution(run: Run, metric: str) -> Distribution:
    return {"ttft": run.recorded.ttft_ms, "itl": run.recorded.itl_ms}[metric]


def _across(distributions: list[Distribution], targets: list[Target]) -> Scale:
    limits = [target.limit_ms for target in targets]
    low = min([max(0.01, d.quantile(0.02)) for d in distributions] + limits)
    high = max([d.quantile(1.0 - _LEAST_SHARE) for d in distributions] + limits)
    low = round_down(low)
    return Scale(
        low=low,
        high=max(round_up(high * 1.02), low * 2.0),
        start=_FRAME.left,
        end=_FRAME.right,
        is_log=True,
    )


def _tail(distribution: Distribution, *, across: Scale, up: Scale) -> Iterator[Point]:
    """The share of samples above each bucket's upper edge, from all of them down."""
    above = distribution.count - distribution.zeros
    yield across.start, up.at(above / distribution.count)
    last_y = 0.0
    for upper, samples in distribution.buckets:
        above -= samples
        share = above / distribution.count
        if share < _LEAST_SHARE:
            yield across.at(upper), up.end + (up.start - up.end)
            return
        y = up.at(share)
        if abs(y - last_y) >= 0.5:  # no more points than a drawing can show
            last_y = y
            yield across.at(upper), y


def _target_marks(targets: list[Target], *, across: Scale, up: Scale) -> Iterator[str]:
    for row, target in enumerate(targets):
        figure_name = target.statistic.split("_")[1]
        x = across.at(target.limit_ms)
        yield line([(x, _FRAME.top), (x, _FRAME.bottom)], "limit")
        # At the top, where lines are further left.
        words = f"{figure_name} at most {wording.milliseconds(target.limit_ms)}"
        is_left = x < _FRAME.right - 200.0
        place, anchor = (x + 7.0, "start") if is_left else (x - 7.0, "end")
        top = _FRAME.top + 14.0 + 16.0 * row
        yield label(words, place, top, anchor=anchor, classes="limit-text")
        if figure_name in _TARGET_SHARE:
            y = up.at(_TARGET_SHARE[figure_name])
            yield line([(x - 6, y - 6), (x + 6, y + 6)], "limit-mark")
            yield line([(x - 6, y + 6), (x + 6, y - 6)], "limit-mark")


def _reading(metric: str, targets: list[Target]) -> str:
    what = {"ttft": "requests waited longer for their first token", "itl": "gaps were longer"}
    words = (
        "each line is one policy. Across is a duration, up is which share of the online"
        f" {what[metric]} than that; both scales are logarithmic. A line further left is faster,"
        " and its lower end is the slowest few."
    )
    figures = {target.statistic.split("_")[1] for target in targets}
    if figures & set(_TARGET_SHARE):
        words += (
            " A cross is a target: a policy keeps it if its line passes below or left of the cross."
        )
    if "mean" in figures:
        words += (
            " A dashed line without a cross is a target of the mean; the means are in the table."
        )
    return words


def _table(served: list[tuple[int, Run, Distribution]], name: str) -> str:
    rows = [
        [
            run.title,
            f"{d.count:,}",
            wording.milliseconds(d.mean),
            *(wording.milliseconds(d.quantile(share)) for share in _QUANTILES),
            wording.milliseconds(d.most),
        ]
        for _, run, d in served
    ]
    heads = ["policy", "samples", "mean", *(f"p{share * 100:g}" for share in _QUANTILES), "longest"]
    return table(heads, rows, caption=name)


def _gist(distribution: Distribution) -> str:
    p50, p99 = distribution.quantile(0.5), distribution.quantile(0.99)
    return f"p50 {wording.milliseconds(p50)}, p99 {wording.milliseconds(p99)}"


def _share_words(share: float) -> str:
    return _SHARE_WORDS.get(share, wording.percent(share))
