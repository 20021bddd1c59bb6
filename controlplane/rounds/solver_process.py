"""The child that solves: snapshots in, incumbents out, one JSON document a line.

    in    {"budget_s": 5.0, "snapshot": {...}}
    out   {"plan": {...}} for every incumbent, then {"end": true}, or {"error": "..."}

Refuses to decide what becomes of a plan. Invariants: it never outlives its parent (the
end of its input ends it at once; on Linux the kernel does, also inside a native call that
never returns), and what it writes is a whole line or nothing. Started by
`controlplane.rounds.solver`.
"""

import ctypes
import json
import os
import queue
import signal
import sys
import threading
import time
from typing import Any

from planner.model import Snapshot
from planner.placement.solve import solve
from storage.codecs import from_json, to_json

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> int:
    """Answers snapshots until the input ends."""
    _die_with_parent()
    waiting: queue.Queue[str] = queue.Queue(maxsize=1)
    threading.Thread(target=_read, args=(waiting,), daemon=True).start()
    while True:
        _answer(json.loads(waiting.get()))


def _die_with_parent() -> None:
    """Asks for SIGKILL at the parent's end; a parent gone before is seen at the input."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _read(waiting: "queue.Queue[str]") -> None:
    for line in sys.stdin:
        waiting.put(line)
    os._exit(0)  # the parent is gone: nobody wants what is being solved


def _answer(request: dict[str, Any]) -> None:
    started_s = time.monotonic()
    budget_s = float(request["budget_s"])
    try:
        snapshot = from_json(Snapshot, request["snapshot"])
        for plan in solve(snapshot, work_left=lambda: budget_s - (time.monotonic() - started_s)):
            _write({"plan": to_json(plan)})
    except Exception as error:  # noqa: BLE001 - reported to the parent, which decides
        _write({"error": f"{type(error).__name__}: {error}"})
    else:
        _write({"end": True})


def _write(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
