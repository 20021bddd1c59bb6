"""Profiles taken on the engine simulator.

Owns the probes: a replica saturated with online requests, then steady Poisson loads below
that, alone and beside a batch without end. Refuses to search budgets: the replica has those
its agent would give it. Deterministic by seed.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from planner.batching.decide import plan_iteration
from planner.batching.state import Budgets
from planner.model import Slo
from planner.routing.choose import QUEUE_DEPTH
from planner.simulation.fleet.demand import constant
from planner.simulation.fleet.engines import (
    EngineKind,
    Lengths,
    TokenWork,
    mean_tokens,
    offline_request,
    online_request,
)
from planner.simulation.fleet.profile import Level, ReplicaProfile, tidied
from planner.simulation.replay import Replayed, replay
from planner.simulation.request import SimulatedRequest
from planner.simulation.workload import ClosedLoop
from planner.slo import GAPS_WITHIN_RATIO, RequestTrace, attains, gaps_ms, tpot_ms

LEVELS = (0.25, 0.45, 0.6, 0.7, 0.8, 0.9)
"""Of what a replica does when saturated; beyond the last, queues grow with the window."""

_SETTLE_S = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Probing:
    """What is probed.

    Args:
        kind: The engine.
        slo: Of its online requests.
        budgets: That its agent holds it to.
        lengths: Of online requests.
        items: Of batch items.
        request_work_ms: Of a mean online request.
        item_work: Of their tokens.
        window_s: Of each probe, > 0; longer tells finer.
        levels: Of the saturated load, ascending, below 1.
        seed: Of all that is random.
    """

    kind: EngineKind
    slo: Slo
    budgets: Budgets
    lengths: Lengths
    items: Lengths
    request_work_ms: float
    item_work: TokenWork
    window_s: float = 120.0
    levels: Sequence[float] = LEVELS
    seed: int = 0

    def profile(self, *, source: str = "simulated") -> ReplicaProfile:
        """Runs the probes, two a level and two more.

        Args:
            source: Said of the profile.
        """
        online_tokens = sum(mean_tokens(self.lengths))
        saturated = self._replay(clients=[self._crowd()])
        requests_per_s = saturated.online_tokens / saturated.window_s / online_tokens
        idle = self._replay(clients=[self._batch()])
        levels = [
            Level(online_work=0.0, offline_work=self._offline_work(idle)),
        ]
        for share in self.levels:
            rate = share * requests_per_s
            alone = self._replay(rate=rate)
            beside = self._replay(rate=rate, clients=[self._batch()])
            levels.append(
                Level(
                    online_work=rate * self.request_work_ms,
                    offline_work=self._offline_work(beside),
                    alone_ratio=self._attained(alone.online),
                    beside_ratio=self._attained(beside.online),
                    stay_s=_mean_stay_s(beside.online),
                )
            )
        ttft = min((trace.chunks[0].at_s - trace.scheduled_s for trace in alone.online), default=0)
        return ReplicaProfile(
            levels=tidied(levels),
            capacity_work=requests_per_s * self.request_work_ms,
            saturated_ratio=_in_gaps(saturated.online, self.slo),
            wait_s=max(0.0, self.slo.ttft_ms / 1e3 - ttft),
            queue_work=QUEUE_DEPTH * self.kind.settings.max_running_requests * self.request_work_ms,
            source=source,
        )

    def _replay(self, *, rate: float = 0.0, clients: Sequence[ClosedLoop] = ()) -> Replayed:
        to_s = _SETTLE_S + self.window_s
        return replay(
            settings=self.kind.settings,
            policy=plan_iteration,
            model=self.kind.model,
            budgets=self.budgets,
            truth=self.kind.truth(self.seed),
            scheduled=self._arrivals(rate, until_s=to_s) if rate else (),
            clients=clients,
            from_s=_SETTLE_S,
            to_s=to_s,
        )

    def _arrivals(self, rate: float, *, until_s: float) -> Iterator[SimulatedRequest]:
        demand = constant(rate, lengths=self.lengths)
        drawn = demand.requests(seed=f"{self.seed}/probe", until_s=until_s)
        for index, request in enumerate(drawn):
            yield online_request(
                f"online-{index}",
                at_s=request.at_s,
                prompt_tokens=request.prompt_tokens,
                output_tokens=request.output_tokens,
                slo=self.slo,
            )

    def _crowd(self) -> ClosedLoop:
        """Online clients that keep every row of the engine taken."""
        source = random.Random(f"{self.seed}/crowd")
        requests = (
            online_request(
                f"crowd-{index}",
                at_s=0.0,
                prompt_tokens=prompt,
                output_tokens=output,
                slo=self.slo,
            )
            for index in count()
            for prompt, output in (self.lengths(source),)
        )
        return ClosedLoop(source=requests, in_flight=self.kind.settings.max_running_requests)

    def _batch(self) -> ClosedLoop:
        source = random.Random(f"{self.seed}/items")
        requests = (
            offline_request(f"item-{index}", at_s=0.0, prompt_tokens=prompt, output_tokens=output)
            for index in count()
            for prompt, output in (self.items(source),)
        )
        return ClosedLoop(source=requests, in_flight=self.kind.offline_in_flight)

    def _offline_work(self, replayed: Replayed) -> float:
        done_ms = self.item_work.of(
            prompt_tokens=replayed.offline_prompt_tokens,
            output_tokens=replayed.offline_output_tokens,
        )
        return done_ms / replayed.window_s

    def _attained(self, traces: Sequence[RequestTrace]) -> float:
        if not traces:
            return 1.0
        return sum(attains(trace, self.slo) for trace in traces) / len(traces)


def _mean_stay_s(traces: Sequence[RequestTrace]) -> float:
    stays = [trace.chunks[-1].at_s - trace.scheduled_s for trace in traces if trace.chunks]
    return sum(stays) / len(stays) if stays else 0.0


def _in_gaps(traces: Sequence[RequestTrace], slo: Slo) -> float:
    """Share of requests that attain but for their TTFT."""
    if not traces:
        return 0.0
    return sum(_is_in_gaps(trace, slo) for trace in traces) / len(traces)


def _is_in_gaps(trace: RequestTrace, slo: Slo) -> bool:
    gaps = gaps_ms(trace)
    if not gaps:
        return True
    if slo.itl_ms is not None:
        return sum(gap <= slo.itl_ms for gap in gaps) >= GAPS_WITHIN_RATIO * len(gaps)
    mean_ms = tpot_ms(trace)
    assert mean_ms is not None and slo.tpot_ms is not None
    return mean_ms <= slo.tpot_ms and max(gaps) <= slo.gap_ms
