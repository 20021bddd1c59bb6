"""The round as a mixed integer programme in counts, on OR-Tools.

Owns the model and its solve. Refuses nodes and devices; `disaggregate` finds those.
Invariants: a relaxation of the concrete problem under the shared objective, so its bound
holds for every plan; deterministic: one thread, a fixed seed, limited by nodes of the
search and never by time; values are read after the status.

Integers, for cohorts c (replicas alike), pools p (devices alike) and deployments d:

    kept[c]      <= replicas in c                 of standing good, due or broken
    new[p,d]     <= what free devices of p hold   in open pools that suit d
    waiting[p,d] <= what all devices of p hold    likewise

    (devices)    sum_{c in p} width_c*kept[c] + sum_d tp_d*(new + waiting) <= devices_p
    (free)       sum_d tp_d*new[p,d] <= free_p
    (max now)    sum_c kept + sum_p new <= max_replicas_d
    (max later)  sum_{c good} kept + sum_p new + waiting <= max_replicas_d
    (moves)      sum new + waiting <= max_moves

Work in replica-equivalents, with n[t] the replicas of d on device type t at the values of
`objective` (waiting and broken ones count in part):

    (frontier)   alpha_i*x[t] + beta_i*y[t] <= gamma_i*n[t],   x[t] <= max_online*n[t]
    (online)     sum_t x + online_short >= online_work_d
    (offline)    offline <= sum_t y,   offline <= wanted_d
    (deadline)   offline + deadline_short >= min_offline_work_d
    (replicas)   sum_t n + replica_short >= min_replicas_d

    (due)        uncovered >= sum_{c due} kept - sum_p waiting
    (broken)     forgotten >= broken_before - sum_{c broken} kept - sum_p new + waiting
    (spread)     worst >= sum_{domain} kept good + new + waiting      for each domain
                 even <= (seated + domains - 1) / domains,  even <= worst,  even integer

minimise the terms of `objective`. Frontiers are concave, so (frontier) is linear in the
counts and exact: n replicas carry n times the points of one frontier.

Solver: GSCIP through MathOpt. Of the interfaces in the ortools 9.15 wheel it is the one
that takes a thread count, a seed, a node limit and a hint, and returns incumbent and
bound at that limit. (MathOpt's HIGHS rejects `threads` with an unreadable error; CP-SAT
rounds continuous rates to integers and answers wrongly.)
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ortools.math_opt.python import mathopt

from planner.model import Deployment
from planner.placement import objective
from planner.placement.fleet import Fleet, Standing
from planner.placement.pools import Cohort, Counts, Pool, Pools, capacity
from planner.placement.weights import BROKEN_VALUE, REPLICA_WORK, WAITING_VALUE, WEIGHTS

SOLVER = "GSCIP"

_SEED = 7
_RELATIVE_GAP = 1e-9  # tiers differ by 1e4: a relative gap would swallow the later ones
_ABSOLUTE_GAP = 1e-3  # far below DROP, the smallest term
_MOST = 1e6  # finite upper bound of slacks: unbounded columns hurt the solver's presolve


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a solve found; the bound holds for every plan of the fleet."""

    counts: Counts | None
    bound: float | None
    is_proven: bool
    detail: str


class Programme:
    """The model of one fleet, to be solved as often as the round allows."""

    def __init__(self, fleet: Fleet, pools: Pools) -> None:
        self._fleet = fleet
        self._pools = pools
        self._model = mathopt.Model(name="placement")
        self._kept: dict[Cohort, Any] = {
            cohort: self._integer(len(members)) for cohort, members in pools.cohorts.items()
        }
        self._new: dict[tuple[Pool, str], Any] = {}
        self._waiting: dict[tuple[Pool, str], Any] = {}
        self._terms: list[Any] = []
        for pool in pools.devices:
            if pool.is_open:
                self._add_pool(pool)
        for deployment in fleet.deployments.values():
            self._add_deployment(deployment)
        if fleet.snapshot.max_moves is not None:
            moves = _sum([*self._new.values(), *self._waiting.values()])
            self._require(moves <= fleet.snapshot.max_moves)
        self._model.minimize(_sum(self._terms))

    def solve(self, *, hint: Counts, node_limit: int) -> Outcome:
        """Solves within `node_limit` nodes of the search, starting from `hint`.

        Raises:
            Exception: Whatever MathOpt raises; its exceptions have no common base.
        """
        result = mathopt.solve(
            self._model,
            mathopt.SolverType.GSCIP,
            params=mathopt.SolveParameters(
                threads=1,
                random_seed=_SEED,
                node_limit=node_limit,
                relative_gap_tolerance=_RELATIVE_GAP,
                absolute_gap_tolerance=_ABSOLUTE_GAP,
            ),
            model_params=mathopt.ModelSolveParameters(
                solution_hints=[mathopt.SolutionHint(variable_values=self._hint(hint))]
            ),
        )
        termination = result.termination
        reason = termination.reason
        if reason not in (mathopt.TerminationReason.OPTIMAL, mathopt.TerminationReason.FEASIBLE):
            return Outcome(counts=None, bound=None, is_proven=False, detail=str(termination))
        return Outcome(
            counts=self._counts(result),
            bound=float(termination.objective_bounds.dual_bound),
            is_proven=reason == mathopt.TerminationReason.OPTIMAL,
            detail=f"{reason.value} nodes={result.solve_stats.node_count}",
        )

    def _add_pool(self, pool: Pool) -> None:
        fleet = self._fleet
        devices = self._pools.devices[pool]
        free = self._pools.free(fleet, pool)
        used = [c.width * n for c, n in self._kept.items() if c.pool == pool]
        taken: list[Any] = []
        for deployment in fleet.deployments.values():
            fits = not deployment.device_types or pool.device_type in deployment.device_types
            if not fits or deployment.bytes_per_device > pool.memory_bytes:
                continue
            key = (pool, deployment.id)
            most = min(capacity(fleet, deployment, devices), deployment.max_replicas)
            at_once = min(capacity(fleet, deployment, free), deployment.max_replicas)
            if most:
                self._waiting[key] = self._integer(most)
                used.append(deployment.tensor_parallel_size * self._waiting[key])
            if at_once:
                self._new[key] = self._integer(at_once)
                taken.append(deployment.tensor_parallel_size * self._new[key])
        self._require(_sum(used + taken) <= sum(map(len, devices.values())))
        if taken:
            self._require(_sum(taken) <= sum(map(len, free.values())))

    def _add_deployment(self, deployment: Deployment) -> None:
        kept = {c: n for c, n in self._kept.items() if c.deployment == deployment.id}
        by_standing = {
            standing: _sum(n for c, n in kept.items() if c.standing is standing)
            for standing in (Standing.GOOD, Standing.DUE, Standing.BROKEN)
        }
        good, due, broken = by_standing.values()
        new = _sum(n for (_, name), n in self._new.items() if name == deployment.id)
        waiting = _sum(n for (_, name), n in self._waiting.items() if name == deployment.id)
        self._require(good + due + broken + new <= deployment.max_replicas)
        self._require(good + new + waiting <= deployment.max_replicas)

        before = {
            standing: sum(len(self._pools.cohorts[c]) for c in kept if c.standing is standing)
            for standing in by_standing
        }
        uncovered, forgotten = self._slack(), self._slack()
        self._require(uncovered >= due - waiting)
        self._require(forgotten >= before[Standing.BROKEN] - broken - new - waiting)
        self._terms += [
            WEIGHTS["due_kept"] * due,
            WEIGHTS["due_uncovered"] * uncovered,
            WEIGHTS["broken_kept"] * broken,
            WEIGHTS["broken_forgotten"] * forgotten,
            WEIGHTS["moves"] * (new + waiting),
            WEIGHTS["drops"] * (before[Standing.GOOD] - good),
        ]
        if deployment.spread:
            self._add_spread(deployment, seated=good + new + waiting)
        self._add_work(deployment)

    def _add_spread(self, deployment: Deployment, *, seated: Any) -> None:
        by_domain: dict[str, list[Any]] = defaultdict(list)
        for cohort, n in self._kept.items():
            if cohort.deployment == deployment.id and cohort.standing is Standing.GOOD:
                assert cohort.pool is not None  # good replicas are on devices that exist
                by_domain[cohort.pool.domain].append(n)
        for seats in (self._new, self._waiting):
            for (pool, name), n in seats.items():
                if name == deployment.id:
                    by_domain[pool.domain].append(n)
        worst = self._slack()
        for counts in by_domain.values():
            self._require(worst >= _sum(counts))
        domains = self._fleet.spread_over[deployment.id]
        even = self._integer(deployment.max_replicas)
        self._require(domains * even <= seated + (domains - 1))
        self._require(even <= worst)
        self._terms.append(WEIGHTS["concentration"] * (worst - even))

    def _add_work(self, deployment: Deployment) -> None:
        unit = REPLICA_WORK
        wanted = objective.offline_wanted(deployment) / unit
        deadline = objective.deadline_wanted(deployment) / unit
        xs, ys, effective = [], [], self._effective(deployment)
        for kind, n in effective.items():
            frontier = self._fleet.frontier(deployment.id, kind)
            x, y = self._slack(), self._slack()
            self._require(x <= (frontier.max_online_work / unit) * n)
            for segment in frontier.segments:
                self._require(segment.alpha * x + segment.beta * y <= (segment.gamma / unit) * n)
            xs.append(x)
            ys.append(y)
        online_work = deployment.online_work / unit
        replica_short = self._slack()
        online_short, deadline_short = self._slack(online_work), self._slack(deadline)
        offline = self._model.add_variable(lb=0.0, ub=wanted)
        self._require(_sum(effective.values()) + replica_short >= deployment.min_replicas)
        self._require(_sum(xs) + online_short >= online_work)
        self._require(offline <= _sum(ys))
        self._require(offline + deadline_short >= deadline)
        self._terms += [
            WEIGHTS["replica_shortfall"] * replica_short,
            WEIGHTS["online_shortfall"] * online_short,
            WEIGHTS["deadline_shortfall"] * deadline_short,
            WEIGHTS["offline_work"] * deployment.offline_weight * offline,
        ]

    def _effective(self, deployment: Deployment) -> Mapping[str, Any]:
        """Replicas of the deployment by device type, at their values."""
        terms: dict[str, list[Any]] = defaultdict(list)
        for cohort, n in self._kept.items():
            if cohort.deployment == deployment.id:
                is_broken = cohort.standing is Standing.BROKEN
                kind = cohort.pool.device_type if cohort.pool else ""
                terms[kind].append((BROKEN_VALUE if is_broken else 1.0) * n)
        for value, seats in ((1.0, self._new), (WAITING_VALUE, self._waiting)):
            for (pool, name), n in seats.items():
                if name == deployment.id:
                    terms[pool.device_type].append(value * n)
        return {kind: _sum(parts) for kind, parts in sorted(terms.items())}

    def _hint(self, counts: Counts) -> dict[Any, float]:
        hint = {n: float(counts.kept.get(cohort, 0)) for cohort, n in self._kept.items()}
        hint |= {n: float(counts.new.get(key, 0)) for key, n in self._new.items()}
        hint |= {n: float(counts.waiting.get(key, 0)) for key, n in self._waiting.items()}
        return hint

    def _counts(self, result: Any) -> Counts:
        def read(variables: Mapping[Any, Any]) -> dict[Any, int]:
            keys = list(variables)
            found = result.variable_values([variables[key] for key in keys])
            return {key: round(value) for key, value in zip(keys, found, strict=True)}

        return Counts(kept=read(self._kept), new=read(self._new), waiting=read(self._waiting))

    def _integer(self, most: int) -> Any:
        return self._model.add_integer_variable(lb=0.0, ub=float(most))

    def _slack(self, wanted: float = 0.0) -> Any:
        return self._model.add_variable(lb=0.0, ub=max(_MOST, wanted))

    def _require(self, row: Any) -> None:
        if row is False:
            raise ValueError("placement model: a row without variables cannot hold")
        if row is not True:
            self._model.add_linear_constraint(row)


def _sum(parts: Iterable[Any]) -> Any:
    return mathopt.LinearSum(parts)
