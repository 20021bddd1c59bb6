"""What the arms come to, as the figures claims rest on.

Owns ratios between arms, and what makes them equal: attainment and batch work. Refuses
replays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bench.fleet.arms import Ran
from bench.fleet.steadiness import reversals
from bench.fleet.validation import Compared
from bench.harness import Figure
from controlplane.cli.output import show_table
from planner.simulation.fleet.recording import FleetRecord

OURS, APART = "slacktide", "separate"


def held_hours(record: FleetRecord) -> float:
    """Device-hours that replicas held."""
    return record.total("held_device_s") / 3600.0


def peak_hours(record: FleetRecord) -> float:
    """Device-hours of a fleet that is as large all day as it ever had to be."""
    most = max(record.series["held_device_s"]) / record.interval_s
    return most * record.duration_s / 3600.0


def done_ratio(record: FleetRecord) -> float:
    """Batch items done, of all submitted."""
    items = sum(batch.items for batch in record.batches)
    return sum(batch.done for batch in record.batches) / items if items else 1.0


def worst_ratio(record: FleetRecord) -> float:
    """Attainment of the deployment that has least."""
    ratios = [one.attainment_ratio for one in record.services if one.requests > 0.0]
    return min(ratios, default=1.0)


def show_arms(runs: Sequence[Ran]) -> None:
    """A line an arm."""
    rows = [
        [
            run.arm,
            f"{held_hours(run.record):,.0f}",
            f"{run.record.total('cost'):,.0f}",
            f"{100.0 * run.record.attainment_ratio:.2f}",
            f"{100.0 * worst_ratio(run.record):.2f}",
            f"{100.0 * done_ratio(run.record):.1f}",
            f"{run.record.missed_deadlines}/{len(run.record.batches)}",
            f"{run.record.moves}",
            f"{reversals(run.record.rounds)}",
            f"{_used(run.record):.2f}",
            f"{run.greedy_ratio:.2f}",
            f"{run.rounds_s:.0f}",
            f"{run.slowest_s:.1f}",
            f"{run.wall_s:.0f}",
            f"{run.cpu_s:.0f}",
        ]
        for run in runs
    ]
    heads = [
        "arm", "device-hours", "cost", "attained %", "least %", "batch work %", "missed", "moves",
        "reversals", "used", "greedy", "rounds s", "slowest s", "wall s",
        "cpu s",
    ]  # fmt: skip
    show_table(heads, rows, right=[False] + [True] * 14)


def arm_figures(runs: Sequence[Ran], *, bounds: Mapping[str, float]) -> list[Figure]:
    """Each arm on its own, then Slacktide against the others and the bound."""
    figures: list[Figure] = []
    for run in runs:
        record = run.record
        is_ours = run.arm == OURS
        for what, value, unit, target in (
            ("device-hours", held_hours(record), "h", None),
            ("cost", record.total("cost"), "price", None),
            ("attainment", record.attainment_ratio, "ratio", ">= 0.99" if is_ours else None),
            ("attainment, least deployment", worst_ratio(record), "ratio",
             ">= 0.99" if is_ours else None),
            ("batch work done", done_ratio(record), "ratio", ">= 0.999" if is_ours else None),
            ("missed deadlines", float(record.missed_deadlines), "batches",
             "<= 0" if is_ours else None),
            ("moves", float(record.moves), "replicas", None),
            ("reversals within 30 min", float(reversals(record.rounds)), "replicas", None),
            ("rounds fallen back to greedy", run.greedy_ratio, "ratio", None),
            ("rounds, longest", run.slowest_s, "s", None),
            ("wall time", run.wall_s, "s", None),
            ("processor time", run.cpu_s, "s", None),
        ):  # fmt: skip
            figures.append(Figure(name=f"{run.arm}: {what}", value=value, unit=unit, target=target))
    found = {run.arm: run.record for run in runs}
    ours = found.get(OURS)
    if ours is None:
        return figures
    hours, price = held_hours(ours), ours.total("cost")
    for name, record in found.items():
        if name == OURS:
            continue
        figures.append(
            Figure(
                name=f"device-hours: {OURS} / {name}{unlike(ours, record)}",
                value=hours / held_hours(record),
                unit="ratio",
            )
        )
        figures.append(
            Figure(name=f"cost: {OURS} / {name}", value=price / record.total("cost"), unit="ratio")
        )
    if APART in found:
        figures.append(
            Figure(
                name=f"device-hours: {OURS} / {APART}, sized for its peak",
                value=hours / peak_hours(found[APART]),
                unit="ratio",
                target="<= 0.7",
            )
        )
    for what, value in (("device-hours", hours), ("cost", price)):
        figures.append(
            Figure(
                name=f"{what}: {OURS} / clairvoyant bound",
                value=value / bounds[what],
                unit="ratio",
                target="<= 1.1",
            )
        )
        figures.append(
            Figure(
                name=f"{what}: {OURS} / the same bound, deciding once a round",
                value=value / bounds[f"{what}, by rounds"],
                unit="ratio",
            )
        )
    return figures


def validation_figures(compared: Sequence[Compared]) -> list[Figure]:
    """The furthest of the small fleets, and each."""
    figures = []
    for one in compared:
        figures.append(
            Figure(
                name=f"aggregated / exact throughput: {one.name}",
                value=one.throughput_ratio,
                unit="ratio",
            )
        )
        if one.offline_ratio is not None:
            figures.append(
                Figure(
                    name=f"aggregated / exact offline work: {one.name}",
                    value=one.offline_ratio,
                    unit="ratio",
                )
            )
        figures.append(
            Figure(
                name=f"aggregated - exact attainment: {one.name}",
                value=one.attainment_points,
                unit="points",
            )
        )
    if compared:
        figures.append(
            Figure(
                name="aggregated against exact, throughput: furthest",
                value=max(abs(one.throughput_ratio - 1.0) for one in compared),
                unit="ratio",
                target="<= 0.1",
            )
        )
        figures.append(
            Figure(
                name="aggregated against exact, attainment: furthest",
                value=max(abs(one.attainment_points) for one in compared),
                unit="points",
                target="<= 2",
            )
        )
    return figures


def samples_of(runs: Sequence[Ran]) -> dict[str, Any]:
    """Every arm's rounds, batches and hourly sums."""
    return {
        run.arm: {
            "given_back": run.given_back,
            "rounds_s": run.rounds_s,
            "held_device_hours": dict(run.record.device_hours),
            "hourly": _hourly(run.record),
            "deployments": [asdict(one) for one in run.record.services],
            "batches": [asdict(one) for one in run.record.batches],
            "rounds": [asdict(one) for one in run.record.rounds],
        }
        for run in runs
    }


def _hourly(record: FleetRecord) -> dict[str, list[float]]:
    each = max(1, round(3600.0 / record.interval_s))
    return {
        name: [round(sum(values[i : i + each]), 1) for i in range(0, len(values), each)]
        for name, values in record.series.items()
    }


def _used(record: FleetRecord) -> float:
    serving_s = record.total("serving_device_s")
    return record.total("used_device_s") / serving_s if serving_s else 0.0


def unlike(ours: FleetRecord, other: FleetRecord) -> str:
    """Says where two arms did not do the same: the ratio then flatters the one that did less."""
    words = []
    points = 100.0 * (ours.attainment_ratio - other.attainment_ratio)
    if abs(points) > 0.5:
        words.append(f"attainment {points:+.1f} points")
    work = 100.0 * (done_ratio(ours) - done_ratio(other))
    if abs(work) > 0.5:
        words.append(f"batch work {work:+.1f} %")
    missed = ours.missed_deadlines - other.missed_deadlines
    if missed:
        words.append(f"deadlines missed {missed:+d}")
    return f" ({', '.join(words)})" if words else ""
