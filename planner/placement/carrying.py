"""What the replicas of a fleet with SLO classes, tenants or several shapes carry.

Owns the SLO class and the work of each placement where deployments cannot be looked at one
by one: a tenant's quota is shared by all of them, and a replica serves the class whose
budget it is held to. One programme answers, with the placement fixed: a flow, and how many
replicas of a shape are held to which class. Refuses to place. Invariants: replicas of one
shape and class carry alike; a class is given first to those that have it, then across
failure domains in turn, so that no domain holds all of one class.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from planner.model import OFFLINE_ONLY, Misfit, Placement
from planner.placement.counting import Counting, counting_of
from planner.placement.counts.standing import RESERVE, SPARE, Standing, flow_of, standing_of
from planner.placement.fairness import fair_misfits
from planner.placement.fleet import Draft, Fleet
from planner.placement.quotas import capped_deadlines
from planner.placement.surviving import unsurvived
from planner.placement.weights import MOVE, NODE, REPLICA_WORK

_NOTHING = 1e-9
_LEAST_SHORTAGE = 1e-6  # replica-equivalents


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """What of a deployment's wishes its placements do not bear, in engine-ms per second.

    `deadline` is what more replicas would do, beside what is `done` of what deadlines rest
    on; `quota` says whose quota keeps the rest from being done. `fair` says who lacks of its
    fair share, where this deployment is what it lacks most.
    """

    online: float = 0.0
    failover: float = 0.0
    deadline: float = 0.0
    done: float = 0.0
    quota: tuple[Misfit, ...] = ()
    fair: tuple[Misfit, ...] = ()


def carried(
    fleet: Fleet,
    placements: Sequence[Placement],
    *,
    is_flow: bool = False,
    standing: Standing | None = None,
) -> tuple[list[Placement], dict[str, Shortage]]:
    """Placements with class, online and offline share; and what is short, by deployment.

    Args:
        fleet: The survey.
        placements: All that run or are to run; their loads are not read.
        is_flow: Keeps the class each has, and splits the work alone: a linear programme.
        standing: Of counts near those of the placements, where it is known.

    Raises:
        SolverError: The solver failed.
    """
    counting = counting_of(fleet)
    keys = [
        counting.key(fleet, p.deployment, p.node, p.devices) if p.node in fleet.nodes else None
        for p in placements
    ]
    counts: dict[tuple[int, int], int] = defaultdict(int)
    for key in keys:
        if key is not None:
            counts[key] += 1
    if is_flow:
        modes = [
            _mode_now(counting, placement, key)
            for placement, key in zip(placements, keys, strict=True)
        ]
        held = Counter(
            (key[1], mode) for key, mode in zip(keys, modes, strict=True) if key is not None
        )
        standing = flow_of(counting.problem, dict(counts), held)
    else:
        standing = standing_of(counting.problem, dict(counts), near=standing)
        modes = _modes(fleet, counting, standing, placements, keys)
    loaded = _loaded(counting, standing, placements, keys, modes)
    lost = unsurvived(fleet, counting.problem, placements, keys)
    capped = capped_deadlines(counting, standing)
    short = _shortages(counting, standing, lost, but=capped.demands)
    for name, of_quota in capped.misfits.items():
        short[name] = replace(short.get(name, Shortage()), quota=of_quota)
    for name, fair in fair_misfits(fleet, counting, standing, placements).items():
        short[name] = replace(short.get(name, Shortage()), fair=fair)
    return loaded, short


def short_of_shares(short: Mapping[str, Shortage] | None) -> tuple[Misfit, ...]:
    """Misfits of fair shares among what is short by deployment, in order of it."""
    return tuple(misfit for _, one in sorted((short or {}).items()) for misfit in one.fair)


def _mode_now(counting: Counting, placement: Placement, key: tuple[int, int] | None) -> int:
    """The mode of the class it has; the tightest where it has none that is known."""
    names = counting.classes[key[1]] if key is not None else ()
    return names.index(placement.slo_class) if placement.slo_class in names else 0


def _shortages(
    counting: Counting, standing: Standing, lost: Mapping[int, float], *, but: frozenset[int]
) -> dict[str, Shortage]:
    """What is short by deployment, without the deadlines of some demands."""
    short: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for tier in ("online", "deadline"):
        for key, missing in standing.missing.get(tier, {}).items():
            is_deadline = tier == "deadline"
            owner = counting.problem.offline[key[0]].deployment if is_deadline else key[0]
            if missing > _LEAST_SHORTAGE and not (is_deadline and key[0] in but):
                short[counting.deployments[owner]][tier] += missing * REPLICA_WORK
    for j, demand in enumerate(counting.problem.offline):
        owed = short.get(counting.deployments[demand.deployment], {})
        if "deadline" in owed:
            owed["done"] += min(demand.least, standing.offline.get(j, 0.0)) * REPLICA_WORK
    for d, missing in lost.items():
        short[counting.deployments[d]]["failover"] = missing * REPLICA_WORK
    return {
        name: Shortage(
            online=tiers["online"],
            failover=tiers["failover"],
            deadline=tiers["deadline"],
            done=tiers["done"],
        )
        for name, tiers in short.items()
    }


def work_terms(fleet: Fleet, draft: Draft) -> dict[str, float]:
    """Terms of the objective that deployments share, before their weights.

    Of what the draft comes to: its good, new and waiting replicas.

    Raises:
        SolverError: The solver failed.
    """
    counting = counting_of(fleet)
    return terms_of(counting, standing_of(counting.problem, counting.count(fleet, draft)))


def terms_of(counting: Counting, standing: Standing) -> dict[str, float]:
    """The same of a standing."""
    problem = counting.problem
    replica, _, _, failover, deadline, fair, spread = standing.shortfalls
    online = sum(
        short * problem.wanted[d].classes[k].weight
        for (d, k), short in standing.missing["online"].items()
    )
    loads = dropped = nodes = devices = 0.0
    slots: dict[int, int] = defaultdict(int)
    for (c, q), count in standing.counts.items():
        slots[c] += count * problem.shapes[q].slots
        loads += problem.shapes[q].load_cost * max(0, count - problem.held.get((c, q), 0))
    for key, held in problem.held.items():
        dropped += max(0, held - standing.counts.get(key, 0))
    for c, used in slots.items():
        nodes += problem.cells[c].node_cost * used / problem.cells[c].slots
        devices += problem.cells[c].device_cost * used
    costs: dict[str, float] = {}
    if problem.weights.device > 0.0:
        costs = {
            "devices": devices / problem.weights.device,
            "reserve_shortfall": sum(standing.missing[RESERVE].values()),
            "spare_shortfall": sum(standing.missing[SPARE].values()),
        }
    return {
        "replica_shortfall": replica,
        "online_shortfall": online,
        "failover_shortfall": failover,
        "deadline_shortfall": deadline,
        "fair_shortfall": fair,
        "concentration": spread,
        "offline_work": sum(
            problem.offline[j].weight * work for j, work in standing.offline.items()
        ),
        "moves": loads / MOVE,
        "drops": dropped,
        "nodes": nodes / NODE,
        **costs,
    }


def _modes(
    fleet: Fleet,
    counting: Counting,
    standing: Standing,
    placements: Sequence[Placement],
    keys: Sequence[tuple[int, int] | None],
) -> list[int]:
    """The mode each placement is held to."""
    members: dict[int, list[int]] = defaultdict(list)
    for i, key in enumerate(keys):
        if key is not None:
            members[key[1]].append(i)
    modes = [0] * len(placements)
    for q, own in sorted(members.items()):
        names = counting.classes[q]
        if len(names) == 1:
            continue
        left = {u: standing.modes.get((q, u), 0) for u in range(len(names))}
        rest: list[int] = []
        for i in sorted(own, key=lambda i: placements[i].replica is None):  # what runs, first
            held = names.index(placements[i].slo_class) if placements[i].slo_class in names else -1
            if held >= 0 and left[held] > 0:
                modes[i] = held
                left[held] -= 1
            else:
                rest.append(i)
        turns = iter([u for u in sorted(left) for _ in range(left[u])])
        for i in _across_domains(fleet, placements, rest):
            modes[i] = next(turns, 0)
    return modes


def _across_domains(
    fleet: Fleet, placements: Sequence[Placement], indices: Sequence[int]
) -> list[int]:
    """The indices with failure domains in turn."""
    by_domain: dict[str, list[int]] = defaultdict(list)
    for i in indices:
        by_domain[fleet.nodes[placements[i].node].failure_domain].append(i)
    ranked = [(rank, domain, i) for domain, own in by_domain.items() for rank, i in enumerate(own)]
    return [i for _, _, i in sorted(ranked)]


def _loaded(
    counting: Counting,
    standing: Standing,
    placements: Sequence[Placement],
    keys: Sequence[tuple[int, int] | None],
    modes: Sequence[int],
) -> list[Placement]:
    problem = counting.problem
    replicas: dict[tuple[int, int], int] = defaultdict(int)
    for key, mode in zip(keys, modes, strict=True):
        if key is not None:
            replicas[key[1], mode] += 1
    online: dict[tuple[int, int], float] = defaultdict(float)
    for (q, u, _), work in standing.online.items():
        online[q, u] += work
    served: dict[int, float] = defaultdict(float)
    room: dict[int, float] = defaultdict(float)
    made: dict[int, float] = defaultdict(float)
    for (q, u), count in replicas.items():
        d = problem.shapes[q].deployment
        served[d] += online[q, u]
        room[d] += count * problem.shapes[q].modes[u].max_online
        made[d] += standing.produced.get((q, u), 0.0)
    wanted: dict[int, float] = defaultdict(float)
    for j, work in standing.offline.items():
        wanted[problem.offline[j].deployment] += work
    loaded = []
    for placement, key, mode in zip(placements, keys, modes, strict=True):
        if key is None:
            loaded.append(placement)
            continue
        q = key[1]
        d = problem.shapes[q].deployment
        count = replicas[q, mode]
        if served[d] > _NOTHING:
            share = online[q, mode] / count / served[d]
        else:  # nothing is expected: whoever comes is spread by what a replica can take
            share = problem.shapes[q].modes[mode].max_online / room[d] if room[d] > 0.0 else 0.0
        factor = min(1.0, wanted[d] / made[d]) if made[d] > _NOTHING else 0.0
        offline = standing.produced.get((q, mode), 0.0) / count * factor
        name = counting.classes[q][mode]
        loaded.append(
            replace(
                placement,
                slo_class=name,
                online_share=0.0 if name == OFFLINE_ONLY else max(0.0, share),
                offline_share=max(0.0, offline) * REPLICA_WORK,
            )
        )
    return loaded
