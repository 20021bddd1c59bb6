"""A judged run in simulation, as its clients would have read it.

Owns the way from a simulated run to what `bench.colocate.reading` reads of a real one, so
that both are cut into blocks and counted by the same code. Refuses judgement. Several runs
that differ by their noise alone become one reading: blocks with the samples of all.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.colocate.arms import ArmSlo
from bench.colocate.client import ArmRun, OfflineTally, SloLabels
from bench.colocate.reading import ArmReading, Block, read_arm
from bench.colocate.rehearsal import simulated_batch, simulated_online
from bench.colocate.slices import OfflinePrompts, Slice
from bench.fidelity.arms import Arm
from controlplane.load.record import RequestRecord
from planner.batching.decide import plan_iteration
from planner.batching.state import Budgets
from planner.latency.predictor import LatencyModel
from planner.simulation.counters import EngineCounters
from planner.simulation.measured import MeasuredTimes
from planner.simulation.passes import Pass, Settled
from planner.simulation.replay import replay
from planner.simulation.settings import EngineSettings
from planner.simulation.watch import EndedRequest, PassRecord
from planner.simulation.workload import ClosedLoop
from planner.slo import Chunk, RequestTrace


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRun:
    """What a run was sent, and when.

    Args:
        online: requests; None for the batch alone.
        labels: of the online requests.
        duration_s: of the judged time.
        settle_s: how long the batch runs before it.
    """

    arm: Arm
    online: Slice | None
    labels: SloLabels
    duration_s: float
    settle_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """One reading of several runs, and what the first one's engine did."""

    reading: ArmReading
    counters: EngineCounters


class Twin:
    """The engine in simulation.

    Args:
        settings: its limits.
        model: what its policy believes.
        times: what its passes come to.
        offline: the batch.
        window: offline requests in the engine.
        outside_ms: added to every TTFT.
    """

    def __init__(
        self,
        *,
        settings: EngineSettings,
        model: LatencyModel,
        times: MeasuredTimes,
        offline: OfflinePrompts,
        window: int,
        outside_ms: float,
    ) -> None:
        self._settings, self._model, self._times = settings, model, times
        self._offline, self._window, self._outside_ms = offline, window, outside_ms

    def simulate(self, judged: JudgedRun, *, pace_ratio: float, seeds: Sequence[int]) -> Simulated:
        """The run once for each seed.

        Args:
            judged: the run.
            pace_ratio: of the machine meanwhile, over typical.
            seeds: of the noise, one at least.
        """
        runs = [self._once(judged, pace_ratio=pace_ratio, seed=seed) for seed in seeds]
        readings = [read_arm(run, arm=judged.arm.name) for run, _ in runs]
        return Simulated(reading=merged(readings), counters=runs[0][1])

    def _once(
        self, judged: JudgedRun, *, pace_ratio: float, seed: int
    ) -> tuple[ArmRun, EngineCounters]:
        online, arm, began_s = judged.online, judged.arm, judged.settle_s
        watch = _OfflineWatch()
        turnaround_s = self._outside_ms / 1e3
        loop = ClosedLoop(
            source=simulated_batch(self._offline), in_flight=self._window, turnaround_s=turnaround_s
        )
        replayed = replay(
            settings=self._settings,
            policy=plan_iteration,
            model=self._model,
            budgets=arm.budgets or Budgets(),
            truth=self._times.truth(seed=seed, pace_ratio=pace_ratio),
            scheduled=[]
            if online is None
            else simulated_online(online, judged.labels, at_s=began_s),
            clients=(loop,) if arm.has_offline else (),
            from_s=began_s,
            to_s=began_s + judged.duration_s,
            watch=watch,
        )
        requests = () if online is None else online.requests
        records = tuple(
            RequestRecord(
                index=index,
                trace=_later(trace, by_ms=self._outside_ms),
                sent_s=trace.scheduled_s,
                prompt_tokens=request.prompt_tokens,
            )
            for index, (request, trace) in enumerate(zip(requests, replayed.online, strict=True))
        )
        run = ArmRun(
            began_s=began_s,
            duration_s=judged.duration_s,
            records=records,
            offline=watch.tally,
            client_cpu_ratio=0.0,
        )
        return run, replayed.counters


def labels_of(arm: Arm, slo: ArmSlo) -> SloLabels:
    """What online requests carry: targets where there is a batch, none where there is not."""
    if not arm.has_offline:
        return SloLabels()
    return SloLabels(ttft_ms=slo.ttft_ms, itl_ms=slo.itl_ms)


def merged(readings: Sequence[ArmReading]) -> ArmReading:
    """Runs of equal blocks as one: samples of all, tokens in the mean.

    Its quantiles over the whole run are the first one's; `ArmSamples` reads its blocks.
    """
    first = readings[0]
    blocks = tuple(_merged(column) for column in zip(*(r.blocks for r in readings), strict=True))
    return replace(first, blocks=blocks)


def _merged(blocks: Sequence[Block]) -> Block:
    count = len(blocks)
    return Block(
        duration_s=blocks[0].duration_s,
        ttft_ms=np.concatenate([b.ttft_ms for b in blocks]),
        itl_ms=np.concatenate([b.itl_ms for b in blocks]),
        online_tokens=blocks[0].online_tokens,
        offline_prompt_tokens=round(sum(b.offline_prompt_tokens for b in blocks) / count),
        offline_output_tokens=round(sum(b.offline_output_tokens for b in blocks) / count),
    )


def _later(trace: RequestTrace, *, by_ms: float) -> RequestTrace:
    chunks = tuple(Chunk(at_s=c.at_s + by_ms / 1e3, tokens=c.tokens) for c in trace.chunks)
    return replace(trace, chunks=chunks)


class _OfflineWatch:
    """Counts the batch's tokens as its client does: a prompt when its first token comes."""

    def __init__(self) -> None:
        self.tally = OfflineTally()
        self._launched: deque[Pass] = deque()  # results come in the order of launches

    def passed(self, record: PassRecord) -> None:
        self._launched.append(record.run)

    def settled(self, settled: Settled, *, at_s: float) -> None:
        for live in self._launched.popleft().finished_prompts:
            # A prompt that was computed again after an eviction emits no first token.
            if live.is_offline and live.generated == 1 and live.emitted_s == [at_s]:
                self.tally.prompts.append((at_s, live.request.prompt_tokens))
        if settled.offline_output_tokens:
            self.tally.outputs.append((at_s, settled.offline_output_tokens))

    def ended(self, ended: EndedRequest) -> None:
        pass
