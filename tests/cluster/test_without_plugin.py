"""An engine without the scheduler plugin, switched off by environment."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet_under_test import FleetUnderTest, under_load

from controlplane.localfleet import lifecycle, processes
from controlplane.localfleet.lifecycle import Ports
from controlplane.localfleet.readiness import wait_until
from controlplane.localfleet.record import FleetOptions
from controlplane.localfleet.release import current_release
from nodeagent.plugin_contract import DISABLE_VARIABLE

pytestmark = pytest.mark.cluster


@pytest.fixture
def plain_fleet(tmp_path: Path, models_dir: Path) -> Iterator[FleetUnderTest]:
    options = FleetOptions(
        nodes=1, devices=1, models_dir=str(models_dir), round_interval_s=2.0,
        environment=((DISABLE_VARIABLE, "off"),),
    )  # fmt: skip
    lifecycle.up(tmp_path, options, release=current_release(), ports=Ports(), tell=print)
    try:
        yield FleetUnderTest(state_dir=tmp_path)
    finally:
        lifecycle.down(tmp_path, tell=print)
        assert processes.left_behind(tmp_path) == []


def test_offline_work_waits_and_says_why_when_the_plugin_is_off(
    plain_fleet: FleetUnderTest, tmp_path: Path
) -> None:
    """Online requests are served; the batch's items stay pending; the replica says why."""
    plain_fleet.apply(min_replicas=1, max_replicas=1)
    plain_fleet.settle()
    batch = plain_fleet.submit(tmp_path, count=5)
    batch.wait(lambda b: b.counts.pending == 5, timeout_s=30)
    with under_load(plain_fleet) as load:
        wait_until(
            "the replica says why",
            lambda: "" if plain_fleet.running("chat")[0].report.offline_refusal else "silent",
            timeout_s=30,
        )
    assert not load.failures
    replica = plain_fleet.running("chat")[0]
    assert not replica.report.offline_admitted
    assert "plugin" in replica.report.offline_refusal
    assert batch.look().counts.pending == 5
