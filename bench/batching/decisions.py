"""`make bench-batching`: the time of one decision.

Times `plan_iteration` call by call, the collector of garbage on, states in turn so that
none is warm from the call before. The making of the state is timed apart: 128 rows anew,
as a driver makes them in every pass, and a queue in which one request leaves and one
arrives. A decision runs on one core beside the engine, so the machine should be quiet; the
targets are of the wall clock, and the CPU time beside it says how quiet it was.
"""

import argparse
import gc
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter_ns, process_time_ns

from bench.batching.states import PARKED_ROWS, RUNNING_ROWS, WAITING, Case, draw_cases
from bench.harness import Figure, Report, figure_of, publish
from planner.batching.decide import plan_iteration
from planner.batching.prefixes import PromptOrder

_MEDIAN_TARGET, _P99_TARGET = "<= 100", "<= 300"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One decision's time."""

    label: str  # kind of state, as `Case.label`
    wall_us: float
    cpu_us: float  # of the process, reading the clocks included


def main(arguments: Sequence[str]) -> int:
    """Runs the bench; returns its exit code."""
    flags = _parser().parse_args(arguments)
    cases = draw_cases(seed=flags.seed, draws=flags.draws)
    gc.enable()
    _time_decisions(cases, rounds=1)  # warm-up
    runs = [_time_decisions(cases, rounds=flags.rounds) for _ in range(flags.runs)]
    building = [_time_building(cases) for _ in range(flags.runs)]
    report = Report(
        name="batching",
        seed=flags.seed,
        configuration={
            "running": RUNNING_ROWS,
            "parked": PARKED_ROWS,
            "waiting": WAITING,
            "states": len(cases),
            "rounds": flags.rounds,
            "runs": flags.runs,
            "gc": "on",
        },
        samples={
            "decision_us_percentiles": [_percentiles([s.wall_us for s in run]) for run in runs],
            "decision_cpu_us_percentiles": [_percentiles([s.cpu_us for s in run]) for run in runs],
        },
        figures=figures_of(runs, building),
    )
    print(f"report {publish(report)}")
    return 0


def figures_of(
    runs: Sequence[Sequence[Sample]], building: Sequence[Sequence[float]]
) -> list[Figure]:
    """Medians over the runs: all decisions, then by kind of state, then the state itself."""
    every = [[sample.wall_us for sample in samples] for samples in runs]
    cpu = [[sample.cpu_us for sample in samples] for samples in runs]
    figures = [
        figure_of(
            "decision, median",
            [statistics.median(us) for us in every],
            "us",
            target=_MEDIAN_TARGET,
        ),
        figure_of("decision, p99", [_p99(us) for us in every], "us", target=_P99_TARGET),
        figure_of("decision, CPU median", [statistics.median(us) for us in cpu], "us"),
        figure_of("decision, CPU p99", [_p99(us) for us in cpu], "us"),
    ]
    for label in sorted({sample.label for samples in runs for sample in samples}):
        mine = [[s.wall_us for s in samples if s.label == label] for samples in runs]
        figures += [
            figure_of(f"{label}, median", [statistics.median(us) for us in mine], "us"),
            figure_of(f"{label}, p99", [_p99(us) for us in mine], "us"),
            figure_of(
                f"{label}, CPU median",
                [
                    statistics.median([s.cpu_us for s in samples if s.label == label])
                    for samples in runs
                ],
                "us",
            ),
        ]
    figures.append(
        figure_of("state made, median", [statistics.median(us) for us in building], "us")
    )
    return figures


def _time_decisions(cases: Sequence[Case], *, rounds: int) -> list[Sample]:
    samples: list[Sample] = []
    for _ in range(rounds):
        for case in cases:
            state, model, budgets = case.state, case.model, case.budgets
            cpu_ns = process_time_ns()
            started_ns = perf_counter_ns()
            plan_iteration(state, model=model, budgets=budgets)
            wall_ns = perf_counter_ns() - started_ns
            cpu_ns = process_time_ns() - cpu_ns
            samples.append(
                Sample(label=case.label, wall_us=wall_ns / 1_000.0, cpu_us=cpu_ns / 1_000.0)
            )
    return samples


def _time_building(cases: Sequence[Case]) -> list[float]:
    """Microseconds of making each state anew, one request of the queue exchanged."""
    samples: list[float] = []
    for case in cases:
        state = case.state
        order = PromptOrder()
        for work in state.waiting_offline:
            order.put(work)
        leaves = state.waiting_offline[len(state.waiting_offline) // 2]
        arrives = replace(leaves, rid="new")
        started_ns = perf_counter_ns()
        order.discard(leaves.rid)
        order.put(arrives)
        queue = order.snapshot()
        replace(
            state,
            running=tuple([replace(row) for row in state.running]),
            parked=tuple([replace(row) for row in state.parked]),
            waiting_offline=queue.by_prompt,
            offline_queue=queue,
        )
        samples.append((perf_counter_ns() - started_ns) / 1_000.0)
    return samples


def _p99(samples: Sequence[float]) -> float:
    return sorted(samples)[int(0.99 * (len(samples) - 1))]


def _percentiles(samples: Sequence[float]) -> dict[str, float]:
    ordered = sorted(samples)
    return {
        f"p{share:g}": ordered[int(share / 100 * (len(ordered) - 1))]
        for share in (1, 25, 50, 75, 90, 99, 99.9, 100)
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench batching")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--draws", type=int, default=4, help="states per combination")
    parser.add_argument("--rounds", type=int, default=20, help="decisions per state and run")
    parser.add_argument("--runs", type=int, default=5, help="repeats, for the spread")
    return parser
