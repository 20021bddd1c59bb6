"""Profiles taken on the engine simulator.

Owns the levels that are probed: a replica saturated with online requests, then steady Poisson
loads below that, alone and beside a batch without end. Refuses to search budgets: the replica
has those its agent would give it; and to judge a level: `simulation.probe` does.
Deterministic by seed.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from planner.batching.state import Budgets
from planner.latency.work import TokenWork
from planner.model import Slo
from planner.routing.choose import QUEUE_DEPTH
from planner.simulation.fleet.demand import constant
from planner.simulation.fleet.lengths import mean_tokens
from planner.simulation.fleet.profile import Level, ReplicaProfile, tidied
from planner.simulation.kind import EngineKind
from planner.simulation.probe import Seen, Window, batch, crowd, labelled, probe
from planner.simulation.request import SimulatedRequest
from planner.simulation.workload import ClosedLoop
from planner.workload.generate import Lengths

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
        levels: Of the saturated load, ascending, below 1; one at least.
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
        saturated = self._probe(clients=[self._crowd()])
        requests_per_s = saturated.online_tokens_per_s / sum(mean_tokens(self.lengths))
        idle = self._probe(clients=[self._batch()])
        levels = [Level(online_work=0.0, offline_work=idle.offline_work)]
        for share in self.levels:
            rate = share * requests_per_s
            alone = self._probe(rate=rate)
            beside = self._probe(rate=rate, clients=[self._batch()])
            levels.append(
                Level(
                    online_work=rate * self.request_work_ms,
                    offline_work=beside.offline_work,
                    alone_ratio=alone.attainment_ratio,
                    beside_ratio=beside.attainment_ratio,
                    stay_s=beside.stay_s,
                )
            )
        return ReplicaProfile(
            levels=tidied(levels),
            capacity_work=requests_per_s * self.request_work_ms,
            saturated_ratio=saturated.gaps_ratio,
            wait_s=max(0.0, self.slo.ttft_ms / 1e3 - alone.least_ttft_s),
            queue_work=QUEUE_DEPTH * self.kind.settings.max_running_requests * self.request_work_ms,
            source=source,
        )

    def _probe(self, *, rate: float = 0.0, clients: Sequence[ClosedLoop] = ()) -> Seen:
        window = Window(settle_s=_SETTLE_S, length_s=self.window_s)
        return probe(
            self.kind,
            window=window,
            budgets=self.budgets,
            slo=self.slo,
            item_work=self.item_work,
            online=self._arrivals(rate, until_s=window.arrivals_until_s) if rate else (),
            clients=clients,
            seed=self.seed,
        )

    def _arrivals(self, rate: float, *, until_s: float) -> Iterator[SimulatedRequest]:
        demand = constant(rate, lengths=self.lengths)
        drawn = demand.requests(seed=f"{self.seed}/probe", until_s=until_s)
        return labelled(drawn, slo=self.slo)

    def _crowd(self) -> ClosedLoop:
        """Online clients that keep every row of the engine taken."""
        return crowd(
            self.lengths,
            slo=self.slo,
            source=random.Random(f"{self.seed}/crowd"),
            in_flight=self.kind.settings.max_running_requests,
        )

    def _batch(self) -> ClosedLoop:
        return batch(
            self.items,
            source=random.Random(f"{self.seed}/items"),
            in_flight=self.kind.offline_in_flight,
        )
