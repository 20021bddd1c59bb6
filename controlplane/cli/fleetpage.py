"""A picture of the fleet as one page that needs nothing else.

Owns the page's order: how the fleet stands, where every replica is, deployments, the plan with
its terms, bound and gap, what does not fit, and all of it as a table. Refuses scripts,
addresses, networks and fonts of its own. Invariants: equal pictures give equal pages; every
text that came from outside is escaped; the page is well-formed XML, too.
"""

from collections import Counter

from controlplane.cli.fleetpage_nodes import cluster_markup, keys, legend
from controlplane.cli.fleetpage_picture import (
    BoxState,
    Mark,
    Picture,
    PlanFacts,
    clusters,
    mean_headroom,
)
from controlplane.cli.fleetpage_style import style_sheet
from controlplane.cli.fleetpage_tables import (
    deployments_table,
    hosts_to_know,
    lines,
    nodes_table,
    terms_table,
)
from controlplane.cli.fleetpage_words import percent
from planner.replay.report.markup import element, text
from planner.replay.report.wording import count, number

_MOST_LARGE_TILES = 300
"""Nodes up to which tiles are large; more of them still have to fit a few screens."""
_NOT_XML = dict.fromkeys((*(n for n in range(32) if chr(n) not in "\t\n\r"), 0xFFFE, 0xFFFF))
"""Characters that XML 1.0 (2.2) has no way to write; what agents say may hold them."""
_MOST_SENTENCES = 60
"""Of misfits and moves shown one by one; the ledger has all."""


def fleet_html(picture: Picture) -> str:
    """The picture as a page.

    Args:
        picture: The fleet at one revision; it may be empty.

    Returns:
        HTML, light and dark, without script or address.
    """
    title = f"Fleet at revision {picture.revision}"
    size = "large" if len(picture.hosts) <= _MOST_LARGE_TILES else "small"
    tiles = "".join(cluster_markup(cluster) for cluster in clusters(picture.hosts))
    body = element(
        "main",
        element("h1", text(title)),
        element("p", text(f"Slacktide, drawn {picture.drawn}"), class_="under"),
        _notes(picture),
        _facts(picture),
        element("h2", "Where replicas are"),
        element("details", element("summary", "How to read this"), legend(), open="open"),
        keys(picture.rows) if picture.rows else "",
        element("div", tiles or element("p", "There is no node."), class_=f"fleet {size}"),
        *_listed("Marked and pinned nodes", hosts_to_know(picture)),
        element("h2", "Deployments"),
        deployments_table(picture) if picture.rows else element("p", "There is none."),
        element("h2", "The plan in force"),
        _plan(picture.plan) if picture.plan else element("p", "No round has made one yet."),
        element("h2", "The picture as a table"),
        element("details", element("summary", "Every node and replica"), nodes_table(picture)),
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", text(title)),
        style_sheet(len(picture.rows)),
    )
    page = f"<!DOCTYPE html>\n{element('html', head, element('body', body), lang='en')}\n"
    return page.translate(_NOT_XML)


def _notes(picture: Picture) -> str:
    """What an operator should know first; nothing where all is well."""
    notes = list(picture.notes)
    marks = Counter(mark for host in picture.hosts for mark in host.marks)
    marked = [f"{marks[mark]:,} {mark.value}" for mark in Mark if marks[mark]]
    if marked:
        notes.append(f"nodes: {', '.join(marked)}")
    states = Counter(box.state for box in picture.boxes)
    ill = [f"{states[s]:,} {s.value}" for s in (BoxState.FAILED, BoxState.LOST) if states[s]]
    if ill:
        notes.append(f"replicas: {', '.join(ill)}")
    running = Counter(box.deployment for box in picture.boxes if box.state is BoxState.RUNNING)
    short = [row.id for row in picture.rows if running[row.id] < row.wanted[0]]
    if short:
        some = ", ".join(short[:5]) + (" …" if len(short) > 5 else "")
        notes.append(f"{count(len(short), 'deployment')} below min_replicas: {some}")
    if picture.service and _is_short(picture.service.online):
        had, wanted = picture.service.online
        notes.append(f"online work: {number(had)} of {number(wanted)} ms/s served")
    if picture.plan and picture.plan.misfits:
        misfits = count(len(picture.plan.misfits), "misfit")
        notes.append(f"{misfits}: {picture.plan.misfits[0]}")
    return element("div", lines(tuple(notes)), class_="notes", role="note") if notes else ""


def _is_short(served: tuple[float, float]) -> bool:
    return served[0] < served[1] * (1.0 - 1e-6)


def _facts(picture: Picture) -> str:
    boxes = list(picture.boxes)
    states = Counter(box.state for box in boxes)
    devices = sum(len(host.device_types) for host in picture.hosts)
    taken = sum(len(host.busy) for host in picture.hosts)
    unused = sum(not host.boxes for host in picture.hosts)
    facts = [
        ("nodes", f"{len(picture.hosts):,}"),
        ("nodes with nothing on them", f"{unused:,}"),
        ("devices taken", f"{taken:,} of {devices:,}"),
        ("replicas running", f"{states[BoxState.RUNNING]:,} of {len(boxes):,}"),
        ("mean headroom of replicas", percent(mean_headroom(boxes))),
    ]
    if picture.service:
        served = picture.service
        kinds = (
            ("online", served.online),
            ("deadline", served.deadline),
            ("offline", served.offline),
        )
        facts += [
            (f"{kind} work served, ms/s", f"{number(had)} of {number(wanted)}")
            for kind, (had, wanted) in kinds
            if wanted
        ]
        if served.price_per_hour:
            facts.append(("price per hour", f"{served.price_per_hour:,.2f}"))
    if picture.plan:
        facts.append(("gap of the plan", f"{picture.plan.gap:.2%}".replace("%", " %")))
    return element(
        "dl",
        *(
            element("div", element("dt", text(name)), element("dd", text(value)))
            for name, value in facts
            if value != "–"
        ),
        class_="facts",
    )


def _plan(plan: PlanFacts) -> str:
    epoch = f", epoch {plan.epoch}" if plan.epoch else ""
    how = f"{plan.status} by {plan.solver or 'no solver'}"
    took = f" in {plan.took}" if plan.took else ""
    sentences = [
        f"Plan {plan.name} was made at revision {plan.base_revision}{epoch}"
        f"{', ' + plan.made if plan.made else ''}"
        f"{'; trigger: ' + plan.trigger if plan.trigger else ''}.",
        f"It came out {how}{took}: objective {number(plan.objective)}, proven bound"
        f" {number(plan.bound)}, gap {plan.gap:.2%}.",
    ]
    parts = [element("p", text(words)) for words in sentences]
    parts += [element("h3", "Terms"), terms_table(plan)]
    parts += _listed("What does not fit", plan.misfits)
    parts += _listed("Moves of this plan", plan.moves)
    return "".join(parts)


def _listed(title: str, entries: tuple[str, ...]) -> list[str]:
    if not entries:
        return []
    more = len(entries) - _MOST_SENTENCES
    shown = entries[:_MOST_SENTENCES] + ((f"and {more:,} more",) if more > 0 else ())
    return [element("h3", text(f"{title}: {len(entries):,}")), lines(shown)]
