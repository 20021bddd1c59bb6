"""`make bench-fleet`: a day of a large fleet, replayed under Slacktide and its rivals.

Owns options, processes, progress and the report. Refuses decisions.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from multiprocessing import active_children, get_context
from time import perf_counter
from typing import ParamSpec, TypeVar

from slacktide.wire.version import build_version

from bench.fleet.arms import ARMS, Ran, run_arm
from bench.fleet.clairvoyant import InfeasibleError, clairvoyant
from bench.fleet.families import Profiled
from bench.fleet.figures import OURS, arm_figures, samples_of, show_arms, validation_figures
from bench.fleet.matching import MATCHED, QUANTILES, Tried, matched_figures
from bench.fleet.settings import PRICES, FleetSettings, profiled, scenario, sources
from bench.fleet.steadiness import at_rest, moved_at_rest
from bench.fleet.validation import Compared, compare, small_fleets
from bench.harness import RESULTS, Figure, Report, publish
from planner.replay.fleet_document import FleetDocument
from planner.replay.fleet_report import fleet_report_html

P = ParamSpec("P")
R = TypeVar("R")

_DEFAULT_ARMS = (
    "slacktide", "separate", "per-model-greedy", "melange-like", "queue-proportional",
)  # fmt: skip
_MOST_S = 1800.0
_VALIDATED_S, _PROBED_S = 600.0, 120.0


def main(arguments: Sequence[str]) -> int:
    """Runs the bench; 1 where a target is missed."""
    asked = _parser().parse_args(arguments)
    began_s = perf_counter()
    settings = _settings(asked)
    _tell("profiling replicas on the engine simulator")
    families = profiled(settings, processes=asked.processes)
    profiled_s = perf_counter() - began_s
    day = scenario(settings, families)
    bounds = _bounds(settings, families)
    with _processes(asked.processes) as pool:
        done = _run(
            pool,
            asked.arms,
            settings,
            families,
            forecast=asked.forecast,
            is_validated=not asked.no_validation,
            is_quick=asked.quick,
        )
    runs = list(done.runs)
    runs.sort(key=lambda run: list(ARMS).index(run.arm))
    show_arms(runs)
    figures = [
        *arm_figures(runs, bounds=bounds),
        *matched_figures(done.tried, runs),
        *_rest_figures(done.moved_at_rest),
        *validation_figures(done.compared),
        Figure(name="profiles, time", value=profiled_s, unit="s"),
        Figure(
            name="profiles, bound, all arms and validation, time",
            value=perf_counter() - began_s,
            unit="s",
            target=f"<= {_MOST_S:g}",
        ),
    ]
    for run in runs:
        _write_page(run)
    report = Report(
        name="fleet",
        seed=settings.seed,
        configuration={
            **asdict(settings),
            "arms": list(asked.arms),
            "forecast": asked.forecast,
            "sources": sources(),
            "prices": dict(PRICES),
            "devices": sum(len(node.devices) for node in day.nodes),
            "batches": len(day.batches),
            "outages": len(day.outages),
        },
        samples={
            "bounds": bounds,
            "arms": samples_of(runs),
            "other_quantiles": [one.as_values() for one in done.tried],
        },
        figures=figures,
    )
    path = publish(report)
    print(f"wrote {path}")
    return 0 if all(figure.met is not False for figure in figures) else 1


def _settings(asked: argparse.Namespace) -> FleetSettings:
    settings = FleetSettings(
        nodes=asked.nodes,
        models=asked.models,
        hours=asked.hours,
        online_ratio=asked.online_ratio,
        offline_ratio=asked.offline_ratio,
        quantile=asked.quantile,
        seed=asked.seed,
    )
    if asked.quick:
        settings = replace(
            settings,
            nodes=min(settings.nodes, 24),
            models=min(settings.models, 6),
            hours=min(settings.hours, 6.0),
            probe_s=20.0,
        )
    return settings


def _validate(seed: int, is_quick: bool) -> tuple[Compared, ...]:
    """Small fleets in both modes, in a process of its own."""
    factor = 0.25 if is_quick else 1.0
    fleets = small_fleets(probe_s=_PROBED_S * factor, duration_s=_VALIDATED_S * factor, seed=seed)
    return tuple(compare(name, fleet) for name, fleet in fleets.items())


def _bounds(settings: FleetSettings, families: tuple[Profiled, ...]) -> dict[str, float]:
    """The clairvoyant's device-hours and cost; no number where the day is beyond the fleet."""
    day = scenario(settings, families)
    found: dict[str, float] = {}
    steps = max(1, round(settings.round_s / day.rounds.resplit_s))
    for what, prices in (("device-hours", dict.fromkeys(PRICES, 1.0)), ("cost", PRICES)):
        for name, parts in ((what, 1), (f"{what}, by rounds", steps)):
            try:
                found[name] = clairvoyant(day, prices=prices, slot_s=settings.round_s, steps=parts)
            except InfeasibleError as error:
                _tell(str(error))
                found[name] = float("nan")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    """What the processes brought."""

    runs: tuple[Ran, ...]
    tried: tuple[Tried, ...]  # rivals at other quantiles of the forecast
    moved_at_rest: int | None  # None: our arm was not asked for
    compared: tuple[Compared, ...]


class _Inline(Executor):
    """Runs each job when it is handed in."""

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Runs it now."""
        future: Future[R] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@contextmanager
def _processes(count: int) -> Iterator[Executor]:
    """So many processes; none of their work outlives the block."""
    if count <= 1:
        yield _Inline()
        return
    # spawn: a forked worker would inherit whatever threads numpy has started
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in active_children():
                worker.terminate()


def _run(
    pool: Executor,
    arms: Sequence[str],
    settings: FleetSettings,
    families: tuple[Profiled, ...],
    *,
    forecast: str,
    is_validated: bool,
    is_quick: bool,
) -> _Done:
    """Every arm's day, constant load and the small fleets, side by side; the longest first."""
    ordered = sorted(arms, key=lambda arm: arm != OURS)
    first = [pool.submit(_arm, arm, settings, families, forecast) for arm in ordered[:1]]
    validating = pool.submit(_validate, settings.seed, is_quick) if is_validated else None
    resting = pool.submit(_at_rest, settings, families) if OURS in arms else None
    waiting = [*first, *(pool.submit(_arm, a, settings, families, forecast) for a in ordered[1:])]
    trying = [
        pool.submit(_try, arm, replace(settings, quantile=quantile), families)
        for quantile in QUANTILES
        for arm in MATCHED
        if OURS in arms and arm in arms and forecast == "seasonal"
    ]
    runs = tuple(_told(future.result()) for future in as_completed(waiting))
    compared = validating.result() if validating is not None else ()
    for one in compared:
        _tell(
            f"  {one.name}: throughput {one.throughput_ratio:.3f} of exact, attainment"
            f" {one.attainment_points:+.2f} points"
        )
    return _Done(
        runs=runs,
        tried=tuple(future.result() for future in trying),
        moved_at_rest=resting.result() if resting is not None else None,
        compared=compared,
    )


def _arm(arm: str, settings: FleetSettings, families: tuple[Profiled, ...], forecast: str) -> Ran:
    """One arm, in a process of its own."""
    return run_arm(arm, scenario(settings, families), forecast=forecast, quantile=settings.quantile)


def _try(arm: str, settings: FleetSettings, families: tuple[Profiled, ...]) -> Tried:
    """One arm at another quantile, likewise."""
    run = run_arm(arm, scenario(settings, families), quantile=settings.quantile)
    return Tried(arm=arm, quantile=settings.quantile, record=run.record)


def _at_rest(settings: FleetSettings, families: tuple[Profiled, ...]) -> int:
    """Replicas our arm moves under constant load, likewise."""
    run = run_arm(OURS, at_rest(scenario(settings, families)), forecast="last")
    return moved_at_rest(run.record.rounds)


def _rest_figures(moved: int | None) -> list[Figure]:
    if moved is None:
        return []
    return [
        Figure(
            name=f"{OURS}: moves under constant load, after an hour",
            value=float(moved),
            unit="replicas",
            target="<= 0",
        )
    ]


def _write_page(run: Ran) -> None:
    document = FleetDocument(
        version=build_version(),
        name=f"bench-fleet, {run.arm}",
        record=run.record,
        configuration={"Arm": {"name": run.arm, "given_back": run.given_back}},
        prices=PRICES,
    )
    path = RESULTS / f"fleet-{run.arm}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(fleet_report_html(document), encoding="utf-8")


def _told(run: Ran) -> Ran:
    _tell(
        f"  {run.arm}: {run.wall_s:.0f} s, of which rounds {run.rounds_s:.0f} s;"
        f" {run.cpu_s:.0f} s of processor"
    )
    return run


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench fleet", description=__doc__)
    parser.add_argument("--arms", nargs="+", choices=sorted(ARMS), default=list(_DEFAULT_ARMS))
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument(
        "--online-ratio", type=float, default=FleetSettings().online_ratio,
        help="online load of a mean hour, of what the fleet bears",
    )  # fmt: skip
    parser.add_argument(
        "--offline-ratio", type=float, default=FleetSettings().offline_ratio,
        help="batch work of the day, of its online work, in devices' time",
    )  # fmt: skip
    parser.add_argument(
        "--quantile", type=float, default=FleetSettings().quantile,
        help="of the seasonal forecast that all arms plan by",
    )  # fmt: skip
    parser.add_argument("--forecast", choices=["seasonal", "last"], default="seasonal")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-validation", action="store_true", help="skip the exact mode")
    parser.add_argument("--quick", action="store_true", help="24 nodes, 6 models, 6 hours")
    return parser
