"""`slacktide node`: list, describe, cordon, drain, uncordon; `label` is in `node_labels`."""

import time
from datetime import UTC, datetime
from typing import Annotated

import typer
from slacktide.v1.node_pb2 import NODE_STATE_DRAINED, NODE_STATE_LOST, Node, NodeState
from slacktide.v1.node_service_pb2 import (
    CordonNodeRequest,
    DrainNodeRequest,
    GetNodeRequest,
    ListNodesRequest,
    ListNodesResponse,
    UncordonNodeRequest,
)

from controlplane.cli.connection import connect
from controlplane.cli.failures import CommandError, ExitCode
from controlplane.cli.lookup import complete_node, find_node
from controlplane.cli.node_labels import label
from controlplane.cli.output import Column, Format, FormatOption, say, show_list, show_one
from controlplane.cli.placement_formats import WideFormat, WideOption, plain
from controlplane.cli.wording import (
    age_words,
    bare,
    duration_of,
    enum_word,
    parse_duration_s,
    size_words,
    time_words,
)
from controlplane.client import CALL_DEADLINE_S, Fleet, new_request_id, pages

app = typer.Typer(no_args_is_help=True, help="Hosts, each with one agent and its devices.")
NodeArgument = Annotated[
    str, typer.Argument(help="Node id or unique prefix.", autocompletion=complete_node)
]
ReasonOption = Annotated[str, typer.Option(help="Why, for whoever looks next.")]
_POLL_S = 0.5
app.command()(label)


@app.command("list")
def list_nodes(output: WideOption = WideFormat.TABLE) -> None:
    """Lists nodes with their state, devices and agent version.

    Wide adds what placement goes by: node group, host memory, warm models; and labels.
    """
    answer = ListNodesResponse()
    with connect() as fleet:
        for page in pages(
            lambda token: fleet.nodes.ListNodes(
                ListNodesRequest(page_token=token), timeout=CALL_DEADLINE_S
            )
        ):
            answer.nodes.extend(page.nodes)
    now = datetime.now(UTC)
    columns = [
        Column[Node](header="node", cell=lambda n: bare(n.name)),
        Column[Node](header="state", cell=_state),
        Column[Node](header="devices", cell=_devices),
        Column[Node](header="domain", cell=lambda n: n.failure_domain),
        Column[Node](header="agent", cell=lambda n: n.agent_version),
        Column[Node](header="sglang", cell=lambda n: n.sglang_version or "-"),
        Column[Node](header="seen", cell=lambda n: age_words(n.last_report_time, now=now)),
        Column[Node](header="message", cell=lambda n: n.message or n.reason),
    ]
    if output is WideFormat.WIDE:
        columns += [
            Column[Node](header="group", cell=lambda n: n.group or "-"),
            Column[Node](header="host memory", cell=_host_memory),
            Column[Node](header="warm models", cell=lambda n: ", ".join(n.warm_models) or "-"),
            Column[Node](header="labels", cell=lambda n: _labels(n, ", ") or "-"),
        ]
    show_list(answer, answer.nodes, columns, plain(output))


@app.command()
def describe(node: NodeArgument, output: WideOption = WideFormat.TABLE) -> None:
    """Shows one node in full."""
    with connect() as fleet:
        found = _get(fleet, find_node(fleet, node))
    devices = [f"{d.index}: {d.device_type}, {size_words(d.memory_bytes)}" for d in found.devices]
    facts = [
        ("node", bare(found.name)),
        ("state", _state(found)),
        ("reason", found.reason),
        ("drain deadline", time_words(found.drain_deadline_time)),
        ("message", found.message),
        ("address", found.address),
        ("failure domain", found.failure_domain),
        ("group", found.group),
        ("devices", "\n".join(devices)),
        ("host memory", _host_memory(found)),
        ("warm models", "\n".join(found.warm_models)),
        ("agent version", found.agent_version),
        ("sglang version", found.sglang_version),
        ("last report", time_words(found.last_report_time)),
        ("labels", _labels(found, "\n")),
    ]
    show_one(found, facts, plain(output))


@app.command()
def cordon(
    node: NodeArgument, reason: ReasonOption = "", output: FormatOption = Format.TABLE
) -> None:
    """Places nothing new on a node; what runs goes on.

    Example:  slacktide node cordon n1 --reason "disk replaced on Monday"
    """
    with connect() as fleet:
        request = CordonNodeRequest(
            name=find_node(fleet, node), reason=reason, request_id=new_request_id()
        )
        _confirm(fleet.nodes.CordonNode(request, timeout=CALL_DEADLINE_S).node, output)


@app.command()
def uncordon(node: NodeArgument, output: FormatOption = Format.TABLE) -> None:
    """Takes a cordon or a drain back."""
    with connect() as fleet:
        request = UncordonNodeRequest(name=find_node(fleet, node), request_id=new_request_id())
        _confirm(fleet.nodes.UncordonNode(request, timeout=CALL_DEADLINE_S).node, output)


@app.command()
def drain(
    node: NodeArgument,
    deadline: Annotated[
        str, typer.Option(help="What is left then is stopped by force, e.g. 90s or 5m.")
    ] = "5m",
    reason: ReasonOption = "",
    force: Annotated[
        bool, typer.Option("--force", help="Drain even if some replica fits nowhere else.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return once nothing runs there.")] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Moves everything off a node by a deadline, without losing a request.

    Replicas start elsewhere before they stop here; batch items go back to pending.

    Example:  slacktide node drain n1 --deadline 2m --reason "new driver" --wait
    """
    deadline_s = _seconds(deadline, "--deadline")
    with connect() as fleet:
        request = DrainNodeRequest(
            name=find_node(fleet, node),
            reason=reason,
            deadline=duration_of(deadline_s),
            force=force,
            request_id=new_request_id(),
        )
        drained = fleet.nodes.DrainNode(request, timeout=CALL_DEADLINE_S).node
        if wait:
            drained = _wait_drained(fleet, drained, timeout_s=deadline_s + 60)
        _confirm(drained, output)


def _wait_drained(fleet: Fleet, node: Node, *, timeout_s: float) -> Node:
    """Follows a drain; says so on stderr when the state changes."""
    give_up = time.monotonic() + timeout_s
    said = ""
    while node.state not in (NODE_STATE_DRAINED, NODE_STATE_LOST):
        if time.monotonic() > give_up:
            raise CommandError(
                f"node {bare(node.name)}: still {_state(node)} {timeout_s:.0f} s after the drain"
                f" began; next: slacktide node describe {bare(node.name)}",
                ExitCode.DIFFERENT,
            )
        if (state := _state(node)) != said:
            say(f"node {bare(node.name)}: {state}")
            said = state
        time.sleep(_POLL_S)
        node = _get(fleet, node.name)
    if node.state == NODE_STATE_LOST:
        raise CommandError(
            f"node {bare(node.name)}: lost while it drained; its replicas run elsewhere",
            ExitCode.DIFFERENT,
        )
    return node


def _get(fleet: Fleet, name: str) -> Node:
    return fleet.nodes.GetNode(GetNodeRequest(name=name), timeout=CALL_DEADLINE_S).node


def _confirm(node: Node, output: Format) -> None:
    show_one(node, [(f"node {bare(node.name)}", _state(node))], output)


def _state(node: Node) -> str:
    word = enum_word(NodeState, node.state)
    return f"{word}, cordoned" if node.cordoned and word == "ready" else word


def _host_memory(node: Node) -> str:
    return size_words(node.host_memory_bytes) if node.host_memory_bytes else "not known"


def _labels(node: Node, between: str) -> str:
    return between.join(f"{key}={value}" for key, value in sorted(node.labels.items()))


def _devices(node: Node) -> str:
    by_kind: dict[tuple[str, int], int] = {}
    for device in node.devices:
        kind = (device.device_type, device.memory_bytes)
        by_kind[kind] = by_kind.get(kind, 0) + 1
    return ", ".join(f"{n} x {kind} {size_words(size)}" for (kind, size), n in by_kind.items())


def _seconds(text: str, option: str) -> float:
    try:
        return parse_duration_s(text)
    except ValueError as error:
        raise CommandError(f"{option}: {error}") from error
