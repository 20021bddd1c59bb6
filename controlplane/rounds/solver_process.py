"""The child that solves: snapshots in, incumbents out, one JSON document a line.

    out   {"ready": true} once, when it has loaded
    in    {"budget_s": 5.0, "snapshot": {...}}
    out   {"plan": {...}} for every incumbent, then {"end": true}, or
          {"error": "...", "is_of_memory": false}

Refuses to decide what becomes of a plan. Invariants: it never outlives its parent (the
end of its input ends it at once; on Linux the kernel does, also inside a native call that
never returns); nothing but these lines is on its output, whatever libraries print; a line
that lacks its end is no line, since a kill may cut one. Started by
`controlplane.rounds.solver`, which lays its limits on it.
"""

import ctypes
import json
import os
import queue
import signal
import sys
import threading
import time
from typing import Any, TextIO

from planner.model import Snapshot
from planner.placement.solve import solve
from storage.codecs import from_json, to_json

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> int:
    """Answers snapshots until the input ends."""
    _die_with_parent()
    out = _own_output()
    waiting: queue.Queue[str] = queue.Queue(maxsize=1)
    threading.Thread(target=_read, args=(waiting,), daemon=True).start()
    _write(out, {"ready": True})
    while True:
        _answer(out, json.loads(waiting.get()))


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
    os._exit(0)  # the parent is gone: nobody wants what is being solved


def _answer(out: TextIO, request: dict[str, Any]) -> None:
    started_s = time.monotonic()
    budget_s = float(request["budget_s"])
    try:
        snapshot = from_json(Snapshot, request["snapshot"])
        for plan in solve(snapshot, work_left=lambda: budget_s - (time.monotonic() - started_s)):
            _write(out, {"plan": to_json(plan)})
    except Exception as error:  # noqa: BLE001 - reported to the parent, which decides
        is_of_memory = isinstance(error, MemoryError)
        told = f"{type(error).__name__}: {error}"
        _write(out, {"error": told, "is_of_memory": is_of_memory})
    else:
        _write(out, {"end": True})


def _write(out: TextIO, document: dict[str, Any]) -> None:
    out.write(json.dumps(document) + "\n")
    out.flush()


if __name__ == "__main__":
    sys.exit(main())
