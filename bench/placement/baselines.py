"""First fit, best fit, spread, and the fair sticky greedy.

Owns the baselines, each as strong as its idea allows: all serve online work first, then
failover, then deadlines, then offline work by what it brings; all know every curve, quota
and domain; each runs with devices valued by their price, and by what they bear of all
deployments on average (so that each goes where it is comparatively best), with large or
choosy deployments first, and the best of those by the referee counts. Refuses solvers.
Cold baselines start from nothing and never take a replica back. The sticky greedy keeps
what runs, evicts what later tiers gain from for earlier ones (cheapest first), drops what
nobody needs, and stays within the round's moves.
"""

import heapq
from collections.abc import Sequence

import numpy as np

from bench.placement.board import Board, Counts, Floats
from bench.placement.evaluate import Worth, evaluate
from bench.placement.eviction import drop_surplus, make_room
from bench.placement.modes import CLASSES, Choice
from bench.placement.needs import offline_room, online_lack, replicas
from bench.placement.packing import Packing, Policy

COLD = {"ffd": Policy.FIRST, "best-fit": Policy.BEST, "spread": Policy.SPREAD}
STICKY = "sticky"
BASELINES = (*COLD, STICKY)

_LEAST_FILL = 0.05  # of a replica's offline work, below which none is added for it


def run_baseline(board: Board, name: str, *, before: Counts | None = None) -> tuple[Counts, Worth]:
    """The best placement over valuations and orders, with its worth.

    Args:
        board: What there is.
        name: One of BASELINES.
        before: What runs, kept by the sticky greedy; loads count against it.
    """
    found = []
    borne = _borne(board)
    for prices in (np.tile(board.prices, (CLASSES + 1, 1)), borne):
        for order in (np.argsort(-board.online.sum(axis=1), kind="stable"), _choosy(board, borne)):
            counts = _Greedy(
                board,
                before if name == STICKY and before is not None else board.empty(),
                policy=COLD.get(name, Policy.BEST),
                prices=prices.tolist(),
                order=order.tolist(),
                is_sticky=name == STICKY,
            ).run()
            found.append((counts, evaluate(board, counts, before=before)))
    return min(found, key=lambda pair: pair[1].objective)


def _rates(board: Board) -> Floats:
    """What a device bears at best, shape (classes and offline, kinds, deployments)."""
    rates = np.zeros((CLASSES + 1, len(board.kinds), len(board.deployments)))
    for choice in board.choices:
        most = [choice.most_online[rank] for rank in range(CLASSES)] + [choice.most_offline]
        at = rates[:, choice.kind, choice.deployment]
        np.maximum(at, np.array(most) / choice.devices, out=at)
    return rates


def _borne(board: Board) -> Floats:
    """The mean of it over deployments, shape (classes and offline, kinds)."""
    mean: Floats = np.maximum(1e-9, _rates(board).mean(axis=2))
    return mean


def _choosy(board: Board, borne: Floats) -> Counts:
    """Deployments by how much worse their second kind of device is for them than the best."""
    if len(board.kinds) < 2:
        return np.argsort(-board.online.sum(axis=1), kind="stable")
    relative = np.sort((_rates(board) / borne[:, :, None]).mean(axis=0), axis=0)
    regret = relative[-1] / np.maximum(1e-9, relative[-2])
    return np.argsort(-regret, kind="stable")


class _Greedy:
    """One pass over the tiers."""

    def __init__(
        self,
        board: Board,
        counts: Counts,
        *,
        policy: Policy,
        prices: Sequence[Sequence[float]],
        order: Sequence[int],
        is_sticky: bool,
    ) -> None:
        self._board = board
        self._packing = Packing(board, counts)
        self._policy = policy
        self._prices = prices
        self._order = order
        self._is_sticky = is_sticky

    def run(self) -> Counts:
        """The placement."""
        for deployment in self._order:
            self._fewest(deployment)
        for deployment in self._order:
            self._online(deployment)
        if self._is_sticky:
            drop_surplus(self._packing)
        for deployment in self._order:
            self._deadlines(deployment)
        self._elastic()
        return self._packing.counts

    def _fewest(self, deployment: int) -> None:
        """The least number of replicas."""
        wanted = self._board.deployments[deployment].min_replicas
        while replicas(self._board, self._packing.by_domain, deployment) < wanted:
            if not self._add(deployment, [1.0 for _ in self._own(deployment)], tier=0):
                return

    def _online(self, deployment: int) -> None:
        """Demand, then what a lost domain must leave."""
        while (lack := online_lack(self._board, self._packing.by_domain, deployment)) is not None:
            rates = [
                min(self._board.choices[k].most_online[lack.rank], lack.work)
                for k in self._own(deployment)
            ]
            # As many at once as the lack surely needs: the count is asked anew after them.
            most = max(
                (self._board.choices[k].most_online[lack.rank] for k in self._own(deployment)),
                default=0.0,
            )
            several = 1 if lack.crowded is not None or most <= 0.0 else int(lack.work / most)
            for _ in range(max(1, several)):
                if not self._add(deployment, rates, tier=1, valued=lack.rank, avoid=lack.crowded):
                    return

    def _deadlines(self, deployment: int) -> None:
        wanted = sum(b.least for b in self._board.batches if b.deployment == deployment)
        while (lack := wanted - self._room(deployment)) > 1e-9:
            rates = [min(self._board.choices[k].most_offline, lack) for k in self._own(deployment)]
            if not self._add(deployment, rates, tier=2):
                return

    def _elastic(self) -> None:
        """Offline work by what it brings a device, until nothing brings anything."""
        left = _Demand(self._board)
        for deployment in range(len(self._board.deployments)):
            left.serve(deployment, self._room(deployment))
        heap = [
            (-gain, deployment)
            for deployment in range(len(self._board.deployments))
            if (gain := self._best_gain(left, deployment)) > 0.0
        ]
        heapq.heapify(heap)
        while heap:
            gain, deployment = heapq.heappop(heap)
            now = self._best_gain(left, deployment)
            if now <= 0.0:
                continue
            if now < -gain - 1e-12:  # it fell since: others may be better
                heapq.heappush(heap, (-now, deployment))
                continue
            had = self._room(deployment)
            if not self._add(deployment, self._gains(left, deployment), tier=3):
                continue
            left.serve(deployment, max(0.0, self._room(deployment) - had))
            heapq.heappush(heap, (-now, deployment))

    def _best_gain(self, left: "_Demand", deployment: int) -> float:
        ranked = [
            gain / self._cost(self._board.choices[k], CLASSES)
            for gain, k in zip(self._gains(left, deployment), self._own(deployment), strict=True)
            if gain > 0.0 and self._packing.has_room(k)
        ]
        return 0.0 if self._packing.is_spent else max(ranked, default=0.0)

    def _gains(self, left: "_Demand", deployment: int) -> list[float]:
        """What one more replica would bring, by choice."""
        return [
            left.worth(deployment, self._board.choices[k].most_offline)
            for k in self._own(deployment)
        ]

    def _add(
        self,
        deployment: int,
        rates: Sequence[float],
        *,
        tier: int,
        valued: int = CLASSES,
        avoid: int | None = None,
    ) -> bool:
        """Adds the replica with the best rate by cost that has room, or is given room."""
        if self._packing.is_spent:
            return False
        most = self._board.deployments[deployment].max_replicas
        if replicas(self._board, self._packing.by_domain, deployment) >= most:
            return False
        own = self._own(deployment)
        ranked = sorted(
            (
                (
                    rate / self._cost(self._board.choices[k], valued),
                    -self._board.choices[k].devices,
                    k,
                )
                for rate, k in zip(rates, own, strict=True)
                if rate > 0.0
            ),
            reverse=True,
        )
        for _, _, k in ranked:
            node = self._packing.node_for(k, policy=self._policy, avoid=avoid)
            if node is not None and avoid != self._board.domain[node]:
                self._packing.put(node, k)
                return True
        if self._is_sticky and tier < 3:
            for _, _, k in ranked:
                node = make_room(self._packing, k, tier=tier, avoid=avoid)
                if node is not None:
                    self._packing.put(node, k)
                    return True
        return False

    def _own(self, deployment: int) -> tuple[int, ...]:
        return self._board.of_deployment[deployment]

    def _cost(self, choice: Choice, valued: int) -> float:
        return choice.devices * self._prices[valued][choice.kind]

    def _room(self, deployment: int) -> float:
        totals = self._packing.by_domain.sum(axis=1).tolist()
        return offline_room(self._board, totals, deployment)


class _Demand:
    """Offline demand not yet served, within quotas."""

    def __init__(self, board: Board) -> None:
        self._batches = board.batches
        self._left = [batch.most for batch in board.batches]
        self._quota = board.quotas.tolist()
        self._of: dict[int, list[int]] = {}
        for number, batch in enumerate(board.batches):
            self._of.setdefault(batch.deployment, []).append(number)
        for own in self._of.values():
            own.sort(key=lambda number: -board.batches[number].value)

    def serve(self, deployment: int, work: float) -> None:
        """Work done: deadlines' rates first, then by value."""
        for is_least in (True, False):
            for number in self._of.get(deployment, ()):
                batch = self._batches[number]
                done = batch.most - self._left[number]
                wanted = batch.least - done if is_least else self._left[number]
                taken = min(work, max(0.0, wanted), self._within_quota(number))
                work -= taken
                self._left[number] -= taken
                if batch.tenant >= 0:
                    self._quota[batch.tenant] -= taken * batch.work_per_unit

    def worth(self, deployment: int, work: float) -> float:
        """Weighted value of so much more work; 0 if it would mostly idle."""
        value, rest = 0.0, work
        for number in self._of.get(deployment, ()):
            taken = min(rest, self._left[number], self._within_quota(number))
            value += taken * self._batches[number].value
            rest -= taken
        return value if work - rest > _LEAST_FILL * work else 0.0

    def _within_quota(self, number: int) -> float:
        batch = self._batches[number]
        if batch.tenant < 0:
            return float("inf")
        return max(0.0, float(self._quota[batch.tenant])) / batch.work_per_unit
