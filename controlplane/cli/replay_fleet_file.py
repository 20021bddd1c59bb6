"""Fleets written in YAML, for `slacktide replay --fleet`.

Owns reading all but the deployments; what each key is stands in `replay_fleet_keys`. Refuses
profiles of replicas; those are `replay_fleet_services`'.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from controlplane.cli.failures import CommandError
from controlplane.cli.replay_fleet_given import is_given, read_given
from controlplane.cli.replay_fleet_nodes import is_known, read_nodes
from controlplane.cli.replay_fleet_part import Part
from controlplane.cli.replay_fleet_rules import check_anti_affinity, read_pins, read_tenants
from controlplane.cli.replay_fleet_running import read_running
from controlplane.cli.replay_fleet_services import read_service
from controlplane.cli.replay_fleet_wishes import MadeService, check_types
from planner.model import Node
from planner.placement.weights import MOST_DEVICE_COST
from planner.simulation.fleet.scenario import FleetBatch, FleetScenario, Outage, RoundSettings

_SOLVERS = {"solve": None, "greedy": None}
_FORECASTS = {"last": None, "seasonal": None}
_MODES = {"aggregated": None, "exact": None}
_LONGEST_S = 400 * 86_400.0  # more is a slip of the unit; a day's intervals are held in memory
_MOST_BATCHES = 100_000  # likewise, each is an object


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetFile:
    """What a file asks for."""

    scenario: FleetScenario
    mode: str
    solver: str
    forecast: str
    margin_ratio: float
    facts: Mapping[str, Mapping[str, str | int | float]]


def read_fleet(path: Path, *, tell: Callable[[str], None], mode: str | None = None) -> FleetFile:
    """Reads a fleet and profiles its replicas.

    Args:
        path: Of the YAML file; traces lie beside it.
        tell: Told what takes a moment.
        mode: Instead of the file's.

    Raises:
        CommandError: Unreadable, not YAML, or a value that does not fit, by its key.
    """
    fleet = Part(_loaded(path), str(path))
    chosen = fleet.word("mode", _MODES, "aggregated")
    chosen = mode or chosen
    duration_s = fleet.seconds("duration", least=1.0, most=_LONGEST_S)
    rounds = fleet.part("rounds")
    settings = _rounds(rounds)
    solver = rounds.word("solver", _SOLVERS, "solve")
    forecast = rounds.word("forecast", _FORECASTS, "last")
    margin_ratio = rounds.number("margin", 0.1, most=10.0)
    rounds.close()
    seed = fleet.whole("seed", 0)
    nodes = read_nodes(fleet)
    types = tuple(dict.fromkeys(device.device_type for node in nodes for device in node.devices))
    made = _services(
        fleet, types=types, folder=path.parent, duration_s=duration_s, seed=seed, tell=tell
    )
    names = [one.service.deployment.id for one in made]
    batches = [batch for part in fleet.parts("batches") for batch in _batches(part, names)]
    outages = [_outage(part, nodes) for part in fleet.parts("failures")]
    prices, tenants = fleet.part("prices"), read_tenants(fleet)
    check_types(prices, types)
    deployments = [one.service.deployment for one in made]
    check_anti_affinity(fleet, deployments)
    running = read_running(fleet, nodes=nodes, deployments=deployments)
    pins = read_pins(fleet, nodes=nodes, deployments=deployments)
    begins_loaded = fleet.flag("begins_loaded", default=True)
    interval_s = fleet.seconds("interval", 60.0, least=0.1)
    fleet.close()
    _check_overlaps(outages, path)
    scenario = FleetScenario(
        nodes=nodes,
        services=tuple(one.service for one in made),
        batches=tuple(batches),
        outages=tuple(outages),
        duration_s=duration_s,
        interval_s=interval_s,
        rounds=settings,
        prices=prices.numbers(),
        tenant_weights={one.id: one.weight for one in tenants},
        tenant_quotas={
            one.id: one.max_offline_work for one in tenants if one.max_offline_work is not None
        },
        pins=pins,
        allocations=running,
        begins_loaded=begins_loaded,
        seed=seed,
    )
    return FleetFile(
        scenario=scenario,
        mode=chosen,
        solver=solver,
        forecast=forecast,
        margin_ratio=margin_ratio,
        facts={
            "Replay": {
                "file": path.name,
                "mode": chosen,
                "duration_s": duration_s,
                "interval_s": interval_s,
                "seed": seed,
                "round_interval_s": settings.interval_s,
                "solver": solver,
                "forecast": forecast,
                "margin_ratio": margin_ratio,
            },
            **{f"Deployment {one.service.deployment.id}": one.facts for one in made},
        },
    )


def _loaded(path: Path) -> object:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise CommandError(f"{path}: is not UTF-8 text; a fleet is a YAML file") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark is not None else ""
        why = " ".join(str(getattr(error, "problem", None) or error).split())
        raise CommandError(f"{path}:{line} is not YAML: {why}") from error


def _rounds(part: Part) -> RoundSettings:
    is_just_in_time = part.raw("horizon") == "deadlines"
    horizon_s = float("inf") if is_just_in_time else part.seconds("horizon", 60.0, least=1.0)
    return RoundSettings(
        interval_s=part.seconds("interval", 900.0, least=1.0),
        resplit_s=part.seconds("resplit", 60.0, least=1.0),
        lease_s=part.seconds("lease", 10.0),
        backlog_horizon_s=horizon_s,
        max_moves=part.whole("max_moves") if "max_moves" in part else None,
        device_cost=part.number("device_cost", 0.0, most=MOST_DEVICE_COST),
    )


def _services(
    fleet: Part,
    *,
    types: tuple[str, ...],
    folder: Path,
    duration_s: float,
    seed: int,
    tell: Callable[[str], None],
) -> list[MadeService]:
    made: list[MadeService] = []
    for number, part in enumerate(fleet.parts("deployments", required=True)):
        one = _service(
            part,
            types=types,
            folder=folder,
            duration_s=duration_s,
            seed=seed * 1000 + number,
            tell=tell,
        )
        if any(one.service.deployment.id == other.service.deployment.id for other in made):
            part.refuse("name", f"{one.service.deployment.id!r} appears more than once")
        made.append(one)
    return made


def _service(
    part: Part,
    *,
    types: tuple[str, ...],
    folder: Path,
    duration_s: float,
    seed: int,
    tell: Callable[[str], None],
) -> MadeService:
    if is_given(part):
        return read_given(part, types=types, folder=folder, duration_s=duration_s, seed=seed)
    if unknown := [one for one in types if not is_known(one)]:
        part.refuse("request_work", f"{unknown[0]!r} is no device that is simulated; give it")
    return read_service(
        part, types=types, folder=folder, duration_s=duration_s, seed=seed, tell=tell
    )


def _batches(part: Part, deployments: list[str]) -> list[FleetBatch]:
    name = part.text("deployment")
    if name not in deployments:
        part.refuse("deployment", f"no deployment {name!r}; there are {', '.join(deployments)}")
    items = part.whole("items", least=1)
    submit_s = part.seconds("submit", 0.0)
    deadline_s = part.seconds("deadline") if "deadline" in part else None
    if deadline_s is not None and deadline_s <= submit_s:
        part.refuse("deadline", f"{deadline_s:g}s is not after submit {submit_s:g}s")
    tenant, weight = part.text("tenant", "default"), part.number("weight", 1.0, least=1e-6)
    count, every_s = (
        part.whole("count", 1, least=1, most=_MOST_BATCHES),
        part.seconds("every", 3600.0, least=1.0),
    )
    part.close()
    where = part.where.rpartition("[")[2].rstrip("]")
    return [
        FleetBatch(
            id=f"{name}-{where}-{index}",
            deployment=name,
            items=items,
            submit_s=submit_s + index * every_s,
            deadline_s=None if deadline_s is None else deadline_s + index * every_s,
            tenant=tenant,
            weight=weight,
        )
        for index in range(count)
    ]


def _outage(part: Part, nodes: tuple[Node, ...]) -> Outage:
    if ("domain" in part) == ("node" in part):
        part.refuse("node", "give either node or domain, and only one of them")
    if "domain" in part:
        domain = part.text("domain")
        found = tuple(node.id for node in nodes if node.failure_domain == domain)
        if not found:
            known = sorted({node.failure_domain for node in nodes})
            part.refuse("domain", f"no domain {domain!r}; there are {', '.join(known[:12])}")
    else:
        name = part.text("node")
        found = tuple(node.id for node in nodes if node.id == name)
        if not found:
            part.refuse("node", f"no node {name!r}; they are {nodes[0].id}..{nodes[-1].id}")
    outage = Outage(nodes=found, at_s=part.seconds("at"), for_s=part.seconds("for", least=1.0))
    part.close()
    return outage


def _check_overlaps(outages: list[Outage], path: Path) -> None:
    until: dict[str, float] = {}
    for outage in sorted(outages, key=lambda one: one.at_s):
        for node in outage.nodes:
            if outage.at_s < until.get(node, 0.0):
                raise CommandError(
                    f"{path}.failures: node {node} fails at {outage.at_s:g}s while it is down"
                    f" until {until[node]:g}s; let it come back first"
                )
            until[node] = outage.at_s + outage.for_s
