"""The command lines of the fleet's processes, read by those processes' own parsers."""

import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.gateway.__main__ import _parser as gateway_parser
from controlplane.localfleet import commands
from controlplane.localfleet.record import FleetOptions
from nodeagent.settings import parse_settings

STATE = Path("/state")


def test_agent_reads_its_flags_when_launched() -> None:
    """Every flag exists at the agent; each node is a failure domain, with its part of memory."""
    launch = commands.agent(
        FleetOptions(nodes=3, devices=2, models_dir="/models"), state_dir=STATE,
        address="127.0.0.1:7411", control_plane_address="127.0.0.1:7400", node="n1",
    )  # fmt: skip
    settings = parse_settings(launch.arguments)
    assert (settings.node, settings.failure_domain) == ("n1", "n1")
    assert settings.devices == "cpu:2"
    assert settings.device_memory_bytes == 4 * 2**30
    assert (settings.host_memory_bytes, settings.host_memory_parts) == (None, 3)
    assert settings.state_dir == commands.folders(launch, STATE)


def test_gateway_reads_its_flags_when_launched() -> None:
    """A gateway of an upgrade has an id of its own."""
    launch = commands.gateway(
        state_dir=STATE, address="127.0.0.1:7401", control_plane_address="127.0.0.1:7400", number=2
    )
    flags = gateway_parser().parse_args(launch.arguments)
    assert flags.gateway_id == "g2"
    assert flags.table_file.parent == commands.folders(launch, STATE)


@pytest.mark.parametrize("flag", ["--listen", "--state-dir", "--round-interval", "--lease"])
def test_control_plane_knows_the_flag_when_launched(flag: str) -> None:
    """Every flag exists at the control plane."""
    launch = commands.control_plane(FleetOptions(), state_dir=STATE, address="127.0.0.1:7400")
    assert flag in launch.arguments
    assert flag in _control_plane_help()


def _control_plane_help() -> str:
    return subprocess.run(
        [sys.executable, "-m", "controlplane", "serve", "--help"],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
