"""A slice of a trace in simulation, on the fitted model.

Owns how the bench's engine, load and batch are simulated: the model is the policy's belief
and, with the spread it left, the truth. Refuses limits: those are `tuning`'s.
"""

import itertools
from collections.abc import Callable, Iterator
from functools import partial

from bench.colocate.arms import ArmSlo
from bench.colocate.client import SloLabels
from bench.colocate.fitting import Fitted
from bench.colocate.scale import Latencies
from bench.colocate.slices import OfflinePrompts, Slice
from planner.batching.decide import plan_iteration
from planner.batching.state import Budgets, WorkClass
from planner.simulation.replay import Replayed, replay
from planner.simulation.request import SimulatedRequest
from planner.simulation.settings import EngineSettings, Loop
from planner.simulation.truth import model_truth
from planner.simulation.workload import ClosedLoop

_SIMULATED_SETTLE_S = 3.0


class Rehearsal:
    """A trace's tuning slice in simulation, on the fitted model.

    Args:
        fitted: the model, belief and truth.
        settings: the engine's limits.
        online: arrivals that no arm is judged by.
        offline: the batch.
        window: offline requests in the engine.
    """

    def __init__(
        self,
        *,
        fitted: Fitted,
        settings: EngineSettings,
        online: Slice,
        offline: OfflinePrompts,
        window: int,
    ) -> None:
        self._online, self._offline, self._window = online, offline, window
        self.model, self.chunk_tokens = fitted.model, settings.chunked_prefill_size
        self._replay = partial(
            replay,
            settings=settings,
            policy=plan_iteration,
            model=fitted.model,
        )
        # Made anew for each replay: a shared one would give each probe other noise.
        self._truth = partial(
            model_truth, fitted.model, noise_ratio=fitted.noise_ratio, seed=online.seed
        )
        alone = self._replay(
            budgets=Budgets(),
            truth=self._truth(),
            scheduled=simulated_online(online, SloLabels(), at_s=0.0),
        )
        self.alone = Latencies.of_replay(alone)
        self.alone_busy_ratio = alone.busy_ratio

    def run(self, budgets: Budgets, *, slo: ArmSlo) -> Replayed:
        """The slice beside the batch, under budgets, with requests that carry the SLO."""
        labels = SloLabels(ttft_ms=slo.ttft_ms, itl_ms=slo.itl_ms)
        settle_s = _SIMULATED_SETTLE_S
        return self._replay(
            budgets=budgets,
            truth=self._truth(),
            scheduled=simulated_online(self._online, labels, at_s=settle_s),
            clients=(ClosedLoop(source=simulated_batch(self._offline), in_flight=self._window),),
            from_s=settle_s,
            to_s=settle_s + self._online.duration_s,
        )


def simulated_online(online: Slice, labels: SloLabels, *, at_s: float) -> list[SimulatedRequest]:
    """A slice's requests as they arrive in simulation, the slice beginning at `at_s`."""
    return [
        SimulatedRequest(
            rid=f"online-{index:06d}",
            work_class=WorkClass.ONLINE,
            at_s=at_s + request.at_s,
            prompt_tokens=request.prompt_tokens,
            output_tokens=request.output_tokens,
            blocks=request.blocks,
            block_tokens=request.block_tokens,
            ttft_target_ms=labels.ttft_ms,
            itl_target_ms=labels.itl_ms,
        )
        for index, request in enumerate(online.requests)
    ]


def simulated_batch(offline: OfflinePrompts) -> Iterator[SimulatedRequest]:
    """The batch's items without end, as they arrive in simulation."""
    for index in itertools.count():
        prompt_tokens, output_tokens = offline.lengths(index)
        yield SimulatedRequest(
            rid=f"offline-{index:06d}",
            work_class=WorkClass.OFFLINE,
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
        )


def half_busy_rate(
    rehearse: Callable[[float], Rehearsal], *, busy_ratio: float, start: float
) -> float:
    """The rate at which online alone keeps the simulated engine as busy as asked.

    Args:
        rehearse: a slice at so many requests a second.
        busy_ratio: asked for.
        start: requests a second to begin with, > 0.
    """
    rate = start
    for _ in range(5):  # nearly linear while queues are short: three steps reach 2 %
        seen = rehearse(rate).alone_busy_ratio
        rate *= min(4.0, max(0.25, busy_ratio / max(seen, 1e-3)))
    return rate


def simulated_engine(
    *, is_cpu: bool, mixes: bool, kv_tokens: int, chunk_tokens: int, max_rows: int
) -> EngineSettings:
    """The bench's engine as the simulation knows it."""
    return EngineSettings(
        kv_tokens=kv_tokens,
        chunked_prefill_size=chunk_tokens,
        max_running_requests=max_rows,
        mixes=mixes,
        loop=Loop.OVERLAP_BLOCKING if is_cpu else Loop.OVERLAP,
    )
