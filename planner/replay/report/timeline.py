"""What was done when: throughput over time against online load, and offline progress.

Owns two drawings over the window's time. Refuses totals, which are the summary's.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate

from planner.replay.document import ReplayDocument, Run
from planner.replay.recording import Bins
from planner.replay.report import wording
from planner.replay.report.drawing import (
    WIDTH,
    Frame,
    Point,
    area,
    bottom_axis,
    box_swatch,
    curve,
    figure,
    label,
    left_axis,
    legend,
    line,
    line_swatch,
)
from planner.replay.report.markup import element, text
from planner.replay.report.scales import Scale, round_up
from planner.replay.report.style import look
from planner.replay.report.tables import table

_LEFT, _RIGHT = 66.0, WIDTH - 16.0
_PANEL, _GAP = 108.0, 34.0
_TABLE_ROWS = 24


def throughput(document: ReplayDocument) -> str:
    """Tokens per second of every policy over time, one panel each, above the offered load."""
    runs = document.runs
    bins = runs[0].recorded.bins
    time = _Time(bins)
    offered = _offered(document)
    peak = max(
        max(offered, default=0.0),
        *(max(_totals(run)) for run in runs),
    )
    top_value = round_up(peak)
    marks: list[str] = []
    for number, run in enumerate(runs):
        top = 24.0 + number * (_PANEL + _GAP)
        frame = Frame(left=_LEFT, right=_RIGHT, top=top, bottom=top + _PANEL)
        up = Scale(low=0.0, high=top_value, start=frame.bottom, end=frame.top)
        marks.append(left_axis(up, frame, shown=wording.tick, values=up.ticks(3)))
        marks.extend(_panel(run, number, offered=offered, time=time, up=up, frame=frame))
    last = Frame(left=_LEFT, right=_RIGHT, top=24.0, bottom=frame.bottom)
    marks.append(bottom_axis(time.scale, last, shown=wording.tick, unit=time.unit, grid=False))
    entries = [
        (box_swatch("online"), "online tokens done"),
        (box_swatch("area p0"), "offline tokens done, on top (in each policy's colour)"),
    ]
    if any(offered):
        entries.append(
            (line([(1.0, 7.0), (37.0, 7.0)], "load"), "online load: tokens of arriving requests")
        )
    return figure(
        name="throughput",
        title="Throughput over time against online load",
        described=(
            f"One panel for each of {len(runs)} policies, over"
            f" {wording.seconds(document.workload.duration_s)}: online and offline tokens done"
            f" per second, stacked, and the load of arriving online requests."
        ),
        height=last.bottom + 46.0,
        marks=marks,
        legend=legend(entries),
        reading=(
            "each panel is one policy on the same requests; across is time, up is tokens per"
            f" second (prompt and output together, averaged over {wording.seconds(bins.bin_s)})."
            " Grey is online work, the colour on top is offline work: it should fill the room"
            " that the load, the thin line, leaves."
        ),
        table=_throughput_table(document, offered),
    )


def progress(document: ReplayDocument) -> str:
    """Offline tokens done since the window began, of all policies that do any."""
    runs = [(n, run) for n, run in enumerate(document.runs) if run.runs_offline]
    if not runs:
        return ""
    bins = runs[0][1].recorded.bins
    time = _Time(bins)
    sums = {n: (0, *accumulate(run.recorded.offline_tokens)) for n, run in runs}
    high = round_up(max(1.0, *(float(series[-1]) for series in sums.values())))
    frame = Frame(left=_LEFT, right=_RIGHT, top=12.0, bottom=292.0)
    up = Scale(low=0.0, high=high, start=frame.bottom, end=frame.top)
    edges = _edges(bins)
    marks = [
        left_axis(up, frame, shown=wording.tick, values=up.ticks()),
        bottom_axis(time.scale, frame, shown=wording.tick, unit=time.unit),
    ]
    for n, run in runs:
        points = [(time.at(x), up.at(y)) for x, y in zip(edges, sums[n], strict=True)]
        title = element("title", text(f"{run.title}: {sums[n][-1]:,} tokens"))
        marks.append(element("g", title, curve(points, look(n))))
    rows = [
        [wording.seconds(edges[i]), *(f"{sums[n][i]:,}" for n, _ in runs)]
        for i in _thinned(len(edges))
    ]
    ends = [f"{run.title} {sums[n][-1]:,}" for n, run in runs]
    return figure(
        name="progress",
        title="Offline progress",
        described=f"Offline tokens done by the end of the window: {wording.listed(ends)}.",
        height=frame.bottom + 46.0,
        marks=marks,
        legend=legend([(line_swatch(look(n)), run.title) for n, run in runs]),
        reading=(
            "across is time, up is how many offline tokens (prompt and output) have been done"
            " since the start. The steeper a line, the faster the batch; a flat stretch is a"
            " policy that held the batch back while online requests needed the engine."
        ),
        table=table(["time", *(run.title for _, run in runs)], rows, caption="Offline tokens done"),
    )


# ------------------------------------------------------------ details


class _Time:
    """The axis of time, from the window's begin, in seconds or minutes."""

    def __init__(self, bins: Bins) -> None:
        length_s = bins.to_s - bins.from_s
        self._unit_s, self.unit = (1.0, "seconds") if length_s < 180.0 else (60.0, "minutes")
        self.scale = Scale(low=0.0, high=length_s / self._unit_s, start=_LEFT, end=_RIGHT)

    def at(self, since_s: float) -> float:
        """Where a moment is."""
        return self.scale.at(since_s / self._unit_s)


def _panel(
    run: Run, number: int, *, offered: Sequence[float], time: _Time, up: Scale, frame: Frame
) -> Iterator[str]:
    recorded, bins = run.recorded, run.recorded.bins
    online = bins.rates(recorded.online_tokens)
    total = _totals(run)
    ground = [(frame.left, frame.bottom), (frame.right, frame.bottom)]
    base = _stairs(bins, online, time=time, up=up)
    if any(online):
        yield area(base, [(x, frame.bottom) for x, _ in base], "online")
    if any(recorded.offline_tokens):
        yield area(_stairs(bins, total, time=time, up=up), base, f"area {look(number).class_name}")
    if run.serves_online and any(offered):
        yield line(_stairs(bins, offered, time=time, up=up), "load")
    yield line(ground, "axis")
    offline = wording.number(recorded.offline_tokens_per_s)
    yield label(run.title, frame.left, frame.top - 8, classes="name")
    yield label(
        f"offline {offline} tokens/s, in all {wording.number(recorded.total_tokens_per_s)}",
        frame.right, frame.top - 8, anchor="end",
    )  # fmt: skip


def _throughput_table(document: ReplayDocument, offered: Sequence[float]) -> str:
    runs = document.runs
    edges = _edges(runs[0].recorded.bins)
    offline = [run.recorded.bins.rates(run.recorded.offline_tokens) for run in runs]
    rows = [
        [
            wording.seconds(edges[i]),
            wording.number(offered[i]),
            *(wording.number(rates[i]) for rates in offline),
        ]
        for i in _thinned(len(offered))
    ]
    heads = ["from", "online load", *(f"{run.title}, offline" for run in runs)]
    return table(heads, rows, caption="Tokens per second, of a selection of moments")


def _offered(document: ReplayDocument) -> tuple[float, ...]:
    """The load, from any run that served it: all did the same."""
    for run in document.runs:
        if run.serves_online:
            return run.recorded.bins.rates(run.recorded.offered_tokens)
    return (0.0,) * document.runs[0].recorded.bins.count


def _totals(run: Run) -> tuple[float, ...]:
    recorded = run.recorded
    sums = zip(recorded.online_tokens, recorded.offline_tokens, strict=True)
    return recorded.bins.rates(tuple(online + offline for online, offline in sums))


def _edges(bins: Bins) -> list[float]:
    """Of the bins, in seconds since the window began."""
    length_s = bins.to_s - bins.from_s
    return [min(i * bins.bin_s, length_s) for i in range(bins.count + 1)]


def _stairs(bins: Bins, rates: Sequence[float], *, time: _Time, up: Scale) -> list[Point]:
    """A rate per bin as a line that is level over each."""
    edges = _edges(bins)
    points: list[Point] = []
    for index, rate in enumerate(rates):
        y = up.at(rate)
        points += [(time.at(edges[index]), y), (time.at(edges[index + 1]), y)]
    return points


def _thinned(count: int) -> range:
    """Places of a table's rows, spread over all there are."""
    return range(0, count, max(1, -(-count // _TABLE_ROWS)))
