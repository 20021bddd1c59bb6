"""The record of a replay that has ended.

Owns putting sums, batches and the fleet together. Refuses to count; that is the recorder's.
"""

from planner.simulation.fleet.book import Book
from planner.simulation.fleet.recording import (
    BatchTotals,
    FleetRecord,
    Recorder,
    ServiceTotals,
    no_sums,
)
from planner.simulation.fleet.scenario import FleetScenario


def recorded(recorder: Recorder, *, scenario: FleetScenario, book: Book, mode: str) -> FleetRecord:
    """All of a replay.

    Args:
        recorder: What was counted.
        scenario: What was replayed.
        book: Its batches, at the end.
        mode: How replicas were simulated.
    """
    devices: dict[str, int] = {}
    for node in scenario.nodes:
        for device in node.devices:
            devices[device.device_type] = devices.get(device.device_type, 0) + 1
    return FleetRecord(
        mode=mode,
        duration_s=scenario.duration_s,
        interval_s=scenario.interval_s,
        series={name: tuple(values) for name, values in recorder.series.items()},
        services=tuple(
            ServiceTotals(
                deployment=name,
                attainment_target=service.deployment.slo.attainment_ratio,
                **recorder.services.get(name, no_sums()),
            )
            for name, service in sorted(scenario.by_id.items())
        ),
        batches=tuple(
            BatchTotals(
                batch=one.batch.id,
                deployment=one.batch.deployment,
                tenant=one.batch.tenant,
                items=one.batch.items,
                done=one.done,
                submit_s=one.batch.submit_s,
                deadline_s=one.batch.deadline_s,
                finish_s=one.finish_s,
                is_missed=one.is_missed(now_s=scenario.duration_s),
            )
            for one in book.all()
        ),
        rounds=tuple(recorder.rounds),
        device_hours={k: s / 3600.0 for k, s in sorted(recorder.device_s.items())},
        node_device_hours=sum(recorder.series["node_device_s"]) / 3600.0,
        devices=dict(sorted(devices.items())),
        nodes=len(scenario.nodes),
    )
