"""Sending a workload at its scheduled times.

Owns the open loop: a request is sent when it is due, however slow the answers to others
are, and its latencies count from when it was due. Refuses to queue: with
`max_outstanding` requests open, one that is due is dropped and counts as failed. The
next request is built before its time, so that building delays nothing.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from time import monotonic

import grpc.aio
from slacktide.v1 import inference_service_pb2, inference_service_pb2_grpc
from slacktide.wire.names import resource_name
from slacktide.wire.server import CHANNEL_OPTIONS

from controlplane.load.record import RequestRecord
from controlplane.load.sender import send
from planner.slo import Outcome, RequestTrace
from planner.workload.content import BYTE_VOCAB_TOKENS, prompt_token_ids
from planner.workload.request import WorkloadRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSettings:
    """Where a load goes and how.

    Args:
        gateway: host:port.
        deployment: bare id.
        slo_class: of every request; "": the deployment's default.
        seed: of prompts' content.
        vocab_tokens: prompt ids lie in 0..vocab_tokens - 1.
        timeout_s: after which a request is cancelled and counts as timed out.
        max_outstanding: requests open at once before one that is due is dropped.
        channels: connections to the gateway, used in turn.
    """

    gateway: str
    deployment: str
    slo_class: str = ""
    seed: int = 0
    vocab_tokens: int = BYTE_VOCAB_TOKENS
    timeout_s: float = 60.0
    max_outstanding: int = 1024
    channels: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadProgress:
    """How a running load stands."""

    elapsed_s: float
    total: int
    due: int  # sent or dropped so far
    outstanding: int
    completed: int
    failed: int  # of any kind
    output_tokens: int


async def replay(
    workload: Sequence[WorkloadRequest],
    settings: LoadSettings,
    *,
    on_progress: Callable[[LoadProgress], None] | None = None,
    progress_every_s: float = 1.0,
) -> tuple[RequestRecord, ...]:
    """Replays a workload against a gateway and waits for the last answer.

    Returns:
        One record a request, in the workload's order.
    """
    async with AsyncExitStack() as stack:
        stubs = []
        for _ in range(settings.channels):
            channel = grpc.aio.insecure_channel(
                settings.gateway,
                # Without a pool of its own every channel would share one connection.
                options=(*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1)),
            )
            await stack.enter_async_context(channel)
            stubs.append(inference_service_pb2_grpc.InferenceServiceStub(channel))
        run = _Run(workload, settings, stubs)
        async with asyncio.TaskGroup() as group:
            reporter = group.create_task(run.report(on_progress, progress_every_s))
            async with asyncio.TaskGroup() as requests:
                await run.schedule(requests)
            reporter.cancel()
    if on_progress is not None:
        on_progress(run.progress())
    return run.records()


class _Run:
    def __init__(
        self,
        workload: Sequence[WorkloadRequest],
        settings: LoadSettings,
        stubs: Sequence["inference_service_pb2_grpc.InferenceServiceAsyncStub"],
    ) -> None:
        self._workload = workload
        self._settings = settings
        self._stubs = stubs
        self._started_s = monotonic()
        self._done: dict[int, RequestRecord] = {}
        self._due = 0
        self._completed = 0
        self._output_tokens = 0

    async def schedule(self, requests: asyncio.TaskGroup) -> None:
        for index, planned in enumerate(self._workload):
            message = self._message(planned, index)
            scheduled_s = self._started_s + planned.at_s
            await asyncio.sleep(0)  # behind schedule too, answers must get in
            while (wait_s := scheduled_s - monotonic()) > 0:  # noqa: ASYNC110 - a clock
                await asyncio.sleep(wait_s)  # timers may fire a little early
            outstanding = self._due - len(self._done)
            self._due += 1
            if outstanding >= self._settings.max_outstanding:
                self._take(_dropped(index, scheduled_s, planned, outstanding))
            else:
                requests.create_task(self._send(index, scheduled_s, message))

    async def _send(
        self, index: int, scheduled_s: float, message: inference_service_pb2.GenerateRequest
    ) -> None:
        record = await send(
            self._stubs[index % len(self._stubs)],
            message,
            index=index,
            scheduled_s=scheduled_s,
            timeout_s=self._settings.timeout_s,
        )
        self._take(record)

    async def report(
        self, on_progress: Callable[[LoadProgress], None] | None, every_s: float
    ) -> None:
        while on_progress is not None:
            await asyncio.sleep(every_s)
            on_progress(self.progress())

    def progress(self) -> LoadProgress:
        return LoadProgress(
            elapsed_s=monotonic() - self._started_s,
            total=len(self._workload),
            due=self._due,
            outstanding=self._due - len(self._done),
            completed=self._completed,
            failed=len(self._done) - self._completed,
            output_tokens=self._output_tokens,
        )

    def records(self) -> tuple[RequestRecord, ...]:
        return tuple(self._done[index] for index in range(len(self._workload)))

    def _take(self, record: RequestRecord) -> None:
        self._done[record.index] = record
        self._completed += record.trace.outcome is Outcome.COMPLETED
        self._output_tokens += record.trace.output_tokens

    def _message(
        self, planned: WorkloadRequest, index: int
    ) -> inference_service_pb2.GenerateRequest:
        settings = self._settings
        ids = prompt_token_ids(
            planned, index=index, seed=settings.seed, vocab_tokens=settings.vocab_tokens
        )
        return inference_service_pb2.GenerateRequest(
            deployment=resource_name("deployments", settings.deployment),
            token_ids=inference_service_pb2.TokenIds(ids=ids),
            # The lengths are the trace's, whatever the model would say.
            sampling=inference_service_pb2.Sampling(
                max_tokens=planned.output_tokens, temperature=0.0, ignore_eos=True
            ),
            request_id=f"load-{settings.seed}-{index}",
            slo_class=settings.slo_class,
        )


def _dropped(
    index: int, scheduled_s: float, planned: WorkloadRequest, outstanding: int
) -> RequestRecord:
    return RequestRecord(
        index=index,
        trace=RequestTrace(scheduled_s=scheduled_s, chunks=(), outcome=Outcome.FAILED),
        sent_s=None,
        prompt_tokens=planned.prompt_tokens,
        error=f"DROPPED: {outstanding} requests outstanding at the generator",
    )
