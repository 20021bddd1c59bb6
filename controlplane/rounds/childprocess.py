"""What every child of a control plane does first: it answers lines, and dies with its parent.

Owns input and output. Refuses to know what is asked. Invariants: a child never outlives its
parent (the end of its input ends it at once; on Linux the kernel does, also inside a native
call that never returns); nothing but its own lines is on its output, whatever libraries
print.
"""

import ctypes
import json
import os
import queue
import signal
import sys
import threading
from typing import Any, TextIO

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def begin() -> tuple[TextIO, "queue.Queue[str]"]:
    """Its output, and the lines asked."""
    _die_with_parent()
    out = _own_output()
    waiting: queue.Queue[str] = queue.Queue(maxsize=1)
    threading.Thread(target=_read, args=(waiting,), daemon=True).start()
    return out, waiting


def write(out: TextIO, document: dict[str, Any]) -> None:
    """Writes one document as a line."""
    out.write(json.dumps(document) + "\n")
    out.flush()


def _die_with_parent() -> None:
    """Asks for SIGKILL at the parent's end; a parent gone before is seen at the input."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _own_output() -> TextIO:
    """The output, taken from all others in the process: what they print goes to stderr."""
    sys.stdout.flush()
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return out


def _read(waiting: "queue.Queue[str]") -> None:
    for line in sys.stdin:
        waiting.put(line)
    os._exit(0)  # the parent is gone: nobody wants what is being worked on
