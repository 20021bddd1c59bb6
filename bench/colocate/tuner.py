"""The budgets of a trace's Slacktide arms, round by round.

Owns what earlier rounds say to later ones: an arm begins at the budgets of its last round,
held to limits corrected by how its rounds and the pilot came out above their simulation.
Its SLO is made of what A and the cap came to, in this round too. Invariant: budgets rest on
no run of their own arm on the requests it is judged by.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from bench.colocate.arms import Arm, ArmSlo, slo_of
from bench.colocate.prepare import Rehearse, Tuning
from bench.colocate.reading import ArmReading
from bench.colocate.rehearsal import Rehearsal
from bench.colocate.scale import Latencies, pooled, typical
from bench.colocate.slices import Slice
from bench.colocate.tuning import Tuned, growth_of, tune
from planner.batching.state import Budgets


class Tuner:
    """Tunes arms before they run, and learns from rounds that have run.

    Args:
        tuning: what the trace's arms rest on.
        rehearse: takes a slice into simulation.
        max_probes: simulated runs of an arm's first search; later ones take half.
    """

    def __init__(self, tuning: Tuning, rehearse: Rehearse, *, max_probes: int) -> None:
        self._tuning, self._rehearse, self._max_probes = tuning, rehearse, max_probes
        self._slos: dict[str, ArmSlo] = {}
        self._budgets: dict[str, Budgets] = {}
        self._growths: dict[str, list[dict[str, float]]] = {}
        self._judged: list[Rehearsal] = []  # the rounds' own requests, the last being judged
        self._rounds: list[dict[str, Any]] = [{}]
        self.searched_s = 0.0

    async def begin(self, online: Slice) -> None:
        """A round begins: its requests say what online alone should come to in it."""
        began_s = time.monotonic()
        self._judged.append(await asyncio.to_thread(self._rehearse, online))
        self.searched_s += time.monotonic() - began_s

    async def tune(
        self, arm: Arm, readings: Mapping[str, Sequence[ArmReading]]
    ) -> tuple[ArmSlo, Budgets]:
        """The SLO and the budgets an arm runs at next.

        Args:
            arm: of kind SLACKTIDE.
            readings: all that was measured of the trace so far, by arm.
        """
        slo = slo_of(arm, readings)
        start = self._budgets.get(arm.name)
        own = self._growths.get(arm.name, [])
        began_s = time.monotonic()
        found: Tuned = await asyncio.to_thread(
            tune,
            self._tuning.rehearsal,
            slo,
            alone=Latencies.of_arms(readings["A"]),
            judged=pooled([rehearsal.alone for rehearsal in self._judged[: len(readings["A"])]]),
            growth=typical([self._tuning.pilot_growth, *own]),
            start=start,
            max_probes=self._max_probes if start is None else max(1, self._max_probes // 2),
        )
        self.searched_s += time.monotonic() - began_s
        self._slos[arm.name], self._budgets[arm.name] = slo, found.budgets
        self._rounds[-1][arm.name] = {
            "slo_ms": {name: round(ms, 3) for name, ms in slo.limits_ms.items()},
            **found.as_values(),
        }
        return slo, found.budgets

    async def learn(self, readings: Mapping[str, Sequence[ArmReading]]) -> None:
        """What the round just ended says of the simulation.

        Args:
            readings: by arm; the last of each is of this round.
        """
        began_s = time.monotonic()
        rehearsal = self._judged[-1]
        alone = Latencies.of_arms(readings["A"][-1:])
        for arm, slo in self._slos.items():
            growth = await asyncio.to_thread(
                growth_of,
                rehearsal,
                slo=slo,
                budgets=self._budgets[arm],
                alone=alone,
                beside=Latencies.of_arms(readings[arm][-1:]),
            )
            self._growths.setdefault(arm, []).append(growth)
            self._rounds[-1][arm]["growth"] = {n: round(k, 3) for n, k in growth.items()}
        self._rounds.append({})
        self.searched_s += time.monotonic() - began_s

    def as_values(self) -> list[dict[str, Any]]:
        """What the report says of each round: SLO, budgets, growth over simulation."""
        return self._rounds
