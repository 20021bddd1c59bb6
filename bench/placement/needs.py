"""What a deployment lacks, as baselines see it.

Owns quick answers from counts alone: online work and failover exactly, offline work by a
split that is possible, so never more than there is. Refuses to place anything. The
referee's programme says what a placement is worth in the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.placement.board import Board, Counts
from bench.placement.failover import surviving_short
from bench.placement.modes import CLASSES

_LEAST = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """Online work that is not served.

    Attributes:
        rank: Class whose capacity is to grow.
        work: Device-equivalents of it.
        crowded: The failure domain whose loss costs most, where only failover lacks.
    """

    rank: int
    work: float
    crowded: int | None


def replicas(board: Board, by_domain: Counts, deployment: int) -> int:
    """Of a deployment."""
    return int(by_domain[list(board.of_deployment[deployment])].sum())


def online_shorts(
    board: Board, by_domain: Counts, deployment: int
) -> tuple[tuple[float, float], tuple[float, float], int | None]:
    """Shortfalls (tight, loose) of demand, of failover, and the domain that costs most."""
    own = board.of_deployment[deployment]
    rows = by_domain[list(own)]
    totals = rows.sum(axis=1).tolist()
    now = surviving_short(board, own, totals, wanted=tuple(board.online[deployment]))
    worst, crowded = (0.0, 0.0), None
    wanted = tuple(board.failover[deployment])
    if any(wanted):
        seen: dict[tuple[int, ...], int] = {}
        for domain, column in enumerate(rows.T.tolist()):
            seen.setdefault(tuple(column), domain)
        for column, domain in seen.items():
            left = [have - gone for have, gone in zip(totals, column, strict=True)]
            short = surviving_short(board, own, left, wanted=wanted)
            if short > worst:
                worst, crowded = short, domain
    return now, worst, crowded


def online_lack(board: Board, by_domain: Counts, deployment: int) -> Lack | None:
    """What to add for first: demand before failover, tight before loose."""
    now, worst, crowded = online_shorts(board, by_domain, deployment)
    for rank in range(CLASSES):
        if now[rank] > _LEAST:
            return Lack(rank=rank, work=now[rank], crowded=None)
    for rank in range(CLASSES):
        if worst[rank] > _LEAST:
            return Lack(rank=rank, work=worst[rank], crowded=crowded)
    return None


def offline_room(board: Board, totals: Sequence[int], deployment: int) -> float:
    """Offline work that a deployment's replicas carry beside its online work.

    The better of two splits: every replica alike loaded, or online work at full load on
    those that lose least offline work by it, and the others offline only.

    Args:
        board: What there is.
        totals: Replicas by choice (of all deployments).
        deployment: Whose.

    Returns:
        Device-equivalents.
    """
    own = [k for k in board.of_deployment[deployment] if totals[k]]
    apart = _room_apart(board, totals, own, wanted=board.online[deployment].tolist())
    used = []
    for rank in range(CLASSES):
        most = sum(totals[k] * board.choices[k].most_online[rank] for k in own)
        need = float(board.online[deployment, rank])
        used.append(min(1.0, need / most) if most > 0.0 else 0.0)
    whole = sum(used)
    if whole <= 0.0 or whole >= 1.0:
        return apart
    even = 0.0
    for k in own:
        for mode in board.choices[k].modes:
            if mode.rank < CLASSES and mode.most_online > 0.0:
                share = used[mode.rank] / whole
                even += totals[k] * share * mode.offline_beside(whole * mode.most_online)
    return max(apart, even)


def _room_apart(
    board: Board, totals: Sequence[int], own: Sequence[int], *, wanted: Sequence[float]
) -> float:
    """Online work where it costs least offline work, class by class, replicas at full load."""
    left = {k: float(totals[k]) for k in own}
    room = 0.0
    for rank, demand in enumerate(wanted):
        need = demand
        ranked = []
        for k in own:
            choice = board.choices[k]
            for mode in choice.modes:
                if mode.rank == rank and mode.most_online > 0.0:
                    beside = mode.offline_beside(mode.most_online)
                    loss = (choice.most_offline - beside) / mode.most_online
                    ranked.append((loss, k, mode.most_online, beside))
        for _, k, most, beside in sorted(ranked):
            used = min(left[k], need / most)
            left[k] -= used
            need -= used * most
            room += used * beside
    return room + sum(count * board.choices[k].most_offline for k, count in left.items())
