"""`make bench-placement`: global placement against baselines and bounds.

Owns the options, the times and the order: instances by size, then drifting rounds. With
`--write DIR` instances are written instead, with `--instances DIR` those of files are run.
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from bench.harness import Figure, Report, publish, write
from bench.placement.figures import (
    chain_figures,
    group_of,
    session_figures,
    show_sessions,
    step_figures,
)
from bench.placement.files import InstanceFileError, read_folder, write_instance
from bench.placement.generate import generate
from bench.placement.instances import LOADS, SHAPES, SIZES, instances
from bench.placement.rounds import Chain, run_chain
from bench.placement.sessions import Session, run_session
from planner.model import Plan, Snapshot

# Seconds for the solver; for the bound by integers; for each drifting round.
_SECONDS = {"10x3": 10, "50x8": 30, "50x40": 30, "200x20": 30, "1000x50": 60, "5000x100": 60}
_BOUND_SECONDS = {"10x3": 20, "50x8": 15, "50x40": 20, "200x20": 30, "1000x50": 30}
_ROUND_SECONDS = {"50x8": 3.0, "200x20": 8.0, "1000x50": 20.0}
_STEP_SIZES = ("1000x50",)
_STEP, _STEP_SECONDS = 0.05, 20.0
_OTHER_SECONDS = 60.0

Tell = Callable[[str], None]
T = TypeVar("T", Session, Chain)


@dataclass(slots=True, kw_only=True)
class _Found:
    """What has run so far."""

    sessions: list[Session] = field(default_factory=list)
    chains: list[Chain] = field(default_factory=list)
    steps: list[Chain] = field(default_factory=list)


def main(arguments: Sequence[str]) -> int:
    """Runs the bench; 0 when it ran, whatever the figures say; 1 where it could not."""
    flags = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()

    def tell(text: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {text}", file=sys.stderr, flush=True)

    if flags.write:
        for name, snapshot in _instances(flags):
            tell(f"written {write_instance(flags.write, name, snapshot)}")
        return 0
    found = _Found()
    try:
        for name, snapshot in _instances(flags):
            _run(name, snapshot, flags, found, tell=tell)
            # A run that ends early has left what it had.
            write(_report(flags, found, began=began))
    except InstanceFileError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the report has what was done", file=sys.stderr)
        return 130
    show_sessions(found.sessions)
    print()
    tell(f"written to {publish(_report(flags, found, began=began))}")
    return 0


def _instances(flags: argparse.Namespace) -> Iterator[tuple[str, Snapshot]]:
    if flags.instances:
        yield from read_folder(flags.instances)
        return
    for one in instances(
        flags.sizes,
        loads=flags.loads,
        shapes=flags.shapes,
        seeds=flags.seeds,
        largest=flags.largest_seeds,
    ):
        yield one.name, generate(one)


def _run(
    name: str, snapshot: Snapshot, flags: argparse.Namespace, found: _Found, *, tell: Tell
) -> None:
    size = name.partition("-")[0]
    seconds = flags.time_ratio * _SECONDS.get(size, _OTHER_SECONDS)
    session, plan = run_session(
        name,
        snapshot,
        seconds=seconds,
        bound_seconds=flags.time_ratio * _BOUND_SECONDS.get(size, _OTHER_SECONDS),
    )
    found.sessions.append(session)
    last = session.last
    tell(
        f"{name}: {session.failure or 'no plan'}"
        if last is None
        else f"{name}: {len(session.steps)} plans judged, weighted offline {last.offline:.1f}, "
        f"{100 * session.gap(last.offline):.2f} % under the LP bound"
    )
    if plan is not None:
        _drift(name, snapshot, plan, flags, found, tell=tell)


def _drift(
    name: str,
    snapshot: Snapshot,
    plan: Plan,
    flags: argparse.Namespace,
    found: _Found,
    *,
    tell: Tell,
) -> None:
    size = name.partition("-")[0]
    seed = sum(one.name.startswith(f"{group_of(name)}") for one in found.chains)
    if size in _STEP_SIZES:
        step = run_chain(
            name,
            snapshot,
            plan,
            seed=100 + seed,
            rounds=1,
            seconds=flags.time_ratio * _STEP_SECONDS,
            step=_STEP,
        )
        found.steps.append(step)
        tell(f"{name}: one step of 5 %, gap {100 * step.rounds[0].gap:.2f} %")
    if size in flags.chains and flags.rounds and (size != "1000x50" or seed < flags.long_chains):
        chain = run_chain(
            name,
            snapshot,
            plan,
            seed=seed,
            rounds=flags.rounds,
            seconds=flags.time_ratio * _ROUND_SECONDS.get(size, 10.0),
        )
        found.chains.append(chain)
        tell(
            f"{name}: {flags.rounds} rounds, weighted offline {100 * chain.offline_gain:+.2f} % "
            f"over sticky, loads {chain.loads_ratio:.2f} x"
        )


def _report(flags: argparse.Namespace, found: _Found, *, began: float) -> Report:
    figures: list[Figure] = []
    for sessions in _grouped(found.sessions):
        figures += session_figures(sessions)
    for steps in _grouped(found.steps):
        figures += step_figures(steps, seconds=flags.time_ratio * _STEP_SECONDS)
    for chains in _grouped(found.chains):
        figures += chain_figures(chains, rounds=flags.rounds)
    samples: dict[str, Any] = {
        "sessions": [one.as_values() for one in found.sessions],
        "steps": [one.as_values() for one in found.steps],
        "chains": [one.as_values() for one in found.chains],
    }
    return Report(
        name="placement",
        seed=0,
        configuration={
            "sizes": list(flags.sizes),
            "loads": list(flags.loads),
            "shapes": list(flags.shapes),
            "seeds": flags.seeds,
            "rounds": flags.rounds,
            "time_ratio": flags.time_ratio,
            "instances": None if flags.instances is None else str(flags.instances),
            "seconds": round(time.monotonic() - began, 1),
        },
        samples=samples,
        figures=figures,
    )


def _grouped(found: Sequence[T]) -> Iterator[list[T]]:
    for group in dict.fromkeys(group_of(one.name) for one in found):
        yield [one for one in found if group_of(one.name) == group]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make bench-placement ARGS=…",
        description="Global placement against baselines and bounds, on generated fleets.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--loads", nargs="+", choices=list(LOADS), default=["tight"])
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=["dividing"])
    parser.add_argument("--seeds", type=int, default=3, help="of each size")
    parser.add_argument("--largest-seeds", type=int, default=1, help="of 5000x100")
    parser.add_argument("--rounds", type=int, default=10, help="of drift; 0 for none")
    parser.add_argument(
        "--chains", nargs="*", choices=list(SIZES), default=list(_ROUND_SECONDS), help="that drift"
    )
    parser.add_argument("--long-chains", type=int, default=1, help="seeds of 1000x50 that drift")
    parser.add_argument(
        "--time-ratio", type=float, default=1.0, help="of all time limits, for trying things"
    )
    parser.add_argument("--write", type=Path, help="write the instances there instead of running")
    parser.add_argument("--instances", type=Path, help="run the instances of this folder")
    return parser
