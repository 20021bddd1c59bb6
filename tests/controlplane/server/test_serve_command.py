"""`python -m controlplane serve` as a process: starts, refuses to start, stops, is killed."""

import re
import signal
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import grpc
import pytest
from slacktide.v1 import (
    deployment_service_pb2,
    deployment_service_pb2_grpc,
    fleet_service_pb2,
    fleet_service_pb2_grpc,
)

from storage.database import Database
from tests.controlplane.server.conftest import deployment


def serve(*flags: str) -> subprocess.Popen[str]:
    """Starts the command."""
    return subprocess.Popen(
        [sys.executable, "-m", "controlplane", "serve", *flags], stderr=subprocess.PIPE, text=True
    )


def port_of(process: subprocess.Popen[str]) -> int:
    """The port it says it serves at."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"control_plane_serving .*port=(\d+)", line):
            return int(found[1])
    raise AssertionError("it did not start")


def refused(*flags: str) -> str:
    """The one error line of a command that exits with 2."""
    done = serve(*flags)
    _, text = done.communicate(timeout=60)
    assert done.returncode == 2, text
    (line,) = [one for one in text.splitlines() if one.startswith("error: ")]
    assert "Traceback" not in text
    return line


def test_state_survives_when_the_process_is_killed(tmp_path: Path) -> None:
    """What was acknowledged is there after SIGKILL; SIGTERM ends with exit code 0."""
    flags = ("--listen", "127.0.0.1:0", "--state-dir", str(tmp_path), "--round-interval", "500ms")
    process = serve(*flags)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port_of(process)}") as channel:
            deployment_service_pb2_grpc.DeploymentServiceStub(channel).ApplyDeployment(
                deployment_service_pb2.ApplyDeploymentRequest(
                    deployment=deployment(), request_id=str(uuid.uuid4())
                ),
                timeout=30,
            )
            epoch = (
                fleet_service_pb2_grpc.FleetServiceStub(channel)
                .GetFleet(fleet_service_pb2.GetFleetRequest(), timeout=30)
                .epoch
            )
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
    again = serve(*flags)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port_of(again)}") as channel:
            found = deployment_service_pb2_grpc.DeploymentServiceStub(channel).GetDeployment(
                deployment_service_pb2.GetDeploymentRequest(name="deployments/chat"), timeout=30
            )
            fleet = fleet_service_pb2_grpc.FleetServiceStub(channel).GetFleet(
                fleet_service_pb2.GetFleetRequest(), timeout=30
            )
        assert found.deployment.generation == 1
        assert fleet.epoch > epoch
        again.send_signal(signal.SIGTERM)
        again.communicate(timeout=30)
        assert again.returncode == 0
    finally:
        again.kill()


def test_start_is_refused_when_the_port_is_in_use(tmp_path: Path) -> None:
    """One line with the address and the remedy."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        line = refused("--listen", address, "--state-dir", str(tmp_path))
    assert address in line
    assert "--listen" in line


def test_start_is_refused_when_the_database_is_newer(tmp_path: Path) -> None:
    """One line that says which release wrote it."""
    database = Database.open(f"sqlite:///{tmp_path}/state.db")
    with database.transaction() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    assert "9999" in refused("--listen", "127.0.0.1:0", "--state-dir", str(tmp_path))


def test_start_is_refused_when_the_state_folder_cannot_be_written(tmp_path: Path) -> None:
    """One line with the folder and the remedy."""
    (tmp_path / "file").write_text("")
    line = refused("--listen", "127.0.0.1:0", "--state-dir", str(tmp_path / "file" / "state"))
    assert "--state-dir" in line


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("--max-input", "0"),
        ("--max-input", "1e9"),
        ("--max-input", "5GB"),
        ("--max-input", "2048TiB"),
        ("--input-prefix", "/srv/batches"),
        ("--input-prefix", "nosuchprotocol://bucket"),
        ("--input-prefix", "memory://a/../b"),
    ],
)
def test_flag_is_refused_when_it_names_no_size_or_no_prefix(
    tmp_path: Path, flag: str, text: str
) -> None:
    """Argparse says which flag, what it saw and what it expects."""
    done = serve("--state-dir", str(tmp_path), f"{flag}={text}")
    _, said = done.communicate(timeout=60)
    assert done.returncode == 2
    assert flag in said and text in said and "expected" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("text", ["0", "-1s", "soon", "nan"])
def test_flag_is_refused_when_it_is_no_duration(tmp_path: Path, text: str) -> None:
    """Argparse says which flag and what it expects."""
    done = serve("--state-dir", str(tmp_path), f"--lease={text}")
    _, said = done.communicate(timeout=60)
    assert done.returncode == 2
    assert "--lease" in said


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--device-price", "h100", "expected TYPE=PRICE, e.g. h100=2.5"),
        ("--device-price", "=2", "expected TYPE=PRICE"),
        ("--device-price", "h100=-1", "expected TYPE=PRICE"),
        ("--device-price", "h100=nan", "expected TYPE=PRICE"),
        ("--device-cost", "-1", "expected a number from 0 to 100"),
        ("--device-cost", "inf", "expected a number from 0 to 100"),
        ("--device-cost", "much", "expected a number from 0 to 100"),
        ("--max-moves", "-1", "expected a number of 0 or more"),
    ],
)
def test_flag_is_refused_when_its_value_makes_no_sense(
    tmp_path: Path, flag: str, value: str, said: str
) -> None:
    """One line that says what is expected."""
    process = serve("--state-dir", str(tmp_path), f"{flag}={value}")
    _, text = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said in text and repr(value) in text
