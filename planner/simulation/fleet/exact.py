"""The exact mode: every replica an engine, every request routed as a gateway does.

Owns requests and items in flight over a small fleet: the choice of a replica is
`planner.routing`, whether a replica may pull and what is `planner.dispatch`, each pass
`planner.batching`, its budgets `rollout.budgets`. Refuses placements. Invariants: a request
ends once: completed, failed or shed; an item that a lost engine held is pending again; a
request no token of which was sent is retried elsewhere.
"""

import random
from collections.abc import Iterable
from heapq import heappop, heappush
from itertools import count
from math import inf

from planner.model import ReplicaState
from planner.routing.choose import RouteRefusal, choose
from planner.routing.table import Route, RouteTable
from planner.routing.traffic import Traffic
from planner.simulation.fleet.arrivals import arrivals
from planner.simulation.fleet.book import Book
from planner.simulation.fleet.hosts import Hosts
from planner.simulation.fleet.lengths import mean_tokens
from planner.simulation.fleet.live import Live
from planner.simulation.fleet.recording import Recorder
from planner.simulation.fleet.replica import ReplicaRun
from planner.simulation.fleet.scenario import FleetScenario
from planner.simulation.fleet.seat import Seat, budgets_of, items_of, may_pull
from planner.simulation.kind import EngineKind
from planner.simulation.live import LiveRequest
from planner.simulation.passes import Settled
from planner.simulation.request import SimulatedRequest, offline_request
from planner.slo import Outcome, RequestTrace, attains


class Exact:
    """Every engine of a small fleet."""

    name = "exact"

    def __init__(
        self, scenario: FleetScenario, *, hosts: Hosts, book: Book, recorder: Recorder
    ) -> None:
        for service in scenario.services:
            missing = sorted(set(service.profiles) - set(service.engines))
            if missing or service.items is None or service.item_work is None:
                raise ValueError(
                    f"service {service.deployment.id}: an exact replay needs an engine for"
                    f" {', '.join(missing) or 'each type'} and the lengths of items; give a"
                    " model and hardware, or replay it aggregated"
                )
        self._scenario, self._hosts, self._book = scenario, hosts, book
        self._recorder = recorder
        self._services = scenario.by_id
        self._token_ms = {
            name: one.request_work_ms / sum(mean_tokens(one.demand.lengths))
            for name, one in self._services.items()
        }
        self._arrivals = arrivals(scenario)
        self._next = next(self._arrivals, None)
        self._items = {
            name: random.Random(f"{scenario.seed}/{name}/items") for name in self._services
        }
        self._seats: dict[str, Seat] = {}
        self._traffic = Traffic()
        self._table = RouteTable()
        self._ends: list[tuple[float, int, str, LiveRequest]] = []
        self._numbers = count()
        self._seen_changes = -1
        self._arrived: dict[str, float] = {}  # work since it was last observed
        self._is_closing = False

    # ------------------------------------------------------------ one stretch of time

    def advance(self, from_s: float, to_s: float) -> None:
        """Runs every engine from one moment to the next."""
        self._sync(from_s)
        for seat in self._seats.values():
            self._pull(seat, now_s=from_s)
        self._run(to_s)
        for seat in self._seats.values():
            if seat.live.serves:
                devices = len(seat.live.devices) * (to_s - from_s)
                self._recorder.add(from_s, serving_device_s=devices)
            if seat.live.state is ReplicaState.DRAINING and not seat.online:
                self._hosts.drained(seat.live.replica, now_s=to_s)

    def fail(self, lost: Iterable[Live], *, now_s: float) -> None:
        """Engines are gone with their nodes; what had no token yet goes elsewhere."""
        for live in lost:
            seat = self._seats.pop(live.replica, None)
            if seat is not None:
                self._abandon(seat, now_s=now_s)

    def observed_work(self, deployment: str, *, from_s: float, to_s: float) -> float:
        """Mean online work that arrived since it was last asked, engine-ms per second."""
        return self._arrived.pop(deployment, 0.0) / (to_s - from_s)

    def close(self, now_s: float) -> None:
        """Lets what was sent end; nothing more arrives, and no offline work counts."""
        self._is_closing = True
        self._next, self._arrivals = None, iter(())
        while any(seat.online for seat in self._seats.values()) or self._ends:
            now_s += 1.0
            self._run(now_s)

    def _run(self, to_s: float) -> None:
        while True:
            end_s = self._ends[0][0] if self._ends else inf
            next_s = self._next[0] if self._next is not None else inf
            seat = min(
                self._seats.values(), key=lambda one: (one.run.next_s, one.live.replica),
                default=None,
            )  # fmt: skip
            step_s = inf if seat is None else seat.run.next_s
            if min(end_s, next_s, step_s) >= to_s:
                return
            if end_s <= min(next_s, step_s):
                _, _, replica, live = heappop(self._ends)
                self._end(replica, live, now_s=end_s)
            elif next_s <= step_s:
                self._arrive(now_s=next_s)
            else:
                assert seat is not None
                self._take_step(seat)

    def _take_step(self, seat: Seat) -> None:
        step = seat.run.step()
        settled = step.settled
        if settled is None:
            return
        if not self._is_closing:
            self._count(seat, settled, at_s=step.at_s)
        for live in settled.ended:
            heappush(self._ends, (step.at_s, next(self._numbers), seat.live.replica, live))

    def _count(self, seat: Seat, settled: Settled, *, at_s: float) -> None:
        """Work done, by tokens: a request counts as it goes on, not at its end."""
        name = seat.live.deployment
        service = self._services[name]
        assert service.item_work is not None  # checked at the begin
        online_ms = settled.online_tokens * self._token_ms[name]
        offline_ms = service.item_work.of(
            prompt_tokens=settled.offline_prompt_tokens,
            output_tokens=settled.offline_output_tokens,
        )
        if online_ms or offline_ms:
            self._recorder.add_service(
                name, at_s, online_work_ms=online_ms, offline_work_ms=offline_ms
            )
        profile = service.profiles[seat.live.device_type]
        alone = profile.levels[0].offline_work
        used_s = online_ms / profile.capacity_work + (offline_ms / alone if alone else 0.0)
        self._recorder.add(at_s, used_device_s=used_s * len(seat.live.devices))

    # ------------------------------------------------------------ online requests

    def _arrive(self, *, now_s: float) -> None:
        assert self._next is not None
        _, rid, request = self._next
        self._next = next(self._arrivals, None)
        name = rid.rpartition("/")[0]
        self._recorder.add_service(name, now_s, requests=1.0)
        work = self._services[name].request_work_ms
        self._arrived[name] = self._arrived.get(name, 0.0) + work
        self._route(name, request, now_s=now_s)

    def _route(self, name: str, request: SimulatedRequest, *, now_s: float) -> None:
        route = choose(self._table, self._traffic, deployment=name, now_s=now_s)
        if isinstance(route, RouteRefusal):
            self._recorder.add_service(name, request.at_s, shed=1.0)
            return
        seat = self._seats[route.replica]
        peers = [one.replica for one in self._table.routes_of(name) or ()]
        self._traffic.start(route.replica, peers=peers)
        seat.online[request.rid] = request
        seat.run.add(request, now_s=now_s)

    def _end(self, replica: str, live: LiveRequest, *, now_s: float) -> None:
        seat = self._seats.get(replica)
        if seat is None:
            return  # its node failed before the result came in
        if live.is_offline:
            progress = seat.offline.pop(live.rid, None)
            if progress is not None:
                self._book.finish(progress, now_s=now_s)
            self._pull(seat, now_s=now_s)
            return
        if seat.online.pop(live.rid, None) is None:
            return
        self._traffic.finish(replica)
        trace = RequestTrace(
            scheduled_s=live.arrival_s, chunks=tuple(live.chunks), outcome=Outcome.COMPLETED
        )
        name = seat.live.deployment
        if attains(trace, self._services[name].deployment.slo):
            self._recorder.add_service(name, live.arrival_s, attained=1.0)

    # ------------------------------------------------------------ replicas

    def _sync(self, now_s: float) -> None:
        """Engines that serve have a seat, those that are gone have none; routes follow."""
        if self._hosts.changes == self._seen_changes:
            return
        self._seen_changes = self._hosts.changes
        known = {live.replica: live for live in self._hosts.live()}
        for replica in [r for r in self._seats if r not in known or _is_over(known[r])]:
            self._abandon(self._seats.pop(replica), now_s=now_s)
        for replica, live in sorted(known.items()):
            if live.serves and replica not in self._seats:
                self._seats[replica] = self._opened(live, now_s=now_s)
        for seat in self._seats.values():
            seat.run.hold_to(budgets_of(seat.live, self._services[seat.live.deployment]))
        self._table = RouteTable(
            routes=tuple(
                Route(
                    replica=replica,
                    deployment=seat.live.deployment,
                    node=seat.live.node,
                    address=seat.live.node,
                    online_share=seat.live.budgets.online_share,
                    state=seat.live.state,
                    max_running_requests=self._kind(seat.live).settings.max_running_requests,
                )
                for replica, seat in sorted(self._seats.items())
            ),
            deployments=tuple(sorted(self._services)),
        )

    def _opened(self, live: Live, *, now_s: float) -> Seat:
        seed = self._scenario.seed * 1_000_003 + len(self._seats) + self._hosts.revision
        run = ReplicaRun(
            self._kind(live),
            budgets=budgets_of(live, self._services[live.deployment]),
            seed=seed,
            now_s=now_s,
        )
        return Seat(live=live, run=run, online={}, offline={})

    def _kind(self, live: Live) -> EngineKind:
        return self._services[live.deployment].engines[live.device_type]

    def _abandon(self, seat: Seat, *, now_s: float) -> None:
        """What an engine that is gone held fails, goes elsewhere, or is pending again."""
        started = {live.rid for live in seat.run.inside() if live.chunks}
        for progress in seat.offline.values():
            self._book.give_back(progress)
        self._table = RouteTable(
            routes=tuple(r for r in self._table.routes if r.replica != seat.live.replica),
            deployments=self._table.deployments,
        )
        for rid, request in seat.online.items():
            self._traffic.finish(seat.live.replica)
            if rid in started:
                self._recorder.add_service(seat.live.deployment, request.at_s, failed=1.0)
            else:
                self._route(seat.live.deployment, request, now_s=now_s)

    # ------------------------------------------------------------ batch items

    def _pull(self, seat: Seat, *, now_s: float) -> None:
        live = seat.live
        service = self._services[live.deployment]
        wanted = self._kind(live).offline_in_flight - len(seat.offline)
        if wanted < 1 or self._is_closing or not may_pull(live, service):
            return
        source = self._items[live.deployment]
        lengths = items_of(service)
        for progress in self._book.pull(live.deployment, items=wanted, now_s=now_s):
            prompt_tokens, output_tokens = lengths(source)
            rid = f"{progress.batch.id}#{next(self._numbers)}"
            seat.offline[rid] = progress
            seat.run.add(
                offline_request(
                    rid, at_s=now_s, prompt_tokens=prompt_tokens, output_tokens=output_tokens
                ),
                now_s=now_s,
            )


def _is_over(live: Live) -> bool:
    return live.state is ReplicaState.STOPPED
