"""Nodes and their devices as tiles.

Owns the markup of a tile, of a replica's box in it, of the key to deployments and of the
legend. Refuses figures of its own. Invariants: every text from outside is escaped; a tile says
in words, to a pointer, all that it shows; the tiles are one image to a screen reader, which
gets the table instead.
"""

from collections.abc import Iterable

from controlplane.cli.fleetpage_picture import Box, BoxState, Cluster, Host, Mark, Row
from controlplane.cli.fleetpage_style import hue
from controlplane.cli.fleetpage_words import (
    box_words,
    cluster_title,
    cluster_words,
    host_words,
    marks_words,
)
from planner.replay.report.markup import element, text

_HOST_CLASSES = {
    Mark.LOST: "gone",
    Mark.DRAINING: "off",
    Mark.DRAINED: "off",
    Mark.CORDONED: "off",
    Mark.FROZEN: "froz",
}
_LEGEND = (
    (BoxState.RUNNING, (0.5, 0.3), "running: from below, what planned online work (full colour)"
     " and offline work (half) take of its frontier; what is light is headroom"),
    (BoxState.RUNNING, None, "running; its share of the frontier is not known"),
    (BoxState.STARTING, None, "starting"),
    (BoxState.PLANNED, None, "planned, not started"),
    (BoxState.LEAVING, None, "leaving: it drains, or the plan wants it stopped"),
    (BoxState.FAILED, None, "failed"),
    (BoxState.LOST, None, "lost with its node"),
)  # fmt: skip
_HOST_LEGEND = (
    ("off", "cordoned, draining or drained node: nothing new is placed there"),
    ("froz", "frozen node: it stays as it is"),
    ("gone", "lost node: its lease lapsed"),
)


def cluster_markup(cluster: Cluster) -> str:
    """One heading and its tiles."""
    words = cluster_words(cluster)
    title = cluster_title(cluster)
    return element(
        "section",
        element("h3", text(title), element("span", text(words))),
        element(
            "div",
            *(_tile(host) for host in cluster.hosts),
            class_="nodes",
            role="img",
            aria_label=f"{title}: {words}. All nodes follow in a table.",
        ),
    )


def keys(rows: Iterable[Row]) -> str:
    """Deployments with number and colour; picking one makes the others faint."""
    return element(
        "fieldset",
        element("legend", "Deployments; pick one to see where it runs"),
        element(
            "label",
            element("input", type="radio", name="pick", id="pick-0", checked="checked"),
            element("b", "all"),
        ),
        *(
            element(
                "label",
                element("input", type="radio", name="pick", id=f"pick-{row.number}"),
                element("span", text(row.number), class_=f"swatch {hue(row.number)}"),
                element("b", text(row.id)),
                title=row.id,
            )
            for row in rows
        ),
        class_="keys",
    )


def legend() -> str:
    """What the looks of boxes and tiles mean."""
    entries = [
        (_box_swatch(state, ratios), words)
        for state, ratios, words in _LEGEND
    ]  # fmt: skip
    entries += [
        (element("span", class_=f"swatch r unknown pin {hue(1)}"), "pinned to its node"),
        (element("span", class_="swatch", style="background:var(--free)"), "free device"),
    ]
    entries += [(element("span", class_=f"h {classes}"), words) for classes, words in _HOST_LEGEND]
    return element(
        "ul",
        *(element("li", mark, element("span", text(words))) for mark, words in entries),
        class_="how large",
    )


def _box_swatch(state: BoxState, ratios: tuple[float, float] | None) -> str:
    classes = f"swatch r {_state_class(state, is_known=ratios is not None)} {hue(1)}".split()
    return element("span", "1", class_=" ".join(classes), style=_shares(ratios))


def _tile(host: Host) -> str:
    classes = " ".join(["h", *dict.fromkeys(_HOST_CLASSES[mark] for mark in host.marks)])
    width = max(1, len(host.device_types))
    marks = marks_words(host)
    taken = host.busy
    free = (
        element("i", style=f"grid-column:{index + 1};grid-row:1")
        for index in range(len(host.device_types))
        if index not in taken
    )
    return element(
        "div",
        element("p", element("b", text(host.id)), element("i", text(marks)) if marks else ""),
        element("div", *(_box(box) for box in host.boxes), *free, class_="g"),
        class_=classes,
        style=f"--n:{width}",
        title=host_words(host),
    )


def _box(box: Box) -> str:
    """A box over its devices; those that are not neighbours get a piece each."""
    ratios = None
    if box.online_ratio is not None and box.offline_ratio is not None:
        ratios = (box.online_ratio, box.offline_ratio)
    classes = " ".join(
        word
        for word in (
            "r",
            _state_class(box.state, is_known=ratios is not None),
            f"d{box.number}",
            hue(box.number),
            "pin" if box.is_pinned else "",
        )
        if word
    )
    shares = _shares(ratios) or ""
    return "".join(
        element(
            "span",
            text(box.number),
            class_=classes,
            style=f"grid-column:{first + 1}/{last + 2};{shares}",
            title=box_words(box),
        )
        for first, last in runs(box.devices)
    )


def runs(devices: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Neighbouring indices as (first, last), ascending."""
    found: list[tuple[int, int]] = []
    for index in sorted(set(devices)):
        if found and index == found[-1][1] + 1:
            found[-1] = (found[-1][0], index)
        else:
            found.append((index, index))
    return tuple(found)


def _state_class(state: BoxState, *, is_known: bool) -> str:
    words = [] if is_known else ["unknown"]
    if state is not BoxState.RUNNING:
        words.append(state.value)
    return " ".join(words)


def _shares(ratios: tuple[float, float] | None) -> str | None:
    """Where online work ends and where offline work does, from below."""
    if ratios is None:
        return None
    online = min(1.0, max(0.0, ratios[0]))
    both = min(1.0, online + max(0.0, ratios[1]))
    return f"--x:{100 * online:.0f}%;--y:{100 * both:.0f}%"
