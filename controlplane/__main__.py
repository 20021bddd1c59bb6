"""`python -m controlplane serve`: flags, logging, loop, exit codes.

Exit codes: 0 after a clean stop, 1 where another leader took over, 2 where it could not
start.
"""

import argparse
import asyncio
import logging
import re
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fsspec.core import url_to_fs
from slacktide.wire.errors import Refusal
from slacktide.wire.version import build_version

from controlplane.batches.objects import canonical
from controlplane.rounds.snapshot import PlacementSettings
from controlplane.rounds.solver_limits import SolverLimits
from controlplane.server import ControlPlane, ServerSettings
from planner.placement.weights import MOST_DEVICE_COST
from storage.errors import StorageError

BLOCKING_THREADS = 48
"""Most of them wait for a locked or slow store while the others still read."""
_UNITS_BYTES = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_MAX_INPUT_BYTES = 1 << 50
_LEAST_SOLVER_BYTES = 128 << 20  # OR-Tools loaded and a small fleet: 93 MiB, measured
_UNITS_S = {"ms": 1e-3, "s": 1.0, "m": 60.0}


def main() -> int:
    """Runs a control plane and returns the exit code."""
    flags = _parser().parse_args()
    logging.basicConfig(
        level=flags.log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    settings = ServerSettings(
        listen=flags.listen,
        state_dir=flags.state_dir,
        database=flags.database,
        objects=flags.objects,
        input_prefixes=tuple(flags.input_prefix),
        max_input_bytes=flags.max_input,
        control_plane=flags.id,
        round_interval_s=flags.round_interval,
        solve_budget_s=flags.solve_budget,
        lease_s=flags.lease,
        grace_s=flags.grace,
        placement=PlacementSettings(
            prices=tuple(flags.device_price),
            max_moves=flags.max_moves or None,
            device_cost=flags.device_cost,
        ),
        derive_frontiers=not flags.no_derived_frontiers,
        solver=SolverLimits(
            memory_bytes=flags.solver_memory,
            kill_after_s=flags.solver_overrun,
            cpu_per_s=flags.solver_cpus,
            niceness=flags.solver_nice,
        ),
    )
    # Not uvloop: it now and then closes a new child's stdin at once when two children start
    # together (seen with 0.23 beside gRPC, 3 of 12 starts), and solvers live on theirs.
    return asyncio.run(_serve(settings))


async def _serve(settings: ServerSettings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(
        ThreadPoolExecutor(max_workers=BLOCKING_THREADS, thread_name_prefix="blocking")
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    control_plane = ControlPlane(settings)
    try:
        await control_plane.__aenter__()
    except (Refusal, StorageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        await control_plane.run(stop)
    except* Refusal as group:
        for refusal in group.exceptions:
            print(f"error: {refusal}", file=sys.stderr)
        return_code = 1
    else:
        return_code = 0
    finally:
        await control_plane.__aexit__(None, None, None)
    return return_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m controlplane",
        description="The control plane: decides what runs where, and keeps the fleet's state.",
    )
    parser.add_argument("--version", action="version", version=build_version())
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve",
        help="lead the fleet until SIGTERM",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    serve.add_argument("--listen", default="127.0.0.1:7400", help="host:port; port 0 picks one")
    serve.add_argument("--state-dir", type=Path, required=True, help="where state is kept")
    serve.add_argument("--database", default="", help="SQLAlchemy URL; empty: SQLite in state-dir")
    serve.add_argument("--objects", default="", help="fsspec URI; empty: a folder in state-dir")
    serve.add_argument(
        "--input-prefix",
        action="append",
        default=[],
        type=_prefix,
        metavar="URI",
        help="let batches name inputs under this URI too, e.g. s3://bucket/batches; repeatable",
    )
    serve.add_argument(
        "--max-input", type=_size, default="1GiB", metavar="SIZE", help="largest input of a batch"
    )
    serve.add_argument("--id", default="cp", help="of this control plane, in `slacktide status`")
    for flag, default, text in (
        ("--round-interval", "10s", "longest time between two rounds"),
        ("--solve-budget", "5s", "time a solve may take"),
        ("--lease", "10s", "how long an agent may stay silent"),
        ("--grace", "5s", "how long running calls may take at a stop"),
    ):
        serve.add_argument(
            flag, type=_seconds, default=default, metavar="SECONDS", help=f"{text}, e.g. 10s, 500ms"
        )
    serve.add_argument(
        "--device-price",
        action="append",
        default=[],
        type=_price,
        metavar="TYPE=PRICE",
        help="price of a device-hour by device type or part of its name, e.g. h100=2.5; repeatable",
    )
    serve.add_argument(
        "--device-cost",
        type=_device_cost,
        default=0.0,
        metavar="WORK",
        help="offline work, in busy engines by its weight, that a device of mean price must be"
        " worth to be held for it; 0: devices are free, and batches fill them all",
    )
    serve.add_argument(
        "--max-moves",
        type=_count,
        default=0,
        metavar="N",
        help="replicas a round may add; 0: no bound",
    )
    serve.add_argument(
        "--no-derived-frontiers",
        action="store_true",
        help="do not simulate, in the background, what replicas nobody profiled bear within"
        " their SLO; placement assumes the default",
    )
    limits = SolverLimits()
    serve.add_argument(
        "--solver-memory",
        type=_solver_size,
        default=f"{limits.memory_bytes // _UNITS_BYTES['MiB']}MiB",
        metavar="SIZE",
        help="memory a solver process may hold; beyond it the solve ends with what it found",
    )
    serve.add_argument(
        "--solver-overrun",
        type=_seconds,
        default=f"{limits.kill_after_s:g}s",
        metavar="SECONDS",
        help="how far past the solve budget, and half as much again of it, a solve may run",
    )
    serve.add_argument(
        "--solver-cpus",
        type=_solver_cpus,
        default=limits.cpu_per_s,
        metavar="N",
        help="CPU seconds a solve may take per second it is given",
    )
    serve.add_argument(
        "--solver-nice",
        type=_niceness,
        default=limits.niceness,
        metavar="N",
        help="niceness of solvers above the control plane's own, 0 to 19",
    )
    serve.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    return parser


def _prefix(text: str) -> str:
    try:
        url_to_fs(text)  # its driver may not be installed
        return canonical(text)
    except (ValueError, ImportError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r}: {error}; expected a URI of a folder, e.g. file:///srv/batches"
        ) from error


def _price(text: str) -> tuple[str, float]:
    kind, _, given = text.rpartition("=")
    try:
        price = float(given)
    except ValueError:
        price = -1.0
    if not kind.strip() or not 0 <= price < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: expected TYPE=PRICE, e.g. h100=2.5")
    return kind.strip(), price


def _device_cost(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= MOST_DEVICE_COST:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected a number from 0 to {MOST_DEVICE_COST:g}, e.g. 0.3"
        )
    return value


def _count(text: str) -> int:
    value = int(text) if re.fullmatch(r"\d{1,9}", text) else -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of 0 or more")
    return value


def _size(text: str) -> int:
    found = re.fullmatch(r"(\d{1,15})(B|KiB|MiB|GiB|TiB|)", text)
    value = int(found[1]) * _UNITS_BYTES[found[2]] if found else 0
    if not 0 < value <= _MAX_INPUT_BYTES:
        raise argparse.ArgumentTypeError(f"{text!r}: expected 1 byte to 1 PiB, e.g. 500MiB or 2GiB")
    return value


def _solver_size(text: str) -> int:
    value = _size(text)
    if value < _LEAST_SOLVER_BYTES:
        raise argparse.ArgumentTypeError(
            f"{text!r}: a solver needs {_LEAST_SOLVER_BYTES // _UNITS_BYTES['MiB']}MiB to load; the"
            " default suits 5000 nodes"
        )
    return value


def _solver_cpus(text: str) -> int:
    value = _count(text)
    if not 1 <= value <= 64:
        raise argparse.ArgumentTypeError(f"{text!r}: expected 1 to 64")
    return value


def _niceness(text: str) -> int:
    value = _count(text)
    if value > 19:
        raise argparse.ArgumentTypeError(f"{text!r}: expected 0 to 19")
    return value


def _seconds(text: str) -> float:
    for unit, scale in _UNITS_S.items():
        if text.endswith(unit) and (unit != "s" or not text.endswith("ms")):
            number, factor = text.removesuffix(unit), scale
            break
    else:
        number, factor = text, 1.0
    try:
        value = float(number) * factor
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: expected more than 0 seconds, e.g. 10 or 10s")
    return value


if __name__ == "__main__":
    sys.exit(main())
