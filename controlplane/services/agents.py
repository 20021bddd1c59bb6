"""AgentService: the session of a node, which is also its lease.

Owns the conversation: hello, reports, assignments, grants. Refuses to place (rounds) and
to declare a node LOST (keeper). Invariants: what an agent is told is committed first;
what it says of its replicas is committed under the leader's epoch; a store that fails or
hangs costs no lease: a report renews it before it is stored, and since every report says
all anew, only the newest one waits for the store.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from typing import Any

import grpc
from slacktide.v1 import agent_service_pb2, agent_service_pb2_grpc, replica_pb2
from slacktide.wire.errors import Refusal
from slacktide.wire.names import resource_id
from slacktide.wire.version import PROTOCOL_VERSION, build_version

from controlplane.feed import StateFeed
from controlplane.messages.assignment import content_of, node_assignment, wanted_models
from controlplane.messages.nodes import parse_node, parse_warm_models
from controlplane.messages.replicas import parse_state
from controlplane.messages.scalars import spoken, to_duration
from controlplane.observed import Observation, Settlement, lease_end, settle
from controlplane.sessions import OUTBOX_MESSAGES, AgentSession, Sessions
from controlplane.stored import stored
from controlplane.telemetry import Telemetry
from planner.model import ReplicaState
from storage.batches import BatchStore
from storage.records import ModelNeeds, NodeRecord
from storage.store import FleetStore, FleetTransaction

_log = logging.getLogger(__name__)

HELLO_TIMEOUT_S = 10.0
PUSH_CHECK_S = 5.0
"""How often an assignment is compared without a change of state: drain deadlines pass."""

_Request = agent_service_pb2.SessionRequest
_Response = agent_service_pb2.SessionResponse


class AgentServicer(agent_service_pb2_grpc.AgentServiceServicer):
    """Agents: one session a node.

    Args:
        store: fleet state.
        batches: where items of stopped replicas go back.
        feed: the newest view; its changes become assignments.
        sessions: leases.
        telemetry: takes in reports.
        epoch: the leader's.
        request_round: asks for a round, with what triggers it.
    """

    def __init__(
        self,
        *,
        store: FleetStore,
        batches: BatchStore,
        feed: StateFeed,
        sessions: Sessions,
        telemetry: Telemetry,
        epoch: int,
        request_round: Callable[[str], None],
    ) -> None:
        self._store = store
        self._batches = batches
        self._feed = feed
        self._sessions = sessions
        self._telemetry = telemetry
        self._epoch = epoch
        self._request_round = request_round

    async def Session(  # noqa: N802
        self, request_iterator: AsyncIterator[_Request], context: Any
    ) -> AsyncIterator[_Response]:
        """Registers the node, then answers its reports and tells it what to run."""
        hello = await _first(request_iterator)
        _check_protocol(hello)
        node = parse_node(
            hello.node, protocol_version=hello.protocol_version, incarnation=hello.incarnation
        )
        await self._register(node, hello)
        session = self._sessions.open(
            node.id, incarnation=hello.incarnation, now_s=time.monotonic()
        )
        outbox: asyncio.Queue[_Response | None] = asyncio.Queue(maxsize=OUTBOX_MESSAGES)
        reports: asyncio.Queue[agent_service_pb2.NodeReport] = asyncio.Queue(maxsize=1)
        parts = [
            asyncio.create_task(self._read(session, request_iterator, outbox, reports)),
            asyncio.create_task(self._store_reports(session, reports)),
            asyncio.create_task(self._push(session, outbox)),
            asyncio.create_task(_await_end(session)),
        ]
        closing = asyncio.create_task(_close_when_one_ends(parts, outbox))
        try:
            yield _Response(
                welcome=agent_service_pb2.Welcome(
                    lease=to_duration(self._sessions.lease_s * 1e3),
                    epoch=self._epoch,
                    control_plane_version=build_version(),
                )
            )
            while (response := await outbox.get()) is not None:
                yield response
            for part in parts:
                if part.done():
                    part.result()  # raises what ended the session
        finally:
            self._sessions.close(session)
            for task in (*parts, closing):
                task.cancel()
            await asyncio.gather(*parts, closing, return_exceptions=True)
            _log.info("session_ended node=%s reason=%r", node.id, session.end_reason)

    async def _register(self, node: NodeRecord, hello: agent_service_pb2.Hello) -> None:
        said = _observations(hello.replicas)

        def work(state: FleetTransaction) -> Settlement:
            before = state.node(node.id)
            self._refuse_impostor(node, state.view().nodes)
            state.put_node(_kept_marks(node, before))
            settlement = settle(state.allocations_on(node.id), said, is_hello=True)
            self._commit(state, settlement, node=before)
            if before is not None and before.incarnation != node.incarnation:
                # A new process holds nothing of what the one before it leased.
                end = lease_end(ReplicaState.LOST, node=before)
                self._batches.return_node_items(state.connection, node.id, end=end)
            return settlement

        await stored(self._store.run, work, epoch=self._epoch)
        await self._feed.refresh()
        _log.info(
            "node_registered node=%s incarnation=%s version=%s devices=%d replicas=%d",
            node.id,
            node.incarnation,
            node.agent_version,
            len(node.devices),
            len(said),
        )
        self._request_round(f"node {node.id} joined")

    def _refuse_impostor(self, node: NodeRecord, known: Iterable[NodeRecord]) -> None:
        """Refuses two agents that want to be one node, or to be reached at one address."""
        for other in known:
            if other.id == node.id:
                is_other_agent = other.address != node.address and (
                    other.incarnation != node.incarnation
                )
                if is_other_agent and self._sessions.is_connected(node.id):
                    raise Refusal(
                        code=grpc.StatusCode.ALREADY_EXISTS,
                        reason="NODE_NAME_IN_USE",
                        message=f"node {node.id}: its agent at {other.address} is connected, and"
                        f" this one serves at {node.address}; give each agent a --node of its"
                        " own, or stop the other first",
                        metadata={"node": node.id, "address": other.address},
                    )
            elif other.is_ready and other.address == node.address:
                raise Refusal(
                    code=grpc.StatusCode.ALREADY_EXISTS,
                    reason="NODE_ADDRESS_IN_USE",
                    message=f"node {node.id}: serves at {node.address}, which is the address of"
                    f" node {other.id}; give each agent an address of its own, or wait"
                    f" {self._sessions.lease_s:g} s if node {other.id} was replaced",
                    metadata={"node": other.id, "address": node.address},
                )

    async def _read(
        self,
        session: AgentSession,
        requests: AsyncIterator[_Request],
        outbox: "asyncio.Queue[_Response | None]",
        reports: "asyncio.Queue[agent_service_pb2.NodeReport]",
    ) -> None:
        async for request in requests:
            if request.WhichOneof("message") != "report":
                raise Refusal(
                    code=grpc.StatusCode.INVALID_ARGUMENT,
                    reason="REPORT_EXPECTED",
                    message=f"node {session.node}: after the hello, only reports are expected",
                )
            self._sessions.renew(session, now_s=time.monotonic())
            await outbox.put(_Response(grant=agent_service_pb2.LeaseGrant(epoch=self._epoch)))
            self._observe(session, request.report)
            if reports.full():
                reports.get_nowait()
            reports.put_nowait(request.report)

    def _observe(self, session: AgentSession, report: agent_service_pb2.NodeReport) -> None:
        """Takes in telemetry of the node's own replicas."""
        own = {one.allocation.replica for one in self._feed.view.on_node(session.node)}
        said = {_bare(one.replica): one for one in report.replicas}
        self._telemetry.record(
            {replica: one for replica, one in said.items() if replica in own},
            now_s=time.monotonic(),
        )

    async def _store_reports(
        self, session: AgentSession, reports: "asyncio.Queue[agent_service_pb2.NodeReport]"
    ) -> None:
        while True:
            report = await reports.get()
            try:
                await self._report(session, report)
            except Refusal as refusal:
                if refusal.reason == "STALE_EPOCH":
                    raise
                _log.error("report_not_stored node=%s message=%s", session.node, refusal)

    async def _report(self, session: AgentSession, report: agent_service_pb2.NodeReport) -> None:
        said = _observations(report.replicas)
        view = self._feed.view
        stops = session.told_stopped if report.revision >= session.told_revision else frozenset()
        if settle(view.on_node(session.node), said, is_hello=False, accepted_stops=stops):

            def work(state: FleetTransaction) -> Settlement:
                settlement = settle(
                    state.allocations_on(session.node), said, is_hello=False, accepted_stops=stops
                )
                self._commit(state, settlement, node=state.node(session.node))
                return settlement

            settlement = await stored(self._store.run, work, epoch=self._epoch)
            await self._feed.refresh()
            for one in settlement.changed:
                _log.info(
                    "replica_changed replica=%s node=%s state=%s message=%r",
                    one.allocation.replica,
                    session.node,
                    one.allocation.state.value,
                    one.message,
                )
            for replica in settlement.retired:
                _log.info("replica_retired replica=%s node=%s", replica, session.node)
            if (
                any(
                    one.allocation.state in (ReplicaState.RUNNING, ReplicaState.FAILED)
                    for one in settlement.changed
                )
                or settlement.idle
            ):
                self._request_round(f"replicas of node {session.node} changed")
        if report.models and wanted_models(self._feed.view):
            await self._learn(report.models)
        await self._note_warm(session.node, parse_warm_models(report.warm_models))

    async def _note_warm(self, node: str, models: tuple[str, ...]) -> None:
        """Stores which models' weights lie in the node's host memory, where that changed."""
        known = self._feed.view.node(node)
        if known is None or known.warm_models == models:
            return

        def work(state: FleetTransaction) -> None:
            record = state.node(node)
            if record is not None:
                state.put_node(replace(record, warm_models=models))

        await stored(self._store.run, work, epoch=self._epoch)
        await self._feed.refresh()

    def _commit(
        self, state: FleetTransaction, settlement: Settlement, *, node: NodeRecord | None
    ) -> None:
        for one in settlement.changed:
            state.put_allocation(one)
        for replica in settlement.retired:
            state.retire_allocation(replica)
        for replica, ended in settlement.idle.items():
            end = lease_end(ended, node=node)
            self._batches.return_replica_items(state.connection, replica, end=end)

    async def _learn(self, models: Iterable[agent_service_pb2.ModelFacts]) -> None:
        """Stores what agents read of model folders, for deployments that wait for it."""
        facts = {one.model: one for one in models}

        def work(state: FleetTransaction) -> list[str]:
            learned = []
            for record in state.view().deployments:
                fact = facts.get(record.spec.engine.model)
                if fact is None or record.is_deleted or record.needs is not None:
                    continue
                if fact.error or fact.weights_bytes <= 0 or fact.kv_bytes_per_token <= 0:
                    why = spoken(fact.error) or (
                        f"the agent read {fact.weights_bytes} bytes of weights and"
                        f" {fact.kv_bytes_per_token} bytes of KV per token"
                    )
                    known = replace(record, needs_error=why)
                else:
                    needs = ModelNeeds(
                        weights_bytes=fact.weights_bytes,
                        kv_bytes_per_token=fact.kv_bytes_per_token,
                        max_context_tokens=fact.max_context_tokens,
                    )
                    known = replace(record, needs=needs, needs_error="")
                if known != record:
                    state.put_deployment(known)
                    learned.append(record.id)
            return learned

        learned = await stored(self._store.run, work, epoch=self._epoch)
        if learned:
            _log.info("model_facts_learned deployments=%s", ",".join(learned))
            await self._feed.refresh()
            self._request_round(f"needs of deployment {learned[0]} known")

    async def _push(self, session: AgentSession, outbox: "asyncio.Queue[_Response | None]") -> None:
        sent = b""
        while not self._feed.is_closed:
            view = self._feed.view
            assignment = node_assignment(view, session.node, now_s=time.time())
            content = content_of(assignment)
            if content != sent:
                session.told_revision = assignment.revision
                session.told_stopped = frozenset(
                    _bare(one.replica.name)
                    for one in assignment.replicas
                    if one.replica.desired == replica_pb2.DESIRED_STATE_STOPPED
                )
                await outbox.put(_Response(assignment=assignment))
                sent = content
            await self._feed.after(view.state.revision, timeout_s=PUSH_CHECK_S)


async def _first(requests: AsyncIterator[_Request]) -> agent_service_pb2.Hello:
    first: _Request | None = None
    with contextlib.suppress(TimeoutError, StopAsyncIteration):
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            first = await anext(aiter(requests))
    if first is None or first.WhichOneof("message") != "hello":
        raise Refusal(
            code=grpc.StatusCode.INVALID_ARGUMENT,
            reason="HELLO_EXPECTED",
            message=f"session: the first message must be a hello, within {HELLO_TIMEOUT_S:g} s",
        )
    return first.hello


def _check_protocol(hello: agent_service_pb2.Hello) -> None:
    if abs(hello.protocol_version - PROTOCOL_VERSION) <= 1:
        return
    older = "agent" if hello.protocol_version < PROTOCOL_VERSION else "control plane"
    raise Refusal(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason="PROTOCOL_MISMATCH",
        message=f"node {hello.node.name}: its agent {hello.node.agent_version or '(no version)'}"
        f" speaks protocol {hello.protocol_version}, control plane {build_version()} speaks"
        f" {PROTOCOL_VERSION}; they may differ by 1. Upgrade the {older} first",
        metadata={
            "agent_protocol": str(hello.protocol_version),
            "control_plane_protocol": str(PROTOCOL_VERSION),
        },
    )


def _kept_marks(node: NodeRecord, before: NodeRecord | None) -> NodeRecord:
    """The node as its agent describes it, with what operators set before."""
    if before is None:
        return node
    return replace(
        node,
        is_cordoned=before.is_cordoned,
        reason=before.reason,
        drain_deadline_s=before.drain_deadline_s,
        operator_labels=before.operator_labels,
    )


def _observations(reports: Iterable[replica_pb2.ReplicaReport]) -> dict[str, Observation]:
    return {
        _bare(one.replica): Observation(state=state, message=spoken(one.message))
        for one in reports
        if (state := parse_state(one.state)) is not None
    }


def _bare(name: str) -> str:
    try:
        return resource_id("replicas", name)
    except ValueError as error:
        raise Refusal(
            code=grpc.StatusCode.INVALID_ARGUMENT,
            reason="INVALID_NAME",
            message=str(error),
            violations=[("replica", str(error))],
        ) from error


async def _await_end(session: AgentSession) -> None:
    await session.ended.wait()
    raise Refusal(code=grpc.StatusCode.ABORTED, reason="SESSION_ENDED", message=session.end_reason)


async def _close_when_one_ends(
    parts: list["asyncio.Task[None]"], outbox: "asyncio.Queue[_Response | None]"
) -> None:
    await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
    await outbox.put(None)
