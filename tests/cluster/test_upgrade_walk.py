"""An upgrade that stops and goes on: real processes, no engines."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.client import Fleet
from controlplane.localfleet import lifecycle, processes
from controlplane.localfleet.lifecycle import Ports
from controlplane.localfleet.readiness import get_node
from controlplane.localfleet.record import FleetOptions, LocalFleetError
from controlplane.localfleet.release import (
    Release,
    build_wheel,
    current_release,
    install_release,
)
from controlplane.localfleet.upgrade import UpgradeOptions, upgrade

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]
VERSION = "0.9.9"


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    options = FleetOptions(nodes=2, devices=1, round_interval_s=2.0, models_dir=str(tmp_path))
    lifecycle.up(tmp_path, options, release=current_release(), ports=Ports(), tell=print)
    yield tmp_path
    lifecycle.down(tmp_path, tell=print)
    assert processes.left_behind(tmp_path) == []


@pytest.fixture
def release(state_dir: Path) -> Release:
    releases = state_dir / "releases"
    wheel = build_wheel(ROOT, version=VERSION, into=releases / "wheels")
    return install_release(wheel, releases_dir=releases)


def agent_entry(release: Release) -> Path:
    folder = release.python.parents[1] / "lib"
    return next(folder.glob("python*/site-packages/nodeagent/__main__.py"))


def test_upgrade_stops_and_goes_on_when_an_agent_does_not_become_ready(
    state_dir: Path, release: Release
) -> None:
    """It says where it stands, leaves the other node alone, and the same call finishes it."""
    entry = agent_entry(release)
    good = entry.read_text()
    entry.write_text("raise SystemExit('no such device')\n")
    with pytest.raises(LocalFleetError) as stopped:
        upgrade(state_dir, release=release, options=UpgradeOptions(), tell=print)
    text = str(stopped.value)
    assert f"upgrade to {VERSION} stopped at agent n1" in text
    assert "no such device" in text
    assert "left to do: agent n1, agent n2" in text
    versions = {p.id: p.version for p in lifecycle.require_fleet(state_dir).processes}
    assert versions == {"cp1": VERSION, "g2": VERSION, "n1": VERSION, "n2": versions["n2"]}
    assert versions["n2"] != VERSION

    entry.write_text(good)
    told: list[str] = []
    record = upgrade(state_dir, release=release, options=UpgradeOptions(), tell=told.append)
    assert told[0].startswith("agent n1")
    assert {p.version for p in record.processes} == {VERSION}
    with Fleet(record.control_plane.address) as fleet:
        assert not any(get_node(fleet, node).cordoned for node in ("n1", "n2"))


def test_up_takes_the_state_up_again_when_all_processes_were_killed(state_dir: Path) -> None:
    """After a crash of everything `revive` starts each part as the build it was."""
    before = lifecycle.require_fleet(state_dir)
    processes.kill_left_behind(state_dir)
    assert not any(s.is_running for s in lifecycle.standing(before))
    after = lifecycle.revive(state_dir, tell=print)
    assert all(s.is_serving for s in lifecycle.standing(after))
    assert [p.address for p in after.processes] == [p.address for p in before.processes]
