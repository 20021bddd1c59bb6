"""`make bench-hygen`: HyGen's setting and its rivals, in simulation.

Owns the options, the processes and the order of the parts.
"""

import argparse
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import active_children, get_context
from typing import Any

from bench.harness import Figure, Report, publish, write
from bench.hygen.cells import ARRIVAL, CELLS, PAIRS, TOLERANCES, Cell
from bench.hygen.figures import figures_of, samples_of, show_cells
from bench.hygen.panel import AS_THEY_ARE, TUNED, Panel, run_panel
from bench.hygen.settings import SETTINGS, Spec, sources
from planner.replay.predictors import Predictor

_QUICK_TOLERANCES = (0.10, 0.50)
_ONE_TOLERANCE = 0.25  # of settings beside HyGen's own, and of prediction errors
_PREDICTED = ("hygen", "slacktide")  # policies whose gain is told apart from the predictor's


def main(arguments: Sequence[str]) -> int:
    """Runs the bench; 0 when it ran, whatever the figures say."""
    flags = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()

    def tell(text: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {text}", file=sys.stderr, flush=True)

    jobs = _jobs(flags)
    for name in flags.settings:
        tell(f"{name}: " + ", ".join(f"{what}: {of}" for what, of in sources(name).items()))
    tell(f"{len(jobs)} slices on {flags.processes} processes")
    done: dict[int, Panel] = {}
    for number, panel in _run(jobs, processes=flags.processes):
        done[number] = panel
        tell(f"{jobs[number].title}, slice {panel.spec.number}: {panel.replays} replays")
        if len(done) == len(jobs):
            break
        # A run that ends early has left what it had.
        write(_report(flags, jobs, done, began=began))
    for title, found, cells in _complete(jobs, done):
        show_cells(title, found, cells)
    print()
    tell(f"written to {publish(_report(flags, jobs, done, began=began))}")
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One slice, for one table."""

    title: str
    spec: Spec
    policies: tuple[str, ...]
    cells: tuple[Cell, ...]
    has_bounds: bool = False


def _complete(
    jobs: Sequence[_Job], done: Mapping[int, Panel]
) -> Iterator[tuple[str, list[Panel], tuple[Cell, ...]]]:
    """Titles all of whose slices have been run, with them and their cells."""
    for title in dict.fromkeys(job.title for job in jobs):
        numbers = [number for number, job in enumerate(jobs) if job.title == title]
        if all(number in done for number in numbers):
            yield title, [done[number] for number in numbers], jobs[numbers[0]].cells


def _report(
    flags: argparse.Namespace, jobs: Sequence[_Job], done: Mapping[int, Panel], *, began: float
) -> Report:
    figures: list[Figure] = []
    samples: dict[str, Any] = {}
    for title, found, cells in _complete(jobs, done):
        figures += figures_of(title, found, cells)
        samples[title] = samples_of(found)
    return Report(
        name="hygen",
        seed=flags.seed,
        configuration={
            "settings": {name: sources(name) for name in flags.settings},
            "slices": flags.slices,
            "slice_s": flags.duration,
            "seconds": round(time.monotonic() - began, 1),
            "not_run": [job.title for n, job in enumerate(jobs) if n not in done],
        },
        samples=samples,
        figures=figures,
    )


def _jobs(flags: argparse.Namespace) -> list[_Job]:
    tolerances = _QUICK_TOLERANCES if flags.quick else TOLERANCES
    cells = tuple(cell for cell in CELLS if cell.tolerance_ratio in tolerances)
    few = tuple(cell for cell in CELLS if cell.tolerance_ratio == _ONE_TOLERANCE)
    jobs: list[_Job] = []
    erring: list[_Job] = []  # last: what a run that ends early lacks
    for name in flags.settings:
        is_main = name == "hygen"
        rates = SETTINGS[name].rates[:1] if flags.quick else SETTINGS[name].rates
        if is_main and flags.rates:
            rates = tuple(flags.rates)
        for rate in rates:
            for number in range(1, (flags.slices if is_main else max(1, flags.slices // 2)) + 1):
                spec = Spec(
                    setting=name, rate=rate, number=flags.seed + number, duration_s=flags.duration
                )
                jobs += _of_slice(
                    f"{name} {rate:g}/s",
                    spec,
                    cells=cells if is_main else few,
                    has_bounds=number == 1,
                )
                if not is_main:
                    continue
                for kind in (Predictor.HYGEN, Predictor.ORACLE):
                    if kind.value in flags.predictors:
                        jobs.append(
                            _Job(
                                title=f"{name} {rate:g}/s, predictor {kind.value}",
                                spec=replace(spec, predictor=kind),
                                policies=_PREDICTED,
                                cells=cells,
                            )
                        )
        if is_main:
            erring = [
                _Job(
                    title=f"{name} {rate:g}/s, prediction error {error:.0%}",
                    spec=Spec(
                        setting=name,
                        rate=rate,
                        number=flags.seed + 1,
                        duration_s=flags.duration,
                        predictor=Predictor.ORACLE,
                        error_ratio=error,
                    ),
                    policies=_PREDICTED,
                    cells=few,
                )
                for rate in rates
                for error in flags.errors
            ]
    return jobs + erring


def _of_slice(title: str, spec: Spec, *, cells: tuple[Cell, ...], has_bounds: bool) -> list[_Job]:
    """All policies by the fitted model; what is a setting's own besides."""
    policies: tuple[str, ...] = (*AS_THEY_ARE, *TUNED)
    match spec.setting:
        case "bursts":
            cells = (Cell(metrics=("ttft_p99",), tolerance_ratio=0.15),)
        case "mmlu":
            policies = ("hygen", "slacktide", ARRIVAL)
        case "hygen":
            cells = (*cells, *PAIRS)
    return [_Job(title=title, spec=spec, policies=policies, cells=cells, has_bounds=has_bounds)]


def _run(jobs: Sequence[_Job], *, processes: int) -> Iterator[tuple[int, Panel]]:
    """The panel of each job, with its place, as they end."""
    # spawn: a forked worker would inherit whatever threads numpy has started
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        waiting = {
            pool.submit(
                run_panel,
                job.spec,
                policies=job.policies,
                cells=job.cells,
                has_bounds=job.has_bounds,
            ): number
            for number, job in enumerate(jobs)
        }
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        finally:
            # None is left where all has ended; else each would go on for minutes.
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in active_children():
                worker.terminate()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench hygen", description=__doc__)
    parser.add_argument("--settings", nargs="+", choices=sorted(SETTINGS), default=list(SETTINGS))
    parser.add_argument(
        "--errors",
        type=float,
        nargs="*",
        default=[0.01, 0.05, 0.10, 0.20],
        help="deviations of what HyGen's setting is planned by, on the first slice of each rate",
    )
    parser.add_argument("--slices", type=int, default=2, help="of each rate; half as many beside")
    parser.add_argument("--rates", type=float, nargs="*", help="of HyGen's setting, a second")
    parser.add_argument("--duration", type=float, default=90.0, help="seconds of a slice")
    parser.add_argument(
        "--predictors",
        nargs="*",
        choices=[Predictor.HYGEN.value, Predictor.ORACLE.value],
        default=[Predictor.HYGEN.value, Predictor.ORACLE.value],
        help="beside the fitted one",
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="one rate, two tolerances")
    return parser
