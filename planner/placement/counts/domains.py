"""Rows over failure domains: what is left without any one, and how even replicas lie.

Owns (failover) and (spread) of the formulation in `programme`. Refuses work. Invariant: where
cells of all domains are merged, the rows hold for every division over the domains.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from planner.placement.counts.problem import failover_needs
from planner.placement.counts.sparse import UNBOUNDED, Term

if TYPE_CHECKING:
    from planner.placement.counts.programme import Programme

_FEW_DOMAINS = 4  # up to here a row of all the rest beats a column of what is lost


def add_failover(programme: "Programme", d: int) -> None:
    """What of a deployment has to be left without any one domain."""
    shapes = programme.shapes[d]
    wanted = programme.problem.wanted[d]
    needs = failover_needs(wanted, tuple(programme.problem.shapes[q] for q in shapes))
    if not needs:
        return
    asked = sum(cls.failover_ratio * cls.work for cls in wanted.classes)
    short = programme.missing("failover", (d,), programme.problem.weights.failover, upper=asked)
    for needed, gives in needs:
        add_need(programme, shapes, gives, needed=needed, short=(short, needed / asked))


def add_need(
    programme: "Programme",
    shapes: tuple[int, ...],
    gives: tuple[float, ...],
    *,
    needed: float,
    short: Term,
) -> None:
    """Rows of one direction: what is left without any one domain."""
    total: list[Term] = []
    constant = 0.0
    by_domain: dict[int, list[Term]] = defaultdict(list)
    of_domain: dict[int, float] = defaultdict(float)
    for q, gain in zip(shapes, gives, strict=True):
        if gain <= 0.0:
            continue
        for c in programme.cells_of[programme.problem.shapes[q].kind]:
            column = programme.n.get((c, q))
            fixed = 0 if column is not None else programme.counts.get((c, q), 0)
            if column is None and not fixed:
                continue
            domain = programme.problem.cells[c].domain
            key = -1 if domain is None else domain
            if column is not None:
                total.append((column, gain))
                by_domain[key].append((column, gain))
            constant += gain * fixed
            of_domain[key] += gain * fixed
    if programme.is_merged:
        rest = max(0.0, (programme.problem.domains - 1) / programme.problem.domains)
        programme.sparse.at_least(
            [*((k, v * rest) for k, v in total), short], needed - constant * rest
        )
        for column, gain in total:
            if gain * (programme.problem.domains - 1) > needed:
                some = _some(programme, column)
                programme.sparse.at_least([*total, (some, -gain), short], needed - constant)
    elif not of_domain:
        programme.sparse.at_least([short], needed)
    else:
        _add_losses(programme, total, constant, by_domain, of_domain, needed=needed, short=short)


def _some(programme: "Programme", column: int) -> int:
    """A column that is 1 where a count is not 0."""
    if column not in programme.some_of:
        some = programme.sparse.column(1.0, is_integer=True)
        programme.sparse.at_least([(some, programme.sparse.upper[column]), (column, -1.0)], 0.0)
        programme.some_of[column] = some
    return programme.some_of[column]


def _add_losses(
    programme: "Programme",
    total: list[Term],
    constant: float,
    by_domain: Mapping[int, list[Term]],
    of_domain: Mapping[int, float],
    *,
    needed: float,
    short: Term,
) -> None:
    """One row a domain: what is left without it."""
    if len(of_domain) <= _FEW_DOMAINS:
        for g in sorted(of_domain):
            lost = {k for k, _ in by_domain.get(g, ())}
            rest = [(k, v) for k, v in total if k not in lost]
            programme.sparse.at_least([*rest, short], needed - (constant - of_domain[g]))
        return
    sum_of = programme.sparse.column()
    programme.sparse.at_most([(sum_of, 1.0), *((k, -v) for k, v in total)], constant)
    for g in sorted(of_domain):
        of_lost = programme.sparse.column()
        programme.sparse.at_least(
            [(of_lost, 1.0), *((k, -v) for k, v in by_domain.get(g, ()))], of_domain[g]
        )
        programme.sparse.at_least([(sum_of, 1.0), (of_lost, -1.0), short], needed)


def add_spread(programme: "Programme", d: int) -> None:
    """By how much a deployment that spreads crowds its fullest domain."""
    if not programme.problem.wanted[d].is_spread:
        return
    by_domain: dict[int, list[Term]] = defaultdict(list)
    of_domain: dict[int, float] = {}  # every domain that can serve it
    for q in programme.shapes[d]:
        for c in programme.cells_of[programme.problem.shapes[q].kind]:
            domain = programme.problem.cells[c].domain
            if domain is None:
                return
            if (c, q) in programme.n:
                by_domain[domain].append((programme.n[c, q], 1.0))
            count = 0 if (c, q) in programme.n else programme.counts.get((c, q), 0)
            if count or programme.problem.fits(c, q) or (c, q) in programme.problem.held:
                of_domain[domain] = of_domain.get(domain, 0.0) + count
    if len(of_domain) < 2:
        return
    every = [term for terms in by_domain.values() for term in terms]
    crowd = programme.missing("spread", (d,), programme.problem.weights.spread)
    if not every:
        most = -(-sum(of_domain.values()) // len(of_domain))
        programme.sparse.at_least([(crowd, 1.0)], max(of_domain.values()) - most)
        return
    even = programme.sparse.column(is_integer=True, upper=UNBOUNDED)
    programme.sparse.at_most(
        [(even, float(len(of_domain))), *((k, -v) for k, v in every)],
        sum(of_domain.values()) + len(of_domain) - 1,
    )
    for g in sorted(of_domain):
        programme.sparse.at_least(
            [(crowd, 1.0), (even, 1.0), *((k, -v) for k, v in by_domain.get(g, ()))],
            of_domain[g],
        )
