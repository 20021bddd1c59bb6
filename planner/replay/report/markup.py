"""Elements of HTML and SVG as text.

Owns escaping: what `text` and attribute values hold is data, what `element` gets as children
is markup. Refuses meaning. Invariant: what comes out is well-formed XML as well as HTML.
"""

from html import escape

Attribute = str | int | float | None

_VOID = frozenset({"meta", "br", "hr"})  # of HTML, those used here


def text(content: object) -> str:
    """Data as markup that shows it."""
    return escape(str(content), quote=False)


def element(tag: str, /, *children: str, **attributes: Attribute) -> str:
    """One element.

    Args:
        tag: Its name.
        children: Markup inside it.
        attributes: By name, with `_` for `-` and a last `_` dropped (`class_`); None: left
            out. Numbers are written with two decimals at most.
    """
    pairs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_value(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if not children and tag in _VOID:
        return f"<{tag}{pairs}/>"
    return f"<{tag}{pairs}>{''.join(children)}</{tag}>"


def _value(value: Attribute) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value)
