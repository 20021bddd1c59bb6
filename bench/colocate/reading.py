"""What an arm of a round came to: blocks of arrivals, quantiles, tokens.

Owns the cut of a run into blocks, the unit of the bootstrap (`bench.statistics`): block k
holds the requests scheduled in, and the offline tokens that came in, the k-th stretch of
the judged time. Refuses requests without an answer as samples of latency: they are counted
as failed, and a run with one is not valid.
"""

import base64
import json
import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.colocate.client import ArmRun
from bench.statistics import Draw, Samples, mean_of, quantile_of
from planner.model import Slo
from planner.slo import (
    Outcome,
    Quantiles,
    RequestTrace,
    gaps_ms,
    quantiles,
    summarize,
    ttft_ms,
)

BLOCK_S = 3.0
METRICS = ("ttft_mean", "ttft_p50", "ttft_p99", "itl_mean", "itl_p50", "itl_p99")
"""Online latencies an arm is judged by; milliseconds at the client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One stretch of the judged time."""

    duration_s: float
    ttft_ms: Samples
    itl_ms: Samples
    online_tokens: int  # prompts and outputs of the requests scheduled in it
    offline_prompt_tokens: int
    offline_output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmReading:
    """One arm of one round.

    Args:
        lateness_p99_ms: of sends behind their schedule.
        client_cpu_ratio: CPU the client took, of one core.
        idle_engine_cpu_s: CPU that engines not under test took meanwhile.
        foreign_cores: CPU of other processes of the machine meanwhile, in cores.
        oldest_wait_s: longest wait of an offline request for its first token.
    """

    arm: str
    blocks: tuple[Block, ...]
    ttft: Quantiles
    itl: Quantiles
    traces: tuple[RequestTrace, ...]
    failed: int
    offline_failed: int
    lateness_p99_ms: float
    client_cpu_ratio: float
    idle_engine_cpu_s: float
    foreign_cores: float
    oldest_wait_s: float

    @property
    def duration_s(self) -> float:
        """The judged time."""
        return math.fsum(block.duration_s for block in self.blocks)

    @property
    def offline_tokens_per_s(self) -> float:
        """Prompt and output tokens of the batch, a second."""
        return self.offline_prompt_tokens_per_s + self.offline_output_tokens_per_s

    @property
    def offline_prompt_tokens_per_s(self) -> float:
        """Prompt tokens of the batch, a second."""
        return sum(block.offline_prompt_tokens for block in self.blocks) / self.duration_s

    @property
    def offline_output_tokens_per_s(self) -> float:
        """Output tokens of the batch, a second."""
        return sum(block.offline_output_tokens for block in self.blocks) / self.duration_s

    @property
    def total_tokens_per_s(self) -> float:
        """All tokens of both classes, a second."""
        online = sum(block.online_tokens for block in self.blocks) / self.duration_s
        return online + self.offline_tokens_per_s

    def metric(self, name: str) -> float:
        """One of METRICS."""
        family, _, share = name.partition("_")
        found: float = getattr(self.ttft if family == "ttft" else self.itl, share)
        return found

    def attainment_ratio(self, slo: Slo) -> float:
        """Share of requests that met an SLO, see `planner.slo.attains`."""
        return summarize(self.traces, slo).attainment_ratio

    def as_values(self, slo: Slo) -> dict[str, Any]:
        """What the report says of it, raw samples packed; attainment is of `slo`."""
        return {
            **{f"{name}_ms": round(self.metric(name), 3) for name in METRICS},
            "attainment": round(self.attainment_ratio(slo), 4),
            "requests": self.ttft.count,
            "failed": self.failed,
            "offline_failed": self.offline_failed,
            "duration_s": round(self.duration_s, 3),
            "offline_prompt_tokens_per_s": round(self.offline_prompt_tokens_per_s, 2),
            "offline_output_tokens_per_s": round(self.offline_output_tokens_per_s, 2),
            "offline_tokens_per_s": round(self.offline_tokens_per_s, 2),
            "total_tokens_per_s": round(self.total_tokens_per_s, 2),
            "offline_oldest_wait_s": round(self.oldest_wait_s, 3),
            "send_lateness_p99_ms": round(self.lateness_p99_ms, 3),
            "client_cpu_ratio": round(self.client_cpu_ratio, 4),
            "idle_engine_cpu_s": round(self.idle_engine_cpu_s, 3),
            "foreign_cores": round(self.foreign_cores, 3),
            "blocks": _packed(self.blocks),
        }


def read_arm(
    run: ArmRun,
    *,
    arm: str,
    idle_engine_cpu_s: float = 0.0,
    foreign_cores: float = 0.0,
    block_s: float = BLOCK_S,
) -> ArmReading:
    """Reads a run.

    Args:
        run: of the clients.
        arm: its name.
        idle_engine_cpu_s: CPU that engines not under test took meanwhile.
        foreign_cores: CPU of other processes meanwhile, in cores.
        block_s: length of a block; the last one may be shorter.
    """
    count = max(1, math.ceil(run.duration_s / block_s - 1e-9))
    prompts = _per_block(run.offline.prompts, run, block_s=block_s, count=count)
    outputs = _per_block(run.offline.outputs, run, block_s=block_s, count=count)
    held: list[list[int]] = [[] for _ in range(count)]
    for index, record in enumerate(run.records):
        at_s = record.trace.scheduled_s - run.began_s
        held[min(count - 1, int(at_s // block_s))].append(index)
    blocks = []
    for number in range(count):
        traces = [run.records[i].trace for i in held[number]]
        firsts = [ms for trace in traces if (ms := ttft_ms(trace)) is not None]
        blocks.append(
            Block(
                duration_s=min(block_s, run.duration_s - number * block_s),
                ttft_ms=np.array(firsts, dtype=np.float64),
                itl_ms=np.array([g for t in traces for g in gaps_ms(t)], dtype=np.float64),
                online_tokens=sum(t.output_tokens for t in traces)
                + sum(run.records[i].prompt_tokens for i in held[number]),
                offline_prompt_tokens=int(prompts[number]),
                offline_output_tokens=int(outputs[number]),
            )
        )
    everyone = [record.trace for record in run.records]
    ended_s = run.began_s + run.duration_s
    still = [ended_s - since for since in run.offline.waiting_since.values()]
    return ArmReading(
        arm=arm,
        blocks=tuple(blocks),
        ttft=quantiles(x for block in blocks for x in block.ttft_ms.tolist()),
        itl=quantiles(x for block in blocks for x in block.itl_ms.tolist()),
        traces=tuple(everyone),
        failed=sum(trace.outcome is not Outcome.COMPLETED for trace in everyone),
        offline_failed=run.offline.failed,
        lateness_p99_ms=quantiles(record.lag_ms for record in run.records).p99,
        client_cpu_ratio=run.client_cpu_ratio,
        idle_engine_cpu_s=idle_engine_cpu_s,
        foreign_cores=foreign_cores,
        oldest_wait_s=max([*run.offline.waits_s, *still], default=0.0),
    )


class ArmSamples:
    """One arm over all rounds, read at a resample of rounds and blocks."""

    def __init__(self, readings: tuple[ArmReading, ...]) -> None:
        self.readings = readings

    def metric(self, name: str, draw: Draw) -> float:
        """One of METRICS, in ms, at a resample."""
        family, _, share = name.partition("_")
        field = "ttft_ms" if family == "ttft" else "itl_ms"
        samples = np.concatenate(
            [getattr(self.readings[r].blocks[b], field) for r, drawn in draw for b in drawn]
            or [np.empty(0)]
        )
        return mean_of(samples) if share == "mean" else quantile_of(samples, _SHARES[share])

    def offline_tokens_per_s(self, draw: Draw) -> float:
        """Offline prompt and output tokens a second at a resample."""
        blocks = [self.readings[r].blocks[b] for r, drawn in draw for b in drawn]
        tokens = sum(b.offline_prompt_tokens + b.offline_output_tokens for b in blocks)
        return float(tokens / math.fsum(b.duration_s for b in blocks))

    def total_tokens_per_s(self, draw: Draw) -> float:
        """All tokens a second at a resample."""
        blocks = [self.readings[r].blocks[b] for r, drawn in draw for b in drawn]
        online = float(sum(b.online_tokens for b in blocks))
        return online / math.fsum(b.duration_s for b in blocks) + self.offline_tokens_per_s(draw)


_SHARES = {"p50": 0.5, "p99": 0.99}


def _per_block(
    events: list[tuple[float, int]], run: ArmRun, *, block_s: float, count: int
) -> NDArray[np.float64]:
    """Tokens that came in each block; those before and after the judged time are left out."""
    if not events:
        return np.zeros(count)
    at_s, tokens = (np.array(column, dtype=np.float64) for column in zip(*events, strict=True))
    edges = [run.began_s + i * block_s for i in range(count)] + [run.began_s + run.duration_s]
    counted, _ = np.histogram(at_s, bins=edges, weights=tokens)
    return counted


def _packed(blocks: tuple[Block, ...]) -> dict[str, str]:
    """Raw samples, small enough to keep."""
    rows = [
        [
            round(b.duration_s, 3),
            [round(x, 2) for x in b.ttft_ms.tolist()],
            [round(x, 2) for x in b.itl_ms.tolist()],
            b.online_tokens,
            b.offline_prompt_tokens,
            b.offline_output_tokens,
        ]
        for b in blocks
    ]
    packed = zlib.compress(json.dumps(rows, separators=(",", ":")).encode(), 9)
    return {
        "encoding": "base64 of zlib of JSON: [[seconds, [ttft ms], [itl ms], online tokens,"
        " offline prompt tokens, offline output tokens], …] by block",
        "packed": base64.b64encode(packed).decode(),
    }
