"""Who places replicas over the day, and what each arm is given.

Owns the arms. All plan by the same frontiers, forecast, deadlines' rates and shares, and
give back what they do not need, with the same reserve; they differ in what they may decide
together. Slacktide gives back by itself, since its devices cost something.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from time import perf_counter, process_time

from bench.fleet.rivals import MelangeLike, PerModel, QueueProportional
from bench.fleet.thrift import Thrifty
from planner.model import Placement, Plan, Snapshot, Stage
from planner.simulation.fleet.demand import Demand
from planner.simulation.fleet.forecasts import Forecast, LastValue, Seasonal
from planner.simulation.fleet.recording import FleetRecord
from planner.simulation.fleet.rounds import GreedyRounds, Rounds, SolverRounds
from planner.simulation.fleet.run import replay_fleet
from planner.simulation.fleet.scenario import FleetScenario, Service

OFFLINE_SUFFIX = "+batch"
DEVICE_COST = 0.3
"""Of a device, in Slacktide's rounds."""
PRICED_DEVICE_COST = 0.15
"""The same of a device of mean price, where each costs by its price: with more, small
differences of price are worth a load (`bench/README.md`)."""
_HISTORY_S = 2 * 86_400.0
FORECAST_S = 300.0
"""Over which demand is averaged for the forecast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to run the fleet.

    Args:
        name: For tables.
        make: Makes its rounds anew.
        shapes: What the scenario becomes for it.
    """

    name: str
    make: Callable[[], Rounds]
    shapes: Callable[[FleetScenario], FleetScenario] = lambda scenario: scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """An arm's day.

    Attributes:
        record: What happened.
        wall_s: Of the whole replay.
        cpu_s: The same of this process, which others on the machine do not lengthen.
        rounds_s: Of its rounds.
        slowest_s: The longest round.
        given_back: Replicas dropped as not needed.
    """

    arm: str
    record: FleetRecord
    wall_s: float
    cpu_s: float
    rounds_s: float
    slowest_s: float
    given_back: int

    @property
    def greedy_ratio(self) -> float:
        """Share of rounds with a plan of the greedy, or none."""
        rounds = self.record.rounds
        fell = sum(one.solver in ("", "greedy") for one in rounds)
        return fell / len(rounds) if rounds else 0.0


def separated(scenario: FleetScenario) -> FleetScenario:
    """Every deployment as two: one for requests, one for batches; none does both."""
    services: list[Service] = []
    for service in scenario.services:
        deployment = service.deployment
        services.append(replace(service, deployment=replace(deployment, stage=Stage.OBSERVE)))
        services.append(
            replace(
                service,
                deployment=replace(deployment, id=deployment.id + OFFLINE_SUFFIX, min_replicas=0),
                demand=Demand(rates=(0.0,), step_s=60.0, lengths=service.demand.lengths),
            )
        )
    return replace(
        scenario,
        services=tuple(services),
        batches=tuple(
            replace(batch, deployment=batch.deployment + OFFLINE_SUFFIX)
            for batch in scenario.batches
        ),
    )


def costed(scenario: FleetScenario) -> FleetScenario:
    """The day with devices that cost something, each as much as any: fewest device-hours."""
    rounds = replace(scenario.rounds, device_cost=DEVICE_COST, is_priced=False)
    return replace(scenario, rounds=rounds)


def costed_by_price(scenario: FleetScenario) -> FleetScenario:
    """The same by their price."""
    rounds = replace(scenario.rounds, device_cost=PRICED_DEVICE_COST)
    return replace(scenario, rounds=rounds)


ARMS: Mapping[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm(name="slacktide", make=SolverRounds, shapes=costed),
        Arm(name="slacktide-by-price", make=SolverRounds, shapes=costed_by_price),
        Arm(name="slacktide-greedy", make=lambda: Thrifty(GreedyRounds())),
        Arm(name="separate", make=PerModel, shapes=separated),
        Arm(name="per-model-greedy", make=PerModel),
        Arm(name="melange-like", make=MelangeLike),
        Arm(name="queue-proportional", make=QueueProportional),
    )
}
"""By name. The separate fleets are sized model by model: without co-location nothing is to be
weighed between models but devices, of which they may take any."""


def run_arm(
    name: str,
    scenario: FleetScenario,
    *,
    forecast: str = "seasonal",
    quantile: float = 0.9,
    tell: Callable[[float], None] | None = None,
) -> Ran:
    """Replays the day under an arm.

    Args:
        name: Of `ARMS`.
        scenario: The day.
        forecast: seasonal, with two days seen before, or last.
        quantile: Of the seasonal one.
        tell: Told how far it is.
    """
    arm = ARMS[name]
    shaped = arm.shapes(scenario)
    timed = _Timed(arm.make())
    began_s, began_cpu_s = perf_counter(), process_time()
    record = replay_fleet(
        shaped, rounds=timed, forecast=forecast_of(shaped, forecast, quantile=quantile), reach=tell
    )
    inner = timed.inner
    return Ran(
        arm=name,
        record=record,
        wall_s=perf_counter() - began_s,
        cpu_s=process_time() - began_cpu_s,
        rounds_s=sum(timed.lasted_s),
        slowest_s=max(timed.lasted_s, default=0.0),
        given_back=inner.given_back if isinstance(inner, Thrifty) else 0,
    )


def forecast_of(scenario: FleetScenario, name: str, *, quantile: float = 0.9) -> Forecast:
    """The forecast that all arms plan by.

    The seasonal one has seen two days of the same shape and level, with the wander of another
    hour, so that it knows the day and not its noise.
    """
    if name == "last":
        return LastValue(margin_ratio=0.25)
    step_s = FORECAST_S
    rounds = max(1, round(scenario.rounds.interval_s / step_s))
    found = Seasonal(round_s=step_s, rounds=rounds, quantile=quantile)
    for service in scenario.services:
        if service.demand.is_none:
            continue
        demand, work_ms = service.demand, service.request_work_ms
        for index in range(round(_HISTORY_S / step_s)):
            at_s = index * step_s - _HISTORY_S
            other_s = at_s % 86_400.0
            rate = _smoothed(demand, other_s) * _noise(demand, other_s)
            found.observe(
                service.deployment.id, at_s=at_s + step_s, for_s=step_s, work=rate * work_ms
            )
    return found


def _smoothed(demand: Demand, at_s: float) -> float:
    """The rate without its noise: the mean of the hour around."""
    return demand.rate(max(0.0, at_s - 1800.0), at_s + 1800.0)


def _noise(demand: Demand, at_s: float) -> float:
    """How the rate stood to its hour seven hours and a bit before, on the same day."""
    other_s = (at_s + 61_020.0) % 86_400.0
    level = _smoothed(demand, other_s)
    return demand.rate(other_s, other_s + FORECAST_S) / level if level > 0.0 else 1.0


class _Timed:
    """Rounds, with the time that each took."""

    def __init__(self, inner: Rounds) -> None:
        self.inner = inner
        self.lasted_s: list[float] = []

    def plan(self, snapshot: Snapshot) -> Plan | None:
        began_s = perf_counter()
        try:
            return self.inner.plan(snapshot)
        finally:
            self.lasted_s.append(perf_counter() - began_s)

    def resplit(self, snapshot: Snapshot) -> tuple[Placement, ...]:
        return self.inner.resplit(snapshot)
