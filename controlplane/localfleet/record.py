"""cluster.json: what a local fleet consists of.

Owns the file's shape and its atomic replacement. Refuses a file of another shape. The
command line reads `control_plane.address` and `gateway.address` from it, so those two
keys are a contract.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from planner.rollout.upgrade import ProcessKind

FORMAT = 1


class LocalFleetError(Exception):
    """A local fleet cannot do what was asked: one sentence, with the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOptions:
    """What a fleet was asked to be; upgrades keep to it."""

    nodes: int = 2
    devices: int = 2
    device_memory: str = "4GiB"
    models_dir: str = "models"
    lease_s: float = 10.0
    round_interval_s: float = 10.0
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRecord:
    """One process that was started.

    `pid` with `start_time_s` (Unix time, as the kernel tells it) identify it: a pid alone
    may be another process by now.
    """

    kind: ProcessKind
    id: str
    address: str
    pid: int
    start_time_s: float
    version: str
    python: str
    log: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRecord:
    """A local fleet."""

    state_dir: Path
    options: FleetOptions
    processes: tuple[ProcessRecord, ...]

    def of_kind(self, kind: ProcessKind) -> tuple[ProcessRecord, ...]:
        """The processes of one kind, in the order they were started."""
        return tuple(p for p in self.processes if p.kind is kind)

    @property
    def control_plane(self) -> ProcessRecord:
        """The control plane.

        Raises:
            LocalFleetError: it has none on record.
        """
        return self._only(ProcessKind.CONTROL_PLANE)

    @property
    def gateway(self) -> ProcessRecord:
        """The gateway new requests go to.

        Raises:
            LocalFleetError: it has none on record.
        """
        return self._only(ProcessKind.GATEWAY)

    def with_process(self, process: ProcessRecord) -> "ClusterRecord":
        """The fleet with a process in place of the one of the same kind and id."""
        kept = tuple(p for p in self.processes if (p.kind, p.id) != (process.kind, process.id))
        return replace(self, processes=(*kept, process))

    def without_process(self, process: ProcessRecord) -> "ClusterRecord":
        """The fleet without a process."""
        return replace(self, processes=tuple(p for p in self.processes if p != process))

    def _only(self, kind: ProcessKind) -> ProcessRecord:
        found = self.of_kind(kind)
        if not found:
            raise LocalFleetError(
                f"{self.state_dir}: no {kind.value} on record;"
                " next: slacktide cluster down, then up"
            )
        return found[-1]


def cluster_file(state_dir: Path) -> Path:
    """Where the record of a fleet lies."""
    return state_dir / "cluster.json"


def read_record(state_dir: Path) -> ClusterRecord | None:
    """The fleet of a state folder; None where there is none.

    Raises:
        LocalFleetError: the file is not a record of this release.
    """
    path = cluster_file(state_dir)
    try:
        values = json.loads(path.read_text())
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']}, this build reads {FORMAT}")
        return ClusterRecord(
            state_dir=state_dir,
            options=_options(values["options"]),
            processes=tuple(
                ProcessRecord(**{**p, "kind": ProcessKind(p["kind"])}) for p in values["processes"]
            ),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise LocalFleetError(
            f"{path}: not a fleet's record ({error}); end its processes by hand, then remove it"
        ) from error


def write_record(record: ClusterRecord) -> None:
    """Replaces the record atomically."""
    path = cluster_file(record.state_dir)
    processes = [{**asdict(p), "kind": p.kind.value} for p in record.processes]
    values: dict[str, Any] = {
        "format": FORMAT,
        "options": {**asdict(record.options), "environment": dict(record.options.environment)},
        "processes": processes,
    }
    for kind in (ProcessKind.CONTROL_PLANE, ProcessKind.GATEWAY):
        if found := record.of_kind(kind):
            key = kind.value.replace("-", "_")
            values[key] = {"address": found[-1].address}
    partial = path.with_suffix(".json.partial")
    partial.write_text(json.dumps(values, indent=2) + "\n")
    partial.replace(path)


def remove_record(state_dir: Path) -> None:
    """Forgets the fleet."""
    cluster_file(state_dir).unlink(missing_ok=True)


@contextmanager
def exclusive(state_dir: Path) -> Iterator[None]:
    """One command at a time changes a fleet.

    Raises:
        LocalFleetError: another one does.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    with (state_dir / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LocalFleetError(
                f"{state_dir}: another slacktide cluster command is changing this fleet;"
                " wait for it, or give another --state-dir"
            ) from error
        yield


def _options(values: dict[str, Any]) -> FleetOptions:
    environment = tuple(sorted(values.pop("environment").items()))
    return FleetOptions(**values, environment=environment)
