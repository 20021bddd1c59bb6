"""Slicing and scaling a workload.

Owns how a trace becomes a load a given fleet can bear. Refuses randomness. Invariants:
the result starts at or after 0 and keeps the order of arrival; `shape_stream` holds one
request at a time.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from planner.workload.request import WorkloadRequest


def shape(
    requests: Iterable[WorkloadRequest],
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
    count: int | None = None,
    rate_scale: float = 1.0,
    length_scale: float = 1.0,
    max_context_tokens: int | None = None,
) -> tuple[WorkloadRequest, ...]:
    """The whole of `shape_stream`; its arguments and errors are the same."""
    return tuple(
        shape_stream(
            requests,
            start_s=start_s,
            duration_s=duration_s,
            count=count,
            rate_scale=rate_scale,
            length_scale=length_scale,
            max_context_tokens=max_context_tokens,
        )
    )


def shape_stream(
    requests: Iterable[WorkloadRequest],
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
    count: int | None = None,
    rate_scale: float = 1.0,
    length_scale: float = 1.0,
    max_context_tokens: int | None = None,
) -> Iterator[WorkloadRequest]:
    """Takes a slice, then scales time, then lengths, then fits the context.

    Args:
        requests: in order of arrival; read no further than the slice needs.
        start_s: of the trace's own time, where the slice begins and becomes 0.
        duration_s: of the *replay*: at rate scale 2, 60 s replay 120 s of trace.
        count: at most so many requests.
        rate_scale: > 0; 2 replays twice as fast.
        length_scale: > 0; multiplies prompts, outputs and shared blocks.
        max_context_tokens: prompt and output together, >= 2; longer ones are cut.

    Raises:
        ValueError: a scale or bound out of range; at the call, not at the first request.
    """
    for name, scale in (("rate_scale", rate_scale), ("length_scale", length_scale)):
        if not 0 < scale < math.inf:
            raise ValueError(f"{name} {scale}: must be > 0; 1 leaves the trace as it is")
    if max_context_tokens is not None and max_context_tokens < 2:
        raise ValueError(
            f"max_context_tokens {max_context_tokens}: must be >= 2, one token each way"
        )
    timed = _slice(requests, start_s=start_s, duration_s=duration_s, rate_scale=rate_scale)
    scaled = (_scale_lengths(request, length_scale) for request in islice(timed, count))
    if max_context_tokens is None:
        return scaled
    return (fit_context(request, max_context_tokens) for request in scaled)


def _slice(
    requests: Iterable[WorkloadRequest],
    *,
    start_s: float,
    duration_s: float | None,
    rate_scale: float,
) -> Iterator[WorkloadRequest]:
    for request in requests:
        at_s = (request.at_s - start_s) / rate_scale
        if duration_s is not None and at_s >= duration_s:
            return
        if at_s >= 0:
            yield replace(request, at_s=at_s)


def fit_context(request: WorkloadRequest, max_context_tokens: int) -> WorkloadRequest:
    """Cuts the output to half the context at most, then the prompt to what is left."""
    output_tokens = min(request.output_tokens, max(1, max_context_tokens // 2))
    prompt_tokens = min(request.prompt_tokens, max_context_tokens - output_tokens)
    return replace(
        request,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        blocks=_blocks_of(request.blocks, request.block_tokens, prompt_tokens),
    )


def _scale_lengths(request: WorkloadRequest, scale: float) -> WorkloadRequest:
    if scale == 1.0:
        return request
    block_tokens = max(1, round(request.block_tokens * scale)) if request.blocks else 0
    prompt_tokens = max(1, round(request.prompt_tokens * scale))
    return replace(
        request,
        prompt_tokens=prompt_tokens,
        output_tokens=max(1, round(request.output_tokens * scale)),
        blocks=_blocks_of(request.blocks, block_tokens, prompt_tokens),
        block_tokens=block_tokens,
    )


def _blocks_of(blocks: Sequence[int], block_tokens: int, prompt_tokens: int) -> tuple[int, ...]:
    if not blocks:
        return ()
    return tuple(blocks[: -(-prompt_tokens // block_tokens)])
