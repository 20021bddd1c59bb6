"""Which requests every arm of a round is sent, and the prompts of the batch beside them.

Owns slicing a trace by request number, so that each round has the same number of requests
and slices do not overlap, and scaling it to a rate and to lengths the engine bears.
Refuses clocks. Invariant: equal arguments give equal requests, prompts and ids.
"""

import os
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from planner.workload.content import prompt_token_ids
from planner.workload.generate import AZURE_REQUESTS_PER_S, generate
from planner.workload.request import WorkloadRequest
from planner.workload.shape import shape
from planner.workload.traces import read_trace

TRACES_VARIABLE = "SLACKTIDE_TRACES"
_BESIDE = Path(__file__).parents[3] / "shared" / "traces"


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSpec:
    """A trace and how a small engine bears it.

    Args:
        file: its name in the folder of traces; empty: always generated.
        length_divisor: of prompts, outputs and shared blocks.
        requests_per_s: to begin with; a run calibrates it to half-busy.
        tick_s: the resolution of its time stamps, where it is coarse: arrivals of one
            tick are spread over it at random.
    """

    name: str
    file: str
    length_divisor: float
    requests_per_s: float
    tick_s: float = 0.0


TRACES = {
    spec.name: spec
    for spec in (
        TraceSpec(
            name="azure",
            file="azure_llm_2023_conv.csv",
            length_divisor=8.0,
            requests_per_s=3.0,  # 4/s kept the engine 63-70 % busy, measured
        ),
        TraceSpec(
            name="mooncake",
            file="mooncake_conversation.jsonl",
            length_divisor=64.0,
            requests_per_s=3.0,
            tick_s=3.0,
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Requests of a trace at full length and rate.

    Args:
        is_generated: the file was absent, and the workload generator stands in.
    """

    spec: TraceSpec
    requests: tuple[WorkloadRequest, ...]
    is_generated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """What the online clients of a round send.

    Args:
        start: number of its first request in the trace.
        requests_per_s: its mean rate; it lasts len(requests) / requests_per_s.
    """

    trace: str
    start: int
    seed: int
    requests_per_s: float
    length_scale: float
    requests: tuple[WorkloadRequest, ...]
    prompts: tuple[tuple[int, ...], ...]

    @property
    def duration_s(self) -> float:
        """The judged time: from the first moment to the mean end of arrivals."""
        return len(self.requests) / self.requests_per_s

    def as_values(self) -> dict[str, Any]:
        """What the report says of it."""
        count = len(self.requests)
        return {
            "trace": self.trace,
            "start": self.start,
            "seed": self.seed,
            "requests": count,
            "requests_per_s": round(self.requests_per_s, 4),
            "duration_s": round(self.duration_s, 3),
            "length_scale": self.length_scale,
            "mean_prompt_tokens": round(sum(r.prompt_tokens for r in self.requests) / count, 1),
            "mean_output_tokens": round(sum(r.output_tokens for r in self.requests) / count, 1),
        }


def load_trace(spec: TraceSpec, *, seed: int) -> Trace:
    """Reads the trace, or generates an Azure-like one where the file is absent."""
    folder = Path(os.environ.get(TRACES_VARIABLE, _BESIDE))
    path = folder / spec.file
    if path.is_file():
        with path.open() as lines:
            return Trace(spec=spec, requests=read_trace(lines), is_generated=False)
    requests = generate(seed=seed, duration_s=3500.0, requests_per_s=AZURE_REQUESTS_PER_S)
    return Trace(spec=spec, requests=requests, is_generated=True)


def cut(
    trace: Trace,
    *,
    number: int,
    count: int,
    requests_per_s: float,
    length_scale: float,
    max_context_tokens: int,
    seed: int,
) -> Slice:
    """The trace's slice `number` of `count` requests, as a load of `requests_per_s`.

    Args:
        trace: to cut; slices wrap around its end.
        number: slices of different numbers share no request; -1 is the last one.
        count: requests of a slice.
        requests_per_s: mean rate of the load; arrivals keep their pattern.
        length_scale: multiplies prompts, outputs and blocks.
        max_context_tokens: prompt and output together.
        seed: of contents, and of the spread within a tick.
    """
    slices = max(1, len(trace.requests) // count)
    start = (number % slices) * count
    taken = trace.requests[start : start + count]
    source = random.Random(f"{seed}/{trace.spec.name}/{start}/ticks")
    spread = 0.0 if trace.is_generated else trace.spec.tick_s
    dated = sorted(
        (replace(r, at_s=r.at_s + source.random() * spread) for r in taken), key=lambda r: r.at_s
    )
    # A slice spans `count` mean gaps, the last one open.
    span_s = (dated[-1].at_s - dated[0].at_s) * count / max(1, count - 1)
    scale = span_s * requests_per_s / count if span_s > 0 else 1.0
    requests = shape(
        dated,
        start_s=dated[0].at_s,
        rate_scale=scale,
        length_scale=length_scale,
        max_context_tokens=max_context_tokens,
    )
    prompts = tuple(
        tuple(prompt_token_ids(request, index=start + index, seed=seed))
        for index, request in enumerate(requests)
    )
    return Slice(
        trace=trace.spec.name,
        start=start,
        seed=seed,
        requests_per_s=requests_per_s,
        length_scale=length_scale,
        requests=requests,
        prompts=prompts,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflinePrompts:
    """An endless batch of unshared prompts; item `index` is always the same.

    Lengths are drawn evenly from half to one and a half times the mean: items of one
    length would all prefill, and all decode, at the same time.
    """

    seed: int
    mean_prompt_tokens: int = 256
    mean_output_tokens: int = 32

    def lengths(self, index: int) -> tuple[int, int]:
        """Prompt and output tokens of an item."""
        source = random.Random(f"{self.seed}/offline lengths/{index}")
        prompt, output = self.mean_prompt_tokens, self.mean_output_tokens
        return (
            source.randint(max(1, prompt // 2), prompt + prompt // 2),
            source.randint(max(1, output // 2), output + output // 2),
        )

    def ids(self, index: int) -> list[int]:
        """Token ids of an item's prompt."""
        source = random.Random(f"{self.seed}/offline/{index}")
        return list(source.randbytes(self.lengths(index)[0]))
