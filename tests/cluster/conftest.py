"""One fleet of real processes with real engines for all cluster tests."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fleet_under_test import FleetUnderTest

from bench.demo.session import make_model
from controlplane.localfleet import lifecycle, processes
from controlplane.localfleet.lifecycle import Ports
from controlplane.localfleet.record import FleetOptions
from controlplane.localfleet.release import current_release


@pytest.fixture(scope="session", autouse=True)
def _stop_at_sigterm() -> Iterator[None]:
    """SIGTERM, e.g. of `timeout`, ends the run as Ctrl-C does: fleets are taken down."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the shared fleet come last, so that its engines run beside no other fleet's;
    last of them the one that leaves it changed.
    """
    items.sort(
        key=lambda item: [
            name in getattr(item, "fixturenames", ()) for name in ("fleet", "changed")
        ]
    )


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, under two names."""
    folder = tmp_path_factory.mktemp("models")
    make_model("tiny", models_dir=folder, tell=print)
    (folder / "tiny-too").symlink_to(folder / "tiny")
    return folder


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[FleetUnderTest]:
    """Two nodes with two devices each; "chat" runs a replica on either."""
    state_dir = tmp_path_factory.mktemp("fleet")
    options = FleetOptions(nodes=2, devices=2, round_interval_s=3.0, models_dir=str(models_dir))
    lifecycle.up(state_dir, options, release=current_release(), ports=Ports(), tell=print)
    under_test = FleetUnderTest(state_dir=state_dir)
    try:
        under_test.apply()
        under_test.settle()
        yield under_test
    finally:
        lifecycle.down(state_dir, tell=print)
        assert processes.left_behind(state_dir) == []
