"""One arm's load on one engine: what its clients see.

Owns the open loop of online requests and the closed loop of a bounded window of offline
ones, in one event loop on the core the engine does not have. Refuses to judge. Latencies
count from the scheduled send time; a request's ids are made before it is due.
"""

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from time import monotonic, process_time
from typing import Any, Protocol

from bench.colocate.slices import Slice
from controlplane.load.record import RequestRecord
from nodeagent.engine.client import EngineClient
from nodeagent.engine.errors import EngineError
from nodeagent.plugin_contract import offline_labels, online_labels
from planner.slo import Chunk, Outcome, RequestTrace

_TIMEOUT_S = 120.0
_OFFLINE_STREAM_INTERVAL = 8  # tokens a message: the batch's client needs no single token


class OfflineItems(Protocol):
    """A batch without end."""

    def lengths(self, index: int) -> tuple[int, int]:
        """Prompt and output tokens of item `index`."""

    def ids(self, index: int) -> list[int]:
        """Token ids of an item's prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SloLabels:
    """Targets that online requests carry; None leaves a request unlabelled."""

    ttft_ms: float | None = None
    itl_ms: float | None = None


@dataclass(slots=True)
class OfflineTally:
    """What the batch's client saw, as events on its monotonic clock."""

    prompts: list[tuple[float, int]] = field(default_factory=list)  # at the first token
    outputs: list[tuple[float, int]] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)  # submission to first token
    waiting_since: dict[int, float] = field(default_factory=dict)
    completed: int = 0
    failed: int = 0
    errors: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRun:
    """What one arm of one round came to, raw.

    Args:
        began_s: when the judged time began, on the clients' monotonic clock.
        duration_s: of the judged time.
        records: one a request of the slice; empty without online load.
        client_cpu_ratio: CPU the client took, of one core.
    """

    began_s: float
    duration_s: float
    records: tuple[RequestRecord, ...]
    offline: OfflineTally
    client_cpu_ratio: float


async def run_arm(
    client: EngineClient,
    *,
    online: Slice | None,
    duration_s: float,
    labels: SloLabels,
    offline: OfflineItems | None,
    window: int,
    settle_s: float,
    tag: str,
) -> ArmRun:
    """Runs one arm: the batch first, the judged time after it has settled.

    Args:
        client: of the engine.
        online: what to send; None for the batch alone.
        duration_s: of the judged time; offline work ends with the last online answer.
        labels: of the online requests.
        offline: the batch; None for online alone.
        window: offline requests in the engine at the most.
        settle_s: how long the batch runs before the judged time.
        tag: makes request ids unique, of fixed length.
    """
    tally = OfflineTally()
    workers: list[asyncio.Task[None]] = []
    if offline is not None:
        numbers = itertools.count()
        for _ in range(window):
            coroutine = _offline_worker(client, offline, numbers, tally=tally, tag=tag)
            workers.append(asyncio.create_task(coroutine))
    try:
        await asyncio.sleep(settle_s)
        cpu_s = process_time()
        began_s = monotonic()
        records: tuple[RequestRecord, ...] = ()
        if online is not None:
            records = await _replay(client, online, began_s=began_s, labels=labels, tag=tag)
        await asyncio.sleep(max(0.0, began_s + duration_s - monotonic()))
        client_cpu_ratio = (process_time() - cpu_s) / (monotonic() - began_s)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return ArmRun(
        began_s=began_s,
        duration_s=duration_s,
        records=records,
        offline=tally,
        client_cpu_ratio=client_cpu_ratio,
    )


async def _replay(
    client: EngineClient, online: Slice, *, began_s: float, labels: SloLabels, tag: str
) -> tuple[RequestRecord, ...]:
    marks = online_labels(ttft_ms=labels.ttft_ms, itl_ms=labels.itl_ms)
    bodies = [
        _body(
            f"on-{tag}-{index:06d}",
            online.prompts[index],
            tokens=request.output_tokens,
            labels=marks,
        )
        for index, request in enumerate(online.requests)
    ]
    tasks = []
    async with asyncio.TaskGroup() as group:
        for index, (request, body) in enumerate(zip(online.requests, bodies, strict=True)):
            scheduled_s = began_s + request.at_s
            await asyncio.sleep(0)  # behind schedule too, answers must get in
            while (wait_s := scheduled_s - monotonic()) > 0:  # noqa: ASYNC110 - a clock
                await asyncio.sleep(wait_s)  # timers may fire a little early
            send = _send(client, body, index=index, scheduled_s=scheduled_s)
            tasks.append(group.create_task(send))
    return tuple(task.result() for task in tasks)


async def _send(
    client: EngineClient, body: Mapping[str, Any], *, index: int, scheduled_s: float
) -> RequestRecord:
    sent_s = monotonic()
    chunks: list[Chunk] = []
    outcome, error, is_finished = Outcome.FAILED, "", False
    try:
        async with asyncio.timeout(_TIMEOUT_S), aclosing(client.generate(body)) as stream:
            async for chunk in stream:
                if chunk.token_count:
                    chunks.append(Chunk(at_s=monotonic(), tokens=chunk.token_count))
                is_finished = is_finished or chunk.finish is not None
    except TimeoutError:
        outcome, error = Outcome.TIMED_OUT, f"no end after {_TIMEOUT_S:.0f} s"
    except EngineError as refusal:
        error = str(refusal)
    else:
        if is_finished and chunks:
            outcome = Outcome.COMPLETED
    return RequestRecord(
        index=index,
        trace=RequestTrace(scheduled_s=scheduled_s, chunks=tuple(chunks), outcome=outcome),
        sent_s=sent_s,
        prompt_tokens=len(body["input_ids"]),
        error=error,
    )


async def _offline_worker(
    client: EngineClient,
    prompts: OfflineItems,
    numbers: "itertools.count[int]",
    *,
    tally: OfflineTally,
    tag: str,
) -> None:
    """One seat of the window: an item at a time, until it is cancelled."""
    while True:
        number = next(numbers)
        prompt_tokens, output_tokens = prompts.lengths(number)
        body = _body(
            f"of-{tag}-{number:06d}",
            prompts.ids(number),
            tokens=output_tokens,
            labels=offline_labels(),
        )
        body["sampling_params"]["stream_interval"] = _OFFLINE_STREAM_INTERVAL
        submitted_s = tally.waiting_since[number] = monotonic()
        try:
            async with aclosing(client.generate(body)) as stream:
                async for chunk in stream:
                    now_s = monotonic()
                    if tally.waiting_since.pop(number, None) is not None:
                        tally.prompts.append((now_s, prompt_tokens))
                        tally.waits_s.append(now_s - submitted_s)
                    tally.outputs.append((now_s, chunk.token_count))
            tally.completed += 1
        except EngineError as refusal:
            tally.failed += 1
            tally.errors.add(str(refusal))
            tally.waiting_since.pop(number, None)
            await asyncio.sleep(0.2)  # a refusing engine is not hammered


def _body(
    rid: str, ids: Sequence[int], *, tokens: int, labels: Mapping[str, Any]
) -> dict[str, Any]:
    """The `/generate` body: greedy, and as long as the trace says."""
    return {
        "rid": rid,
        "input_ids": list(ids),
        "priority": labels["priority"],
        "sampling_params": {
            "temperature": 0.0,
            "max_new_tokens": tokens,
            "ignore_eos": True,
            "custom_params": labels["custom_params"],
        },
    }
