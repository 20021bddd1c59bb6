"""One request over one channel.

Owns timing the stream and naming its end. Refuses retries of its own: a request that
fails has failed. (gRPC itself re-sends a stream the server provably never saw, as every
gRPC client does; no retry policy is configured beyond that.)
"""

from time import monotonic

import grpc
import grpc.aio
from slacktide.v1 import inference_service_pb2, inference_service_pb2_grpc

from controlplane.load.record import RequestRecord
from planner.slo import Chunk, Outcome, RequestTrace


async def send(
    stub: "inference_service_pb2_grpc.InferenceServiceAsyncStub",
    request: inference_service_pb2.GenerateRequest,
    *,
    index: int,
    scheduled_s: float,
    timeout_s: float,
) -> RequestRecord:
    """Sends a request and reads its stream to the end, whatever that is.

    Args:
        stub: of the channel to use.
        request: to send.
        index: its position in the workload.
        scheduled_s: when it was due, on the monotonic clock; latencies count from here.
        timeout_s: from now; the call is cancelled then.
    """
    sent_s = monotonic()
    chunks: list[Chunk] = []
    replica, error = "", ""
    finish = ""
    try:
        async for message in stub.Generate(request, timeout=timeout_s):
            if message.token_count:
                chunks.append(Chunk(at_s=monotonic(), tokens=message.token_count))
            if message.HasField("served"):
                replica = message.served.replica
            if message.HasField("finish"):
                finish = message.finish.reason
    except grpc.aio.AioRpcError as refusal:
        outcome = _outcome(refusal.code())
        error = f"{refusal.code().name}: {refusal.details()}"
    else:
        is_complete = bool(chunks) and finish in ("stop", "length")
        outcome = Outcome.COMPLETED if is_complete else Outcome.FAILED
        if not is_complete:
            error = f"INCOMPLETE: {len(chunks)} messages, finish {finish or 'missing'!r}"
    return RequestRecord(
        index=index,
        trace=RequestTrace(scheduled_s=scheduled_s, chunks=tuple(chunks), outcome=outcome),
        sent_s=sent_s,
        prompt_tokens=len(request.token_ids.ids),
        replica=replica,
        error=error,
    )


def _outcome(code: grpc.StatusCode) -> Outcome:
    match code:
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return Outcome.SHED
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return Outcome.TIMED_OUT
        case _:
            return Outcome.FAILED
