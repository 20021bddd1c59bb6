"""How long a token takes outside the engine: HTTP, queues between processes, detokenizer.

Owns that measurement, on requests sent one at a time to an engine that is otherwise idle, so
that each one's passes are known exactly: what its TTFT is longer than those is outside. The
blocking overlap loop (`simulation.settings.Loop`) emits a first token after the pass that
follows its prompt, so that pass counts as inside; other loops emit it when the prompt's last
pass has ended. Refuses models: both sides are measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from bench.colocate.client import SloLabels, run_arm
from bench.colocate.engines import BenchEngine, BenchEngineError
from bench.colocate.slices import Slice
from nodeagent.plugin_contract import MeasuredIteration
from planner.simulation.settings import Loop
from planner.slo import ttft_ms

_APART_S = 0.5  # a request of 512 tokens and a few decodes takes 0.3 s, measured
_OUTPUT_TOKENS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What a client's TTFT holds beside the engine's passes, one sample a request."""

    samples_ms: tuple[float, ...]

    @property
    def ttft_ms(self) -> float:
        """The median."""
        return median(self.samples_ms)

    def as_values(self) -> dict[str, Any]:
        """What the report says of it."""
        ordered = sorted(self.samples_ms)
        return {
            "requests": len(ordered),
            "ttft_ms": round(self.ttft_ms, 3),
            "range_ms": [round(ordered[0], 3), round(ordered[-1], 3)],
        }


def one_at_a_time(online: Slice) -> Slice:
    """A slice's prompts, each sent when the one before has ended."""
    requests = tuple(
        replace(request, at_s=index * _APART_S, output_tokens=_OUTPUT_TOKENS)
        for index, request in enumerate(online.requests)
    )
    return replace(online, requests=requests, requests_per_s=1.0 / _APART_S)


async def measure_outside(
    engine: BenchEngine, online: Slice, *, loop: Loop
) -> tuple[Outside, list[MeasuredIteration]]:
    """Sends a slice one request at a time; also returns the passes it took.

    Args:
        engine: with the plugin, awake and empty.
        online: of `one_at_a_time`, few enough for the engine's ring of iterations.
        loop: the engine's.

    Raises:
        BenchEngineError: a request failed, or its passes cannot be told apart.
    """
    before = (await engine.state()).samples
    sent = await run_arm(
        engine.client, online=online, duration_s=online.duration_s, labels=SloLabels(),
        offline=None, window=0, settle_s=0.2, tag="alone1",
    )  # fmt: skip
    passes = list((await engine.state()).samples_after(before[-1].sequence if before else 0))
    seen_ms = [ttft_ms(record.trace) for record in sent.records]
    inside_ms = first_token_ms(passes, loop=loop)
    if None in seen_ms or len(inside_ms) != len(seen_ms):
        raise BenchEngineError(
            f"engine {engine.spec.name}: {len(seen_ms)} requests one at a time, of which"
            f" {seen_ms.count(None)} failed, took {len(inside_ms)} series of passes; were others"
            " sent meanwhile?"
        )
    samples = tuple(
        seen - inside for seen, inside in zip(seen_ms, inside_ms, strict=True) if seen is not None
    )
    return Outside(samples_ms=samples), passes


def first_token_ms(
    passes: Sequence[MeasuredIteration], *, loop: Loop = Loop.OVERLAP_BLOCKING
) -> list[float]:
    """Of requests that ran one at a time: passes until the first token left, in milliseconds.

    Args:
        passes: in order; each request's are prompts, then decodes, one of each at least.
        loop: the engine's, which says whether the first decode is among them.
    """
    waits = loop is Loop.OVERLAP_BLOCKING
    found: list[float] = []
    has_decoded = True
    for each in passes:
        is_prompt = not each.shape.is_decode_only
        if is_prompt and has_decoded:
            found.append(0.0)
        if found and (is_prompt or (waits and not has_decoded)):
            found[-1] += each.measured_ms
        has_decoded = not is_prompt
    return found
