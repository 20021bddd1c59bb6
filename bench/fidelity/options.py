"""What a run is asked to do.

Owns the flags and what they come to. Everything else is as `bench-colocate` has it.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.colocate import options as colocate
from bench.colocate.slices import TRACES


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """A run.

    Args:
        load: slices, batch and window, as of `bench-colocate`.
        budgets: names of the fixed budgets that are judged.
        mixed_s: how long iterations of mixed loads are measured.
        alone_s: likewise, of online alone.
        solitary: requests sent one at a time.
        rows_s: how long the batch runs alone at each small number of rows.
        gauge_s: how long the pace is measured, before and after each judged run.
        seeds: simulated runs of each judged one.
    """

    load: colocate.Options
    budgets: tuple[str, ...]
    mixed_s: float
    alone_s: float
    solitary: int
    rows_s: float
    gauge_s: float
    seeds: int
    is_quick: bool


def read_options(arguments: Sequence[str], *, budgets: Sequence[str]) -> Options:
    """Reads the flags; a wrong one ends the process with a usage line, as argparse does.

    Args:
        arguments: of the command line.
        budgets: names there are.
    """
    parser = argparse.ArgumentParser(
        prog="make bench-fidelity ARGS=…",
        description="A real engine against its own simulation.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--traces", nargs="+", choices=sorted(TRACES), default=["azure"],
                        help="the first one gets all rounds, each other a single one")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3, help="of the first trace")
    parser.add_argument("--seconds", type=float, default=0.0, help="of a judged run; 0: 32, 8"
                        " with --quick")  # fmt: skip
    parser.add_argument("--budgets", nargs="+", choices=budgets, default=[budgets[0], budgets[-1]])
    colocate.add_engine_flags(parser)
    parser.add_argument("--quick", action="store_true", help="three minutes; too short to tell")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("build/bench/fidelity"))
    flags = parser.parse_args(arguments)
    if flags.rounds < 1 or min(flags.seconds, flags.window, flags.kv_tokens) < 0:
        parser.error("--rounds must be >= 1, --seconds, --window and --kv-tokens >= 0")
    quick = flags.quick
    rounds = 1 if quick else flags.rounds
    traces = tuple(dict.fromkeys(flags.traces))
    load = replace(
        colocate.read_options(["--device", flags.device]),
        model_path=flags.model,
        kv_tokens=flags.kv_tokens,
        engine_flags=tuple(flags.engine_flag),
        traces=traces,
        rounds={name: rounds if name == traces[0] else 1 for name in traces},
        requests=1,
        least_s=flags.seconds or (8.0 if quick else 32.0),
        rates=dict.fromkeys(traces, flags.rate),
        settle_s=1.0 if quick else 3.0,
        seed=flags.seed,
        is_quick=quick,
        output=flags.output,
    )
    if flags.window:
        load = replace(load, window=flags.window)
    return Options(
        load=load,
        budgets=tuple(dict.fromkeys(flags.budgets)),
        mixed_s=12.0 if quick else 36.0,
        alone_s=6.0 if quick else 20.0,
        solitary=8 if quick else 24,
        rows_s=0.6 if quick else 1.6,
        gauge_s=2.0 if quick else 4.0,
        seeds=3 if quick else 10,
        is_quick=quick,
    )
