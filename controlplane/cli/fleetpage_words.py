"""What the picture says in words: of a replica, a node, a cluster of nodes.

Owns the sentences a pointer or a screen reader gets. Refuses markup; callers escape.
"""

from controlplane.cli.fleetpage_picture import Box, BoxState, Cluster, Host, mean_headroom
from planner.replay.report.wording import count, number

_STATES = {
    BoxState.PLANNED: "planned, not started",
    BoxState.STARTING: "starting",
    BoxState.RUNNING: "running",
    BoxState.LEAVING: "leaving",
    BoxState.FAILED: "failed",
    BoxState.LOST: "lost",
}


def percent(ratio: float | None) -> str:
    """A share as whole percents; "–" where it is not known."""
    return "–" if ratio is None else f"{ratio:.0%}".replace("%", " %")


def state_words(box: Box) -> str:
    """How a replica stands."""
    return _STATES[box.state]


def box_words(box: Box) -> str:
    """A replica in one paragraph."""
    devices = ",".join(str(index) for index in box.devices)
    parts = [
        f"{box.deployment} {box.replica or '(new)'} on device{'s'[: len(box.devices) - 1]}"
        f" {devices}: {state_words(box)}",
        f"online share {box.online_share:.2f}",
        f"offline {number(box.offline_work)} ms/s",
        f"budget {number(box.budget_ms)} ms",
    ]
    if box.slo_class:
        parts.append(f"held to SLO class {box.slo_class}")
    if box.headroom is not None:
        parts.append(
            f"frontier: online {percent(box.online_ratio)}, offline"
            f" {percent(box.offline_ratio)}, headroom {percent(box.headroom)}"
        )
    if box.online_now is not None and box.offline_now is not None:
        parts.append(
            f"now online {number(box.online_now)} ms/s, offline {number(box.offline_now)} ms/s"
        )
    if box.is_pinned:
        parts.append("pinned here")
    if box.note:
        parts.append(box.note)
    return "; ".join(parts)


def host_words(host: Host) -> str:
    """A node in one paragraph."""
    kinds = sorted(set(host.device_types))
    parts = [
        f"{host.id}: {count(len(host.device_types), 'device')}"
        f"{' (' + ', '.join(kinds) + ')' if kinds else ''}, {len(host.busy)} taken",
        f"failure domain {host.domain or host.id}",
    ]
    if host.group:
        parts.append(f"group {host.group}")
    if host.marks:
        reason = f" ({host.reason})" if host.reason else ""
        parts.append(marks_words(host) + reason)
    parts += [f"pinned: {deployment} x {replicas}" for deployment, replicas in host.pins]
    return "; ".join(parts)


def marks_words(host: Host) -> str:
    """What sets a node apart; "" where nothing does."""
    return ", ".join(mark.value for mark in host.marks)


def cluster_title(cluster: Cluster) -> str:
    """The heading of nodes that stand together."""
    domain = f"Failure domain {cluster.domain}" if cluster.domain else "Each node fails by itself"
    return f"{domain}, group {cluster.group}" if cluster.group else domain


def cluster_words(cluster: Cluster) -> str:
    """Its sums."""
    devices = sum(len(host.device_types) for host in cluster.hosts)
    taken = sum(len(host.busy) for host in cluster.hosts)
    boxes = [box for host in cluster.hosts for box in host.boxes]
    words = (
        f"{count(len(cluster.hosts), 'node')}, {taken:,} of {count(devices, 'device')} taken,"
        f" {count(len(boxes), 'replica')}"
    )
    room = mean_headroom(boxes)
    return words if room is None else f"{words}, mean headroom {percent(room)}"
