"""A fleet's answers read into a picture.

Owns which answers a picture needs, and what each of them becomes. Refuses markup. Invariants:
a replica that is gone and that nobody wants is not drawn; one whose node is not listed stands
on a node of its own, marked lost, so that none is missing.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from slacktide.v1.deployment_pb2 import Deployment, Stage
from slacktide.v1.deployment_service_pb2 import ListReplicasRequest
from slacktide.v1.fleet_service_pb2 import GetFleetRequest
from slacktide.v1.node_pb2 import Node
from slacktide.v1.placement_pb2 import Pin, PlacementTotals, Plan, PlanStatus
from slacktide.v1.placement_service_pb2 import GetPlacementResponse
from slacktide.v1.replica_pb2 import Replica

from controlplane.cli.fleetpage_boxes import box_of, host_of, is_gone, planned_box
from controlplane.cli.fleetpage_picture import (
    Box,
    Picture,
    PlanFacts,
    Row,
    Service,
    Term,
)
from controlplane.cli.listed import listed_deployments, listed_nodes
from controlplane.cli.placement_hold import list_pins
from controlplane.cli.placement_show import in_force
from controlplane.cli.placement_words import freeze_line, move_line, outcome_line, took_words
from controlplane.cli.wording import bare, enum_word, time_words
from controlplane.client import CALL_DEADLINE_S, Fleet, pages

_PAGE = 1000


def read_picture(fleet: Fleet, *, now: datetime) -> Picture:
    """Asks for all that a picture shows.

    The answers are of one fleet at slightly different times; the revision is the plan's.
    """
    nodes, deployments = listed_nodes(fleet), listed_deployments(fleet)
    replicas = [
        replica
        for page in pages(
            lambda t: fleet.deployments.ListReplicas(
                ListReplicasRequest(page_size=_PAGE, page_token=t), timeout=CALL_DEADLINE_S
            )
        )
        for replica in page.replicas
    ]
    placement = in_force(fleet)
    if placement is None:
        seen = fleet.fleet.GetFleet(GetFleetRequest(), timeout=CALL_DEADLINE_S)
        placement = GetPlacementResponse(revision=seen.revision)
    return picture_of(
        nodes=nodes,
        deployments=deployments,
        replicas=replicas,
        pins=list_pins(fleet).pins,
        placement=placement,
        now=now,
    )


def picture_of(
    *,
    nodes: Iterable[Node],
    deployments: Iterable[Deployment],
    replicas: Iterable[Replica],
    pins: Iterable[Pin],
    placement: GetPlacementResponse,
    now: datetime,
) -> Picture:
    """The picture of these answers; `placement.plan` may be unset."""
    plan = placement.plan if placement.HasField("plan") else None
    drawn = [replica for replica in replicas if not is_gone(replica)]
    waiting = list(plan.waiting) if plan else []
    known = {bare(deployment.name): deployment for deployment in deployments}
    # A replica may outlive its deployment: it drains, and is drawn under that name.
    names = {
        *known,
        *(bare(replica.deployment) for replica in drawn),
        *(bare(place.deployment) for place in waiting),
    }
    numbers = {id_: n for n, id_ in enumerate(sorted(names), start=1)}
    frozen = {freeze.target: freeze.reason for freeze in placement.freezes}
    rows = tuple(
        _row(id_, number, known.get(id_), is_frozen=f"deployments/{id_}" in frozen)
        for id_, number in numbers.items()
    )
    pinned = {(bare(pin.deployment), bare(pin.node)): pin.replicas for pin in pins}
    shares = {share.replica: share for share in placement.frontier_shares}
    boxes: dict[str, list[Box]] = {bare(node.name): [] for node in nodes}
    for replica in drawn:
        key = (bare(replica.deployment), bare(replica.node))
        boxes.setdefault(key[1], []).append(
            box_of(
                replica,
                number=numbers[key[0]],
                is_pinned=key in pinned,
                share=shares.get(replica.name),
            )
        )
    for place in waiting:
        key = (bare(place.deployment), bare(place.node))
        boxes.setdefault(key[1], []).append(
            planned_box(place, number=numbers[key[0]], is_pinned=key in pinned)
        )
    listed = {bare(node.name): node for node in nodes}
    hosts = tuple(
        host_of(
            id_,
            listed.get(id_),
            boxes=found,
            pins={d: n for (d, node), n in pinned.items() if node == id_},
            freeze=frozen.get(f"nodes/{id_}"),
        )
        for id_, found in sorted(boxes.items())
    )
    return Picture(
        drawn=now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        revision=placement.revision,
        hosts=hosts,
        rows=rows,
        plan=_plan(plan) if plan else None,
        notes=_notes(placement),
        service=_service(placement.totals) if placement.HasField("totals") else None,
    )


def _notes(placement: GetPlacementResponse) -> tuple[str, ...]:
    notes = [freeze_line(one) for one in placement.freezes if not one.target]
    if placement.rollback_to:
        notes.append(f"rounds return to plan {bare(placement.rollback_to)}")
    last: Plan = placement.last_round
    if last.failure:
        notes.append(f"last round: {outcome_line(last)}")
    return tuple(notes)


def _service(totals: PlacementTotals) -> Service:
    return Service(
        online=(totals.online_work_served, totals.online_work_wanted),
        deadline=(totals.deadline_work_served, totals.deadline_work_wanted),
        offline=(totals.offline_work_served, totals.offline_work_wanted),
        price_per_hour=totals.price_per_hour,
    )


def _row(id_: str, number: int, deployment: Deployment | None, *, is_frozen: bool) -> Row:
    if deployment is None:
        return Row(number=number, id=id_, model="", stage="deleted", wanted=(0, 0))
    spec = deployment.spec
    return Row(
        number=number,
        id=id_,
        model=spec.model,
        stage=enum_word(Stage, spec.stage),
        wanted=(spec.min_replicas, spec.max_replicas),
        is_frozen=is_frozen,
        misfits=tuple(deployment.status.misfits),
    )


def _plan(plan: Plan) -> PlanFacts:
    return PlanFacts(
        name=bare(plan.name),
        base_revision=plan.base_revision,
        epoch=plan.epoch,
        status=enum_word(PlanStatus, plan.status),
        solver=plan.solver,
        objective=plan.objective,
        bound=plan.bound,
        gap=plan.gap,
        terms=tuple(Term(name=t.name, weight=t.weight, value=t.value) for t in plan.terms),
        misfits=tuple(misfit.message for misfit in plan.misfits),
        moves=tuple(move_line(move) for move in plan.moves),
        trigger=plan.trigger,
        made=time_words(plan.create_time),
        took=took_words(plan.solve_duration),
    )
