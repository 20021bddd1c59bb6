"""Immutable objects over fsspec: inputs, segments, result files.

Owns durability and naming of what batches keep outside the database. An object appears
whole or not at all and never changes: it is written to a spool file, synced, then given
its name; a local name and its folder are synced too. Refuses to append, and to read for
clients what lies neither in the inputs folder nor under a prefix the operator allowed.

An object nobody refers to (its process died before the row was written) is harmless:
names are unique and rows are the only way to it.
"""

import errno
import io
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast
from uuid import uuid4

from fsspec.core import split_protocol, url_to_fs
from fsspec.implementations.local import LocalFileSystem

INPUTS = "inputs"
SEGMENTS = "segments"
RESULTS = "results"
_PARTIAL = ".partial"
_ABANDONED_S = 3600.0  # a spool file this long untouched belongs to no living process


class ObjectStore:
    """A root URI and what may be read outside it. Methods block.

    Args:
        root: fsspec URI, e.g. "file:///var/lib/slacktide/objects"; made where local.
        readable_prefixes: URIs outside the root that clients may name as inputs.
        max_input_bytes: largest input file.
    """

    def __init__(
        self,
        root: str,
        *,
        readable_prefixes: Sequence[str] = (),
        max_input_bytes: int = 1 << 30,
    ) -> None:
        self._fs, path = url_to_fs(root)
        self.is_local = isinstance(self._fs, LocalFileSystem)
        self._root = path.rstrip("/")
        self.max_input_bytes = max_input_bytes
        self._readable = tuple(canonical(uri) for uri in (self.uri_of(INPUTS), *readable_prefixes))
        if self.is_local:
            self._spool = Path(self._root) / "spool"
            _make_folder(self._spool)
        else:
            self._spool = Path(tempfile.mkdtemp(prefix="slacktide-spool-"))

    @property
    def readable(self) -> tuple[str, ...]:
        """Prefixes under which inputs may lie."""
        return self._readable

    def uri_of(self, name: str) -> str:
        """The URI of the object of that name, e.g. "inputs/7f….jsonl"."""
        return str(self._fs.unstrip_protocol(f"{self._root}/{name}"))

    def create(self, name: str) -> "ObjectWriter":
        """A new object; it exists once `publish` returns."""
        return ObjectWriter(self, name, self._spool / f"{uuid4().hex}{_PARTIAL}")

    def write(self, name: str, content: bytes) -> str:
        """Writes a whole object and returns its URI; durable on return."""
        with self.create(name) as writer:
            writer.write(content)
            return writer.publish()

    def size(self, uri: str) -> int:
        """Bytes of an object.

        Raises:
            FileNotFoundError: there is none.
        """
        fs, path = url_to_fs(uri)
        if not fs.isfile(path):
            raise FileNotFoundError(errno.ENOENT, "no such object", uri)
        return int(fs.size(path))

    def open(self, uri: str) -> BinaryIO:
        """Opens an object for reading, buffered and seekable."""
        fs, path = url_to_fs(uri)
        if isinstance(fs, LocalFileSystem):
            return Path(path).open("rb")
        return cast(BinaryIO, io.BufferedReader(fs.open(path, "rb")))

    def remove(self, uri: str) -> None:
        """Removes an object nothing refers to; none there is no error."""
        fs, path = url_to_fs(uri)
        if fs.isfile(path):
            fs.rm_file(path)

    def readable_input(self, uri: str) -> str:
        """The URI under which a client's input is read.

        Raises:
            PermissionError: it lies outside every readable prefix.
        """
        try:
            wanted = canonical(uri)
        except ValueError as error:
            raise PermissionError(errno.EACCES, str(error), uri) from error
        if not any(wanted.startswith(prefix.rstrip("/") + "/") for prefix in self._readable):
            raise PermissionError(errno.EACCES, "outside of every readable prefix", uri)
        return wanted

    def sweep(self) -> int:
        """Removes spool files their process left behind; returns how many."""
        removed = 0
        for path in self._spool.glob(f"*{_PARTIAL}"):
            try:
                if time.time() - path.stat().st_mtime > _ABANDONED_S:
                    path.unlink()
                    removed += 1
            except FileNotFoundError:
                continue  # its process finished meanwhile
        return removed

    def _publish(self, spool: Path, name: str) -> str:
        target = f"{self._root}/{name}"
        if self.is_local:
            folder = Path(target).parent
            _make_folder(folder)
            spool.replace(target)
            _sync_folder(folder)
        else:
            self._fs.put_file(str(spool), target)
        return self.uri_of(name)


class ObjectWriter:
    """One object while it is written; leaving the block unpublished removes it."""

    def __init__(self, store: ObjectStore, name: str, spool: Path) -> None:
        self._store = store
        self._name = name
        self._path = spool
        self._file = spool.open("xb")
        self.size_bytes = 0

    def write(self, content: bytes) -> None:
        """Adds content."""
        self._file.write(content)
        self.size_bytes += len(content)

    def publish(self) -> str:
        """Gives the object its name; durable on return. Returns its URI."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._store._publish(self._path, self._name)

    def discard(self) -> None:
        """Removes what is not published; safe to repeat."""
        with _ignoring_full_disk():
            self._file.close()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> "ObjectWriter":
        """Starts the block; returns the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Discards what was not published."""
        self.discard()


def canonical(uri: str) -> str:
    """One spelling per object, symbolic links followed where local.

    Raises:
        ValueError: chained, without a protocol, or climbing with "..".
    """
    protocol, path = split_protocol(uri)
    if not protocol or "::" in uri:
        raise ValueError("expected a plain URI with a protocol, e.g. file:///data/in.jsonl")
    if protocol in ("file", "local"):
        return f"file://{os.path.realpath(path)}"
    if ".." in path.split("/"):
        raise ValueError('".." is not allowed in the path')
    return f"{protocol}://{path}"


def _make_folder(folder: Path) -> None:
    missing: list[Path] = []
    above = folder
    while not above.exists():
        missing.append(above)
        above = above.parent
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        _sync_folder(made.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _ignoring_full_disk() -> Iterator[Any]:
    """Closing a file flushes; what it held is thrown away anyhow."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
