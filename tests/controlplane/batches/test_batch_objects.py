"""Objects appear whole or not at all, and clients read only what they may."""

import errno
import os
import time
from pathlib import Path

import pytest

from controlplane.batches.objects import ObjectStore
from controlplane.batches.ranges import ObjectDamagedError, RangeReader


@pytest.fixture(params=["file", "memory"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    root = f"file://{tmp_path}/objects" if request.param == "file" else f"memory://{tmp_path.name}"
    return ObjectStore(root)


def test_object_reads_back_when_published(objects: ObjectStore) -> None:
    """Whole, by range, and by size."""
    uri = objects.write("segments/ab/one.jsonl", b"0123456789")
    assert objects.size(uri) == 10
    with objects.open(uri) as file:
        assert file.read() == b"0123456789"
    reader = RangeReader(objects, max_open=1)
    other = objects.write("segments/ab/two.jsonl", b"abc")
    assert reader.read(uri, offset=3, length=4) == b"3456"
    assert reader.read(other, offset=0, length=1) == b"a"
    assert reader.read(uri, offset=0, length=10) == b"0123456789"
    with pytest.raises(ObjectDamagedError, match="ends before byte 12"):
        reader.read(uri, offset=8, length=4)
    reader.close()
    objects.remove(uri)
    objects.remove(uri)
    with pytest.raises(FileNotFoundError):
        objects.size(uri)


def test_object_leaves_nothing_when_it_is_not_published(objects: ObjectStore) -> None:
    """An abandoned object has neither a name nor a spool file."""
    with pytest.raises(ZeroDivisionError), objects.create("inputs/x") as writer:
        writer.write(b"x" * 100_000)
        raise ZeroDivisionError
    with pytest.raises(FileNotFoundError):
        objects.size(objects.uri_of("inputs/x"))
    assert not list(objects._spool.iterdir())


def test_sweep_removes_a_spool_file_when_its_process_is_long_gone(objects: ObjectStore) -> None:
    """Fresh ones may belong to a living process and stay."""
    for name, age_s in (("old", 7200.0), ("new", 0.0)):
        path = objects._spool / f"{name}.partial"
        path.touch()
        os.utime(path, (time.time() - age_s,) * 2)
    assert objects.sweep() == 1
    assert [path.name for path in objects._spool.iterdir()] == ["new.partial"]


def test_input_is_refused_when_it_lies_outside(tmp_path: Path) -> None:
    """No spelling leads a client to files that are not inputs."""
    (tmp_path / "allowed").mkdir()
    (tmp_path / "secret").write_bytes(b"x")
    objects = ObjectStore(
        f"file://{tmp_path}/objects", readable_prefixes=[f"file://{tmp_path}/allowed"]
    )
    mine = objects.write("inputs/a.jsonl", b"x")
    (tmp_path / "allowed" / "b.jsonl").write_bytes(b"x")
    (tmp_path / "allowed" / "link.jsonl").symlink_to(tmp_path / "secret")
    result = objects.write("results/b/out.jsonl", b"x")
    assert objects.readable_input(mine) == mine
    allowed = f"file://{tmp_path}/allowed/b.jsonl"
    assert objects.readable_input(allowed) == allowed
    for uri in (
        "",
        "/etc/passwd",
        "file:///etc/passwd",
        f"file://{tmp_path}/allowed/../secret",
        f"file://{tmp_path}/allowed/link.jsonl",
        f"file://{tmp_path}/allowedelsewhere",
        f"file://{tmp_path}/allowed",
        f"local://{tmp_path}/secret",
        f"simplecache::file://{tmp_path}/allowed/b.jsonl",
        "http://169.254.169.254/latest",
        "memory://x",
        result,
    ):
        with pytest.raises(PermissionError):
            objects.readable_input(uri)


def test_discard_is_quiet_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error that counts is the write's, not the clean-up's."""
    objects = ObjectStore(f"file://{tmp_path}/objects")
    writer = objects.create("inputs/x")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"), writer:
        writer.write(b"x")
        writer.publish()
    assert not list(objects._spool.iterdir())
