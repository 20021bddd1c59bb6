"""Up, down, and how a local fleet stands.

Owns the order of starting (control plane, then gateway and agents) and stopping (entry
first, control plane last, so that agents can hand their items back), the choice of
ports, and undoing a start that failed. Refuses to start over a fleet that still runs.
"""

import os
import socket
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

from controlplane.client import Fleet
from controlplane.localfleet import commands, processes
from controlplane.localfleet.processes import is_running
from controlplane.localfleet.readiness import (
    Tell,
    is_serving,
    wait_nodes_ready,
    wait_seen,
    wait_serving,
)
from controlplane.localfleet.record import (
    ClusterRecord,
    FleetOptions,
    LocalFleetError,
    ProcessRecord,
    cluster_file,
    exclusive,
    read_record,
    remove_record,
    write_record,
)
from controlplane.localfleet.release import Release
from planner.rollout.upgrade import ProcessKind

_START_TIMEOUT_S = 90.0  # interpreters that import torch on busy cores
_ENTRY_GRACE_S = 20.0
_AGENT_GRACE_S = 45.0
_CONTROL_PLANE_GRACE_S = 15.0
_HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where the two processes listen that people name; 0 picks a free port."""

    control_plane: int = 0
    gateway: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How one process of a fleet stands."""

    process: ProcessRecord
    is_running: bool
    is_serving: bool

    @property
    def word(self) -> str:
        """One word for people."""
        if not self.is_running:
            return "ended"
        return "ready" if self.is_serving else "not ready"


def up(
    state_dir: Path, options: FleetOptions, *, release: Release, ports: Ports, tell: Tell
) -> ClusterRecord:
    """Starts a fleet and waits until all of it is ready.

    What an earlier fleet stored under `state_dir` is taken up again.

    Raises:
        LocalFleetError: a fleet runs there, a port is in use, or a process did not become
            ready; then everything this call started is stopped again.
    """
    state_dir = state_dir.absolute()
    options = replace(options, models_dir=str(Path(options.models_dir).absolute()))
    with exclusive(state_dir):
        _refuse_running(state_dir, tell)
        chosen = _choose_ports(ports, 2 + options.nodes)
        record = ClusterRecord(state_dir=state_dir, options=options, processes=())
        write_record(record)
        try:
            return _start_all(record, release=release, ports=chosen, tell=tell)
        except BaseException as error:
            tell("start failed; stopping what was started")
            if (begun := read_record(state_dir)) is not None:
                stop_all(begun, tell=tell)
            remove_record(state_dir)
            if isinstance(error, LocalFleetError):
                raise LocalFleetError(f"{error}\nlogs: {state_dir / 'logs'}") from error
            raise


def revive(state_dir: Path, *, tell: Tell) -> ClusterRecord:
    """Starts again what has ended, each as the build it was, and waits until it is ready.

    Raises:
        LocalFleetError: there is no fleet, or a process did not become ready; it stays
            as it is, for its log's sake.
    """
    state_dir = state_dir.absolute()
    with exclusive(state_dir):
        record = require_fleet(state_dir)
        begun = []
        for ended in [p for p in record.processes if not is_running(p)]:
            process = processes.start(
                commands.again(ended, record),
                python=Path(ended.python),
                version=ended.version,
                state_dir=state_dir,
                environment=record.options.environment,
            )
            record = record.with_process(process)
            write_record(record)
            begun.append(process)
            tell(f"{process.kind.value} {process.id}: started again, pid {process.pid}")
        for process in begun:
            wait_serving(process, timeout_s=_START_TIMEOUT_S)
        agents = [p for p in begun if p.kind is ProcessKind.AGENT]
        if agents:
            with Fleet(record.control_plane.address) as fleet:
                wait_nodes_ready(fleet, agents, timeout_s=_START_TIMEOUT_S)
        return record


def down(state_dir: Path, *, tell: Tell) -> None:
    """Stops a fleet and checks that nothing of it remains; without one, says so.

    Raises:
        LocalFleetError: another command changes the fleet, or something cannot be ended.
    """
    state_dir = state_dir.absolute()
    if not state_dir.exists():
        tell(f"{state_dir}: no fleet runs here")
        return
    with exclusive(state_dir):
        record = read_record(state_dir)
        if record is None:
            tell(f"{state_dir}: no fleet runs here")
        else:
            stop_all(record, tell=tell)
        for line in processes.kill_left_behind(state_dir):
            tell(f"killed what was left behind: {line}")
        if left := processes.left_behind(state_dir):
            pids = ", ".join(str(process.pid) for process in left)
            raise LocalFleetError(f"{state_dir}: processes {pids} could not be ended; kill them")
        remove_record(state_dir)


def stop_all(record: ClusterRecord, *, tell: Tell) -> None:
    """Stops every process on record, by force where asking does not help."""
    for kind, grace_s in (
        (ProcessKind.GATEWAY, _ENTRY_GRACE_S),
        (ProcessKind.AGENT, _AGENT_GRACE_S),
        (ProcessKind.CONTROL_PLANE, _CONTROL_PLANE_GRACE_S),
    ):
        running = [p for p in record.of_kind(kind) if is_running(p)]
        if not running:
            continue
        tell(f"stopping {kind.value} {', '.join(p.id for p in running)}")
        for forced in processes.stop(running, grace_s=grace_s):
            tell(f"{kind.value} {forced.id}: did not end in {grace_s:.0f} s, killed")


def standing(record: ClusterRecord) -> list[Standing]:
    """How every process on record stands."""
    rows = []
    for process in record.processes:
        runs = is_running(process)
        rows.append(
            Standing(
                process=process,
                is_running=runs,
                is_serving=runs and is_serving(process.address),
            )
        )
    return rows


def require_fleet(state_dir: Path) -> ClusterRecord:
    """The fleet of a state folder.

    Raises:
        LocalFleetError: there is none.
    """
    record = read_record(state_dir.absolute())
    if record is None:
        raise LocalFleetError(
            f"{state_dir}: no fleet runs here; next: slacktide cluster up --state-dir {state_dir}"
        )
    return record


def _start_all(
    record: ClusterRecord, *, release: Release, ports: list[int], tell: Tell
) -> ClusterRecord:
    state_dir, options = record.state_dir, record.options

    def begin(launch: commands.Launch) -> ProcessRecord:
        nonlocal record
        process = processes.start(
            launch,
            python=release.python,
            version=release.version,
            state_dir=state_dir,
            environment=options.environment,
        )
        record = record.with_process(process)
        write_record(record)  # at once: a start cut off here is found by `cluster down`
        tell(f"{launch.kind.value} {launch.id}: {launch.address}, pid {process.pid}")
        return process

    control_plane = begin(
        commands.control_plane(options, state_dir=state_dir, address=f"{_HOST}:{ports[0]}")
    )
    wait_serving(control_plane, timeout_s=_START_TIMEOUT_S)
    gateway = begin(
        commands.gateway(
            state_dir=state_dir,
            address=f"{_HOST}:{ports[1]}",
            control_plane_address=control_plane.address,
            number=1,
        )
    )
    agents = [
        begin(
            commands.agent(
                options,
                state_dir=state_dir,
                address=f"{_HOST}:{port}",
                control_plane_address=control_plane.address,
                node=f"n{number}",
            )
        )
        for number, port in enumerate(ports[2:], start=1)
    ]
    with Fleet(control_plane.address) as fleet:
        tell("waiting until every process is ready")
        wait_nodes_ready(fleet, agents, timeout_s=_START_TIMEOUT_S)
        wait_seen(fleet, gateway, timeout_s=_START_TIMEOUT_S)
    for process in (gateway, *agents):
        wait_serving(process, timeout_s=_START_TIMEOUT_S)
    tell(f"fleet ready: control plane {control_plane.address}, gateway {gateway.address}")
    return record


def _refuse_running(state_dir: Path, tell: Tell) -> None:
    record = read_record(state_dir)
    if record is None:
        return
    running = [p for p in record.processes if is_running(p)]
    if running:
        ids = ", ".join(f"{p.kind.value} {p.id} (pid {p.pid})" for p in running)
        raise LocalFleetError(
            f"{state_dir}: a fleet runs here: {ids}; use it, or stop it by"
            f" slacktide cluster down --state-dir {state_dir}"
        )
    tell(f"{cluster_file(state_dir)}: its processes have all ended; starting anew on its state")
    for line in processes.kill_left_behind(state_dir):
        tell(f"killed what the earlier fleet left behind: {line}")
    remove_record(state_dir)


def _choose_ports(ports: Ports, count: int) -> list[int]:
    """Ports for control plane, gateway and agents, all different and free now."""
    wanted = [ports.control_plane, ports.gateway, *[0] * (count - 2)]
    with ExitStack() as held:
        probes = [held.enter_context(closing(socket.socket())) for _ in wanted]
        for probe, port in zip(probes, wanted, strict=True):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_HOST, port))
            except OSError as error:
                raise LocalFleetError(
                    f"port {port} on {_HOST}: cannot be used ({os.strerror(error.errno or 0)});"
                    " stop what listens there, or give another port, 0 for any free one"
                ) from error
        return [probe.getsockname()[1] for probe in probes]
