"""How much of some files lies in the host's page cache.

Owns the question to the kernel: `mincore(2)` at pages spread evenly over the files, which
neither reads them nor marks them used, so that asking warms nothing. Refuses to believe an
answer the kernel makes up: since Linux 5.2 it says "all" of a file that the process neither
owns nor may write (mm/mincore.c, can_do_mincore), and there the answer here is None.
"""

import ctypes
import mmap
import os
import sys
from collections.abc import Sequence
from pathlib import Path

_PROT_READ, _MAP_SHARED = 1, 1
SAMPLES = 512
"""Pages asked about: a true share of 95 % is seen within 2 points, 19 times in 20."""


def resident_ratio(files: Sequence[Path], *, samples: int = SAMPLES) -> float | None:
    """The share of the files' bytes in the page cache, 0 to 1, by samples of pages.

    Args:
        files: any; empty ones count for nothing.
        samples: pages asked about at the most, over all files by their size.

    Returns:
        None where it cannot be known: on other systems than Linux, of files that the process
        neither owns nor may write, and where there are no bytes.

    Raises:
        OSError: a file cannot be read or mapped.
    """
    if sys.platform != "linux":
        return None
    sizes = [file.stat().st_size for file in files]
    whole = sum(sizes)
    resident = asked = 0.0
    for file, size in zip(files, sizes, strict=True):
        if size == 0:
            continue
        pages = -(-size // mmap.PAGESIZE)
        count = min(pages, max(1, round(samples * size / whole)))
        indices = [(2 * i + 1) * pages // (2 * count) for i in range(count)]
        found = _resident_pages(file, size, indices)
        if found is None:
            return None
        resident += size * found / count
        asked += size
    return resident / asked if asked else None


def _resident_pages(file: Path, size: int, indices: Sequence[int]) -> int | None:
    """How many of those pages of a file are resident; None where the kernel does not tell."""
    handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstat(handle).st_uid != os.geteuid() and not os.access(file, os.W_OK):
            return None
        libc = _libc()
        address = libc.mmap(None, size, _PROT_READ, _MAP_SHARED, handle, 0)
        if address in (None, ctypes.c_void_p(-1).value):
            raise OSError(ctypes.get_errno(), f"mmap of {size} bytes failed", str(file))
    finally:
        os.close(handle)
    try:
        seen = (ctypes.c_ubyte * 1)()
        resident = 0
        for index in indices:
            if libc.mincore(address + index * mmap.PAGESIZE, 1, seen) != 0:
                raise OSError(ctypes.get_errno(), "mincore failed", str(file))
            resident += seen[0] & 1
        return resident
    finally:
        libc.munmap(address, size)


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
    )  # fmt: skip
    libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.POINTER(ctypes.c_ubyte))
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    return libc
