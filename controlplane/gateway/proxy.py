"""Generate: pick a replica, forward its stream, retry before the first token.

Owns the path of one request. Responses pass as bytes: only the first and the last are
parsed, for the load they carry. Refuses to repeat a request that got a token, and to
outlive the caller's deadline. Invariants: one replica at a time runs a request; when the
client goes, the call to the agent is cancelled; every request is counted off `Traffic`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from time import monotonic
from typing import assert_never

import grpc
import grpc.aio
from slacktide.v1 import inference_service_pb2, replica_pb2, routing_service_pb2
from slacktide.wire.errors import Refusal
from slacktide.wire.names import resource_id

from controlplane.gateway.agents import AgentChannels
from controlplane.gateway.asked import Asked, parse_asked
from controlplane.gateway.attempts import Attempt, Attempts
from controlplane.gateway.book import RouteBook
from controlplane.gateway.tables import online_requests
from planner.routing.choose import RefusalKind, RouteRefusal, choose
from planner.routing.classes import SERVES, rank
from planner.routing.table import Route
from planner.routing.traffic import Traffic

_log = logging.getLogger(__name__)

SERVICE = inference_service_pb2.DESCRIPTOR.services_by_name["InferenceService"].full_name

_LONGEST_REQUEST_S = 900.0
"""Deadline of callers that set none."""

_MARGIN_S = 0.02
_MARGIN_SHARE = 0.02
"""Kept of the caller's deadline, the larger of the two, so that the agent's own answer
arrives within it. A share, because gRPC rounds a deadline up, by at most 1 %, to send it."""

_HOLD_S = 3.0
"""How long a request waits where replicas ran and none takes it: one drains and its
successor's route is on the way, or an agent or a control plane restarts."""

_HOLD_STEP_S = 0.1

_LIVE_S = 5.0
"""A replica heard of through its responses within this needs no second-hand load."""

_NOTE_STAND_IN_S = 10.0
"""How often it is logged that replicas stand in for those of an SLO class."""

_LOST_CODES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
"""CANCELLED that this gateway did not ask for: the agent stopped with the call open."""

_Context = grpc.aio.ServicerContext[bytes, bytes]


class GenerateProxy:
    """Serves InferenceService over the agents' own.

    Args:
        book: routes in force.
        channels: to the agents.
        max_streams: requests in flight before new ones are shed.
    """

    def __init__(self, book: RouteBook, channels: AgentChannels, *, max_streams: int) -> None:
        self._book = book
        self._channels = channels
        self._max_streams = max_streams
        self._traffic = Traffic()
        self._open_requests = 0
        self._stand_in_noted_s: dict[tuple[str, str], float] = {}
        self.attempts = Attempts()

    def handler(self) -> grpc.GenericRpcHandler:
        """The service as a handler whose messages stay bytes."""
        generate: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_stream_rpc_method_handler(
            self.generate
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"Generate": generate})

    def take_loads(self, message: routing_service_pb2.WatchRoutesResponse) -> None:
        """Takes a table's second-hand loads, and gives up on replicas it dropped."""
        now_s = monotonic()
        replicas = []
        for route in message.routes:
            replica = resource_id("replicas", route.replica)
            replicas.append(replica)
            if route.HasField("load") and self._traffic.age_s(replica, now_s=now_s) > _LIVE_S:
                self._report(replica, route.load)
        self._traffic.forget_except(replicas)
        if dropped := self.attempts.drop_lost(self._book.table):
            _log.warning("attempts_dropped count=%d reason='replica lost'", dropped)

    async def generate(self, raw: bytes, context: _Context) -> AsyncIterator[bytes]:
        """Forwards one request and its stream."""
        asked = parse_asked(raw)
        if self._open_requests >= self._max_streams:
            raise Refusal(
                code=grpc.StatusCode.RESOURCE_EXHAUSTED,
                reason="GATEWAY_FULL",
                message=f"gateway: {self._open_requests} requests in flight, allowed"
                f" {self._max_streams}; slow down, or start another gateway on this port",
                retry_after_s=1.0,
            )
        self._open_requests += 1
        try:
            async for message in self._forward(asked, context):
                yield message
        finally:
            self._open_requests -= 1

    async def _forward(self, asked: Asked, context: _Context) -> AsyncIterator[bytes]:
        started_s = monotonic()
        remaining_s = context.time_remaining()
        deadline_s = started_s + min(_LONGEST_REQUEST_S, remaining_s or _LONGEST_REQUEST_S)
        failed: dict[str, str] = {}
        while True:
            route = await self._pick(asked, failed, hold_until_s=started_s + _HOLD_S)
            slo_class = self._class_of(asked, route)
            call = self._channels.generate(
                route.address,
                asked.addressed_to(route.replica, slo_class=slo_class),
                timeout_s=_deadline_within(deadline_s - monotonic()),
            )
            peers = [r.replica for r in self._book.table.routes_of(asked.deployment) or ()]
            self._traffic.start(route.replica, peers=peers)
            last = b""
            with self.attempts.hold(route, call) as attempt:
                try:
                    async for message in call:
                        if not attempt.has_answered:
                            attempt.has_answered = True
                            self._first(route, message)
                        last = message
                        yield message
                except grpc.aio.AioRpcError as error:
                    cause = await self._explain(error, attempt, context)
                except asyncio.CancelledError:
                    if not attempt.is_dropped or _is_cancelling():
                        raise
                    cause = "lost by its control plane"
                else:
                    if attempt.has_answered:
                        self._last(route, last)
                        return
                    cause = "ended without a token"
                finally:
                    self._traffic.finish(route.replica)
            failed[route.replica] = cause
            _log.warning(
                "request_retried deployment=%s slo_class=%s replica=%s node=%s cause=%r",
                asked.deployment, slo_class, route.replica, route.node, cause,
            )  # fmt: skip

    def _class_of(self, asked: Asked, route: Route) -> str:
        """The class it is served in: the tightest where it names none. Says who stands in."""
        classes = self._book.table.classes_of(asked.deployment)
        slo_class = asked.slo_class or next(iter(classes), "")
        if rank(route, slo_class, classes) > SERVES:
            key, now_s = (asked.deployment, slo_class), monotonic()
            if now_s - self._stand_in_noted_s.get(key, float("-inf")) >= _NOTE_STAND_IN_S:
                self._stand_in_noted_s[key] = now_s
                _log.warning(
                    "stand_in_serves deployment=%s slo_class=%s replica=%s held_to=%s"
                    " reason='none that serves the class runs, or all are full'",
                    asked.deployment, slo_class, route.replica, route.slo_class,
                )  # fmt: skip
        return slo_class

    async def _pick(self, asked: Asked, failed: dict[str, str], *, hold_until_s: float) -> Route:
        """The next replica to try; waits a little where one may come back.

        Raises:
            Refusal: there is none.
        """
        while True:
            now_s = monotonic()
            choice = choose(
                self._book.table,
                self._traffic,
                deployment=asked.deployment,
                slo_class=asked.slo_class,
                now_s=now_s,
                excluded=failed,
                suspect=self._channels.suspects(now_s=now_s),
            )
            if isinstance(choice, Route):
                return choice
            if now_s >= hold_until_s or not self._may_recover(choice, asked.deployment):
                raise _refusal(choice, asked, failed, is_known=self._book.is_known)
            await self._book.wait_change(timeout_s=_HOLD_STEP_S)
            failed.clear()

    def _may_recover(self, refusal: RouteRefusal, deployment: str) -> bool:
        match refusal.kind:
            case RefusalKind.NONE_RUNNING:
                return self._book.was_served(deployment)
            case RefusalKind.ALL_FAILED:
                return True
            case RefusalKind.UNKNOWN_DEPLOYMENT | RefusalKind.UNKNOWN_CLASS | RefusalKind.CONTENDED:
                return False
            case _:
                assert_never(refusal.kind)

    async def _explain(
        self, error: grpc.aio.AioRpcError, attempt: Attempt, context: _Context
    ) -> str:
        """The cause to retry for; what cannot be retried ends the call here."""
        if error.code() not in _LOST_CODES:
            trailers = tuple(error.trailing_metadata() or ())
            await context.abort(error.code(), error.details() or "", trailers)
        route = attempt.route
        if attempt.has_answered:
            raise Refusal(
                code=grpc.StatusCode.UNAVAILABLE,
                reason="STREAM_LOST",
                message=f"replica {route.replica} on node {route.node}: lost after tokens were"
                f" sent ({error.details()}); not repeated for that reason, send it again",
                metadata={"replica": route.replica, "node": route.node},
            ) from error
        if not _is_from_agent(error):
            self._channels.mark_unreachable(route.address, now_s=monotonic())
        return error.details() or "unavailable"

    def _first(self, route: Route, message: bytes) -> None:
        self._channels.mark_reached(route.address)
        response = inference_service_pb2.GenerateResponse.FromString(message)
        if response.served.HasField("load"):
            self._report(route.replica, response.served.load)

    def _last(self, route: Route, message: bytes) -> None:
        response = inference_service_pb2.GenerateResponse.FromString(message)
        if response.finish.HasField("load"):
            self._report(route.replica, response.finish.load)

    def _report(self, replica: str, load: replica_pb2.ReplicaLoad) -> None:
        self._traffic.report(replica, online_requests=online_requests(load), now_s=monotonic())


def _deadline_within(remaining_s: float) -> float:
    """The agent's deadline, in seconds from now, so that it ends before the caller's."""
    return max(0.0, remaining_s - max(_MARGIN_S, _MARGIN_SHARE * remaining_s))


def _is_cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _is_from_agent(error: grpc.aio.AioRpcError) -> bool:
    """Whether the agent itself answered: its refusals carry google.rpc details."""
    return any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata() or ())


def _refusal(
    refusal: RouteRefusal, asked: Asked, failed: dict[str, str], *, is_known: bool
) -> Refusal:
    metadata = {"deployment": asked.deployment}
    if not is_known:
        return Refusal(
            code=grpc.StatusCode.UNAVAILABLE,
            reason="NO_ROUTE_TABLE",
            message="gateway: has no route table yet, no control plane has answered and its"
            " table file is empty; start a control plane, or try again",
            metadata=metadata,
            retry_after_s=1.0,
        )
    violations = []
    match refusal.kind:
        case RefusalKind.UNKNOWN_DEPLOYMENT:
            code = grpc.StatusCode.NOT_FOUND
        case RefusalKind.UNKNOWN_CLASS:
            code = grpc.StatusCode.INVALID_ARGUMENT
            violations.append(("slo_class", refusal.message))
        case RefusalKind.CONTENDED:
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
        case RefusalKind.NONE_RUNNING | RefusalKind.ALL_FAILED:
            code = grpc.StatusCode.UNAVAILABLE
        case _:
            assert_never(refusal.kind)
    causes = "".join(f"; {replica}: {cause}" for replica, cause in sorted(failed.items()))
    return Refusal(
        code=code,
        reason=refusal.kind.name,
        message=refusal.message + causes,
        violations=violations,
        metadata=metadata,
        retry_after_s=refusal.retry_after_s,
    )
