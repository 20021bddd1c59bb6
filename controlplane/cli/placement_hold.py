"""`slacktide placement pin`, `unpin`, `pins`, `freeze`, `unfreeze`: what plans must respect."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from slacktide.v1.placement_pb2 import Pin
from slacktide.v1.placement_service_pb2 import (
    FreezePlacementRequest,
    FreezePlacementResponse,
    ListPinsRequest,
    ListPinsResponse,
    PinPlacementRequest,
    UnpinPlacementRequest,
)

from controlplane.cli.connection import connect
from controlplane.cli.failures import CommandError
from controlplane.cli.lookup import (
    complete_deployment,
    complete_node,
    find_deployment,
    find_node,
)
from controlplane.cli.output import Column, show_list, show_one
from controlplane.cli.placement_formats import (
    ReasonOption,
    WideFormat,
    WideOption,
    plain,
    shown_as_data,
)
from controlplane.cli.placement_words import freeze_line
from controlplane.cli.wording import age_words, bare
from controlplane.client import CALL_DEADLINE_S, SOLVE_DEADLINE_S, Fleet, new_request_id, pages

_Deployment = Annotated[
    str, typer.Argument(help="Deployment id or prefix.", autocompletion=complete_deployment)
]
_Node = Annotated[str, typer.Argument(help="Node id or prefix.", autocompletion=complete_node)]
_DeploymentOption = Annotated[
    str, typer.Option("--deployment", help="Only this one.", autocompletion=complete_deployment)
]
_NodeOption = Annotated[
    str, typer.Option("--node", help="Only this one.", autocompletion=complete_node)
]


def pin(
    deployment: _Deployment,
    node: _Node,
    replicas: Annotated[int, typer.Option(help="At least so many.", min=1, max=64)] = 1,
    reason: ReasonOption = "",
    output: WideOption = WideFormat.TABLE,
) -> None:
    """Asks that a node has replicas of a deployment; the next round sees to it.

    Example:  slacktide placement pin chat n1 --reason "cache is warm there"
    """
    with connect() as fleet:
        request = PinPlacementRequest(
            deployment=find_deployment(fleet, deployment),
            node=find_node(fleet, node),
            replicas=replicas,
            reason=reason,
            request_id=new_request_id(),
        )
        answer = fleet.placement.PinPlacement(request, timeout=SOLVE_DEADLINE_S)
    pinned = answer.pin
    facts = [(f"deployment {bare(pinned.deployment)}", _pin_words(pinned))]
    show_one(answer, facts, plain(output))


def unpin(deployment: _Deployment, node: _Node, output: WideOption = WideFormat.TABLE) -> None:
    """Takes a pin back; what runs stays until a round has better.

    Example:  slacktide placement unpin chat n1
    """
    with connect() as fleet:
        pins_now = list_pins(fleet).pins
        request = UnpinPlacementRequest(
            deployment=_pinned(deployment, "deployment", [p.deployment for p in pins_now]),
            node=_pinned(node, "node", [p.node for p in pins_now]),
            request_id=new_request_id(),
        )
        answer = fleet.placement.UnpinPlacement(request, timeout=CALL_DEADLINE_S)
    facts = [
        (f"deployment {bare(request.deployment)}", f"no longer pinned to {bare(request.node)}")
    ]
    show_one(answer, facts, plain(output))


def pins(output: WideOption = WideFormat.TABLE) -> None:
    """Lists pins by deployment, then node."""
    with connect() as fleet:
        answer = list_pins(fleet)
    now = datetime.now(UTC)
    columns = (
        Column[Pin](header="deployment", cell=lambda p: bare(p.deployment)),
        Column[Pin](header="node", cell=lambda p: bare(p.node)),
        Column[Pin](header="replicas", cell=lambda p: str(p.replicas), right=True),
        Column[Pin](header="age", cell=lambda p: age_words(p.create_time, now=now)),
        Column[Pin](header="reason", cell=lambda p: p.reason),
    )
    show_list(answer, answer.pins, columns, plain(output))


def freeze(
    deployment: _DeploymentOption = "",
    node: _NodeOption = "",
    reason: ReasonOption = "",
    output: WideOption = WideFormat.TABLE,
) -> None:
    """Keeps plans from changing the fleet, a deployment or a node.

    Rounds still run, and `placement show` says what the last one would do.

    Example:  slacktide placement freeze --reason "exam week"
    """
    _freeze(True, deployment, node, reason, output)


def unfreeze(
    deployment: _DeploymentOption = "",
    node: _NodeOption = "",
    output: WideOption = WideFormat.TABLE,
) -> None:
    """Lets plans change the fleet, a deployment or a node again.

    Example:  slacktide placement unfreeze --node n1
    """
    _freeze(False, deployment, node, "", output)


def list_pins(fleet: Fleet) -> ListPinsResponse:
    """All pins."""
    answer = ListPinsResponse()
    for page in pages(
        lambda token: fleet.placement.ListPins(
            ListPinsRequest(page_token=token), timeout=CALL_DEADLINE_S
        )
    ):
        answer.pins.extend(page.pins)
    return answer


def frozen_lines(target: str, answer: FreezePlacementResponse) -> list[str]:
    """How the target stands, then what else is frozen."""
    collection, _, id_ = target.rpartition("/")
    what = f"{collection.removesuffix('s')} {id_}" if target else "the whole fleet"
    others = [freeze_line(one) for one in answer.freezes if one.target != target]
    return [f"{what}: {'frozen' if answer.frozen else 'not frozen'}", *others]


def _freeze(frozen: bool, deployment: str, node: str, reason: str, output: WideFormat) -> None:
    if deployment and node:
        raise CommandError(
            f"--deployment {deployment} and --node {node}: one of them a command; repeat it for"
            " the other"
        )
    with connect() as fleet:
        target = ""
        if deployment:
            target = find_deployment(fleet, deployment)
        elif node:
            target = find_node(fleet, node)
        request = FreezePlacementRequest(
            frozen=frozen, reason=reason, target=target, request_id=new_request_id()
        )
        answer = fleet.placement.FreezePlacement(request, timeout=CALL_DEADLINE_S)
    if not shown_as_data(answer, output):
        print("\n".join(frozen_lines(target, answer)))


def _pinned(given: str, noun: str, names: list[str]) -> str:
    """The name among those pinned: a deployment or node may be gone while its pin is not."""
    wanted = bare(given)
    found = sorted({name for name in names if bare(name).startswith(wanted)})
    exact = [name for name in found if bare(name) == wanted]
    match exact or found:
        case [only]:
            return only
        case []:
            raise CommandError(f"{noun} {given!r}: has no pin; next: slacktide placement pins")
        case _:
            fits = ", ".join(bare(name) for name in found[:5])
            raise CommandError(f"{noun} {given!r}: fits {fits}; type more of the id")


def _pin_words(pinned: Pin) -> str:
    replicas = f"{pinned.replicas} replica{'s' if pinned.replicas != 1 else ''}"
    return f"at least {replicas} on {bare(pinned.node)}"
