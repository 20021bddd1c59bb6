"""The aggregated mode: replicas as their profiles, load as flows.

Owns what happens between two events of a large fleet, in one step a deployment. Refuses
requests and items; those are the exact mode's. What it leaves out, and a validation against
that mode bounds: a request's own length, engines filling up after a load, items that a
failed node had half done.
"""

from collections.abc import Iterable

from planner.model import ReplicaState
from planner.simulation.fleet.book import Book
from planner.simulation.fleet.flows import (
    Group,
    attained_ratio,
    offline_room,
    online_flow,
    used_ratio,
)
from planner.simulation.fleet.hosts import Hosts
from planner.simulation.fleet.live import Live
from planner.simulation.fleet.recording import Recorder
from planner.simulation.fleet.scenario import FleetScenario, Service


class Aggregated:
    """Flows of every deployment."""

    name = "aggregated"

    def __init__(
        self, scenario: FleetScenario, *, hosts: Hosts, book: Book, recorder: Recorder
    ) -> None:
        self._scenario, self._hosts, self._book = scenario, hosts, book
        self._recorder = recorder
        self._services = scenario.by_id
        self._queues = dict.fromkeys(self._services, 0.0)
        self._groups: dict[str, list[Group]] = {}
        self._seen_changes = -1

    def advance(self, from_s: float, to_s: float) -> None:
        """Lets flows run from one moment to the next."""
        if to_s <= from_s:
            return
        if self._hosts.changes != self._seen_changes:
            self._groups = self._grouped()
            self._seen_changes = self._hosts.changes
        for name, service in self._services.items():
            self._flow(name, service, from_s=from_s, to_s=to_s)

    def fail(self, lost: Iterable[Live], *, now_s: float) -> None:
        """Engines are gone: what they had begun to stream fails."""
        for live in lost:
            if live.state is not ReplicaState.RUNNING:
                continue
            service = self._services[live.deployment]
            groups = self._groups.get(live.deployment, [])
            whole = sum(group.count * group.weight for group in groups)
            share = live.budgets.online_share / whole if whole > 0.0 else 0.0
            rate = service.demand.rate(now_s, now_s) * share
            profile = service.profiles[live.device_type]
            load = min(profile.capacity_work, rate * service.request_work_ms)
            failed = rate * profile.stay_s(load)
            self._recorder.add_service(live.deployment, now_s, failed=failed, attained=-failed)

    def observed_work(self, deployment: str, *, from_s: float, to_s: float) -> float:
        """Mean online work that arrived, engine-ms per second."""
        service = self._services[deployment]
        return service.demand.rate(from_s, to_s) * service.request_work_ms

    def close(self, now_s: float) -> None:
        """Nothing is left: a flow's requests are judged as they arrive."""

    def _grouped(self) -> dict[str, list[Group]]:
        counts: dict[tuple[str, str, float, int], int] = {}
        for live in self._hosts.live():
            if live.serves:
                key = (
                    live.deployment,
                    live.device_type,
                    live.budgets.online_share,
                    len(live.devices),
                )
                counts[key] = counts.get(key, 0) + 1
        found: dict[str, list[Group]] = {}
        for (name, device_type, weight, devices), count in sorted(counts.items()):
            found.setdefault(name, []).append(
                Group(
                    profile=self._services[name].profiles[device_type],
                    weight=weight,
                    count=count,
                    device_type=device_type,
                    devices=devices,
                )
            )
        return found

    def _flow(self, name: str, service: Service, *, from_s: float, to_s: float) -> None:
        for_s = to_s - from_s
        groups = self._groups.get(name, [])
        rate = service.demand.rate(from_s, to_s)
        online = online_flow(
            groups,
            offered_work=rate * service.request_work_ms,
            queue_ms=self._queues[name],
            for_s=for_s,
        )
        self._queues[name] = online.queue_ms
        room = offline_room(groups, online)
        done_ms = 0.0
        if room > 0.0 and service.deployment.stage.runs_offline:
            done_ms = self._book.serve(name, work_ms=room * for_s, now_s=to_s)
        offline_ratio = done_ms / (room * for_s) if room > 0.0 else 0.0
        attained = attained_ratio(groups, online, offline_ratio=offline_ratio)
        requests = rate * for_s
        self._recorder.add_service(
            name,
            from_s,
            requests=requests,
            attained=requests * attained,
            shed=requests * online.shed_ratio,
            online_work_ms=online.done_work_ms,
            offline_work_ms=done_ms,
        )
        queued = online.saturated_ratio
        for group, load in zip(groups, online.loads, strict=True):
            beside = group.profile.offline_work(load) * offline_ratio
            used = used_ratio(group, load=load, offline_work=beside)
            used = (1.0 - queued) * used + queued
            devices = group.count * group.devices
            self._recorder.add(
                from_s, used_device_s=devices * for_s * used, serving_device_s=devices * for_s
            )
