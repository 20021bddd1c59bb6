"""What every report's page is made of: its frame, sections, notes and settings.

Owns their markup. Refuses what they hold: parts come as markup, from `text` or `element`.
"""

from collections.abc import Mapping, Sequence

from planner.replay.report.markup import element, text
from planner.replay.report.style import style_sheet
from planner.replay.report.tables import settings_table


def page(title: str, *parts: str) -> str:
    """A whole page that opens nothing else."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", text(title)),
        style_sheet(),
    )
    body = element("body", element("main", *parts))
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def section(title: str, *parts: str) -> str:
    """Parts under a title; nothing where there are none."""
    if not any(parts):
        return ""
    return element("section", element("h2", text(title)), *parts)


def remarks(notes: Sequence[str]) -> str:
    """What a reader has to know beside the figures."""
    if not notes:
        return ""
    entries = "".join(element("li", text(note)) for note in notes)
    return element("div", element("ul", entries), class_="notes", role="note")


def configured(settings: Mapping[str, Mapping[str, object]]) -> str:
    """Settings, a table each part."""
    tables = (settings_table(name, part) for name, part in settings.items())
    return element("div", *tables, class_="columns")
