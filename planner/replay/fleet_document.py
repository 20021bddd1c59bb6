"""What a fleet's replay found, as plain values for JSON.

Owns the shape of the JSON file, which is a contract: `SCHEMA` names it and changes with it.
Refuses wall-clock time: equal files and seeds give equal documents.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from planner.replay.document import Fact
from planner.simulation.fleet.recording import FleetRecord

SCHEMA = "slacktide.fleet-replay/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetDocument:
    """A replay with what it was asked for.

    Args:
        version: Of the program.
        name: Of the fleet: its file.
        record: What happened.
        configuration: Settings by section.
        prices: Of a device-hour, by device type; empty: none was given.
        notes: What a reader should know of it.
    """

    version: str
    name: str
    record: FleetRecord
    configuration: Mapping[str, Mapping[str, Fact]]
    prices: Mapping[str, float]
    notes: tuple[str, ...] = ()


def figures(document: FleetDocument) -> dict[str, float]:
    """What the replay comes to, by name with its unit."""
    record = document.record
    serving_s = record.total("serving_device_s")
    whole_s = sum(record.devices.values()) * record.duration_s
    return {
        "online_requests": record.total("requests"),
        "attainment_ratio": record.attainment_ratio,
        "shed_requests": record.total("shed"),
        "failed_requests": record.total("failed"),
        "online_work_ms": record.total("online_work_ms"),
        "offline_work_ms": record.total("offline_work_ms"),
        "held_device_hours": record.total("held_device_s") / 3600.0,
        "node_device_hours": record.node_device_hours,
        "held_ratio": record.total("held_device_s") / whole_s if whole_s else 0.0,
        "utilisation_ratio": record.total("used_device_s") / serving_s if serving_s else 0.0,
        "cost": record.total("cost"),
        "moves": float(record.moves),
        "rounds": float(len(record.rounds)),
        "rounds_without_plan": float(sum(not one.solver for one in record.rounds)),
        "batches": float(len(record.batches)),
        "missed_deadlines": float(record.missed_deadlines),
    }


def to_values(document: FleetDocument) -> dict[str, Any]:
    """The document as JSON-like values."""
    record = document.record
    return {
        "schema": SCHEMA,
        "version": document.version,
        "name": document.name,
        "figures": figures(document),
        "configuration": {name: dict(part) for name, part in document.configuration.items()},
        "prices": dict(document.prices),
        "notes": list(document.notes),
        "mode": record.mode,
        "duration_s": record.duration_s,
        "interval_s": record.interval_s,
        "nodes": record.nodes,
        "devices": dict(record.devices),
        "held_device_hours": dict(record.device_hours),
        "series": {
            name: [round(value, 3) for value in values] for name, values in record.series.items()
        },
        "deployments": [
            asdict(one) | {"attainment_ratio": one.attainment_ratio} for one in record.services
        ],
        "batches": [asdict(one) for one in record.batches],
        "rounds": [asdict(one) for one in record.rounds],
    }
