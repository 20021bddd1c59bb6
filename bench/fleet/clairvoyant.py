"""The least that any scheduler could have held: a linear programme over the whole day.

Owns the bound. For slots s of the day, models m and types t, with n replicas (fractions
allowed), x online and y offline work, z work of batch b:

    min  sum price_t size_m n[m,t,s] hours
    sum_t x[m,t,s] >= demand[m,s]
    alpha x + beta y <= gamma n          every segment of (m, t); x <= max n
    sum_b z[b,s] <= sum_t y[m,t,s]       b of m, submitted by the slot's end, due after its begin
    sum_s z[b,s] hours >= work_b
    sum_t n[m,t,s] >= min_replicas_m
    sum_m size_m n[m,t,s] <= devices_t up

With `steps` over 1 it knows the day too, but holds its replicas through each slot, as whoever
decides once a round does: x and y then are of a part of the slot, each with its own demand, z is
bounded by the mean of their y, and replicas are no fewer than whole ones bear the greatest part:

    sum_t n[m,t,s] >= ceil(max_part demand[m,s,part] / max_t max_online[m,t])

It knows the day beforehand, cuts replicas into fractions, loads and moves in no time, and
sees each slot's mean demand; and load splits unevenly over replicas alike where that bears more
(the upper concave hull of what was measured). So it is a lower bound on what must be held by
whoever serves all demand within the measured limits and ends every batch by its deadline.
Refuses schedulers. The solver is a callable, HiGHS of scipy by default.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_array

from planner.simulation.fleet.scenario import FleetBatch, FleetScenario, Service

_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Programme:
    """min c v subject to A v <= b, v >= 0."""

    costs: np.ndarray
    matrix: csr_array
    limits: np.ndarray


Solve = Callable[[Programme], float | None]
"""The least cost; None where it is infeasible."""


class InfeasibleError(ValueError):
    """Even who knows the day cannot serve it within the fleet."""


def clairvoyant(
    scenario: FleetScenario,
    *,
    prices: Mapping[str, float],
    slot_s: float = 900.0,
    steps: int = 1,
    solve: Solve | None = None,
) -> float:
    """The least price-weighted device-hours that serve the day.

    Args:
        scenario: The day.
        prices: Of a device-hour, by type; 1 for each counts device-hours.
        slot_s: Of time; coarser only lowers it.
        steps: Parts of a slot with a demand of their own, >= 1; more only raise it.
        solve: Solves the programme.

    Raises:
        InfeasibleError: The demand, or a deadline, cannot be met.
    """
    least = (solve or highs)(programme(scenario, prices=prices, slot_s=slot_s, steps=steps))
    if least is None:
        raise InfeasibleError(
            "clairvoyant bound: the day's demand and deadlines are beyond the fleet; lower the"
            " load or add nodes"
        )
    return least


def highs(asked: Programme) -> float | None:
    """HiGHS, as scipy has it."""
    found = linprog(asked.costs, A_ub=asked.matrix, b_ub=asked.limits, method="highs")
    return float(found.fun) if found.status == 0 else None


def programme(
    scenario: FleetScenario, *, prices: Mapping[str, float], slot_s: float, steps: int = 1
) -> Programme:
    """The programme of a day."""
    return _Writer(scenario, prices=prices, slot_s=slot_s, steps=steps).write()


class _Writer:
    """Writes rows; each model's work counts in units of a replica's, so that numbers are near 1."""

    def __init__(
        self,
        scenario: FleetScenario,
        *,
        prices: Mapping[str, float],
        slot_s: float,
        steps: int,
    ) -> None:
        self._scenario, self._prices = scenario, prices
        self._slot_s, self._steps = slot_s, steps
        self._slots = ceil(scenario.duration_s / slot_s - 1e-9)
        self._at: dict[tuple[str, ...], int] = {}
        self._costs: list[float] = []
        self._rows: list[int] = []
        self._columns: list[int] = []
        self._values: list[float] = []
        self._limits: list[float] = []
        self._units = {
            one.deployment.id: max(p.capacity_work for p in one.profiles.values())
            for one in scenario.services
        }

    def write(self) -> Programme:
        devices: dict[tuple[str, int], dict[int, float]] = {}
        for service in self._scenario.services:
            batches = [b for b in self._scenario.batches if b.deployment == service.deployment.id]
            for slot in range(self._slots):
                self._slot(service, slot, batches=batches, devices=devices)
            for batch in batches:
                self._batch(service, batch)
        for (kind, slot), terms in devices.items():
            self._row(terms, most=self._devices(kind, slot))
        shape = (len(self._limits), len(self._costs))
        return Programme(
            costs=np.array(self._costs),
            matrix=csr_array((self._values, (self._rows, self._columns)), shape=shape),
            limits=np.array(self._limits),
        )

    def _slot(
        self,
        service: Service,
        slot: int,
        *,
        batches: list[FleetBatch],
        devices: dict[tuple[str, int], dict[int, float]],
    ) -> None:
        deployment, unit = service.deployment, self._units[service.deployment.id]
        size = deployment.tensor_parallel_size
        begin_s, end_s = self._span(slot)
        hours = (end_s - begin_s) / _HOUR_S
        replicas: dict[int, float] = {}
        curves = {
            kind: profile.envelope(attainment_ratio=deployment.slo.attainment_ratio)
            for kind, profile in sorted(service.profiles.items())
        }
        for kind in curves:
            price = self._prices.get(kind, 0.0)
            n = self._column("n", deployment.id, kind, slot, cost=price * size * hours)
            replicas[n] = -1.0
            devices.setdefault((kind, slot), {})[n] = float(size)
        offline: dict[int, float] = {}
        peak = 0.0
        for part in range(self._steps):
            online: dict[int, float] = {}
            where = f"{slot}/{part}"
            for kind, curve in curves.items():
                n = self._column("n", deployment.id, kind, slot)
                x = self._column("x", deployment.id, kind, where)
                y = self._column("y", deployment.id, kind, where)
                self._row({x: 1.0, n: -curve.max_online_work / unit}, most=0.0)
                for one in curve.segments:
                    self._row({x: one.alpha, y: one.beta, n: -one.gamma / unit}, most=0.0)
                online[x], offline[y] = -1.0, -1.0 / self._steps
            from_s = begin_s + (end_s - begin_s) * part / self._steps
            rate = service.demand.rate(from_s, from_s + (end_s - begin_s) / self._steps)
            peak = max(peak, rate * service.request_work_ms)
            self._row(online, most=-rate * service.request_work_ms / unit)
        least = float(deployment.min_replicas)
        if self._steps > 1:
            each = max(curve.max_online_work for curve in curves.values())
            least = max(least, ceil(peak / each - 1e-9))
        self._row(replicas, most=-least)
        for batch in batches:
            if batch.submit_s < end_s and _due_s(batch, self._scenario) > begin_s:
                offline[self._column("z", batch.id, "", slot)] = 1.0
        self._row(offline, most=0.0)

    def _batch(self, service: Service, batch: FleetBatch) -> None:
        unit = self._units[service.deployment.id]
        terms = {}
        for slot in range(self._slots):
            key = ("z", batch.id, "", str(slot))
            if key in self._at:
                begin_s, end_s = self._span(slot)
                terms[self._at[key]] = -(end_s - begin_s) / _HOUR_S
        work = batch.items * service.item_work_ms / unit / _HOUR_S
        self._row(terms, most=-work)

    def _devices(self, kind: str, slot: int) -> float:
        """Of a type that are up at any time of a slot."""
        begin_s, end_s = self._span(slot)
        down = {
            node
            for outage in self._scenario.outages
            if outage.at_s <= begin_s and outage.at_s + outage.for_s >= end_s
            for node in outage.nodes
        }
        return float(
            sum(
                device.device_type == kind
                for node in self._scenario.nodes
                if node.id not in down
                for device in node.devices
            )
        )

    def _span(self, slot: int) -> tuple[float, float]:
        begin_s = slot * self._slot_s
        return begin_s, min(self._scenario.duration_s, begin_s + self._slot_s)

    def _column(
        self, what: str, name: str, kind: str, slot: int | str, *, cost: float = 0.0
    ) -> int:
        key = (what, name, kind, str(slot))
        if key not in self._at:
            self._at[key] = len(self._costs)
            self._costs.append(cost)
        return self._at[key]

    def _row(self, terms: Mapping[int, float], *, most: float) -> None:
        row = len(self._limits)
        for column, value in terms.items():
            self._rows.append(row)
            self._columns.append(column)
            self._values.append(value)
        self._limits.append(most)


def _due_s(batch: FleetBatch, scenario: FleetScenario) -> float:
    return scenario.duration_s if batch.deadline_s is None else batch.deadline_s
