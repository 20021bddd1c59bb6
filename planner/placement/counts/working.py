"""Rows of work: what replicas carry online and offline, and whose offline work it is.

Owns (frontier), (online), (offline), (deadline), (quota) and (fair) of the formulation in
`programme`. Refuses counts; those are columns there, or constants.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from planner.placement.counts.sparse import Term

if TYPE_CHECKING:
    from planner.placement.counts.programme import Programme


def add_work(programme: "Programme", d: int) -> None:
    """What replicas of a deployment carry, and what of its work is short."""
    wanted = programme.problem.wanted[d]
    served: dict[int, list[Term]] = defaultdict(list)
    offline: list[Term] = []
    for q in programme.shapes[d]:
        terms, constant = programme.terms(q)
        if not terms and constant <= 0:
            continue
        for u, replicas, fixed in _modes_of(programme, q, terms, constant):
            mode = programme.problem.shapes[q].modes[u]
            x = []
            for k in range(mode.served, len(wanted.classes)):
                if wanted.classes[k].work > 0.0 and mode.max_online > 0.0:
                    programme.x[q, u, k] = programme.sparse.column(wanted.classes[k].work)
                    x.append((programme.x[q, u, k], 1.0))
                    served[k].append((programme.x[q, u, k], 1.0))
            y = programme.y[q, u] = programme.sparse.column()
            offline.append((y, 1.0))
            if x:
                programme.sparse.at_most(
                    [*x, *((k, -mode.max_online * v) for k, v in replicas)],
                    mode.max_online * fixed,
                )
            for alpha, beta, gamma in mode.segments:
                if not x and beta <= 0.0:
                    continue
                programme.sparse.at_most(
                    [
                        *((k, alpha * v) for k, v in x),
                        (y, beta),
                        *((k, -gamma * v) for k, v in replicas),
                    ],
                    gamma * fixed,
                )
    for k, one in enumerate(wanted.classes):
        if one.work > 0.0:
            weight = programme.problem.weights.online * one.weight
            short = programme.missing("online", (d, k), weight, upper=one.work)
            programme.sparse.at_least([*served[k], (short, 1.0)], one.work)
    taken: list[Term] = []
    for j, demand in enumerate(programme.problem.offline):
        if demand.deployment != d or demand.most <= 0.0:
            continue
        weights = programme.problem.weights
        programme.o[j] = programme.sparse.column(demand.most, cost=-weights.offline * demand.weight)
        taken.append((programme.o[j], -1.0))
        if demand.least > 0.0:
            short = programme.missing("deadline", (j,), weights.deadline, upper=demand.least)
            programme.sparse.at_least([(programme.o[j], 1.0), (short, 1.0)], demand.least)
    if taken:
        programme.sparse.at_least([*offline, *taken], 0.0)


def _modes_of(
    programme: "Programme", q: int, terms: list[Term], constant: float
) -> Iterable[tuple[int, list[Term], float]]:
    """Each mode of a shape with its replicas: columns and constant."""
    modes = programme.problem.shapes[q].modes
    if programme.fixed_modes is not None:
        held = [(u, programme.fixed_modes.get((q, u), 0)) for u in range(len(modes))]
        return [(u, [], float(count)) for u, count in held if count > 0]
    if len(modes) == 1:
        return [(0, terms, constant)]
    upper = constant + sum(programme.sparse.upper[column] for column, _ in terms)
    for u in range(len(modes)):
        programme.r[q, u] = programme.sparse.column(upper, is_integer=True)
    programme.sparse.equal(
        [*((programme.r[q, u], 1.0) for u in range(len(modes))), *((k, -v) for k, v in terms)],
        constant,
    )
    return [(u, [(programme.r[q, u], 1.0)], 0.0) for u in range(len(modes))]


def add_tenants(programme: "Programme", offline: Mapping[int, float]) -> None:
    """Quotas and fair shares; `offline` is the work of demands outside the part."""
    own: dict[int, list[Term]] = defaultdict(list)
    claims: dict[int, list[Term]] = defaultdict(list)
    others: dict[int, float] = defaultdict(float)
    claimed: dict[int, float] = defaultdict(float)
    for j, demand in enumerate(programme.problem.offline):
        if j in programme.o:
            own[demand.tenant].append((programme.o[j], 1.0))
            claims[demand.tenant].append((programme.o[j], demand.claim))
        else:
            others[demand.tenant] += offline.get(j, 0.0)
            claimed[demand.tenant] += demand.claim * offline.get(j, 0.0)
    for tenant in sorted(own):
        entitled = programme.problem.tenants[tenant]
        if entitled.most is not None:
            programme.sparse.at_most(own[tenant], max(0.0, entitled.most - others[tenant]))
        if entitled.fair > 0.0:
            short = programme.missing(
                "fair", (tenant,), programme.problem.weights.fair, upper=entitled.fair
            )
            programme.sparse.at_least(
                [*claims[tenant], (short, 1.0)], entitled.fair - claimed[tenant]
            )
