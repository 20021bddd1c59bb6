"""`slacktide placement whatif`: the plan of a fleet that is not there, beside today's."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from slacktide.v1.placement_service_pb2 import AddedNodes, WhatIfRequest, WhatIfResponse

from controlplane.cli.connection import connect
from controlplane.cli.failures import CommandError
from controlplane.cli.lookup import complete_node, deployment_names, node_names, pick
from controlplane.cli.manifest import read_deployments
from controlplane.cli.output import show_table
from controlplane.cli.placement_formats import WideFormat, WideOption, shown_as_data
from controlplane.cli.placement_show import print_misfits
from controlplane.cli.placement_words import (
    diff_lines,
    folded,
    move_counts,
    summary_lines,
    totals_rows,
)
from controlplane.cli.wording import bare, parse_bytes, size_words
from controlplane.client import SOLVE_DEADLINE_S, Fleet

_MOST_MOVES = 20
_ADDED = re.compile(
    r"(?P<count>\d{1,9})\s*x\s*(?P<type>[^:@]+)(:(?P<devices>\d{1,9})(x(?P<memory>[^:@]+))?)?(@(?P<group>.+))?"
)
_MOST_ADDED = 10_000
_MOST_MEMORY = 1 << 50  # bytes of a device, as the control plane takes them


def whatif(
    lose_node: Annotated[
        list[str] | None,
        typer.Option(metavar="NODE", help="Suppose this node lost.", autocompletion=complete_node),
    ] = None,
    cordon_node: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NODE", help="Suppose this node cordoned.", autocompletion=complete_node
        ),
    ] = None,
    scale_load: Annotated[
        list[str] | None,
        typer.Option(metavar="DEPLOYMENT=FACTOR", help="Suppose this online load, e.g. chat=1.5."),
    ] = None,
    add_nodes: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COUNTxTYPE[:DEVICES[xMEMORY]][@GROUP]",
            help="Suppose these nodes, too, e.g. 4xH100 or 4xH100:8x80GiB.",
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("-f", "--file", help="Suppose these deployments.", exists=True),
    ] = None,
    output: WideOption = WideFormat.TABLE,
) -> None:
    """Solves for a fleet that is not there; nothing is stored. Options may be repeated.

    A TYPE is a device type of the fleet, or a part of the name of exactly one; nodes of it
    have as many devices as most of the fleet's, unless :DEVICES says otherwise. A type that the
    fleet does not have needs both :DEVICES and the MEMORY of each.

    \b
    Examples:
      slacktide placement whatif --lose-node n1 --scale-load chat=1.5
      slacktide placement whatif --add-nodes 4xH100
      slacktide placement whatif --add-nodes "2xNVIDIA B200:8x180GiB"
    """  # noqa: D301 - backslash-b is click's mark for "do not rewrap"
    added = [parse_added(text) for text in split(add_nodes)]
    factors = [parse_factor(text) for text in split(scale_load)]
    supposed = read_deployments(file) if file else []
    with connect() as fleet:
        request = WhatIfRequest(
            lost_nodes=_nodes(fleet, split(lose_node)),
            cordoned_nodes=_nodes(fleet, split(cordon_node)),
            scaled_load=_loads(fleet, factors, [d.name for d in supposed]),
            added_nodes=added,
            deployments=supposed,
        )
        answer = fleet.placement.WhatIf(request, timeout=SOLVE_DEADLINE_S)
    if not shown_as_data(answer, output):
        _show(answer, wide=output is WideFormat.WIDE)


def parse_added(text: str) -> AddedNodes:
    """Nodes to suppose, from "4xH100", "2xL40S:4", "2xB200:8x180GiB" or "1xcpu@pool-a".

    Raises:
        CommandError: not of that form, or out of range.
    """
    match = _ADDED.fullmatch(text.strip())
    if match is None:
        raise CommandError(
            f"--add-nodes {text[:80]!r}: expected COUNTxTYPE, COUNTxTYPE:DEVICES,"
            " COUNTxTYPE:DEVICESxMEMORY or any of them with @GROUP, e.g. 4xH100 or"
            " 4xH100:8x80GiB"
        )
    count, devices = int(match["count"]), int(match["devices"] or 0)
    if not 1 <= count <= _MOST_ADDED:
        raise CommandError(f"--add-nodes {text!r}: {count} nodes; expected 1 to {_MOST_ADDED}")
    if match["devices"] and not 1 <= devices <= _MOST_ADDED:
        raise CommandError(f"--add-nodes {text!r}: {devices} devices; expected 1 to {_MOST_ADDED}")
    return AddedNodes(
        count=count,
        device_type=match["type"].strip(),
        devices=devices,
        memory_bytes=_memory_bytes(text, match["memory"]) if match["memory"] else 0,
        group=match["group"] or "",
    )


def _memory_bytes(text: str, given: str) -> int:
    """Of each device."""
    try:
        found = parse_bytes(given.strip())
    except ValueError as error:
        raise CommandError(f"--add-nodes {text[:80]!r}: {error}") from error
    if not 1 <= found <= _MOST_MEMORY:
        raise CommandError(
            f"--add-nodes {text[:80]!r}: {given.strip()} a device; expected 1 to"
            f" {size_words(_MOST_MEMORY)}"
        )
    return found


def parse_factor(text: str) -> tuple[str, float]:
    """A deployment and a factor, from "chat=1.5".

    Raises:
        CommandError: not of that form, or no factor of 0 or more.
    """
    deployment, _, number = text.partition("=")
    try:
        factor = float(number)
    except ValueError:
        factor = -1.0
    if not deployment or not 0.0 <= factor < float("inf"):
        raise CommandError(
            f"--scale-load {text!r}: expected DEPLOYMENT=FACTOR with a factor of 0 or more,"
            " e.g. chat=1.5"
        )
    return deployment.strip(), factor


def split(given: Iterable[str] | None) -> list[str]:
    """Values of an option that may be repeated or separated by commas."""
    return [part for text in given or () for part in text.split(",") if part.strip()]


def deployment_rows(answer: WhatIfResponse) -> list[list[str]]:
    """Served of wanted by deployment, those that lose first."""
    ordered = sorted(
        answer.deployments,
        key=lambda d: (d.totals.online_work_served - d.totals.online_work_wanted, d.deployment),
    )
    return [
        [
            bare(d.deployment),
            f"{d.totals.online_work_served:.6g} of {d.totals.online_work_wanted:.6g}",
            f"{d.totals.offline_work_served:.6g} of {d.totals.offline_work_wanted:.6g}",
            f"{d.totals.deadline_work_served:.6g} of {d.totals.deadline_work_wanted:.6g}",
            str(d.totals.replicas),
            str(d.totals.missing_replicas),
        ]
        for d in ordered
    ]


def _show(answer: WhatIfResponse, *, wide: bool) -> None:
    print(f"supposed from revision {answer.revision}; nothing is stored")
    show_table(
        ["figure", "today", "supposed", "change"],
        totals_rows(answer.now, answer.supposed),
        right=[False, True, True, True],
    )
    if answer.deployments:
        print()
        headers = ["deployment", "online, ms/s", "offline", "deadlines", "replicas", "missing"]
        show_table(headers, deployment_rows(answer), right=[False] + [True] * 5)
    print()
    print("\n".join(summary_lines(answer.plan)))
    print(f"moves: {move_counts(answer.plan.moves)}")
    lines = diff_lines(answer.plan) if answer.plan.moves else []
    for line in lines if wide else folded(lines, most=_MOST_MOVES, what="moves"):
        print(line)
    print_misfits(answer.plan, wide=wide)


def _nodes(fleet: Fleet, given: list[str]) -> list[str]:
    if not given:
        return []
    names = node_names(fleet)
    return sorted({pick("nodes", one, names) for one in given})


def _loads(fleet: Fleet, factors: list[tuple[str, float]], supposed: list[str]) -> dict[str, float]:
    if not factors:
        return {}
    names = [*deployment_names(fleet), *supposed]
    scaled: dict[str, float] = {}
    for given, factor in factors:
        name = pick("deployments", given, names)
        if name in scaled:
            raise CommandError(
                f"--scale-load {given}={factor:g}: deployment {bare(name)} has a factor of"
                f" {scaled[name]:g} already; give one"
            )
        scaled[name] = factor
    return scaled
