"""The command line of every kind of process. Pure.

Owns the flags by which the parts of a fleet find each other, and the folders each may
write to. Every process gets a folder of its own under the state folder.
"""

from dataclasses import dataclass
from pathlib import Path

from controlplane.localfleet.record import ClusterRecord, FleetOptions, ProcessRecord
from planner.rollout.upgrade import ProcessKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A process to start."""

    kind: ProcessKind
    id: str
    address: str
    module: str
    arguments: tuple[str, ...]


def control_plane(options: FleetOptions, *, state_dir: Path, address: str) -> Launch:
    """The control plane, with its database and objects."""
    return Launch(
        kind=ProcessKind.CONTROL_PLANE,
        id="cp1",
        address=address,
        module="controlplane",
        arguments=(
            "serve",
            "--listen", address,
            "--state-dir", str(state_dir / "control-plane"),
            "--round-interval", f"{options.round_interval_s:g}",
            "--lease", f"{options.lease_s:g}",
        ),
    )  # fmt: skip


def gateway(*, state_dir: Path, address: str, control_plane_address: str, number: int) -> Launch:
    """A gateway; during an upgrade two of them listen at one address."""
    return Launch(
        kind=ProcessKind.GATEWAY,
        id=f"g{number}",
        address=address,
        module="controlplane.gateway",
        arguments=(
            "--listen", address,
            "--control-plane", control_plane_address,
            "--table-file", str(state_dir / "gateway" / "table.json"),
            "--gateway-id", f"g{number}",
        ),
    )  # fmt: skip


def agent(
    options: FleetOptions, *, state_dir: Path, address: str, control_plane_address: str, node: str
) -> Launch:
    """The agent of one node."""
    return Launch(
        kind=ProcessKind.AGENT,
        id=node,
        address=address,
        module="nodeagent",
        arguments=(
            "--node", node,
            "--listen", address,
            "--control-plane", control_plane_address,
            "--devices", f"cpu:{options.devices}",
            "--device-memory", options.device_memory,
            # They share a machine: together they are to report what it has, and no more.
            "--host-memory", f"1/{options.nodes}",
            "--state-dir", str(state_dir / "nodes" / node),
            "--models-dir", options.models_dir,
            "--failure-domain", node,
        ),
    )  # fmt: skip


def again(process: ProcessRecord, record: ClusterRecord) -> Launch:
    """The command line of a process on record, at its old address."""
    options, state_dir = record.options, record.state_dir
    match process.kind:
        case ProcessKind.CONTROL_PLANE:
            return control_plane(options, state_dir=state_dir, address=process.address)
        case ProcessKind.GATEWAY:
            return gateway(
                state_dir=state_dir,
                address=process.address,
                control_plane_address=record.control_plane.address,
                number=int(process.id.removeprefix("g")),
            )
        case ProcessKind.AGENT:
            return agent(
                options,
                state_dir=state_dir,
                address=process.address,
                control_plane_address=record.control_plane.address,
                node=process.id,
            )


def folders(launch: Launch, state_dir: Path) -> Path:
    """The folder that must exist before the process starts."""
    match launch.kind:
        case ProcessKind.CONTROL_PLANE:
            return state_dir / "control-plane"
        case ProcessKind.GATEWAY:
            return state_dir / "gateway"
        case ProcessKind.AGENT:
            return state_dir / "nodes" / launch.id
