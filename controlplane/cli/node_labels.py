"""`slacktide node label`: labels of a node, set over what its agent reports.

Owns how labels are written: KEY=VALUE sets, KEY- takes back. Refuses to guess: a word that is
neither is bad usage, and nothing is changed. What a key or value may be is the control
plane's to say.
"""

from typing import Annotated

import typer
from slacktide.v1.node_pb2 import Node
from slacktide.v1.node_service_pb2 import GetNodeRequest, LabelNodeRequest

from controlplane.cli.connection import connect
from controlplane.cli.failures import CommandError
from controlplane.cli.lookup import complete_node, find_node
from controlplane.cli.output import show_one
from controlplane.cli.placement_formats import WideFormat, WideOption, plain
from controlplane.cli.wording import bare, parse_bytes
from controlplane.client import CALL_DEADLINE_S, new_request_id

_HOST_MEMORY = "host-memory-bytes"


def label(
    node: Annotated[
        str, typer.Argument(help="Node id or unique prefix.", autocompletion=complete_node)
    ],
    labels: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE|KEY-]...", help="To set, or to take back.", show_default=False
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and answer, change nothing.")
    ] = False,
    output: WideOption = WideFormat.TABLE,
) -> None:
    """Sets labels of a node, or takes back what an operator set; without any, shows them.

    An operator's label stands over the agent's of the same key. Placement reads group (the
    node group), failure-domain and host-memory-bytes (e.g. 512GiB) and goes by them from the
    next round on; others are kept and shown. Prices are of device types: see --device-price
    of the control plane.

    Example:  slacktide node label n1 group=a failure-domain=rack2 spot-
    """
    wanted, removed = read_labels(labels or [])
    with connect() as fleet:
        name = find_node(fleet, node)
        before = fleet.nodes.GetNode(GetNodeRequest(name=name), timeout=CALL_DEADLINE_S).node
        if not wanted and not removed:
            shown = [f"{key}={value}" for key, value in sorted(before.labels.items())]
            facts = [(f"node {bare(name)}", "\n".join(shown) or "has no labels")]
            show_one(before, facts, plain(output))
            return
        request = LabelNodeRequest(
            name=name,
            labels=wanted,
            removed=removed,
            validate_only=dry_run,
            request_id=new_request_id(),
        )
        after = fleet.nodes.LabelNode(request, timeout=CALL_DEADLINE_S).node
    lines = changes(before, after) or ["no change"]
    show_one(after, [(f"node {bare(name)}", "\n".join(lines))], plain(output))


def read_labels(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """Labels to set, and keys to take back.

    Raises:
        CommandError: a word is neither, or a key comes twice.
    """
    wanted: dict[str, str] = {}
    removed: list[str] = []
    for word in words:
        key, separator, value = word.partition("=")
        if not separator:
            key = word.removesuffix("-")
        if not key or (not separator and key == word):
            raise CommandError(
                f"label {word[:80]!r}: expected KEY=VALUE to set, or KEY- to take back,"
                " e.g. group=a or group-"
            )
        if key in wanted or key in removed:
            raise CommandError(f"label {key[:80]}: given twice; give it once")
        if not separator:
            removed.append(key)
        else:
            wanted[key] = _bytes(value) if key == _HOST_MEMORY else value
    return wanted, removed


def changes(before: Node, after: Node) -> list[str]:
    """One line for each label that differs, by key."""
    lines = []
    for key in sorted({*before.labels, *after.labels}):
        was, is_ = before.labels.get(key), after.labels.get(key)
        if was == is_:
            continue
        if was is None:
            lines.append(f"+ {key}={is_}")
        elif is_ is None:
            lines.append(f"- {key}={was}")
        else:
            lines.append(f"~ {key}={is_} (was {was})")
    return lines


def _bytes(text: str) -> str:
    try:
        return str(parse_bytes(text))
    except ValueError as error:
        raise CommandError(f"label {_HOST_MEMORY}: {error}") from error
