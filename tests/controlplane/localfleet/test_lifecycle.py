"""Refusals of `cluster up` and `cluster down`; a whole fleet is started in tests/cluster."""

import socket
import sys
from pathlib import Path

import psutil
import pytest

from controlplane.localfleet import lifecycle, processes
from controlplane.localfleet.lifecycle import Ports
from controlplane.localfleet.record import (
    ClusterRecord,
    FleetOptions,
    LocalFleetError,
    ProcessRecord,
    cluster_file,
    read_record,
    write_record,
)
from controlplane.localfleet.release import Release
from planner.rollout.upgrade import ProcessKind

BUILD = Release(version="1", python=Path(sys.executable))
FAILING = Release(version="1", python=Path("/bin/false"))


def record_of(state_dir: Path, *, pid: int, start_time_s: float) -> ClusterRecord:
    process = ProcessRecord(
        kind=ProcessKind.AGENT, id="n1", address="127.0.0.1:1", pid=pid,
        start_time_s=start_time_s, version="1", python="", log="",
    )  # fmt: skip
    return ClusterRecord(state_dir=state_dir, options=FleetOptions(), processes=(process,))


def test_up_refuses_when_a_port_is_in_use(tmp_path: Path) -> None:
    """The port is named, and nothing was started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LocalFleetError, match=f"port {port} on 127.0.0.1: cannot be used"):
            lifecycle.up(
                tmp_path, FleetOptions(), release=BUILD, ports=Ports(gateway=port), tell=print
            )
    assert not cluster_file(tmp_path).exists()


def test_up_leaves_nothing_when_a_process_ends_at_once(tmp_path: Path) -> None:
    """A failed start is undone, and says which process, and where the logs are."""
    with pytest.raises(LocalFleetError, match="control-plane cp1: ended before it was ready"):
        lifecycle.up(tmp_path, FleetOptions(), release=FAILING, ports=Ports(), tell=print)
    assert read_record(tmp_path) is None
    assert processes.left_behind(tmp_path) == []


def test_up_refuses_when_a_fleet_runs_there(tmp_path: Path) -> None:
    """A second fleet on one state folder would fight over it."""
    me = psutil.Process()
    write_record(record_of(tmp_path, pid=me.pid, start_time_s=me.create_time()))
    with pytest.raises(LocalFleetError, match="a fleet runs here: agent n1"):
        lifecycle.up(tmp_path, FleetOptions(), release=BUILD, ports=Ports(), tell=print)


def test_up_says_so_when_the_record_is_stale(tmp_path: Path) -> None:
    """A record whose processes are gone, e.g. after a reboot, is no obstacle."""
    write_record(record_of(tmp_path, pid=1, start_time_s=0.0))
    told: list[str] = []
    with pytest.raises(LocalFleetError, match="ended before it was ready"):
        lifecycle.up(tmp_path, FleetOptions(), release=FAILING, ports=Ports(), tell=told.append)
    assert "its processes have all ended" in told[0]


def test_down_says_so_when_no_fleet_runs(tmp_path: Path) -> None:
    """Stopping what is not there is no error."""
    told: list[str] = []
    lifecycle.down(tmp_path / "nowhere", tell=told.append)
    lifecycle.down(tmp_path, tell=told.append)
    assert all("no fleet runs here" in line for line in told)


def test_require_fleet_names_the_command_when_there_is_none(tmp_path: Path) -> None:
    """The remedy is one command."""
    with pytest.raises(LocalFleetError, match="next: slacktide cluster up"):
        lifecycle.require_fleet(tmp_path)
