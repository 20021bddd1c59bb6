"""`make bench-fleet`: a day of a large fleet, replayed under Slacktide and its rivals.

Owns options, processes, progress and the report. Refuses decisions.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from multiprocessing import active_children, get_context
from time import perf_counter

from slacktide.wire.version import build_version

from bench.fleet.arms import ARMS, Ran, run_arm
from bench.fleet.clairvoyant import InfeasibleError, clairvoyant
from bench.fleet.families import Profiled
from bench.fleet.figures import OURS, arm_figures, samples_of, show_arms, validation_figures
from bench.fleet.settings import PRICES, FleetSettings, profiled, scenario, sources
from bench.fleet.steadiness import at_rest, moved_at_rest
from bench.fleet.validation import Compared, compare, small_fleets
from bench.harness import RESULTS, Figure, Report, publish
from planner.replay.fleet_document import FleetDocument
from planner.replay.fleet_report import fleet_report_html

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
    compared = () if asked.no_validation else _validate(asked.seed, is_quick=asked.quick)
    validated_s = perf_counter() - began_s
    _tell("profiling replicas on the engine simulator")
    families = profiled(settings, processes=asked.processes)
    profiled_s = perf_counter() - began_s - validated_s
    day = scenario(settings, families)
    bounds = _bounds(settings, families)
    runs = list(
        _run(asked.arms, settings, families, forecast=asked.forecast, processes=asked.processes)
    )
    runs.sort(key=lambda run: list(ARMS).index(run.arm))
    show_arms(runs)
    figures = [
        *arm_figures(runs, bounds=bounds),
        *_rest_figures(settings, families, asked.arms),
        *validation_figures(compared),
        Figure(name="validation, time", value=validated_s, unit="s"),
        Figure(name="profiles, time", value=profiled_s, unit="s"),
        Figure(
            name="profiles, bound and all arms, time",
            value=perf_counter() - began_s - validated_s,
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
        samples={"bounds": bounds, "arms": samples_of(runs)},
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


def _validate(seed: int, *, is_quick: bool) -> tuple[Compared, ...]:
    _tell("small fleets in both modes")
    found = []
    factor = 0.25 if is_quick else 1.0
    fleets = small_fleets(probe_s=_PROBED_S * factor, duration_s=_VALIDATED_S * factor, seed=seed)
    for name, fleet in fleets.items():
        one = compare(name, fleet)
        _tell(
            f"  {name}: throughput {one.throughput_ratio:.3f} of exact, attainment"
            f" {one.attainment_points:+.2f} points"
        )
        found.append(one)
    return tuple(found)


def _bounds(settings: FleetSettings, families: tuple[Profiled, ...]) -> dict[str, float]:
    """The clairvoyant's device-hours and cost; no number where the day is beyond the fleet."""
    day = scenario(settings, families)
    try:
        return {
            "device-hours": clairvoyant(day, prices=dict.fromkeys(PRICES, 1.0)),
            "cost": clairvoyant(day, prices=PRICES),
        }
    except InfeasibleError as error:
        _tell(str(error))
        return {"device-hours": float("nan"), "cost": float("nan")}


def _run(
    arms: Sequence[str],
    settings: FleetSettings,
    families: tuple[Profiled, ...],
    *,
    forecast: str,
    processes: int,
) -> Iterator[Ran]:
    """Each arm's day, as they end."""
    if processes <= 1:
        for arm in arms:
            yield _told(_arm(arm, settings, families, forecast))
        return
    # spawn: a forked worker would inherit whatever threads numpy has started
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(_arm, arm, settings, families, forecast) for arm in arms]
        try:
            for future in as_completed(waiting):
                yield _told(future.result())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in active_children():
                worker.terminate()


def _arm(arm: str, settings: FleetSettings, families: tuple[Profiled, ...], forecast: str) -> Ran:
    """One arm, in a process of its own."""
    return run_arm(arm, scenario(settings, families), forecast=forecast, quantile=settings.quantile)


def _rest_figures(
    settings: FleetSettings, families: tuple[Profiled, ...], arms: Sequence[str]
) -> list[Figure]:
    if OURS not in arms:
        return []
    _tell("constant load: whether rounds keep still")
    run = run_arm(OURS, at_rest(scenario(settings, families)), forecast="last")
    moved = moved_at_rest(run.record.rounds)
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
    _tell(f"  {run.arm}: {run.wall_s:.0f} s, of which rounds {run.rounds_s:.0f} s")
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
    parser.add_argument("--forecast", choices=["seasonal", "last"], default="seasonal")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-validation", action="store_true", help="skip the exact mode")
    parser.add_argument("--quick", action="store_true", help="24 nodes, 6 models, 6 hours")
    return parser
