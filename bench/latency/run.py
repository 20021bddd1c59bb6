"""`make bench-latency`: the latency model against HyGen's, on an engine and on GPU profiles.

Owns the order of the parts and the report. The engine's part rests on measurements; the
profiles' part is labelled synthetic, since its attention is computed.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.harness import Figure, Report, publish
from bench.latency.compare import (
    TARGET_COVERAGE_RATIO,
    Verdict,
    judge,
    longer_contexts,
    random_splits,
)
from bench.latency.drifting import drift_rows
from bench.latency.engine import collect
from bench.latency.profiles import (
    TRACES_VARIABLE,
    AllReduce,
    draw_iterations,
    label_of,
    read_machines,
    traces_folder,
)
from bench.latency.report import engine_figures, jitter_figures, profile_figures, rows_of
from bench.latency.samples import EngineSamples, read_samples, write_samples
from bench.latency.speed import speed_figures
from planner.latency.predictor import default_model
from planner.latency.sample import IterationSample

_RAW_SAMPLES = Path("build/bench/latency-samples.json")
_ENGINE_FOLDER = Path("build/bench/latency-engine")
_ENGINE_TRAINED_TOKENS = 1024  # of 2,048 and a little more
_PROFILE_TRAINED_TOKENS = 8192  # of 32,768
_JITTER_SHARE = 4  # the row without targets takes a quarter of the iterations


def main(arguments: Sequence[str]) -> int:
    """Runs the bench; 0 when it ran, whatever the figures say, 1 when the engine did not."""
    flags = _parser().parse_args(arguments)
    try:
        return _run(flags)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1


def _run(flags: argparse.Namespace) -> int:
    began = time.monotonic()

    def tell(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", file=sys.stderr, flush=True)

    figures: list[Figure] = []
    samples: dict[str, Any] = {}
    configuration: dict[str, Any] = {
        "splits": flags.splits,
        "coverage_ratio": TARGET_COVERAGE_RATIO,
        "engine_trained_tokens": _ENGINE_TRAINED_TOKENS,
        "profile_trained_tokens": _PROFILE_TRAINED_TOKENS,
    }
    if not flags.no_engine:
        run = _engine_samples(flags, tell=tell)
        verdicts = _judged(
            run.samples,
            seed=flags.seed,
            splits=flags.splits,
            device="cpu",
            trained_tokens=_ENGINE_TRAINED_TOKENS,
        )
        figures += engine_figures(verdicts)
        configuration["engine"] = {
            "identity": run.identity,
            "machine": run.machine,
            "iterations": len(run.samples),
            "lost": run.lost,
            **run.configuration,
        }
        samples["engine"] = rows_of(verdicts)
        samples["drift"] = drift_rows(verdicts[0].model, run.samples)
        figures += speed_figures(verdicts[0].model, run.samples, incumbent=default_model("cpu"))
        tell("engine judged")
    if not flags.no_profiles:
        figures += _profiles(flags, samples=samples, configuration=configuration, tell=tell)
    path = publish(
        Report(
            name="latency",
            seed=flags.seed,
            configuration=configuration,
            samples=samples,
            figures=figures,
        )
    )
    print(f"report {path}")
    return 0


def _engine_samples(flags: argparse.Namespace, *, tell: Any) -> EngineSamples:
    if flags.engine_samples is not None:
        return read_samples(flags.engine_samples)
    run = asyncio.run(
        collect(folder=_ENGINE_FOLDER, seed=flags.seed, limit_s=flags.engine_s, tell=tell)
    )
    write_samples(_RAW_SAMPLES, run)
    tell(f"{len(run.samples)} iterations, {run.lost} lost, kept in {_RAW_SAMPLES}")
    return run


def _judged(
    samples: Sequence[IterationSample],
    *,
    seed: int,
    splits: int,
    device: str,
    trained_tokens: int,
) -> list[Verdict]:
    chosen = [
        *random_splits(samples, seed=seed, count=splits),
        longer_contexts(samples, trained_tokens=trained_tokens),
    ]
    return [
        judge(split, incumbent=default_model(device))
        for split in chosen
        if split.training and split.held_out
    ]


def _profiles(
    flags: argparse.Namespace,
    *,
    samples: dict[str, Any],
    configuration: dict[str, Any],
    tell: Any,
) -> list[Figure]:
    folder = traces_folder()
    if folder is None:
        tell(f"no GPU profiles: set {TRACES_VARIABLE} to the folder of vidur_*_mlp.csv; skipped")
        return []
    figures: list[Figure] = []
    configuration["profile_iterations"] = flags.profile_iterations
    for reading in AllReduce:
        is_raw = reading is AllReduce.RAW
        verdicts = {}
        for machine in read_machines(folder, all_reduce=reading):
            if is_raw and machine.all_reduce_ms is None:
                continue  # the same as in the other reading
            drawn = draw_iterations(
                machine,
                seed=flags.seed,
                count=flags.profile_iterations // (_JITTER_SHARE if is_raw else 1),
            )
            verdicts[label_of(machine)] = _judged(
                drawn,
                seed=flags.seed,
                splits=1 if is_raw else flags.splits,
                device=machine.device.family,
                trained_tokens=_PROFILE_TRAINED_TOKENS,
            )
            tell(f"{label_of(machine)}, all-reduce {reading.value}: judged")
        figures += jitter_figures(verdicts) if is_raw else profile_figures(verdicts)
        samples[f"profiles_{reading.value}"] = {
            name: rows_of(chosen) for name, chosen in verdicts.items()
        }
    return figures


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench latency", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--splits", type=int, default=4, help="random splits of each data set")
    parser.add_argument(
        "--engine-s", type=float, default=240.0, help="seconds to measure a real engine"
    )
    parser.add_argument(
        "--engine-samples", type=Path, help=f"saved samples instead, such as {_RAW_SAMPLES}"
    )
    parser.add_argument("--no-engine", action="store_true", help="profiles only")
    parser.add_argument("--no-profiles", action="store_true", help="engine only")
    parser.add_argument("--profile-iterations", type=int, default=8000, help="of each profile")
    return parser
