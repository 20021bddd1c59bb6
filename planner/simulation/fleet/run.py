"""A fleet replayed in discrete events.

Owns the calendar: batches come, nodes fail and return, leases lapse, models load, drains
end, rounds run and shares follow the load between them. What replicas do from one event to
the next is a mode's: aggregated flows or exact engines. Refuses clocks. Deterministic: equal
scenarios, rounds and forecasts give equal records.
"""

from collections.abc import Callable, Iterable
from enum import Enum
from heapq import heappop, heappush
from math import ceil, inf
from typing import Protocol

from planner.simulation.fleet.aggregate import Aggregated
from planner.simulation.fleet.book import Book
from planner.simulation.fleet.committing import Moved
from planner.simulation.fleet.desires import Desires
from planner.simulation.fleet.exact import Exact
from planner.simulation.fleet.forecasts import Forecast, LastValue
from planner.simulation.fleet.hosts import Hosts
from planner.simulation.fleet.live import Live
from planner.simulation.fleet.reckoning import recorded
from planner.simulation.fleet.recording import FleetRecord, Recorder, RoundRecord
from planner.simulation.fleet.rounds import Rounds
from planner.simulation.fleet.scenario import FleetBatch, FleetScenario, Outage


class Mode(Enum):
    """How replicas are simulated."""

    AGGREGATED = "aggregated"  # as their profiles
    EXACT = "exact"  # iteration by iteration


class Carrier(Protocol):
    """What replicas do between events."""

    name: str

    def advance(self, from_s: float, to_s: float) -> None:
        """Lets load run from one moment to the next."""

    def fail(self, lost: Iterable[Live], *, now_s: float) -> None:
        """Engines are gone."""

    def observed_work(self, deployment: str, *, from_s: float, to_s: float) -> float:
        """Mean online work that arrived, engine-ms per second."""

    def close(self, now_s: float) -> None:
        """The replay is over; what was sent may still end."""


_START = "start"


class _Kind(Enum):
    SUBMIT = 0
    FAIL = 1
    BACK = 2
    LAPSE = 3
    OBSERVE = 4
    ROUND = 5
    RESPLIT = 6


def replay_fleet(
    scenario: FleetScenario,
    *,
    rounds: Rounds,
    forecast: Forecast | None = None,
    mode: Mode = Mode.AGGREGATED,
    reach: Callable[[float], None] | None = None,
) -> FleetRecord:
    """Replays a fleet to its end.

    Args:
        scenario: What there is and what happens.
        rounds: Decides placements.
        forecast: Of online demand; None: the last value goes on.
        mode: How replicas are simulated.
        reach: Told of each moment reached.

    Raises:
        ValueError: An exact replay of a service without engines or item lengths.
    """
    return _Replay(
        scenario, rounds=rounds, forecast=forecast or LastValue(), mode=mode, reach=reach
    ).run()


class _Replay:
    """The state of one replay."""

    def __init__(
        self,
        scenario: FleetScenario,
        *,
        rounds: Rounds,
        forecast: Forecast,
        mode: Mode,
        reach: Callable[[float], None] | None,
    ) -> None:
        self._scenario, self._rounds, self._forecast = scenario, rounds, forecast
        self._reach = reach
        self._book = Book(weights=scenario.tenant_weights)
        self._hosts = Hosts(
            scenario.nodes,
            {one.deployment.id: one.deployment for one in scenario.services},
            allocations=scenario.allocations,
        )
        self._recorder = Recorder(
            interval_s=scenario.interval_s,
            intervals=max(1, ceil(scenario.duration_s / scenario.interval_s - 1e-9)),
        )
        make = Aggregated if mode is Mode.AGGREGATED else Exact
        self._carrier: Carrier = make(
            scenario, hosts=self._hosts, book=self._book, recorder=self._recorder
        )
        self._desires = Desires(scenario, forecast=forecast, book=self._book)
        self._calendar: list[tuple[float, int, int, FleetBatch | Outage | str | None]] = []
        self._count = 0
        self._now_s = 0.0
        self._observed_s = 0.0

    def run(self) -> FleetRecord:
        self._schedule()
        while True:
            next_s = min(
                self._scenario.duration_s,
                self._calendar[0][0] if self._calendar else inf,
                self._hosts.next_s,
            )
            self._advance(max(self._now_s, next_s))
            if self._now_s >= self._scenario.duration_s:
                self._carrier.close(self._now_s)
                return recorded(
                    self._recorder,
                    scenario=self._scenario,
                    book=self._book,
                    mode=self._carrier.name,
                )
            if self._hosts.next_s <= self._now_s:
                self._hosts.act(now_s=self._now_s)
            while self._calendar and self._calendar[0][0] <= self._now_s:
                _, kind, _, what = heappop(self._calendar)
                self._happen(_Kind(kind), what)

    # ------------------------------------------------------------ the calendar

    def _schedule(self) -> None:
        scenario = self._scenario
        for batch in scenario.batches:
            self._at(batch.submit_s, _Kind.SUBMIT, batch)
        for outage in scenario.outages:
            self._at(outage.at_s, _Kind.FAIL, outage)
            self._at(outage.at_s + outage.for_s, _Kind.BACK, outage)
        self._at(0.0, _Kind.OBSERVE)
        self._at(0.0, _Kind.ROUND, _START)
        self._hosts.act(now_s=0.0)
        self._hosts.load_at_once(now_s=0.0)
        self._at(scenario.rounds.resplit_s, _Kind.RESPLIT)

    def _at(self, at_s: float, kind: _Kind, what: FleetBatch | Outage | str | None = None) -> None:
        self._count += 1
        heappush(self._calendar, (at_s, kind.value, self._count, what))

    def _happen(self, kind: _Kind, what: FleetBatch | Outage | str | None) -> None:
        settings, now_s = self._scenario.rounds, self._now_s
        if kind is _Kind.SUBMIT:
            assert isinstance(what, FleetBatch)
            service = self._scenario.by_id[what.deployment]
            self._book.submit(what, item_work_ms=service.item_work_ms)
        elif kind is _Kind.FAIL:
            assert isinstance(what, Outage)
            lost = [live for node in what.nodes for live in self._hosts.fail(node)]
            self._carrier.fail(lost, now_s=now_s)
            for node in what.nodes:
                self._at(now_s + settings.lease_s, _Kind.LAPSE, node)
        elif kind is _Kind.BACK:
            assert isinstance(what, Outage)
            for node in what.nodes:
                self._hosts.come_back(node, now_s=now_s)
            if settings.is_triggered_by_failure:
                self._round(f"{what.nodes[0]} is back")
        elif kind is _Kind.LAPSE:
            assert isinstance(what, str)
            is_last = not any(
                at_s <= now_s and other == _Kind.LAPSE.value
                for at_s, other, *_ in self._calendar[:1]
            )
            if self._hosts.lapse(what) and is_last and settings.is_triggered_by_failure:
                self._round(f"{what} is lost")
        elif kind is _Kind.OBSERVE:
            self._observe()
            self._at(now_s + self._scenario.interval_s, _Kind.OBSERVE)
        elif kind is _Kind.ROUND:
            assert isinstance(what, str)
            self._round(what)
            self._at(now_s + settings.interval_s, _Kind.ROUND, "interval")
        elif kind is _Kind.RESPLIT:
            self._resplit()
            self._at(now_s + settings.resplit_s, _Kind.RESPLIT)

    # ------------------------------------------------------------ what happens

    def _advance(self, to_s: float) -> None:
        """Load runs, devices are held and paid."""
        from_s, self._now_s = self._now_s, to_s
        if to_s <= from_s:
            return
        self._carrier.advance(from_s, to_s)
        span_s = to_s - from_s
        held: dict[str, int] = {}
        nodes = 0
        for node in self._scenario.nodes:
            engines = self._hosts.engines[node.id]
            nodes += len(node.devices) if engines else 0
            for live in engines.values():
                held[live.device_type] = held.get(live.device_type, 0) + len(live.devices)
            if self._hosts.is_down(node.id):
                self._recorder.add(from_s, down_node_s=span_s)
        for device_type, count in held.items():
            self._recorder.hold(
                from_s,
                device_type=device_type,
                device_s=count * span_s,
                price=self._scenario.prices.get(device_type, 0.0),
            )
        self._recorder.add(from_s, node_device_s=nodes * span_s)
        if self._reach is not None:
            self._reach(to_s)

    def _observe(self) -> None:
        """Tells the forecast of the interval that ended; at the begin, of its first."""
        now_s, length_s = self._now_s, self._scenario.interval_s
        from_s = self._observed_s
        self._observed_s = now_s
        for name, service in self._scenario.by_id.items():
            if service.demand.is_none:
                continue
            if now_s <= from_s:  # nothing was seen yet: what operators expect of the begin
                work = service.demand.rate(0.0, length_s) * service.request_work_ms
            else:
                work = self._carrier.observed_work(name, from_s=from_s, to_s=now_s)
            self._forecast.observe(name, at_s=now_s, for_s=length_s, work=work)

    def _round(self, trigger: str) -> None:
        snapshot = self._desires.snapshot(
            revision=self._hosts.revision,
            nodes=self._hosts.nodes(),
            allocations=tuple(self._hosts.allocations.values()),
            now_s=self._now_s,
            horizon_s=self._scenario.rounds.interval_s,
        )
        plan = self._rounds.plan(snapshot)
        moved = Moved() if plan is None else self._hosts.commit(plan, now_s=self._now_s)
        if trigger == _START and self._scenario.begins_loaded:
            self._hosts.load_at_once(now_s=self._now_s)
        self._recorder.add(
            self._now_s, adds=moved.adds, removes=moved.removes, adjusts=moved.adjusts
        )
        self._recorder.rounds.append(
            RoundRecord(
                at_s=self._now_s,
                trigger=trigger,
                solver="" if plan is None else plan.solver,
                status="" if plan is None else plan.status.value,
                objective=0.0 if plan is None else plan.objective,
                gap=0.0 if plan is None else plan.gap,
                adds=moved.adds,
                removes=moved.removes,
                adjusts=moved.adjusts,
                misfits=0 if plan is None else len(plan.misfits),
                changes=moved.changes,
            )
        )

    def _resplit(self) -> None:
        snapshot = self._desires.snapshot(
            revision=self._hosts.revision,
            nodes=self._hosts.nodes(),
            allocations=tuple(self._hosts.allocations.values()),
            now_s=self._now_s,
            horizon_s=self._scenario.rounds.resplit_s,
        )
        self._hosts.set_shares(self._rounds.resplit(snapshot), now_s=self._now_s)
