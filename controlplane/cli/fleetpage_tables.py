"""The picture's figures as tables: deployments, nodes with their replicas, the plan.

Owns what a reader who does not see the tiles gets, and the plan's terms, moves and misfits.
Refuses summaries: every replica of the picture is here, too.
"""

from collections import Counter

from controlplane.cli.fleetpage_picture import (
    Box,
    BoxState,
    Picture,
    PlanFacts,
    clusters,
    mean_headroom,
)
from controlplane.cli.fleetpage_words import host_words, marks_words, percent, state_words
from planner.replay.report.markup import element, text
from planner.replay.report.tables import marked, table
from planner.replay.report.wording import number


def deployments_table(picture: Picture) -> str:
    """One row a deployment: replicas, shares, headroom, what does not fit."""
    boxes: dict[str, list[Box]] = {}
    for box in picture.boxes:
        boxes.setdefault(box.deployment, []).append(box)
    rows = []
    for row in picture.rows:
        own = boxes.get(row.id, [])
        states = Counter(box.state for box in own)
        running = states[BoxState.RUNNING]
        others = [
            f"{states[state]} {state.value}"
            for state in BoxState
            if state is not BoxState.RUNNING and states[state]
        ]
        flags = [*(["frozen"] if row.is_frozen else []), *row.misfits]
        rows.append(
            [
                f"{row.number}  {row.id}",
                row.model,
                row.stage,
                "; ".join(others),
                marked("; ".join(flags), "bad") if row.misfits else "; ".join(flags),
                f"{row.wanted[0]} to {row.wanted[1]}",
                marked(str(running), "bad") if running < row.wanted[0] else str(running),
                str(sum(len(box.devices) for box in own)),
                number(sum(box.online_now or 0.0 for box in own)),
                number(sum(box.offline_work for box in own)),
                percent(mean_headroom(own)),
            ]
        )
    heads = [
        "deployment", "model", "stage", "not running", "what to know", "wanted", "running",
        "devices", "online now", "offline", "headroom",
    ]  # fmt: skip
    return table(
        heads,
        rows,
        caption="Deployments: replicas wanted and running, devices taken, online work that agents"
        " measure now and offline work that the plan counts on (engine-milliseconds per second),"
        " and the mean of what is left of its replicas' frontiers",
        words=5,
    )


def nodes_table(picture: Picture) -> str:
    """One row a node, every replica of it in words."""
    rows = [
        [
            host.id,
            host.domain or host.id,
            host.group,
            "; ".join(part for part in (marks_words(host), host.reason) if part),
            "; ".join(_box_line(box) for box in host.boxes) or "nothing",
            f"{len(host.busy)} of {len(host.device_types)}",
        ]
        for cluster in clusters(picture.hosts)
        for host in cluster.hosts
    ]
    heads = ["node", "failure domain", "group", "marks", "replicas", "devices taken"]
    return table(heads, rows, caption="Nodes and their replicas", words=5)


def terms_table(plan: PlanFacts) -> str:
    """The objective's summands, those that count first."""
    counting = [term for term in plan.terms if term.value]
    rows = [
        [term.name, number(term.weight), number(term.value), number(term.weight * term.value)]
        for term in counting
    ]
    rows.append(["sum", "", "", number(sum(term.weight * term.value for term in counting))])
    idle = [term.name for term in plan.terms if not term.value]
    note = f"Terms that are 0: {', '.join(idle)}." if idle else ""
    caption = "What the plan minimises: each term is its weight times its value"
    return table(["term", "weight", "value", "product"], rows, caption=caption) + (
        element("p", text(note)) if note else ""
    )


def lines(entries: tuple[str, ...], *, classes: str | None = None) -> str:
    """Sentences as a list."""
    return element("ul", *(element("li", text(entry)) for entry in entries), class_=classes)


def hosts_to_know(picture: Picture) -> tuple[str, ...]:
    """A sentence on each node that is marked or pinned to."""
    return tuple(host_words(host) for host in picture.hosts if host.marks or host.pins)


def _box_line(box: Box) -> str:
    devices = ",".join(str(index) for index in box.devices)
    room = f", headroom {percent(box.headroom)}" if box.headroom is not None else ""
    pinned = ", pinned" if box.is_pinned else ""
    return (
        f"{box.deployment} {box.replica or '(new)'} on {devices}: {state_words(box)}, online share"
        f" {box.online_share:.2f}, offline {number(box.offline_work)} ms/s{room}{pinned}"
    )
