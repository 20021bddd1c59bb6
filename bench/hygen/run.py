"""`make bench-hygen`: HyGen's setting and its rivals, in simulation.

Owns the options, the processes and the order of the parts.
"""

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from typing import Any

from bench.harness import Figure, Report, publish
from bench.hygen.cells import CELLS, TOLERANCES, Cell
from bench.hygen.figures import figures_of, samples_of, show_cells
from bench.hygen.panel import AS_THEY_ARE, TUNED, Panel, run_panel
from bench.hygen.settings import SETTINGS, Spec, sources
from planner.replay.predictors import Predictor

_QUICK_TOLERANCES = (0.10, 0.50)
_PREDICTED = ("hygen", "slacktide")  # policies whose gain is told apart from the predictor's


def main(arguments: Sequence[str]) -> int:
    """Runs the bench; 0 when it ran, whatever the figures say."""
    flags = _parser().parse_args(arguments)
    began = time.monotonic()

    def tell(text: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {text}", file=sys.stderr, flush=True)

    tolerances = _QUICK_TOLERANCES if flags.quick else TOLERANCES
    cells = tuple(cell for cell in CELLS if cell.tolerance_ratio in tolerances)
    jobs = _jobs(flags)
    tell(f"{len(jobs)} slices on {flags.processes} processes")
    panels = _run(jobs, cells=cells, processes=flags.processes, tell=tell)
    figures: list[Figure] = []
    samples: dict[str, Any] = {}
    for title, found in panels.items():
        show_cells(title, found, cells)
        figures += figures_of(title, found, cells)
        samples[title] = samples_of(found)
    print()
    report = Report(
        name="hygen",
        seed=flags.seed,
        configuration={
            "settings": {name: sources(name) for name in flags.settings},
            "slices": flags.slices,
            "slice_s": flags.duration,
            "tolerances": list(tolerances),
            "seconds": round(time.monotonic() - began, 1),
        },
        samples=samples,
        figures=figures,
    )
    tell(f"written to {publish(report)}")
    return 0


_Job = tuple[str, Spec, tuple[str, ...]]  # title, slice, policies


def _jobs(flags: argparse.Namespace) -> list[_Job]:
    jobs: list[_Job] = []
    for name in flags.settings:
        for rate in SETTINGS[name].rates[:1] if flags.quick else SETTINGS[name].rates:
            for number in range(1, flags.slices + 1):
                spec = partial(
                    Spec,
                    setting=name,
                    rate=rate,
                    number=flags.seed + number,
                    duration_s=flags.duration,
                )
                title = f"{name} {rate:g}/s"
                jobs.append((title, spec(), (*AS_THEY_ARE, *TUNED)))
                for kind in (Predictor.HYGEN, Predictor.ORACLE):
                    if kind.value in flags.predictors:
                        jobs.append((f"{title}, {kind.value}", spec(predictor=kind), _PREDICTED))
    return jobs


def _run(
    jobs: Sequence[_Job], *, cells: Sequence[Cell], processes: int, tell: Any
) -> dict[str, list[Panel]]:
    """Panels by title, in the order of the jobs."""
    done: dict[int, Panel] = {}
    # spawn: a forked worker would inherit whatever threads numpy has started
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        waiting = {
            pool.submit(run_panel, spec, policies=policies, cells=cells): number
            for number, (_, spec, policies) in enumerate(jobs)
        }
        for future in as_completed(waiting):
            number = waiting[future]
            panel = done[number] = future.result()
            title, spec, _ = jobs[number]
            tell(f"{title}, slice {spec.number}: {panel.replays} replays")
    found: dict[str, list[Panel]] = defaultdict(list)
    for number, (title, _, _) in enumerate(jobs):
        found[title].append(done[number])
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench hygen", description=__doc__)
    parser.add_argument("--settings", nargs="+", choices=sorted(SETTINGS), default=["hygen"])
    parser.add_argument("--slices", type=int, default=3, help="of each rate")
    parser.add_argument("--duration", type=float, default=180.0, help="seconds of a slice")
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
