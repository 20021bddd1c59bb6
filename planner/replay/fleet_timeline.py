"""A fleet over time: devices, work, attainment, moves, cost.

Owns the drawings of a fleet's report. Refuses totals; those are the report's.
"""

from collections.abc import Callable, Sequence

from planner.replay.fleet_document import FleetDocument
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
    left_axis,
    legend,
    line,
    line_swatch,
)
from planner.replay.report.scales import Scale, round_up
from planner.replay.report.style import look
from planner.replay.report.tables import table
from planner.simulation.fleet.recording import FleetRecord

_FRAME = Frame(left=66.0, right=WIDTH - 16.0, top=14.0, bottom=250.0)
_POINTS = 240  # of a drawing; finer series are summed over
_TABLE_ROWS = 24
_HOUR_S = 3600.0


def utilisation(document: FleetDocument) -> str:
    """Devices held, and how far they are used, of all there are."""
    record = document.record
    bins = _Bins(record)
    held = bins.means("held_device_s")
    used = bins.means("used_device_s")
    whole = float(sum(record.devices.values()))
    up = _up(max(whole, *held))
    marks = [
        *_axes(bins, up, shown=wording.tick),
        area(bins.stairs(used, up), bins.floor(used, up), "area p0"),
        curve(bins.stairs(held, up), look(1)),
        line([(_FRAME.left, up.at(whole)), (_FRAME.right, up.at(whole))], "load"),
    ]
    return _figure(
        name="utilisation",
        title="Devices held and used",
        described=f"Devices held by replicas, at most {max(held):.0f} of {whole:.0f}.",
        marks=marks,
        legend=legend(
            [
                (box_swatch("area p0"), "used: online by capacity, offline by what runs alone"),
                (line_swatch(look(1)), "held by replicas, loading and draining ones included"),
                (line([(1.0, 7.0), (37.0, 7.0)], "load"), "devices there are"),
            ]
        ),
        reading=(
            "up is devices. What lies between the area and the line above it is paid for and"
            " idle; what lies above that line is free."
        ),
        table=_table(bins, {"held": held, "used": used}, "Devices, means"),
    )


def work(document: FleetDocument) -> str:
    """Online and offline work done, stacked."""
    bins = _Bins(document.record)
    online = [value / 1e3 for value in bins.means("online_work_ms")]
    offline = [value / 1e3 for value in bins.means("offline_work_ms")]
    both = [a + b for a, b in zip(online, offline, strict=True)]
    up = _up(max(both))
    marks = [
        *_axes(bins, up, shown=wording.tick),
        area(bins.stairs(online, up), bins.floor(online, up), "online"),
        area(bins.stairs(both, up), bins.stairs(online, up), "area p0"),
    ]
    return _figure(
        name="work",
        title="Work done",
        described=f"Online and offline work per second, at most {max(both):.0f} together.",
        marks=marks,
        legend=legend([(box_swatch("online"), "online"), (box_swatch("area p0"), "offline")]),
        reading=(
            "up is work per second, in seconds of an engine that runs one request at a time;"
            " batching does many of them in one."
        ),
        table=_table(bins, {"online": online, "offline": offline}, "Work per second"),
    )


def attainment(document: FleetDocument) -> str:
    """Share of requests that met their SLO, over time."""
    bins = _Bins(document.record)
    requests, attained = bins.sums("requests"), bins.sums("attained")
    ratios = [
        100.0 * max(0.0, a) / n if n else 100.0 for n, a in zip(requests, attained, strict=True)
    ]
    low = min(99.0, max(0.0, 10.0 * int(min(ratios) / 10.0)))
    up = Scale(low=low, high=100.0, start=_FRAME.bottom, end=_FRAME.top)
    marks = [*_axes(bins, up, shown=wording.tick), curve(bins.stairs(ratios, up), look(0))]
    return _figure(
        name="attainment",
        title="Attainment",
        described=f"Share of online requests that met their SLO, at least {min(ratios):.1f} %.",
        marks=marks,
        reading=(
            f"up is the share of online requests that met their SLO, in %, from {low:g}; a dip"
            " is load that came before its replicas, or a node that failed."
        ),
        table=_table(bins, {"attainment, %": ratios}, "Attainment"),
    )


def moves(document: FleetDocument) -> str:
    """Replicas added and removed."""
    bins = _Bins(document.record)
    added, removed = bins.sums("adds"), bins.sums("removes")
    up = _up(max(1.0, *added, *removed))
    marks = [
        *_axes(bins, up, shown=wording.tick),
        curve(bins.stairs(added, up), look(0)),
        curve(bins.stairs(removed, up), look(1)),
    ]
    return _figure(
        name="moves",
        title="Moves",
        described=f"{sum(added):.0f} replicas added and {sum(removed):.0f} removed.",
        marks=marks,
        legend=legend([(line_swatch(look(0)), "added"), (line_swatch(look(1)), "removed")]),
        reading=f"up is replicas that rounds added or removed in {wording.seconds(bins.step_s)}.",
        table=_table(bins, {"added": added, "removed": removed}, "Moves"),
    )


def cost(document: FleetDocument) -> str:
    """What held devices cost; nothing where no price was given."""
    if not document.prices:
        return ""
    bins = _Bins(document.record)
    hourly = [value * _HOUR_S for value in bins.means("cost")]
    up = _up(max(hourly))
    marks = [
        *_axes(bins, up, shown=wording.tick),
        area(bins.stairs(hourly, up), bins.floor(hourly, up), "area p0"),
    ]
    prices = wording.listed([f"{name} {price:g}" for name, price in document.prices.items()])
    return _figure(
        name="cost",
        title="Cost",
        described=f"Cost per hour of the devices held, at most {max(hourly):.0f}.",
        marks=marks,
        reading=f"up is what held devices cost per hour, at prices of {prices} a device-hour.",
        table=_table(bins, {"cost per hour": hourly}, "Cost"),
    )


# ------------------------------------------------------------ details


class _Bins:
    """The record's series, summed to as many bins as a drawing can show."""

    def __init__(self, record: FleetRecord) -> None:
        self._record = record
        count = len(record.series["requests"])
        self._each = max(1, -(-count // _POINTS))
        self.step_s = self._each * record.interval_s
        self.count = -(-count // self._each)
        length_s = record.duration_s
        is_long = length_s >= 2 * _HOUR_S
        self._unit_s, self.unit = (_HOUR_S, "hours") if is_long else (60.0, "minutes")
        self.scale = Scale(
            low=0.0, high=length_s / self._unit_s, start=_FRAME.left, end=_FRAME.right
        )

    def edge_s(self, index: int) -> float:
        """Where a bin begins."""
        return min(self._record.duration_s, index * self.step_s)

    def sums(self, name: str) -> list[float]:
        """Of each bin."""
        values = self._record.series[name]
        return [
            sum(values[i : i + self._each]) for i in range(0, self.count * self._each, self._each)
        ]

    def means(self, name: str) -> list[float]:
        """Per second of each bin."""
        return [
            total / max(1e-9, self.edge_s(i + 1) - self.edge_s(i))
            for i, total in enumerate(self.sums(name))
        ]

    def stairs(self, values: Sequence[float], up: Scale) -> list[Point]:
        """Level over each bin."""
        points: list[Point] = []
        for index, value in enumerate(values):
            y = up.at(value)
            points += [(self._x(index), y), (self._x(index + 1), y)]
        return points

    def floor(self, values: Sequence[float], up: Scale) -> list[Point]:
        """The bottom below as many bins."""
        return self.stairs([up.low] * len(values), up)

    def _x(self, index: int) -> float:
        return self.scale.at(self.edge_s(index) / self._unit_s)


def _up(most: float) -> Scale:
    return Scale(low=0.0, high=round_up(most), start=_FRAME.bottom, end=_FRAME.top)


def _axes(bins: _Bins, up: Scale, *, shown: Callable[[float], str]) -> list[str]:
    return [
        left_axis(up, _FRAME, shown=shown, values=up.ticks()),
        bottom_axis(bins.scale, _FRAME, shown=shown, unit=bins.unit),
    ]


def _figure(
    *, name: str, title: str, described: str, marks: list[str], reading: str, table: str,
    legend: str = "",
) -> str:  # fmt: skip
    return figure(
        name=name,
        title=title,
        described=described,
        height=_FRAME.bottom + 46.0,
        marks=marks,
        legend=legend,
        reading=f"across is time; {reading}",
        table=table,
    )


def _table(bins: _Bins, columns: dict[str, list[float]], caption: str) -> str:
    each = max(1, -(-bins.count // _TABLE_ROWS))
    rows = [
        [
            wording.seconds(bins.edge_s(index)),
            *(wording.number(values[index]) for values in columns.values()),
        ]
        for index in range(0, bins.count, each)
    ]
    return table(["from", *columns], rows, caption=f"{caption}, of a selection of moments")
