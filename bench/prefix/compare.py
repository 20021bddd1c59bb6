"""`make bench-prefix`: prefix order against the order of arrival, on a real engine.

Owns the engine, whose KV cache holds a part of the batch's prefixes only. The same part
runs within `make bench-colocate`.
"""

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.colocate.engines import BenchEngineError, EngineSpec, running_engines
from bench.colocate.model import make_bench_model
from bench.colocate.stage import Stage, pin_this_process
from bench.demo.session import progress_since_start
from bench.harness import Figure, Report, publish
from bench.prefix.batch import SharedPrefixBatch
from bench.prefix.orders import measure_orders, order_figures
from bench.statistics import REPLICATES
from controlplane.localfleet.readiness import Tell
from nodeagent.engine.errors import EngineError

_KV_TOKENS = 8192  # of 20,480 tokens of prefixes


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixOptions:
    """A run.

    Args:
        window: items in the engine at the most, running and waiting.
        ramp_s: of each run, not counted.
        seconds: of each run, counted.
    """

    device: str = "cpu"
    model_path: Path | None = None
    rounds: int = 3
    window: int = 256
    ramp_s: float = 8.0
    seconds: float = 24.0
    seed: int = 0
    replicates: int = REPLICATES
    output: Path = Path("build/bench/prefix")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixFound:
    """Figures, and what they rest on."""

    figures: list[Figure]
    configuration: dict[str, Any]
    samples: dict[str, Any]


async def measure_prefix_order(options: PrefixOptions, *, tell: Tell) -> PrefixFound:
    """Starts an engine of its own, runs all orders, and leaves nothing running.

    Raises:
        BenchEngineError: the engine did not start, or runs without its plugin.
    """
    began_s = time.monotonic()
    cores = pin_this_process() if options.device == "cpu" else None
    model = options.model_path
    if model is None:
        model = make_bench_model(options.output / "models", is_cpu=options.device == "cpu")
    batch = SharedPrefixBatch(seed=options.seed)
    spec = EngineSpec(
        name="prefix",
        model_path=model.absolute(),
        device=options.device,
        has_plugin=True,
        dtype="" if options.device == "cpu" or options.model_path else "bfloat16",
        kv_cache_tokens=_KV_TOKENS,
    )
    async with running_engines([spec], logs=options.output / "logs", cores=cores) as engines:
        found = await measure_orders(
            Stage(engines),
            spec.name,
            batch,
            rounds=options.rounds,
            window=options.window,
            ramp_s=options.ramp_s,
            seconds=options.seconds,
            tell=tell,
        )
    return PrefixFound(
        figures=order_figures(
            found,
            batch=batch,
            window=options.window,
            seed=options.seed,
            replicates=options.replicates,
        ),
        configuration={
            "kv_cache_tokens": _KV_TOKENS,
            "batch": batch.as_values(),
            "window": options.window,
            "rounds": options.rounds,
            "ramp_s": options.ramp_s,
            "seconds": options.seconds,
        },
        samples={
            "orders": {order: [run.as_values() for run in runs] for order, runs in found.items()},
            "took_s": round(time.monotonic() - began_s, 1),
        },
    )


def main(arguments: Sequence[str]) -> int:
    """Runs the bench; returns its exit code."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        found = asyncio.run(measure_prefix_order(options, tell=progress_since_start()))
    except (BenchEngineError, EngineError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing is left running", file=sys.stderr)
        return 130
    report = Report(
        name="prefix",
        seed=options.seed,
        configuration={"device": options.device, **found.configuration},
        samples=found.samples,
        figures=found.figures,
    )
    print(f"report {publish(report)}")
    return 0


def _options(arguments: Sequence[str]) -> PrefixOptions:
    defaults = PrefixOptions()
    parser = argparse.ArgumentParser(
        prog="make bench-prefix ARGS=…",
        description="A batch with shared prefixes, in prefix order and in order of arrival.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default=defaults.device)
    parser.add_argument("--model", type=Path, help="model folder; none: a random one is made")
    parser.add_argument("--rounds", type=int, default=defaults.rounds)
    parser.add_argument("--window", type=int, default=defaults.window)
    parser.add_argument("--seconds", type=float, default=defaults.seconds, help="of each run")
    parser.add_argument("--quick", action="store_true", help="one short round, too short to tell")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--output", type=Path, default=defaults.output)
    flags = parser.parse_args(arguments)
    if flags.rounds < 1 or flags.window < 1 or flags.seconds <= 0:
        parser.error("--rounds, --window and --seconds must be positive")
    return PrefixOptions(
        device=flags.device,
        model_path=flags.model,
        rounds=1 if flags.quick else flags.rounds,
        window=flags.window,
        ramp_s=4.0 if flags.quick else defaults.ramp_s,
        seconds=9.0 if flags.quick else flags.seconds,
        seed=flags.seed,
        output=flags.output,
    )
