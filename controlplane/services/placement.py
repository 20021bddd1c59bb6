"""PlacementService: the plan in force, the ledger, dry runs."""

import time
from typing import Any

import grpc
from slacktide.v1 import placement_service_pb2, placement_service_pb2_grpc
from slacktide.wire.errors import Refusal

from controlplane.feed import StateFeed
from controlplane.messages.deployments import parse_deployment
from controlplane.messages.plans import to_plan, to_plan_entry
from controlplane.rounds.dryrun import DryRun, with_deployments
from controlplane.services.deployments import applied
from controlplane.services.paging import bad_token, checked_size, make_token, read_token
from controlplane.stored import stored
from storage.store import FleetStore


class PlacementServicer(placement_service_pb2_grpc.PlacementServiceServicer):
    """Admin: the placement in force, dry runs, the ledger.

    Args:
        store: holds the ledger.
        feed: the newest view.
        dry_run: solves without applying.
    """

    def __init__(self, *, store: FleetStore, feed: StateFeed, dry_run: DryRun) -> None:
        self._store = store
        self._feed = feed
        self._dry_run = dry_run

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
        return placement_service_pb2.GetPlacementResponse(
            plan=to_plan_entry(view.plan), revision=view.state.revision
        )

    async def PlanPlacement(  # noqa: N802
        self, request: placement_service_pb2.PlanPlacementRequest, context: Any
    ) -> placement_service_pb2.PlanPlacementResponse:
        """Solves without applying, against current state plus the change given."""
        view = self._feed.view
        changed = {}
        for message in request.deployments:
            id_, spec = parse_deployment(message)
            changed[id_] = applied(view.deployment(id_), id_, spec, generation=0, now_s=time.time())
        plan = await self._dry_run.plan(with_deployments(view, changed))
        return placement_service_pb2.PlanPlacementResponse(plan=to_plan(plan))

    async def ListPlans(  # noqa: N802
        self, request: placement_service_pb2.ListPlansRequest, context: Any
    ) -> placement_service_pb2.ListPlansResponse:
        """Lists stored plans, newest first."""
        size = checked_size(request.page_size)
        before = read_token(request.page_token)
        if before and not (before.isdigit() and len(before) < 19):
            raise bad_token(request.page_token)
        listed = await stored(
            self._store.list_plans, before=int(before) if before else None, limit=size + 1
        )
        shown = listed[:size]
        return placement_service_pb2.ListPlansResponse(
            plans=[to_plan_entry(one) for one in shown],
            next_page_token=make_token(str(shown[-1].round)) if len(listed) > size else "",
        )
