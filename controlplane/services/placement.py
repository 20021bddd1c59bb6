"""PlacementService, put together: reading and supposing here, changing in `placement_changes`."""

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import grpc
from slacktide.v1 import (
    deployment_pb2,
    placement_pb2,
    placement_service_pb2,
    placement_service_pb2_grpc,
)
from slacktide.wire.errors import Refusal
from slacktide.wire.names import resource_name

from controlplane.messages.deployments import parse_deployment
from controlplane.messages.holds import to_freeze
from controlplane.messages.plans import to_move, to_plan, to_plan_entry, to_term
from controlplane.messages.supposed import WhatIf, parse_what_if
from controlplane.messages.totals import to_deployment_totals, to_explanation, to_totals
from controlplane.rounds.demand import online_parts
from controlplane.rounds.dryrun import with_deployments
from controlplane.rounds.explanation import explained
from controlplane.rounds.ledgerdiff import placement_moves, term_differences
from controlplane.rounds.snapshot import build_snapshot
from controlplane.rounds.supposed import (
    with_added,
    with_cordoned,
    with_lost,
    with_scaled_load,
    without_move_bound,
)
from controlplane.rounds.totals import by_deployment, running, summed
from controlplane.services.deployments import applied
from controlplane.services.frontier_shares import frontier_shares
from controlplane.services.lookups import found, id_of, live, round_of
from controlplane.services.paging import bad_token, checked_size, make_token, read_token
from controlplane.services.placement_changes import PlacementChanges
from controlplane.stored import stored
from planner.model import Placement, Snapshot
from storage.plan_records import PlanOutcome, PlanRecord
from storage.records import FleetView

MOST_PLACEMENTS_A_PAGE = 50_000
"""Of whole plans; about 4 MB, a quarter of the largest message."""
_NOTABLE = frozenset(PlanOutcome) - {PlanOutcome.UNCHANGED}


class PlacementServicer(PlacementChanges, placement_service_pb2_grpc.PlacementServiceServicer):
    """Admin: the placement in force, the ledger, dry runs, what-ifs and changes."""

    async def GetPlacement(  # noqa: N802
        self, request: placement_service_pb2.GetPlacementRequest, context: Any
    ) -> placement_service_pb2.GetPlacementResponse:
        """Gets the plan in force."""
        view = self._feed.view
        if view.plan is None:
            raise Refusal(
                code=grpc.StatusCode.NOT_FOUND,
                reason="NO_PLAN_YET",
                message="placement: no round has placed anything yet; apply a deployment and"
                " start an agent",
            )
        newest = await stored(self._store.list_plans, before=None, limit=1, is_whole=False)
        snapshot = await self._dry_run.snapshot(view)
        placements = running(snapshot)
        each = by_deployment(snapshot, placements)
        return placement_service_pb2.GetPlacementResponse(
            plan=to_plan_entry(view.plan),
            revision=view.state.revision,
            freezes=[to_freeze(one) for one in view.freezes],
            last_round=to_plan_entry(newest[0], is_whole=False) if newest else None,
            rollback_to=resource_name("plans", str(view.state.rollback_round or "")),
            totals=to_totals(summed(snapshot, placements, each)),
            frontier_shares=frontier_shares(snapshot, placements, each),
        )

    async def PlanPlacement(  # noqa: N802
        self, request: placement_service_pb2.PlanPlacementRequest, context: Any
    ) -> placement_service_pb2.PlanPlacementResponse:
        """Solves without applying, against current state plus the change given."""
        view = self._feed.view
        snapshot, plan = await self._dry_run.solve(_with_deployments(view, request.deployments))
        return placement_service_pb2.PlanPlacementResponse(
            plan=to_plan(plan),
            now=_totals(snapshot, running(snapshot)),
            planned=_totals(snapshot, plan.placements),
            freezes=[to_freeze(one) for one in view.freezes],
        )

    async def ListPlans(  # noqa: N802
        self, request: placement_service_pb2.ListPlansRequest, context: Any
    ) -> placement_service_pb2.ListPlansResponse:
        """Lists stored plans, newest first."""
        size = checked_size(request.page_size)
        before = read_token(request.page_token)
        if before and not (before.isdigit() and len(before) < 19):
            raise bad_token(request.page_token)
        is_whole = request.view != placement_service_pb2.PLAN_VIEW_BASIC
        listed = await stored(
            self._store.list_plans,
            before=int(before) if before else None,
            limit=size + 1,
            is_whole=is_whole,
            outcomes=_NOTABLE if request.notable_only else None,
        )
        shown = _bounded(listed[:size])
        return placement_service_pb2.ListPlansResponse(
            plans=[to_plan_entry(one, is_whole=is_whole) for one in shown],
            next_page_token=make_token(str(shown[-1].round)) if len(listed) > len(shown) else "",
        )

    async def GetPlan(  # noqa: N802
        self, request: placement_service_pb2.GetPlanRequest, context: Any
    ) -> placement_service_pb2.GetPlanResponse:
        """Gets one stored plan with its placements."""
        record = await self._plan(request.name, field="name")
        return placement_service_pb2.GetPlanResponse(plan=to_plan_entry(record))

    async def DiffPlans(  # noqa: N802
        self, request: placement_service_pb2.DiffPlansRequest, context: Any
    ) -> placement_service_pb2.DiffPlansResponse:
        """Compares two stored plans."""
        before = await self._plan(getattr(request, "from"), field="from")
        after = await self._plan(request.to, field="to")
        return placement_service_pb2.DiffPlansResponse(
            moves=[to_move(one) for one in placement_moves(before.plan, after.plan)],
            objective_difference=after.plan.objective - before.plan.objective,
            terms=[to_term(one) for one in term_differences(before.plan, after.plan)],
            same_inputs=bool(before.inputs_hash) and before.inputs_hash == after.inputs_hash,
        )

    async def ExplainPlacement(  # noqa: N802
        self, request: placement_service_pb2.ExplainPlacementRequest, context: Any
    ) -> placement_service_pb2.ExplainPlacementResponse:
        """Names the constraint that binds a deployment and what would lift it."""
        id_ = id_of("deployments", request.deployment, field="deployment")
        node = id_of("nodes", request.node, field="node") if request.node else None
        view = self._feed.view
        record = live(view.deployment(id_), id_)
        if node is not None:
            found(view.node(node), kind="node", id_=node)
        if not record.engine.is_sized:
            raise Refusal(
                code=grpc.StatusCode.FAILED_PRECONDITION,
                reason="MODEL_UNKNOWN",
                message=self._rounds.misfits_of(record)[0],
                violations=[(request.deployment, "its memory need is not known yet")],
            )
        demand = await self._dry_run.demand(view)
        explanation = await asyncio.to_thread(
            explained,
            build_snapshot(view, demand, self._dry_run.settings),
            id_,
            node=node,
            is_fleet_frozen=view.is_frozen,
            online=online_parts(record, demand),
        )
        return to_explanation(explanation, revision=view.state.revision)

    async def WhatIf(  # noqa: N802
        self, request: placement_service_pb2.WhatIfRequest, context: Any
    ) -> placement_service_pb2.WhatIfResponse:
        """Solves for a fleet that is not there; nothing is stored."""
        view = self._feed.view
        asked = parse_what_if(request)
        present = await self._dry_run.snapshot(view)
        supposed = _supposed(_with_deployments(view, request.deployments), asked)
        for deployment in asked.scaled_load:
            live(supposed.deployment(deployment), deployment)
        snapshot, plan = await self._dry_run.solve(
            supposed,
            change=lambda one: without_move_bound(with_scaled_load(one, asked.scaled_load)),
        )
        each = by_deployment(snapshot, plan.placements)
        return placement_service_pb2.WhatIfResponse(
            plan=to_plan(plan),
            now=_totals(present, running(present)),
            supposed=to_totals(summed(snapshot, plan.placements, each)),
            deployments=[to_deployment_totals(id_, totals) for id_, totals in each.items()],
            revision=view.state.revision,
        )

    async def _plan(self, name: str, *, field: str) -> PlanRecord:
        round_ = round_of(name, field=field)
        record = await stored(self._store.get_plan, round_)
        return found(record, kind="plan", id_=str(round_))


def _with_deployments(view: FleetView, messages: Iterable[deployment_pb2.Deployment]) -> FleetView:
    """The view as it would be with these deployments applied."""
    changed = {}
    for message in messages:
        id_, spec = parse_deployment(message)
        changed[id_] = applied(view.deployment(id_), id_, spec, generation=0, now_s=time.time())
    return with_deployments(view, changed)


def _supposed(view: FleetView, asked: WhatIf) -> FleetView:
    for node in (*asked.lost_nodes, *asked.cordoned_nodes):
        found(view.node(node), kind="node", id_=node)
    try:
        added = with_added(view, asked.additions)
    except ValueError as error:
        raise Refusal(
            code=grpc.StatusCode.INVALID_ARGUMENT,
            reason="INVALID_ADDED_NODES",
            message=f"added_nodes: {error}",
            violations=[("added_nodes", str(error))],
        ) from error
    return with_cordoned(with_lost(added, asked.lost_nodes), asked.cordoned_nodes)


def _totals(snapshot: Snapshot, placements: tuple[Placement, ...]) -> placement_pb2.PlacementTotals:
    return to_totals(summed(snapshot, placements, by_deployment(snapshot, placements)))


def _bounded(records: tuple[PlanRecord, ...]) -> tuple[PlanRecord, ...]:
    """As many as fit a message, at least one."""
    whole = 0
    for count, record in enumerate(records):
        whole += len(record.plan.placements) + len(record.plan.moves)
        if whole > MOST_PLACEMENTS_A_PAGE and count:
            return records[:count]
    return records
