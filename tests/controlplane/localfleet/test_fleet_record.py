"""cluster.json."""

import json
from pathlib import Path

import pytest

from controlplane.cli.connection import find_endpoint
from controlplane.localfleet.record import (
    ClusterRecord,
    FleetOptions,
    LocalFleetError,
    ProcessRecord,
    cluster_file,
    exclusive,
    read_record,
    write_record,
)
from planner.rollout.upgrade import ProcessKind


def process(kind: ProcessKind, id_: str, **changes: object) -> ProcessRecord:
    values: dict[str, object] = {
        "kind": kind, "id": id_, "address": "127.0.0.1:7400", "pid": 1, "start_time_s": 1.5,
        "version": "1", "python": "/p", "log": "/l",
    }  # fmt: skip
    return ProcessRecord(**{**values, **changes})  # type: ignore[arg-type]


def cluster(state_dir: Path) -> ClusterRecord:
    return ClusterRecord(
        state_dir=state_dir,
        options=FleetOptions(nodes=3, environment=(("A", "1"),)),
        processes=(
            process(ProcessKind.CONTROL_PLANE, "cp1"),
            process(ProcessKind.GATEWAY, "g1", address="127.0.0.1:7401"),
        ),
    )


def test_record_is_the_same_when_read_back(tmp_path: Path) -> None:
    """Nothing is lost between two commands."""
    write_record(cluster(tmp_path))
    assert read_record(tmp_path) == cluster(tmp_path)


def test_record_names_the_addresses_when_the_command_line_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`control_plane.address` and `gateway.address` are a contract."""
    write_record(cluster(tmp_path))
    monkeypatch.delenv("SLACKTIDE_ENDPOINT", raising=False)
    monkeypatch.setenv("SLACKTIDE_STATE_DIR", str(tmp_path))
    assert find_endpoint() == "127.0.0.1:7400"
    assert json.loads(cluster_file(tmp_path).read_text())["gateway"]["address"] == "127.0.0.1:7401"


def test_record_is_none_when_there_is_no_fleet(tmp_path: Path) -> None:
    """No file is no fleet, not an error."""
    assert read_record(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 99}', '{"format": 1}'])
def test_record_is_refused_when_it_is_of_another_shape(tmp_path: Path, text: str) -> None:
    """Guessing at pids to end would be worse."""
    cluster_file(tmp_path).write_text(text)
    with pytest.raises(LocalFleetError, match=r"cluster\.json: not a fleet's record"):
        read_record(tmp_path)


def test_record_replaces_a_process_when_kind_and_id_are_the_same(tmp_path: Path) -> None:
    """An upgraded process takes its predecessor's place; the newest gateway counts."""
    record = cluster(tmp_path).with_process(process(ProcessKind.CONTROL_PLANE, "cp1", pid=2))
    assert [p.pid for p in record.of_kind(ProcessKind.CONTROL_PLANE)] == [2]
    assert record.with_process(process(ProcessKind.GATEWAY, "g2")).gateway.id == "g2"


def test_exclusive_refuses_when_another_command_changes_the_fleet(tmp_path: Path) -> None:
    """Two upgrades at once would take two nodes out."""
    with (
        exclusive(tmp_path),
        pytest.raises(LocalFleetError, match="another slacktide cluster command"),
        exclusive(tmp_path),
    ):
        pass
