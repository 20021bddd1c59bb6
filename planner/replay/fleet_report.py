"""The report of a fleet's replay: one HTML page, whole in itself.

Owns the page: what it came to, utilisation, attainment, moves and cost over time, and the
tables. Markup, drawings and style are those of `planner.replay.report`. Refuses files.
Invariants: equal documents give equal pages; the page opens nothing.
"""

from planner.replay.fleet_document import FleetDocument, figures
from planner.replay.fleet_timeline import attainment, cost, moves, utilisation, work
from planner.replay.report import wording
from planner.replay.report.markup import element, text
from planner.replay.report.sections import configured, page, remarks, section
from planner.replay.report.tables import marked, table
from planner.simulation.fleet.recording import BatchTotals, ServiceTotals

_MOST_ROWS = 200


def fleet_report_html(document: FleetDocument) -> str:
    """The report as one page.

    Args:
        document: What was found.

    Returns:
        HTML that needs nothing else.
    """
    title = f"Replay of fleet {document.name}"
    parts = [
        element("h1", text(title)),
        element("p", text(f"Slacktide {document.version}, simulated"), class_="under"),
        _opening(document),
        remarks(document.notes),
        section("Results", _summary(document), _deployments(document)),
        section(
            "Over time",
            utilisation(document),
            work(document),
            attainment(document),
            moves(document),
            cost(document),
        ),
        section("Batches", _batches(document)),
        section("Rounds", _rounds(document)),
        section("Settings", configured(document.configuration)),
    ]
    return page(title, *parts)


def _opening(document: FleetDocument) -> str:
    record, found = document.record, figures(document)
    due = sum(one.deadline_s is not None for one in record.batches)
    devices = wording.listed(
        [f"{count:,} × {device_type}" for device_type, count in record.devices.items()]
    )
    words = (
        f"{wording.count(record.nodes, 'node')} with {devices}, over"
        f" {wording.seconds(record.duration_s)}, {record.mode}."
        f" {_percent(found['attainment_ratio'])} of"
        f" {found['online_requests']:,.0f} online requests met their SLO;"
        f" {found['missed_deadlines']:.0f} of {wording.count(due, 'deadline')} missed."
        f" Replicas held {found['held_device_hours']:,.0f}"
        f" device-hours, {wording.percent(found['held_ratio'])} of the fleet's, and were used to"
        f" {wording.percent(found['utilisation_ratio'])}."
    )
    return element("p", text(words), class_="lead")


def _summary(document: FleetDocument) -> str:
    found = figures(document)
    rows = [
        ["Online requests", wording.number(found["online_requests"])],
        ["Attainment", _percent(found["attainment_ratio"])],
        ["Shed", wording.number(found["shed_requests"])],
        ["Failed with their node", wording.number(found["failed_requests"])],
        ["Device-hours held", wording.number(found["held_device_hours"])],
        ["Device-hours of nodes in use", wording.number(found["node_device_hours"])],
        ["Replicas used, mean", wording.percent(found["utilisation_ratio"])],
        ["Replicas added and removed", wording.number(found["moves"])],
        ["Rounds", wording.number(found["rounds"])],
        ["Deadlines missed", wording.number(found["missed_deadlines"])],
    ]
    if document.prices:
        rows.append(["Cost", wording.number(found["cost"])])
    return table(["", "all of the replay"], rows)


def _deployments(document: FleetDocument) -> str:
    rows = [_deployment(one) for one in document.record.services]
    heads = ["deployment", "SLO", "requests", "attained", "shed", "failed",
             "online work, s", "offline work, s"]  # fmt: skip
    return table(heads, rows, caption="Deployments; work in seconds of a solo engine", words=2)


def _deployment(one: ServiceTotals) -> list[str]:
    is_kept = one.attainment_ratio >= one.attainment_target
    return [
        one.deployment,
        marked("kept", "kept") if is_kept else marked("missed", "lost"),
        wording.number(one.requests),
        _percent(one.attainment_ratio),
        wording.number(one.shed),
        wording.number(one.failed),
        wording.number(one.online_work_ms / 1e3),
        wording.number(one.offline_work_ms / 1e3),
    ]


def _batches(document: FleetDocument) -> str:
    found = document.record.batches
    if not found:
        return ""
    rows = [_batch(one) for one in found[:_MOST_ROWS]]
    heads = ["batch", "deadline", "tenant", "items", "done", "submitted", "due", "finished"]
    return table(heads, rows, caption=_caption(len(found), "batch", "batches"), words=3)


def _batch(one: BatchTotals) -> list[str]:
    kept = marked("kept", "kept") if one.deadline_s is not None else "none"
    return [
        one.batch,
        marked("missed", "lost") if one.is_missed else kept,
        one.tenant,
        f"{one.items:,}",
        wording.percent(one.done / one.items),
        wording.seconds(one.submit_s),
        "-" if one.deadline_s is None else wording.seconds(one.deadline_s),
        "-" if one.finish_s is None else wording.seconds(one.finish_s),
    ]


def _rounds(document: FleetDocument) -> str:
    moved = [one for one in document.record.rounds if one.adds or one.removes or not one.solver]
    rows = [
        [
            wording.seconds(one.at_s),
            one.trigger,
            one.solver or "no plan",
            one.status or "-",
            f"{one.adds}",
            f"{one.removes}",
            f"{one.misfits}",
            f"{one.gap:.3f}",
        ]
        for one in moved[:_MOST_ROWS]
    ]
    if not rows:
        return element("p", "No round moved a replica.")
    heads = ["at", "trigger", "by", "status", "added", "removed", "misfits", "gap"]
    caption = _caption(len(moved), "round that moved a replica", "rounds that moved a replica")
    return table(heads, rows, caption=caption, words=4)


def _caption(count: int, one: str, many: str) -> str:
    noun = one if count == 1 else many
    if count > _MOST_ROWS:
        return f"The first {_MOST_ROWS} of {count:,} {noun}; the JSON file has all"
    return f"{count:,} {noun}"


def _percent(ratio: float) -> str:
    """With the digits that an SLO is about: 99.97 is not 100."""
    return f"{100.0 * ratio:.2f} %"
