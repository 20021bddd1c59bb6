"""The assignment file survives crashes and refuses what is old or damaged."""

from pathlib import Path

import pytest
from slacktide.v1 import agent_service_pb2

from nodeagent.assignment_store import AssignmentStore, StaleAssignmentError


def _assignment(epoch: int, revision: int) -> agent_service_pb2.NodeAssignment:
    return agent_service_pb2.NodeAssignment(epoch=epoch, revision=revision, kill_switch=True)


def test_store_returns_what_was_accepted_when_the_agent_restarts(tmp_path: Path) -> None:
    """A new process reads the last accepted assignment, kill switch included."""
    AssignmentStore(tmp_path / "assignment.bin").accept(_assignment(2, 7))
    assert AssignmentStore(tmp_path / "assignment.bin").load() == _assignment(2, 7)


def test_store_is_empty_when_there_is_no_file(tmp_path: Path) -> None:
    """A fresh node has no assignment."""
    assert AssignmentStore(tmp_path / "assignment.bin").load() is None


@pytest.mark.parametrize(("epoch", "revision"), [(1, 99), (2, 6)])
def test_store_refuses_an_assignment_when_it_is_older(
    tmp_path: Path, epoch: int, revision: int
) -> None:
    """A lower epoch, or a lower revision of the same epoch, changes nothing, also after a
    restart.
    """
    store = AssignmentStore(tmp_path / "assignment.bin")
    store.accept(_assignment(2, 7))
    reopened = AssignmentStore(tmp_path / "assignment.bin")
    reopened.load()
    for one in (store, reopened):
        with pytest.raises(StaleAssignmentError, match=r"\(2, 7\)"):
            one.accept(_assignment(epoch, revision))
    assert reopened.load() == _assignment(2, 7)


def test_store_accepts_when_the_epoch_is_higher_and_the_revision_lower(tmp_path: Path) -> None:
    """Revisions are compared within an epoch only."""
    store = AssignmentStore(tmp_path / "assignment.bin")
    store.accept(_assignment(2, 7))
    store.accept(_assignment(3, 1))
    assert store.load() == _assignment(3, 1)


@pytest.mark.parametrize("cut_at", [0, 1, 40, -1])
def test_store_sets_the_file_aside_when_it_is_damaged(tmp_path: Path, cut_at: int) -> None:
    """A truncated file is never used; it is kept for whoever looks into it."""
    path = tmp_path / "assignment.bin"
    AssignmentStore(path).accept(_assignment(2, 7))
    path.write_bytes(path.read_bytes()[:cut_at])
    assert AssignmentStore(path).load() is None
    assert path.with_suffix(".damaged").exists()


def test_store_keeps_the_old_file_when_the_new_one_cannot_be_written(tmp_path: Path) -> None:
    """A crash, or a full disk, between draft and replace leaves the last assignment whole."""
    path = tmp_path / "assignment.bin"
    store = AssignmentStore(path)
    store.accept(_assignment(2, 7))
    path.with_suffix(".draft").mkdir()  # the draft cannot be opened: an OSError
    with pytest.raises(OSError):
        store.accept(_assignment(2, 8))
    assert AssignmentStore(path).load() == _assignment(2, 7)
    store_after = AssignmentStore(path)
    path.with_suffix(".draft").rmdir()
    store_after.accept(_assignment(2, 8))
    assert AssignmentStore(path).load() == _assignment(2, 8)
