"""Fixtures of the batch rooms' tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controlplane.batches.batch_house import House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.store.database.close()
