"""Figures as tables.

Owns the markup of tables: a caption, heads with their scope, numbers to the right. Refuses
figures: cells come worded.
"""

from collections.abc import Mapping, Sequence

from planner.replay.report.markup import element, text


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str = "", words: int = 1
) -> str:
    """A table whose first column names its rows.

    Args:
        heads: Of its columns.
        rows: Cells, as text or, from `marked`, as markup.
        caption: What it shows.
        words: How many of the first columns hold words; the others hold numbers.
    """
    head = element(
        "tr",
        *(
            element("th", _cell(name), scope="col", class_="n" if place >= words else None)
            for place, name in enumerate(heads)
        ),
    )
    body = (
        element(
            "tr",
            element("th", _cell(row[0]), scope="row"),
            *(
                element("td", _cell(cell), class_="n" if place >= words else None)
                for place, cell in enumerate(row[1:], start=1)
            ),
        )
        for row in rows
    )
    return element(
        "div",
        element(
            "table",
            element("caption", text(caption)) if caption else "",
            element("thead", head),
            element("tbody", *body),
        ),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=caption or "table",
    )


def settings_table(caption: str, settings: Mapping[str, object]) -> str:
    """Names and values of settings."""
    return element(
        "div",
        element("h3", text(caption)),
        element(
            "table",
            element(
                "tbody",
                *(
                    element(
                        "tr",
                        element("th", element("code", text(name)), scope="row"),
                        element("td", element("code", text(_setting(value)))),
                    )
                    for name, value in settings.items()
                ),
            ),
        ),
    )


class Marked(str):
    """A cell that is markup already."""

    __slots__ = ()


def marked(content: str, classes: str) -> Marked:
    """Text of a class, as a cell."""
    return Marked(element("span", text(content), class_=classes))


def _cell(content: str) -> str:
    return content if isinstance(content, Marked) else text(content)


def _setting(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)
