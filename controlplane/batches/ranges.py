"""Pieces of objects, by offset and length.

Owns a bounded cache of open objects. Refuses a short read: a row that points past the
end of an object is an error, never an empty result.
"""

import errno
import threading
from collections import OrderedDict
from typing import BinaryIO

from controlplane.batches.objects import ObjectStore


class ObjectDamagedError(OSError):
    """An object is shorter than a row says, or holds something else there."""


class RangeReader:
    """Reads pieces of objects, keeping the last few of them open. Thread-safe.

    Args:
        store: where they lie.
        max_open: objects kept open.
    """

    def __init__(self, store: ObjectStore, *, max_open: int = 32) -> None:
        self._store = store
        self._max_open = max_open
        self._open: OrderedDict[str, BinaryIO] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, uri: str, *, offset: int, length: int) -> bytes:
        """Exactly those bytes.

        Raises:
            ObjectDamagedError: the object ends before.
            OSError: it cannot be read.
        """
        with self._lock:
            file = self._open.pop(uri, None) or self._store.open(uri)
            self._open[uri] = file
            while len(self._open) > self._max_open:
                self._open.popitem(last=False)[1].close()
            file.seek(offset)
            content = file.read(length)
        if len(content) != length:
            self.forget(uri)
            raise ObjectDamagedError(
                errno.EIO, f"ends before byte {offset + length}, {len(content)} bytes read", uri
            )
        return content

    def forget(self, uri: str) -> None:
        """Closes an object, so that the next read opens it anew."""
        with self._lock:
            file = self._open.pop(uri, None)
        if file is not None:
            file.close()

    def close(self) -> None:
        """Closes everything."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()
