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

import json
import sys
import time
from typing import Any, TextIO

from controlplane.rounds.childprocess import begin
from controlplane.rounds.childprocess import write as _write
from planner.model import Snapshot
from planner.placement.solve import solve
from storage.codecs import from_json, to_json


def main() -> int:
    """Answers snapshots until the input ends."""
    out, questions = begin()
    _write(out, {"ready": True})
    while True:
        _answer(out, json.loads(questions.get()))


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


if __name__ == "__main__":
    sys.exit(main())
