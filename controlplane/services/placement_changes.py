"""The part of PlacementService that commits placements: apply, roll back.

Owns what an operator orders of a placement. Invariants: what is ordered passes the same
verifier, move groups and ledger as a round's plan, under the leader's epoch; a repeat of
a request_id does nothing.
"""

import time
from collections.abc import Sequence
from typing import Any

import grpc
from slacktide.v1 import placement_service_pb2
from slacktide.wire.errors import Refusal
from slacktide.wire.names import resource_name

from controlplane.messages.plans import (
    parse_placements,
    to_misfit,
    to_plan,
    to_plan_entry,
)
from controlplane.rounds.apply import Round, commit_plan
from controlplane.rounds.drafted import OPERATOR, drafted
from controlplane.rounds.returning import restoration
from controlplane.rounds.rollback import Restoration
from controlplane.rounds.snapshot import Demand, build_snapshot
from controlplane.services.lookups import found, round_of
from controlplane.services.mutations import mutate, repeated
from controlplane.services.placement_holds import PlacementHolds
from controlplane.stored import stored
from planner.model import Placement, Plan, Snapshot
from planner.placement.verify import verify
from storage.plan_records import FLEET_TARGET, FreezeRecord, PlanRecord
from storage.records import FleetView
from storage.store import FleetTransaction

_MOST_VIOLATIONS = 32


class PlacementChanges(PlacementHolds):
    """Applying and rolling back."""

    async def ApplyPlacement(  # noqa: N802
        self, request: placement_service_pb2.ApplyPlacementRequest, context: Any
    ) -> placement_service_pb2.ApplyPlacementResponse:
        """Applies a plan made at a revision."""
        answer = placement_service_pb2.ApplyPlacementResponse
        done = await repeated(self._store, request, answer=answer)
        if done is not None:
            return done
        placements, waiting, revision = _parse_plan(request)
        demand = await self._dry_run.demand(self._feed.view)

        def work(state: FleetTransaction) -> placement_service_pb2.ApplyPlacementResponse:
            view = state.view()
            _refuse_frozen(view)
            snapshot = build_snapshot(view, demand, self._dry_run.settings.without_bound)
            gone = _gone(snapshot, (*placements, *waiting))
            if revision != view.state.revision:
                raise _stale(revision, view, gone)
            if gone:
                raise _refused(gone)
            plan = drafted(snapshot, placements, waiting=waiting, solver=OPERATOR)
            _refuse_broken(snapshot, plan)
            trigger = f"plan of revision {revision} applied by an operator"
            committed = commit_plan(state, plan, self._ordered(trigger, demand))
            state.set_rollback(0)
            return answer(plan=to_plan_entry(committed.record))

        response = await mutate(
            self._store, self._feed, request, answer=answer, work=work, epoch=self._epoch
        )
        if response.plan.waiting:
            self._request_round("plan applied by an operator")
        return response

    async def RollbackPlacement(  # noqa: N802
        self, request: placement_service_pb2.RollbackPlacementRequest, context: Any
    ) -> placement_service_pb2.RollbackPlacementResponse:
        """Returns to an earlier plan's placement."""
        round_ = round_of(request.plan, field="plan")
        answer = placement_service_pb2.RollbackPlacementResponse
        if not request.validate_only:
            done = await repeated(self._store, request, answer=answer)
            if done is not None:
                return done
        demand = await self._dry_run.demand(self._feed.view)

        def work(state: FleetTransaction) -> placement_service_pb2.RollbackPlacementResponse:
            view = state.view()
            if not request.freeze:
                _refuse_frozen(view)
            target = _target(state, round_)
            snapshot = build_snapshot(view, demand, self._dry_run.settings.without_bound)
            way = restoration(view, snapshot, target)
            _refuse_nothing(target, way)
            _refuse_broken(snapshot, way.plan)
            unrestored = [to_misfit(one) for one in way.unrestored]
            if request.validate_only:
                return answer(plan=to_plan(way.plan), unrestored=unrestored)
            trigger = f"rollback to plans/{round_}"
            committed = commit_plan(state, way.plan, self._ordered(trigger, demand))
            if request.freeze:
                frozen = FreezeRecord(target=FLEET_TARGET, reason=trigger, create_s=time.time())
                state.freeze(frozen)
            state.set_rollback(0 if way.is_reached else target.source)
            return answer(plan=to_plan_entry(committed.record), unrestored=unrestored)

        if request.validate_only:
            return await stored(self._store.run, work)
        response = await mutate(
            self._store, self._feed, request, answer=answer, work=work, epoch=self._epoch
        )
        self._request_round(f"rollback to plans/{round_}")
        return response

    def _ordered(self, trigger: str, demand: Demand) -> Round:
        settings = self._dry_run.settings.without_bound
        return Round(trigger=trigger, demand=demand, settings=settings, is_ordered=True)


def _parse_plan(
    request: placement_service_pb2.ApplyPlacementRequest,
) -> tuple[tuple[Placement, ...], tuple[Placement, ...], int]:
    violations: list[tuple[str, str]] = []
    placements = parse_placements(request.plan.placements, violations, path="plan.placements")
    waiting = parse_placements(request.plan.waiting, violations, path="plan.waiting")
    violations += [
        (f"plan.waiting[{index}]", f"replica {one.replica}: what waits is new")
        for index, one in enumerate(waiting)
        if one.replica is not None
    ]
    revision = request.revision or request.plan.base_revision
    if revision <= 0:
        violations.append(("revision", f"{revision}: expected the revision the plan was made at"))
    if violations:
        shown = violations[:_MOST_VIOLATIONS]
        raise Refusal(
            code=grpc.StatusCode.INVALID_ARGUMENT,
            reason="INVALID_PLAN",
            message="plan: " + "; ".join(f"{field} {text}" for field, text in shown[:3]),
            violations=shown,
        )
    return placements, waiting, revision


def _gone(snapshot: Snapshot, placements: Sequence[Placement]) -> list[tuple[str, str]]:
    """Placements of what does not exist any more, or not so."""
    held = {one.replica: one for one in snapshot.allocations}
    nodes = {one.id for one in snapshot.nodes}
    deployments = {one.id for one in snapshot.deployments}
    gone = []
    for one in placements:
        subject = f"replicas/{one.replica}" if one.replica else f"deployments/{one.deployment}"
        known = held.get(one.replica or "")
        if one.deployment not in deployments:
            gone.append((subject, f"deployment {one.deployment} does not exist"))
        elif one.node not in nodes:
            gone.append((subject, f"node {one.node} does not exist"))
        elif one.replica is not None and known is None:
            gone.append((subject, f"replica {one.replica} does not exist any more"))
        elif known is not None and (known.deployment, known.node, known.devices) != (
            one.deployment,
            one.node,
            one.devices,
        ):
            where = f"of deployment {known.deployment} on node {known.node} {list(known.devices)}"
            gone.append((subject, f"replica {one.replica} is {where}; a replica never moves"))
    return gone[:_MOST_VIOLATIONS]


def _stale(revision: int, view: FleetView, gone: list[tuple[str, str]]) -> Refusal:
    now = view.state.revision
    what = f"; {gone[0][1]}" if gone else ""
    return Refusal(
        code=grpc.StatusCode.ABORTED,
        reason="STALE_REVISION",
        message=f"plan of revision {revision}: the state is at revision {now}{what}; plan again"
        " and apply that plan",
        metadata={"plan_revision": str(revision), "revision": str(now)},
        violations=gone,
    )


def _refused(violations: list[tuple[str, str]]) -> Refusal:
    return Refusal(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason="PLAN_REFUSED",
        message=f"plan: {len(violations)} of its placements break a rule: {violations[0][0]}:"
        f" {violations[0][1]}; change them or plan again",
        violations=violations,
    )


def _refuse_broken(snapshot: Snapshot, plan: Plan) -> None:
    broken = verify(snapshot, plan)
    if broken:
        raise _refused([(one.subject, one.message) for one in broken[:_MOST_VIOLATIONS]])


def _refuse_frozen(view: FleetView) -> None:
    freeze = next((one for one in view.freezes if one.target == FLEET_TARGET), None)
    if freeze is None:
        return
    why = f" ({freeze.reason})" if freeze.reason else ""
    raise Refusal(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason="PLACEMENT_FROZEN",
        message=f"placement: the fleet is frozen{why}; `slacktide placement unfreeze` first",
        violations=[("placement", f"is frozen{why}")],
    )


def _target(state: FleetTransaction, round_: int) -> PlanRecord:
    """The plan to return to, with its placements."""
    target = found(state.plan(round_), kind="plan", id_=str(round_))
    if not target.plan.placements:
        raise Refusal(
            code=grpc.StatusCode.FAILED_PRECONDITION,
            reason="NOTHING_TO_RESTORE",
            message=f"plan {round_}: had no placements, or they are no longer kept; choose"
            " another of `slacktide placement history`",
            violations=[(resource_name("plans", str(round_)), "has no placements")],
        )
    return target


def _refuse_nothing(target: PlanRecord, way: Restoration) -> None:
    if way.restored:
        return
    reasons = [
        (resource_name("deployments", one.deployment), one.message) for one in way.unrestored
    ]
    raise Refusal(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason="ROLLBACK_INFEASIBLE",
        message=f"plan {target.round}: none of its {len(target.plan.placements)} placements can be"
        f" restored; {way.unrestored[0].message}",
        violations=reasons[:_MOST_VIOLATIONS],
    )
