"""One engine on one machine, a workload, and a policy between them.

Owns how a machine becomes engine settings, and a workload what arrives. Refuses files and
clocks. Deterministic by seed; a run's truth is made anew for each policy, so that all of
them meet the same noise for as long as they make equal passes.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from planner.batching.state import WorkClass
from planner.hardware.machine import Machine
from planner.latency.predictor import LatencyModel
from planner.replay.policies import PolicyChoice
from planner.simulation.replay import Replayed, replay
from planner.simulation.request import SimulatedRequest
from planner.simulation.settings import EngineSettings, Loop, Scheduler
from planner.simulation.truth import Truth
from planner.simulation.watch import Watch
from planner.simulation.workload import ClosedLoop
from planner.workload.request import WorkloadRequest

SETTLE_S = 20.0
"""Simulated before a window begins, so that the batch is in full swing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Targets that online requests carry, in milliseconds; None: none."""

    ttft_ms: float | None = None
    itl_ms: float | None = None


def engine_settings(
    machine: Machine,
    *,
    scheduler: Scheduler = Scheduler.PLUGIN,
    loop: Loop = Loop.OVERLAP,
    mixes: bool = True,
    chunked_prefill_size: int = 2048,
    max_running_requests: int = 256,
    page_size: int = 1,
) -> EngineSettings:
    """SGLang on that machine; its prefill chunk is what SGLang takes on GPUs under 60 GB.

    Raises:
        ValueError: The model leaves no room for KV.
    """
    if machine.kv_tokens < 1:
        raise ValueError(
            f"{machine.name}: the weights leave no memory for KV; take more devices "
            "(--tensor-parallel-size) or larger ones"
        )
    return EngineSettings(
        kv_tokens=machine.kv_tokens,
        page_size=page_size,
        chunked_prefill_size=chunked_prefill_size,
        max_prefill_tokens=max(16384, chunked_prefill_size),
        max_running_requests=max_running_requests,
        mixes=mixes,
        loop=loop,
        scheduler=scheduler,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What every policy of a comparison meets.

    Attributes:
        machine: The replica.
        settings: Its engine; `scheduler` is each policy's.
        online: Makes the online requests anew, in order of arrival, from 0.
        offline: Makes the batch anew; endless or not.
        offline_in_flight: Offline requests the engine holds at once: the agent's window.
        duration_s: Of the window; inf: until the online workload ends.
        truth: Makes the pass times of one run anew.
        model: What policies plan by.
        settle_s: Simulated before the window begins.
        is_warm: Online requests arrive from the begin, and those of the first `settle_s` are
            not measured: the window finds the engine as such a load leaves it. False: all are
            measured, and the window begins with the first of them and an engine full of batch.
    """

    machine: Machine
    settings: EngineSettings
    online: Callable[[], Iterable[WorkloadRequest]]
    offline: Callable[[], Iterable[WorkloadRequest]]
    duration_s: float
    truth: Callable[[], Truth]
    model: LatencyModel
    offline_in_flight: int = 64
    settle_s: float = SETTLE_S
    is_warm: bool = False

    def run(
        self,
        choice: PolicyChoice,
        *,
        labels: Labels = Labels(),
        watch: Watch | None = None,
        keeps_traces: bool = True,
    ) -> Replayed:
        """Replays the workload under a policy; the window is the online workload's length."""
        settings = replace(self.settings, scheduler=choice.scheduler)
        online: Iterable[SimulatedRequest] = ()
        if choice.serves_online:
            online = self.arrivals(labels)
        clients = []
        if choice.runs_offline:
            clients = [ClosedLoop(source=self.batch(), in_flight=self.offline_in_flight)]
        to_s = self.settle_s + self.duration_s
        return replay(
            settings=settings,
            policy=choice.policy,
            model=self.model,
            budgets=choice.budgets,
            truth=self.truth(),
            scheduled=online,
            clients=clients,
            from_s=self.settle_s,
            to_s=to_s,
            watch=watch,
            keeps_traces=keeps_traces,
        )

    def arrivals(self, labels: Labels) -> Iterator[SimulatedRequest]:
        """Online requests, in order; the first arrives when the window begins, or at 0."""
        begin_s = 0.0 if self.is_warm else self.settle_s
        for index, request in enumerate(self.online()):
            yield SimulatedRequest(
                rid=f"online-{index:07d}",
                work_class=WorkClass.ONLINE,
                at_s=begin_s + request.at_s,
                prompt_tokens=request.prompt_tokens,
                output_tokens=request.output_tokens,
                # Traces number blocks alike, up to 64 bits, but chat and batch share none.
                blocks=tuple([~block for block in request.blocks]),
                block_tokens=request.block_tokens,
                ttft_target_ms=labels.ttft_ms,
                itl_target_ms=labels.itl_ms,
            )

    def batch(self) -> Iterator[SimulatedRequest]:
        """Offline requests, in the order they are sent."""
        for index, request in enumerate(self.offline()):
            yield SimulatedRequest(
                rid=f"offline-{index:07d}",
                work_class=WorkClass.OFFLINE,
                prompt_tokens=request.prompt_tokens,
                output_tokens=request.output_tokens,
                blocks=request.blocks,
                block_tokens=request.block_tokens,
            )
