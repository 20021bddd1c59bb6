"""What each tenant is entitled to: the referee's reading.

Owns the definition once more, written apart from the planner's, which it checks. A share is
the weighted max-min of what tenants get in the relaxation in totals over the fleet (`bounds`),
the earlier tiers at their least; claims count devices (`batches.claims_of`). Found the plain
way: the common level is raised as far as it goes; each tenant that cannot go on alone while
all others keep theirs is left there; then the level of the rest is raised. Half of it is
guaranteed.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import inf

from bench.placement.board import Board
from bench.placement.bounds import relaxation
from bench.placement.linear import SHORTFALLS, SLACK, Programme, ProgrammeError

GUARANTEED = 0.5
"""Of a share."""

_RISE = 1e-3  # of a level, above which a tenant can go on


def entitled(board: Board) -> Board:
    """The board with tenants' fair shares in what is measured.

    Raises:
        ProgrammeError: The solver failed.
    """
    return replace(board, fair=fair_shares(board))


def fair_shares(board: Board) -> dict[int, float]:
    """Devices that each tenant is entitled to, by index; none where fewer than two want.

    Work of no tenant is one more tenant's, of weight 1 and index -1.

    Raises:
        ProgrammeError: The solver failed.
    """
    weights = {number: tenant.weight for number, tenant in enumerate(board.snapshot.tenants)}
    weights.setdefault(-1, 1.0)
    made = relaxation(replace(board, fair={}), None, is_integral=False)
    free = {
        tenant
        for tenant, own in made.claims.items()
        if weights[tenant] > 0.0
        and (tenant < 0 or board.quotas[tenant] > 0.0)
        and any(claim > 0.0 and made.upper[z] > 0.0 for z, claim in own)
    }
    if len(free) < 2:
        return {}
    least = made.tiers_in_order()
    caps = {tier: least.short[tier] * (1.0 + SLACK) + SLACK for tier in SHORTFALLS}
    common = made.column(0.0, inf)
    own_level: dict[int, int] = {}
    is_left: dict[int, int] = {}  # columns that are free to fill where a tenant was left behind
    for tenant in sorted(free):
        own_level[tenant] = made.column(0.0, inf)
        is_left[tenant] = made.column(0.0, 0.0)
        made.row([*made.claims[tenant], (own_level[tenant], -weights[tenant])], least=0.0)
        made.row([(own_level[tenant], 1.0), (is_left[tenant], 1.0), (common, -1.0)], least=0.0)
    shares: dict[int, float] = {}
    while free:
        height = -_least(made, {common: -1.0}, caps)
        made.lower[common] = height * (1.0 - SLACK)
        reach = {
            tenant: -_least(made, {z: -claim for z, claim in made.claims[tenant]}, caps)
            for tenant in sorted(free)
        }
        made.lower[common] = 0.0
        stuck = {
            tenant
            for tenant, most in reach.items()
            if most <= height * weights[tenant] * (1.0 + _RISE) + SLACK
        } or set(free)
        for tenant in stuck:
            shares[tenant] = height * weights[tenant]
            made.lower[own_level[tenant]] = height * (1.0 - SLACK)
            made.upper[is_left[tenant]] = inf
        free -= stuck
    return {tenant: GUARANTEED * share for tenant, share in shares.items()}


def _least(made: Programme, cost: Mapping[int, float], caps: Mapping[str, float]) -> float:
    solved = made.solve(cost, caps=caps)
    if solved.values is None:
        raise ProgrammeError(f"nothing is possible within {caps}")
    return solved.objective
