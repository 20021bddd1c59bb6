"""The part of PlacementService that holds placements fixed: freezes and pins.

Invariants: what is held is committed state, so it survives restarts; rounds go on, and
say what they would do.
"""

import time
from collections.abc import Callable
from typing import Any

import grpc
from slacktide.v1 import placement_service_pb2
from slacktide.wire.errors import Refusal

from controlplane.feed import StateFeed
from controlplane.messages.holds import parse_target, to_freeze, to_pin
from controlplane.rounds.dryrun import DryRun
from controlplane.rounds.outcome import RoundLog
from controlplane.rounds.pinning import pin_violations
from controlplane.services.lookups import checked_reason, found, id_of, live
from controlplane.services.mutations import mutate
from controlplane.services.paging import page
from storage.plan_records import FLEET_TARGET, FreezeRecord, PinRecord
from storage.store import FleetStore, FleetTransaction

MAX_PINNED = 64


class PlacementHolds:
    """Pins and freezes, and what all parts of PlacementService share.

    Args:
        store: holds the ledger, pins and freezes.
        feed: the newest view.
        dry_run: solves without applying, and knows the demand.
        rounds: what the last round could not place.
        epoch: the leader's.
        request_round: asks for a round, with what triggers it.
    """

    def __init__(
        self,
        *,
        store: FleetStore,
        feed: StateFeed,
        dry_run: DryRun,
        rounds: RoundLog,
        epoch: int,
        request_round: Callable[[str], None],
    ) -> None:
        self._store = store
        self._feed = feed
        self._dry_run = dry_run
        self._rounds = rounds
        self._epoch = epoch
        self._request_round = request_round

    async def FreezePlacement(  # noqa: N802
        self, request: placement_service_pb2.FreezePlacementRequest, context: Any
    ) -> placement_service_pb2.FreezePlacementResponse:
        """Stops or resumes the application of plans, for the fleet, a deployment or a node."""
        collection, id_ = parse_target(request.target)
        reason = checked_reason(request.reason)

        def work(state: FleetTransaction) -> placement_service_pb2.FreezePlacementResponse:
            if collection == "deployments":
                live(state.deployment(id_), id_)
            elif collection == "nodes":
                found(state.node(id_), kind="node", id_=id_)
            if request.frozen:
                state.freeze(
                    FreezeRecord(target=request.target, reason=reason, create_s=time.time())
                )
                if request.target == FLEET_TARGET:
                    state.set_rollback(0)
            else:
                state.thaw(request.target)
            return placement_service_pb2.FreezePlacementResponse(
                frozen=request.frozen, freezes=[to_freeze(one) for one in state.freezes()]
            )

        response = await mutate(
            self._store,
            self._feed,
            request,
            answer=placement_service_pb2.FreezePlacementResponse,
            work=work,
        )
        what = request.target or "placement"
        self._request_round(f"{what} {'frozen' if request.frozen else 'thawed'}")
        return response

    async def PinPlacement(  # noqa: N802
        self, request: placement_service_pb2.PinPlacementRequest, context: Any
    ) -> placement_service_pb2.PinPlacementResponse:
        """Asks that a node has at least so many replicas of a deployment."""
        deployment, node = _pinned(request.deployment, request.node)
        replicas = request.replicas or 1
        if not 1 <= replicas <= MAX_PINNED:
            why = f"{request.replicas}: must be 0 to {MAX_PINNED}; 0 means 1"
            raise Refusal(
                code=grpc.StatusCode.INVALID_ARGUMENT,
                reason="INVALID_PIN",
                message=f"pin of deployment {deployment} on node {node}: replicas {why}",
                violations=[("replicas", why)],
            )
        reason = checked_reason(request.reason)

        def work(state: FleetTransaction) -> placement_service_pb2.PinPlacementResponse:
            live(state.deployment(deployment), deployment)
            found(state.node(node), kind="node", id_=node)
            pin = PinRecord(
                deployment=deployment,
                node=node,
                replicas=replicas,
                reason=reason,
                create_s=time.time(),
            )
            violations = pin_violations(state.view(), pin)
            if violations:
                raise Refusal(
                    code=grpc.StatusCode.FAILED_PRECONDITION,
                    reason="PIN_INFEASIBLE",
                    message=f"pin of deployment {deployment} on node {node}: {violations[0][1]}",
                    violations=violations,
                )
            return placement_service_pb2.PinPlacementResponse(pin=to_pin(state.put_pin(pin)))

        response = await mutate(
            self._store,
            self._feed,
            request,
            answer=placement_service_pb2.PinPlacementResponse,
            work=work,
        )
        self._request_round(f"deployment {deployment} pinned to node {node}")
        return response

    async def UnpinPlacement(  # noqa: N802
        self, request: placement_service_pb2.UnpinPlacementRequest, context: Any
    ) -> placement_service_pb2.UnpinPlacementResponse:
        """Takes a pin back."""
        deployment, node = _pinned(request.deployment, request.node)

        def work(state: FleetTransaction) -> placement_service_pb2.UnpinPlacementResponse:
            gone = state.remove_pin(deployment=deployment, node=node)
            found(gone or None, kind="pin", id_=f"of deployment {deployment} on node {node}")
            return placement_service_pb2.UnpinPlacementResponse()

        response = await mutate(
            self._store,
            self._feed,
            request,
            answer=placement_service_pb2.UnpinPlacementResponse,
            work=work,
        )
        self._request_round(f"deployment {deployment} unpinned from node {node}")
        return response

    async def ListPins(  # noqa: N802
        self, request: placement_service_pb2.ListPinsRequest, context: Any
    ) -> placement_service_pb2.ListPinsResponse:
        """Lists pins by deployment, then node."""
        chosen, token = page(
            sorted(self._feed.view.pins, key=_pin_key),
            key=_pin_key,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return placement_service_pb2.ListPinsResponse(
            pins=[to_pin(one) for one in chosen], next_page_token=token
        )


def _pin_key(pin: PinRecord) -> str:
    return f"{pin.deployment}/{pin.node}"


def _pinned(deployment: str, node: str) -> tuple[str, str]:
    return (
        id_of("deployments", deployment, field="deployment"),
        id_of("nodes", node, field="node"),
    )
