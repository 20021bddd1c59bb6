"""What is lost with the worst failure domain.

Owns the exact answer for given replicas: with one domain gone and all offline work shed,
the rest serves its share of the online demand, tight before loose, each replica in
whatever mode it then needs. Refuses to place anything.
"""

from collections.abc import Sequence

import numpy as np

from bench.placement.board import Board, Counts


def failover_short(board: Board, by_domain: Counts) -> tuple[float, float]:
    """Shortfalls, tight and loose, summed over deployments, each with its worst domain.

    Args:
        board: What there is.
        by_domain: Replicas, shape (choices, domains).

    Returns:
        In device-equivalents.
    """
    tight = loose = 0.0
    totals = by_domain.sum(axis=1)
    for number, own in enumerate(board.of_deployment):
        wanted = board.failover[number]
        if not wanted.any():
            continue
        worst = (0.0, 0.0)
        # A domain without replicas of it takes nothing; the loss of none stands for them.
        lost = {tuple(by_domain[list(own), d].tolist()) for d in range(board.domains)}
        for gone in lost:
            left = [int(totals[k]) - g for k, g in zip(own, gone, strict=True)]
            worst = max(worst, surviving_short(board, own, left, wanted=tuple(wanted)))
        tight += worst[0]
        loose += worst[1]
    return tight, loose


def surviving_short(
    board: Board, own: Sequence[int], left: Sequence[int], *, wanted: Sequence[float]
) -> tuple[float, float]:
    """What replicas that are left fail to serve of `wanted`, (tight, loose).

    Tight work goes first to replicas that give up least loose work for it.
    """
    tight, loose = float(wanted[0]), float(wanted[1])
    groups = []
    for k, count in zip(own, left, strict=True):
        if count > 0:
            tight_one, loose_one = board.choices[k].most_online
            groups.append((count * tight_one, count * loose_one))
    groups.sort(key=lambda group: group[1] / group[0] if group[0] > 0.0 else np.inf)
    for most_tight, most_loose in groups:
        used = min(1.0, tight / most_tight) if most_tight > 0.0 else 0.0
        tight = max(0.0, tight - used * most_tight)
        loose -= (1.0 - used) * most_loose
    return tight, max(0.0, loose)
