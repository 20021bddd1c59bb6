"""`make soak`: command line, table, build/soak.json.

Exit status: 0 only if no answer differed without excuse, no fault or leak was seen, and
every path was taken often enough; 130 where it was interrupted; 1 otherwise. Engines are gone
when it ends, unless it was killed outright.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.harness import machine, write_json
from controlplane.cli.output import show_table
from nodeagent.models.tiny import TinyOptions, make_tiny
from nodeagent.sglang_plugin.cpu_platform import declare_vision_operators
from soak.setting import soak_setting
from soak.settings import Setting, all_settings
from soak.verdict import as_row, complaints, excused, mismatched, totals

OUTPUT = Path("build/soak.json")
LOGS = Path("build/soak")


def main(arguments: Sequence[str]) -> int:
    """Runs the soak; returns its exit code."""
    flags = _parser().parse_args(arguments)
    chosen = _chosen(flags.settings)
    each = max(1, flags.requests // len(all_settings()))
    rows: list[dict[str, Any]] = []
    if flags.append and flags.output.is_file():
        before = json.loads(flags.output.read_text())
        if before["seed"] != flags.seed:
            print(f"{flags.output}: seed {before['seed']}, cannot be continued", file=sys.stderr)
            return 2
        names = {s.name for s in chosen}
        rows = [row for row in before["settings"] if row["name"] not in names]
    LOGS.mkdir(parents=True, exist_ok=True)
    declare_vision_operators()
    model = make_tiny(LOGS / "models", options=TinyOptions())
    for setting in chosen:
        number = all_settings().index(setting)
        result = soak_setting(
            setting,
            model=model,
            folder=LOGS,
            seed=flags.seed * 1000 + number,
            requests=each,
            checks_busy=not flags.idle_checks_only,
            device=flags.device,
            tell=_tell,
        )
        rows.append(as_row(result))
        write_json(flags.output, _report(rows, seed=flags.seed))
    _show(rows)
    found = complaints(rows)
    for text in found:
        print(text, file=sys.stderr)
    print(f"{'FAILED' if found else 'passed'}; report {flags.output}")
    return 1 if found else 0


def _report(rows: list[dict[str, Any]], *, seed: int) -> dict[str, Any]:
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "machine": machine(),
        "requests": sum(r["requests"] for r in rows),
        "mismatched": sum(mismatched(r["plugin"]) for r in rows),
        "excused": sum(excused(r["plugin"]) for r in rows),
        "control_mismatched": sum(mismatched(r["control"]) for r in rows),
        "control_excused": sum(excused(r["control"]) for r in rows),
        "totals": totals(rows),
        "duration_s": sum(r["duration_s"] for r in rows),
        "complaints": list(complaints(rows)),
        "settings": rows,
    }


def _show(rows: list[dict[str, Any]]) -> None:
    headers = [
        *("setting", "requests", "equal", "to abort", "differ", "excused"),
        *("stock differ", "excused", "parked", "resumed", "capped", "chunk parked"),
        *("requeued", "evicted", "retracted", "s"),
    ]
    table = [_line(row["name"], [row]) for row in rows]
    if len(rows) > 1:
        table.append(_line("all", rows))
    show_table(headers, table, right=[False] + [True] * (len(headers) - 1))


def _line(name: str, rows: list[dict[str, Any]]) -> list[str]:
    total = totals(rows)
    plugin, control = [r["plugin"] for r in rows], [r["control"] for r in rows]
    counts = (
        total["requests"],
        sum(c["equal"] for c in plugin),
        total["equal_up_to_abort"],
        sum(map(mismatched, plugin)),
        sum(map(excused, plugin)),
        sum(map(mismatched, control)),
        sum(map(excused, control)),
        *(
            total.get(key, 0)
            for key in (
                *("parked", "resumed", "chunks_capped", "chunks_parked", "chunks_requeued"),
                *("evicted", "retractions"),
            )
        ),
        round(sum(r["duration_s"] for r in rows)),
    )
    return [name, *map(str, counts)]


def _chosen(text: str) -> tuple[Setting, ...]:
    """Settings by number or by a part of their name, comma-separated; all where empty."""
    known = all_settings()
    if not text:
        return known
    words = text.split(",")
    chosen = tuple(
        s
        for number, s in enumerate(known)
        if any(w == str(number) or (not w.isdigit() and w in s.name) for w in words)
    )
    if not chosen:
        names = "\n".join(f"  {n} {s.name}" for n, s in enumerate(known))
        raise SystemExit(f"soak: no setting {text!r}; known are\n{names}")
    return chosen


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make soak ARGS=…", description=__doc__)
    parser.add_argument("--requests", type=int, default=4000, help="over all sixteen settings")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--settings", default="", help="numbers or parts of names, comma-separated; default all"
    )
    parser.add_argument(
        "--append", action="store_true", help="keep the other settings of an earlier report"
    )
    parser.add_argument(
        "--idle-checks-only", action="store_true", help="do not account for KV after every pass"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    return parser


def _tell(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        raise SystemExit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("interrupted; nothing is left running", file=sys.stderr)
        raise SystemExit(130) from None
