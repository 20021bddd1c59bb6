"""A gRPC server as every process of the fleet runs it.

Owns health, reflection, message and keepalive limits, and turning `Refusal` into a
status. Refuses to answer NOT_SERVING late: health goes down before a drain begins.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from slacktide.wire.errors import Refusal, abort

_log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""Larger than any item body the control plane hands out; see batches' line limit."""

CHANNEL_OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)
"""For clients inside the fleet; matches what `FleetServer` tolerates."""

_SERVER_OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
)


class FleetServer:
    """An asyncio gRPC server with health and reflection.

    Args:
        services: full names of the services that will be added, for reflection and health.
        reuse_port: let another process listen at the same port (gateway upgrades).
        options: further gRPC channel arguments of this server.
    """

    def __init__(
        self,
        services: Sequence[str],
        *,
        reuse_port: bool = False,
        options: Sequence[tuple[str, int]] = (),
    ) -> None:
        options = [*_SERVER_OPTIONS, ("grpc.so_reuseport", int(reuse_port)), *options]
        self.grpc = grpc.aio.server(interceptors=[_RefusalInterceptor()], options=options)
        self._services = tuple(services)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc)
        reflection.enable_server_reflection(
            [*services, health.SERVICE_NAME, reflection.SERVICE_NAME], self.grpc
        )

    def bind(self, address: str) -> int:
        """Binds host:port; port 0 picks one.

        Raises:
            Refusal: the port is in use.
        """
        try:
            port = self.grpc.add_insecure_port(address)
        except RuntimeError as error:
            port = 0
            cause: BaseException | None = error
        else:
            cause = None
        if port == 0:
            raise Refusal(
                code=grpc.StatusCode.UNAVAILABLE,
                reason="ADDRESS_IN_USE",
                message=f"address {address}: cannot be bound, another process may listen there;"
                " stop it or choose another with --listen",
            ) from cause
        return port

    async def start(self) -> None:
        """Accepts calls; health stays NOT_SERVING until `set_serving(True)`."""
        await self.set_serving(False)
        await self.grpc.start()

    async def set_serving(self, serving: bool) -> None:
        """Sets the health of the process and of each of its services."""
        status = (
            health_pb2.HealthCheckResponse.SERVING
            if serving
            else health_pb2.HealthCheckResponse.NOT_SERVING
        )
        for service in ("", *self._services):
            await self._health.set(service, status)

    async def stop(self, *, grace_s: float) -> None:
        """Refuses new calls, lets running ones finish within the grace, then cancels."""
        await self.set_serving(False)
        await self.grpc.stop(grace_s)


class _RefusalInterceptor(grpc.aio.ServerInterceptor):
    """Turns a raised `Refusal` into its status, whatever kind of RPC raised it."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith("/slacktide."):
            return handler  # health and reflection speak for themselves
        if handler.request_streaming and handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(
                _guard_stream(handler.stream_stream, method),
                handler.request_deserializer,
                handler.response_serializer,
            )
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(
                _guard_unary(handler.stream_unary, method),
                handler.request_deserializer,
                handler.response_serializer,
            )
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                _guard_stream(handler.unary_stream, method),
                handler.request_deserializer,
                handler.response_serializer,
            )
        return grpc.unary_unary_rpc_method_handler(
            _guard_unary(handler.unary_unary, method),
            handler.request_deserializer,
            handler.response_serializer,
        )


def _guard_unary(behaviour: Any, method: str) -> Any:
    async def guarded(request: Any, context: Any) -> Any:
        try:
            return await behaviour(request, context)
        except Refusal as refusal:
            _log.info("rpc_refused method=%s reason=%s", method, refusal.reason)
            await abort(context, refusal)

    return guarded


def _guard_stream(behaviour: Any, method: str) -> Any:
    async def guarded(request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            async for response in behaviour(request, context):
                yield response
        except Refusal as refusal:
            _log.info("rpc_refused method=%s reason=%s", method, refusal.reason)
            await abort(context, refusal)

    return guarded
