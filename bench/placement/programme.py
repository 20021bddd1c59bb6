"""The measure of the bench as a linear programme, and its tiers in order.

Owns one formulation for both questions: what given replicas are worth (their counts
fixed), and what no placement can pass (counts free, in totals over the fleet). So a value
and a bound differ by placement alone. Refuses nodes and domains but as stated. With
n[k] replicas of choice k, frontiers concave, flows of n identical replicas are exactly n
times one's, and no binary is needed:

    sum_s a[k,s] <= n[k]                                replicas by SLO mode
    sum_i x[k,s,i] <= most_online[k,s] a[k,s]           mode s serves classes i >= s
    alpha sum_i x[k,s,i] + beta y[k,s] <= gamma a[k,s]  every segment
    sum_{k,s} x[k,s,i] + short_online[d,i] >= demand    classes i of deployment d
    sum_{k,s} y[k,s] >= sum_j z[j]                      batches j of deployment d
    z[j] + short_deadline[j] >= least[j]; z[j] <= most[j]; quotas
    sum_j z[j] claim[j] + short_fair[t] >= fair[t]      batches j of tenant t, in devices
    sum_k n[k] + short_replicas[d] >= min_replicas[d]

and, with counts free:

    sum_k devices n <= devices of the kind; host memory alike
    sum_s b[k,s] <= n[k] (D - 1) / D,  x_fail + short_failover[d,i] >= share of the demand
    sum_k (n - n_now)+ <= moves

The failover rows are those of D domains, added up: what survives the loss of one domain
is (D - 1) / D of the replicas on average, and a worst loss is no smaller than the mean.
`bounds` adds what integrality says of single large replicas.

Tiers, each before the next: replicas, online (tight, then loose), failover (tight, then
loose), deadlines, fair shares where the board has them, weighted offline work. All but the
last are shortfalls, fair shares' in devices, the others' in device-equivalents.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from bench.placement.batches import claims_of
from bench.placement.board import Board, Counts
from bench.placement.linear import FAIR, Programme
from bench.placement.modes import CLASSES


def formulate(
    board: Board,
    *,
    totals: Counts | None = None,
    modes: Counts | None = None,
) -> Programme:
    """The programme of given replicas, or of all placements.

    Args:
        board: What there is.
        totals: Replicas by choice, shape (choices,); None: free, within the fleet.
        modes: Of those, by the class they are held to, shape (choices, CLASSES + 1);
            None: in whatever modes, in fractions, serves best.
    """
    made = Programme()
    for number, choice in enumerate(board.choices):
        if totals is not None:
            if totals[number]:
                count = float(totals[number])
                made.counts[number] = made.column(count, count)
            continue
        fits = board.devices[board.kind == choice.kind] // choice.devices
        made.counts[number] = made.column(0.0, float(fits.sum()), is_integer=True)
    _online_and_offline(made, board, modes)
    for tenant, least in board.fair.items():
        slack = made.shortfall(FAIR, least)
        made.row([*made.claims.get(tenant, ()), (slack, 1.0)], least=least)
    for number, deployment in enumerate(board.deployments):
        own = [(made.counts[k], 1.0) for k in board.of_deployment[number] if k in made.counts]
        slack = made.shortfall("replicas", float(deployment.min_replicas))
        made.row([*own, (slack, 1.0)], least=float(deployment.min_replicas))
    return made


def _online_and_offline(made: Programme, board: Board, modes: Counts | None) -> None:
    """What replicas carry, by mode."""
    serving: dict[tuple[int, int], list[tuple[int, float]]] = {}
    carrying: dict[int, list[tuple[int, float]]] = {}
    wanted = [0.0] * len(board.deployments)
    for batch in board.batches:
        wanted[batch.deployment] += batch.most
    for number, column in made.counts.items():
        choice = board.choices[number]
        share = []
        for mode in choice.modes:
            held = np.inf if modes is None else float(modes[number, mode.rank])
            a = made.column(0.0, held)
            made.modes.append(a)
            share.append((a, 1.0))
            xs = []
            for rank in range(mode.rank, CLASSES):
                demand = float(board.online[choice.deployment, rank])
                if demand > 0.0 and mode.most_online > 0.0:
                    x = made.column(0.0, demand)
                    xs.append(x)
                    serving.setdefault((choice.deployment, rank), []).append((x, 1.0))
            if xs:
                made.row([*((x, 1.0) for x in xs), (a, -mode.most_online)], most=0.0)
            if not wanted[choice.deployment]:
                continue
            y = made.column(0.0, wanted[choice.deployment])
            carrying.setdefault(choice.deployment, []).append((y, 1.0))
            for alpha, beta, gamma in mode.segments:
                made.row([*((x, alpha) for x in xs), (y, beta), (a, -gamma)], most=0.0)
        if share:
            made.row([*share, (column, -1.0)], most=0.0)
    tiers = ("online_tight", "online_loose")
    for (deployment, rank), demand in np.ndenumerate(board.online):
        if demand > 0.0:
            slack = made.shortfall(tiers[rank], float(demand))
            made.row([*serving.get((deployment, rank), []), (slack, 1.0)], least=float(demand))
    _demands(made, board, carrying)


def _demands(
    made: Programme, board: Board, carrying: Mapping[int, Sequence[tuple[int, float]]]
) -> None:
    """Batches, deadlines, quotas and what counts as a tenant's claim."""
    claims = claims_of(board)
    done: dict[int, list[tuple[int, float]]] = {}
    quotas: dict[int, list[tuple[int, float]]] = {}
    for batch, claim in zip(board.batches, claims, strict=True):
        z = made.column(0.0, batch.most)
        made.values[z] = batch.value
        made.claims.setdefault(batch.tenant, []).append((z, claim))
        done.setdefault(batch.deployment, []).append((z, -1.0))
        if batch.tenant >= 0 and np.isfinite(board.quotas[batch.tenant]):
            scale = batch.work_per_unit / float(board.quotas[batch.tenant])
            quotas.setdefault(batch.tenant, []).append((z, scale))
        if batch.least > 0.0:
            slack = made.shortfall("deadlines", batch.least)
            made.row([(z, 1.0), (slack, 1.0)], least=batch.least)
    for deployment, terms in done.items():
        made.row([*carrying.get(deployment, []), *terms], least=0.0)
    for terms in quotas.values():
        made.row(terms, most=1.0)
