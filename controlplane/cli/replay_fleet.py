"""`slacktide replay --fleet`: a whole fleet over time.

Owns running it with progress, and how the answer is shown. Refuses files other than the
fleet's; the command writes what it is given.
"""

from pathlib import Path

from slacktide.wire.version import build_version

from controlplane.cli.failures import CommandError
from controlplane.cli.output import show_table
from controlplane.cli.replay_fleet_file import FleetFile, read_fleet
from controlplane.cli.replay_fleet_supposed import Supposing, supposed
from controlplane.cli.replay_run import TerminalProgress
from planner.replay.fleet_document import FleetDocument, figures
from planner.simulation.fleet.forecasts import Forecast, LastValue, Seasonal
from planner.simulation.fleet.rounds import GreedyRounds, Rounds, SolverRounds
from planner.simulation.fleet.run import Mode, replay_fleet

_EXACT_MOST_REQUESTS = 2_000_000
_NOTES = {
    "aggregated": (
        "Aggregated: replicas are taken as profiles of one engine, measured at a few steady"
        " loads; requests and items are flows. Validated against the exact mode on small fleets"
        " (`make bench-fleet`)."
    ),
    "exact": "Exact: every iteration of every engine is simulated, every request routed.",
}


def replayed_fleet(
    path: Path,
    *,
    supposing: Supposing,
    shows_progress: bool | None,
) -> FleetDocument:
    """Reads a fleet's file and replays it.

    Args:
        path: Of the file.
        supposing: What is to be otherwise than it says.
        shows_progress: On stderr; None: where that is a terminal.

    Raises:
        CommandError: What the file asks for cannot be.
    """
    progress = TerminalProgress(shows_progress)
    asked = supposed(read_fleet(path, tell=progress.tell), supposing)
    scenario, mode = asked.scenario, Mode(asked.mode)
    if mode is Mode.EXACT:
        _check_size(asked, path)
    progress.begin(asked.mode, to_s=scenario.duration_s)
    try:
        record = replay_fleet(
            scenario,
            rounds=_rounds(asked),
            forecast=_forecast(asked),
            mode=mode,
            reach=progress.reach,
        )
    except ValueError as error:
        raise CommandError(f"{path}: {error}") from error
    finally:
        progress.close()
    return FleetDocument(
        version=build_version(),
        name=path.name,
        record=record,
        configuration=asked.facts,
        prices=scenario.prices,
        notes=(_NOTES[asked.mode],),
    )


def show_fleet(document: FleetDocument) -> None:
    """Prints deployments, then what it came to."""
    rows = [
        [
            one.deployment,
            "kept" if one.attainment_ratio >= one.attainment_target else "missed",
            f"{one.requests:.0f}",
            f"{100.0 * one.attainment_ratio:.2f}",
            f"{one.shed:.0f}",
            f"{one.failed:.0f}",
            f"{one.offline_work_ms / 1e3:.0f}",
        ]
        for one in document.record.services
    ]
    heads = [
        "deployment", "slo", "requests", "attained %", "shed", "failed", "offline work s",
    ]  # fmt: skip
    show_table(heads, rows, right=[False, False] + [True] * 5)
    found, record = figures(document), document.record
    price = f", cost {found['cost']:,.2f}" if document.prices else ""
    due = [one for one in record.batches if one.deadline_s is not None]
    print(
        f"\n{record.nodes} nodes over {record.duration_s:.0f} s, {record.mode}:"
        f" {found['held_device_hours']:.1f} device-hours held"
        f" ({100.0 * found['held_ratio']:.0f} % of the fleet),"
        f" used to {100.0 * found['utilisation_ratio']:.0f} %{price};"
        f" {record.moves} moves in {len(record.rounds)} rounds;"
        f" {record.missed_deadlines} of {len(due)} deadlines missed"
    )


def _rounds(asked: FleetFile) -> Rounds:
    return GreedyRounds() if asked.solver == "greedy" else SolverRounds()


def _forecast(asked: FleetFile) -> Forecast:
    if asked.forecast == "last":
        return LastValue(margin_ratio=asked.margin_ratio)
    scenario = asked.scenario
    rounds = max(1, min(240, round(scenario.rounds.interval_s / scenario.interval_s)))
    try:
        return Seasonal(round_s=scenario.interval_s, rounds=rounds)
    except ValueError as error:
        raise CommandError(f"interval {scenario.interval_s:g}s: {error}") from error


def _check_size(asked: FleetFile, path: Path) -> None:
    """An exact replay needs engines, and of a large fleet would not end today."""
    scenario = asked.scenario
    for one in scenario.services:
        if not one.engines:
            raise CommandError(
                f"{path}.mode: exact: deployment {one.deployment.id} gives request_work and no"
                " engine to simulate; replay it aggregated"
            )
    requests = sum(
        one.demand.rate(0.0, scenario.duration_s) * scenario.duration_s for one in scenario.services
    )
    if requests > _EXACT_MOST_REQUESTS:
        raise CommandError(
            f"{path}.mode: exact: about {requests:,.0f} online requests are more than the"
            f" {_EXACT_MOST_REQUESTS:,} an exact replay takes; replay it aggregated, or shorten"
            " duration"
        )
