"""NodeService: nodes, and taking them out of service."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import grpc
from slacktide.v1 import node_pb2, node_service_pb2, node_service_pb2_grpc
from slacktide.wire.errors import Refusal
from slacktide.wire.names import resource_name

from controlplane.feed import StateFeed
from controlplane.messages.labels import MAX_LABELS, parse_labels, too_many_labels
from controlplane.messages.nodes import to_node
from controlplane.messages.scalars import to_ms
from controlplane.rounds.dryrun import DryRun, displaced, with_drain
from controlplane.services.lookups import checked_reason, found, id_of
from controlplane.services.mutations import mutate, repeated
from controlplane.services.paging import page
from controlplane.sessions import Sessions
from storage.records import FleetView, NodeRecord
from storage.store import FleetStore, FleetTransaction

DRAIN_DEADLINE_S = 300.0
MAX_DEADLINE_S = 30 * 86_400.0


class NodeServicer(node_service_pb2_grpc.NodeServiceServicer):
    """Admin: nodes.

    Args:
        store: fleet state.
        feed: the newest view.
        sessions: when agents reported.
        dry_run: says whether a node can be drained.
        request_round: asks for a round, with what triggers it.
    """

    def __init__(
        self,
        *,
        store: FleetStore,
        feed: StateFeed,
        sessions: Sessions,
        dry_run: DryRun,
        request_round: Callable[[str], None],
    ) -> None:
        self._store = store
        self._feed = feed
        self._sessions = sessions
        self._dry_run = dry_run
        self._request_round = request_round

    async def ListNodes(  # noqa: N802
        self, request: node_service_pb2.ListNodesRequest, context: Any
    ) -> node_service_pb2.ListNodesResponse:
        """Lists nodes by name."""
        view = self._feed.view
        chosen, token = page(
            view.nodes,
            key=lambda one: one.id,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return node_service_pb2.ListNodesResponse(
            nodes=[self._shown(view, one) for one in chosen], next_page_token=token
        )

    async def GetNode(  # noqa: N802
        self, request: node_service_pb2.GetNodeRequest, context: Any
    ) -> node_service_pb2.GetNodeResponse:
        """Gets one node."""
        id_ = id_of("nodes", request.name)
        view = self._feed.view
        return node_service_pb2.GetNodeResponse(
            node=self._shown(view, found(view.node(id_), kind="node", id_=id_))
        )

    async def CordonNode(  # noqa: N802
        self, request: node_service_pb2.CordonNodeRequest, context: Any
    ) -> node_service_pb2.CordonNodeResponse:
        """Marks a node so that nothing new is placed on it; what runs goes on."""
        id_ = id_of("nodes", request.name)

        def work(state: FleetTransaction) -> node_service_pb2.CordonNodeResponse:
            node = found(state.node(id_), kind="node", id_=id_)
            marked = replace(node, is_cordoned=True, reason=checked_reason(request.reason))
            state.put_node(marked)
            return node_service_pb2.CordonNodeResponse(node=self._shown(state.view(), marked))

        response = await mutate(
            self._store,
            self._feed,
            request,
            answer=node_service_pb2.CordonNodeResponse,
            work=work,
        )
        self._request_round(f"node {id_} cordoned")
        return response

    async def DrainNode(  # noqa: N802
        self, request: node_service_pb2.DrainNodeRequest, context: Any
    ) -> node_service_pb2.DrainNodeResponse:
        """Cordons and moves what runs elsewhere by a deadline; returns at once."""
        id_ = id_of("nodes", request.name)
        done = await repeated(self._store, request, answer=node_service_pb2.DrainNodeResponse)
        if done is not None:
            return done
        after_s = (
            to_ms(request.deadline) / 1e3 if request.HasField("deadline") else DRAIN_DEADLINE_S
        )
        if not 0 <= after_s <= MAX_DEADLINE_S:
            allowed = f"must be 0 to {MAX_DEADLINE_S:.0f} s from now"
            raise Refusal(
                code=grpc.StatusCode.INVALID_ARGUMENT,
                reason="INVALID_DEADLINE",
                message=f"node {id_}: deadline {after_s:g} s: {allowed}",
                violations=[("deadline", f"{after_s:g} s: {allowed}")],
            )
        checked_reason(request.reason)
        found(self._feed.view.node(id_), kind="node", id_=id_)
        if not request.force:
            await self._refuse_displacing(id_, deadline_s=time.time() + after_s)

        def work(state: FleetTransaction) -> node_service_pb2.DrainNodeResponse:
            node = found(state.node(id_), kind="node", id_=id_)
            marked = replace(node, reason=request.reason, drain_deadline_s=time.time() + after_s)
            state.put_node(marked)
            return node_service_pb2.DrainNodeResponse(node=self._shown(state.view(), marked))

        response = await mutate(
            self._store,
            self._feed,
            request,
            answer=node_service_pb2.DrainNodeResponse,
            work=work,
        )
        self._request_round(f"node {id_} drains")
        return response

    async def UncordonNode(  # noqa: N802
        self, request: node_service_pb2.UncordonNodeRequest, context: Any
    ) -> node_service_pb2.UncordonNodeResponse:
        """Takes cordon and drain back."""
        id_ = id_of("nodes", request.name)

        def work(state: FleetTransaction) -> node_service_pb2.UncordonNodeResponse:
            node = found(state.node(id_), kind="node", id_=id_)
            marked = replace(node, is_cordoned=False, reason="", drain_deadline_s=None)
            state.put_node(marked)
            return node_service_pb2.UncordonNodeResponse(node=self._shown(state.view(), marked))

        response = await mutate(
            self._store,
            self._feed,
            request,
            answer=node_service_pb2.UncordonNodeResponse,
            work=work,
        )
        self._request_round(f"node {id_} uncordoned")
        return response

    async def LabelNode(  # noqa: N802
        self, request: node_service_pb2.LabelNodeRequest, context: Any
    ) -> node_service_pb2.LabelNodeResponse:
        """Sets labels over the agent's, or takes back what an operator set."""
        id_ = id_of("nodes", request.name)
        labels = parse_labels(request.labels, request.removed)

        def labelled(node: NodeRecord | None) -> NodeRecord:
            known = found(node, kind="node", id_=id_)
            kept = {k: value for k, value in known.operator_labels if k not in request.removed}
            marked = replace(known, operator_labels=tuple(sorted({**kept, **labels}.items())))
            if len(marked.operator_labels) > MAX_LABELS:
                raise too_many_labels(id_, len(marked.operator_labels))
            return marked

        if request.validate_only:
            view = self._feed.view
            return node_service_pb2.LabelNodeResponse(
                node=self._shown(view, labelled(view.node(id_)))
            )

        def work(state: FleetTransaction) -> node_service_pb2.LabelNodeResponse:
            marked = labelled(state.node(id_))
            state.put_node(marked)
            return node_service_pb2.LabelNodeResponse(node=self._shown(state.view(), marked))

        response = await mutate(
            self._store,
            self._feed,
            request,
            answer=node_service_pb2.LabelNodeResponse,
            work=work,
        )
        self._request_round(f"node {id_} labelled")
        return response

    async def _refuse_displacing(self, node: str, *, deadline_s: float) -> None:
        view = self._feed.view
        if not any(one.allocation.holds_devices for one in view.on_node(node)):
            return
        target = next((one for one in ("", f"nodes/{node}") if view.is_frozen_target(one)), None)
        if target is not None:
            what = f"node {node}" if target else "the fleet"
            raise Refusal(
                code=grpc.StatusCode.FAILED_PRECONDITION,
                reason="PLACEMENT_FROZEN",
                message=f"node {node}: {what} is frozen, so nothing would move before the deadline;"
                " `slacktide placement unfreeze` first, or drain with force to stop its replicas"
                " then",
                violations=[(resource_name("nodes", node), f"{what} is frozen")],
            )
        plan = await self._dry_run.plan(with_drain(view, node, deadline_s=deadline_s))
        stranded = displaced(view, plan, node)
        if stranded:
            raise Refusal(
                code=grpc.StatusCode.FAILED_PRECONDITION,
                reason="DRAIN_INFEASIBLE",
                message=f"node {node}: {len(stranded)} of its replicas fit nowhere else:"
                f" {stranded[0][1]}. Make room, or drain with force to stop them at the deadline",
                violations=[(resource_name("replicas", replica), why) for replica, why in stranded],
            )

    def _shown(self, view: FleetView, record: NodeRecord) -> node_pb2.Node:
        return to_node(
            record,
            holds_replicas=any(one.allocation.holds_devices for one in view.on_node(record.id)),
            report_s=self._sessions.reported_s(record.id),
            is_frozen=view.is_frozen_target(f"nodes/{record.id}"),
        )
