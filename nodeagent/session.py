"""The node's session with the control plane.

Owns the conversation: hello, a report a second and at every change, grants, assignments;
and finding another control plane when one goes silent. Refuses a welcome of a lower epoch
than one seen before. Invariants: the lease runs from the receipt of a grant; an
assignment that cannot be stored is not acted on and is tried again with every report;
without any control plane the agent serves on.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import grpc
import grpc.aio
from slacktide.v1 import agent_service_pb2, agent_service_pb2_grpc
from slacktide.wire.server import CHANNEL_OPTIONS

from nodeagent.assignment_store import StaleAssignmentError
from nodeagent.lease import Lease

_log = logging.getLogger(__name__)

REPORT_INTERVAL_S = 1.0
_LEAST_INTERVAL_S = 0.1  # between reports that changes cause
_WELCOME_TIMEOUT_S = 5.0
_LEAST_SILENCE_S = 5.0
_FIRST_BACKOFF_S = 0.2
_LONGEST_BACKOFF_S = 5.0

_Call: TypeAlias = (
    "grpc.aio.StreamStreamCall[agent_service_pb2.SessionRequest, agent_service_pb2.SessionResponse]"
)


class _SessionEndedError(Exception):
    """The conversation cannot go on; says why."""


class Session:
    """Keeps a session with one of `addresses`.

    Args:
        addresses: host:port of control planes, tried in turn.
        hello: the first message, made anew for every session.
        report: a report; consumes samples.
        accept: stores an assignment and acts on it; raises StaleAssignmentError, OSError.
    """

    def __init__(
        self,
        *,
        addresses: tuple[str, ...],
        hello: Callable[[], agent_service_pb2.Hello],
        report: Callable[[], agent_service_pb2.NodeReport],
        accept: Callable[[agent_service_pb2.NodeAssignment], Awaitable[None]],
    ) -> None:
        self._addresses = addresses
        self._hello = hello
        self._report = report
        self._accept = accept
        self._changed = asyncio.Event()
        self._unstored: agent_service_pb2.NodeAssignment | None = None
        self._failures = 0
        self.lease = Lease()
        self.channel: grpc.aio.Channel | None = None
        """The channel of the established session."""

    @property
    def is_lease_held(self) -> bool:
        """Whether the node holds its lease now."""
        return self.lease.is_held(now_s=time.monotonic())

    @property
    def is_kill_switch_unstored(self) -> bool:
        """Whether an assignment the disk refuses, and is thus not acted on, engages it."""
        return self._unstored is not None and self._unstored.kill_switch

    def report_soon(self) -> None:
        """Has a report sent before the second is over."""
        self._changed.set()

    async def run(self) -> None:
        """Keeps the session up until cancelled."""
        turn = 0
        while self._addresses:
            address = self._addresses[turn % len(self._addresses)]
            try:
                await self._converse(address)
            except* (grpc.aio.AioRpcError, asyncio.InvalidStateError, _SessionEndedError) as group:
                self._log_end(address, group.exceptions[0])
            turn += 1
            self._failures += 1
            backoff_s = min(_LONGEST_BACKOFF_S, _FIRST_BACKOFF_S * 2.0 ** min(self._failures, 8))
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))

    async def _converse(self, address: str) -> None:
        async with grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
            stub = agent_service_pb2_grpc.AgentServiceStub(channel)
            call: _Call = stub.Session()
            try:
                await self._greet(call)
                await self._be_welcomed(call, address)
                self.channel = channel
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._report_forever(call))
                    tasks.create_task(self._listen_forever(call))
            finally:
                self.channel = None
                call.cancel()

    async def _greet(self, call: _Call) -> None:
        try:
            async with asyncio.timeout(_WELCOME_TIMEOUT_S):
                await call.write(agent_service_pb2.SessionRequest(hello=self._hello()))
        except TimeoutError as error:
            raise _SessionEndedError(f"not reached in {_WELCOME_TIMEOUT_S:.0f} s") from error

    async def _be_welcomed(self, call: _Call, address: str) -> None:
        response = await self._read(call, within_s=_WELCOME_TIMEOUT_S)
        if response.WhichOneof("message") != "welcome":
            raise _SessionEndedError("the first answer was no welcome")
        welcome = response.welcome
        if welcome.epoch < self.lease.epoch:
            raise _SessionEndedError(
                f"its epoch is {welcome.epoch}, seen {self.lease.epoch}: no longer the leader"
            )
        self.lease = self.lease.welcomed(
            epoch=welcome.epoch,
            duration_s=welcome.lease.ToNanoseconds() / 1e9,
            now_s=time.monotonic(),
        )
        self._failures = 0
        _log.info(
            "session_established control_plane=%s version=%s epoch=%d lease_s=%.1f",
            *(address, welcome.control_plane_version, welcome.epoch, self.lease.duration_s),
        )

    async def _report_forever(self, call: _Call) -> None:
        while True:
            self._changed.clear()
            await call.write(agent_service_pb2.SessionRequest(report=self._report()))
            await self._store(self._unstored)
            await asyncio.sleep(_LEAST_INTERVAL_S)
            try:
                async with asyncio.timeout(REPORT_INTERVAL_S - _LEAST_INTERVAL_S):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _listen_forever(self, call: _Call) -> None:
        while True:
            silence_s = max(_LEAST_SILENCE_S, self.lease.duration_s)
            response = await self._read(call, within_s=silence_s)
            match response.WhichOneof("message"):
                case "grant":
                    self.lease = self.lease.granted(
                        epoch=response.grant.epoch, now_s=time.monotonic()
                    )
                case "assignment":
                    await self._store(response.assignment)
                case other:
                    _log.warning("session_message_ignored kind=%s", other)

    async def _store(self, assignment: agent_service_pb2.NodeAssignment | None) -> None:
        """Stores and acts; keeps what the disk refuses for the next attempt."""
        if assignment is None:
            return
        try:
            await self._accept(assignment)
        except StaleAssignmentError as error:
            _log.warning("assignment_refused cause=%s", error)
        except OSError as error:
            self._unstored = assignment
            _log.error(
                "assignment_not_stored epoch=%d revision=%d cause=%s",
                *(assignment.epoch, assignment.revision, error),
            )
            return
        if self._unstored is assignment:
            self._unstored = None

    @staticmethod
    async def _read(call: _Call, *, within_s: float) -> agent_service_pb2.SessionResponse:
        try:
            async with asyncio.timeout(within_s):
                response = await call.read()
        except TimeoutError as error:
            raise _SessionEndedError(f"silent for {within_s:.0f} s") from error
        if not isinstance(response, agent_service_pb2.SessionResponse):
            code = await call.code()
            raise _SessionEndedError(f"ended with {code.name}: {await call.details()}")
        return response

    def _log_end(self, address: str, error: BaseException) -> None:
        if isinstance(error, grpc.aio.AioRpcError):
            cause = f"{error.code().name}: {error.details()}"
        else:
            cause = str(error)
        level = logging.WARNING if self._failures in (0, 10) else logging.DEBUG
        _log.log(level, "session_ended control_plane=%s cause=%r", address, cause)
