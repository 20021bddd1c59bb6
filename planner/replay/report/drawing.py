"""Axes, lines and areas of a drawing, and the figure around it.

Owns how a drawing is put together and described to those who do not see it. Refuses data:
it gets values and scales.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from planner.replay.report.markup import element, text
from planner.replay.report.scales import Scale
from planner.replay.report.style import Look

WIDTH = 940.0
"""Of every drawing, in its own units; the page scales it."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The rectangle that data is drawn in."""

    left: float
    right: float
    top: float
    bottom: float


def figure(
    *, name: str, title: str, described: str, height: float, marks: Iterable[str], reading: str,
    table: str, legend: str = "",
) -> str:  # fmt: skip
    """A drawing with all that belongs to it.

    Args:
        name: Unique on the page; an id.
        title: What is drawn.
        described: Its gist, for a screen reader.
        height: Of the drawing.
        marks: Markup of the drawing.
        reading: How to read it: a sentence or two, with units.
        table: The same figures, markup.
        legend: Markup above the drawing.
    """
    drawing = element(
        "svg",
        element("title", text(title), id=f"{name}-title"),
        element("desc", text(described), id=f"{name}-desc"),
        *marks,
        viewBox=f"0 0 {WIDTH:.0f} {height:.0f}",
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
    )
    caption = element("figcaption", element("b", "How to read this: "), text(reading))
    return element(
        "div",
        element("figure", element("h3", text(title), id=name), legend, drawing, caption),
        element("details", element("summary", "The same figures as a table"), table),
        class_="chart",
    )


def legend(entries: Sequence[tuple[str, str]]) -> str:
    """A line of swatches and names.

    Args:
        entries: Markup drawn in 38 × 14, and the name beside it.
    """
    return element(
        "ul",
        *(
            element(
                "li",
                element("svg", swatch, viewBox="0 0 38 14", aria_hidden="true"),
                element("span", text(name)),
            )
            for swatch, name in entries
        ),
        class_="legend",
    )


def line_swatch(look: Look) -> str:
    """A policy's line, for a legend."""
    return curve([(1.0, 7.0), (37.0, 7.0)], look)


def box_swatch(classes: str) -> str:
    """A filled box, for a legend."""
    return element("rect", x=2, y=1, width=34, height=12, class_=classes)


def curve(points: Iterable[Point], look: Look) -> str:
    """A policy's line."""
    return element(
        "polyline",
        points=_joined(points),
        class_=f"curve {look.class_name}",
        stroke_dasharray=look.dash or None,
    )


def line(points: Iterable[Point], classes: str) -> str:
    """Any other line."""
    return element("polyline", points=_joined(points), class_=classes)


def area(upper: Sequence[Point], lower: Sequence[Point], classes: str) -> str:
    """What lies between two lines with equal x."""
    return element("polygon", points=_joined([*upper, *reversed(lower)]), class_=classes)


def label(content: str, x: float, y: float, *, anchor: str = "start", classes: str = "") -> str:
    """Text at a place; `anchor` is the end of it that is there."""
    return element("text", text(content), x=x, y=y, text_anchor=anchor, class_=classes or None)


def bottom_axis(
    scale: Scale, frame: Frame, *, shown: Callable[[float], str], unit: str, grid: bool = True
) -> str:
    """Ticks, their values and the unit, below the frame."""
    marks = [line([(frame.left, frame.bottom), (frame.right, frame.bottom)], "axis")]
    for value in scale.ticks(8):
        x = scale.at(value)
        if grid:
            marks.append(line([(x, frame.top), (x, frame.bottom)], "grid"))
        marks.append(line([(x, frame.bottom), (x, frame.bottom + 4)], "axis"))
        marks.append(label(shown(value), x, frame.bottom + 18, anchor="middle"))
    middle = (frame.left + frame.right) / 2.0
    marks.append(label(unit, middle, frame.bottom + 37, anchor="middle"))
    return "".join(marks)


def left_axis(
    scale: Scale, frame: Frame, *, shown: Callable[[float], str], values: Iterable[float]
) -> str:
    """Grid lines and their values, left of the frame."""
    marks = []
    for value in values:
        y = scale.at(value)
        marks.append(line([(frame.left, y), (frame.right, y)], "grid"))
        marks.append(label(shown(value), frame.left - 8, y + 4.5, anchor="end"))
    return "".join(marks)


def _joined(points: Iterable[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
