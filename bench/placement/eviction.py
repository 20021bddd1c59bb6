"""What the sticky greedy takes away: for earlier tiers, or because nobody needs it.

Owns the choice of replicas to evict, cheapest first by what a device brings. Refuses to
take what the tier that asks rests on: no eviction adds to another deployment's online or
failover shortfall, and for deadlines none adds to another's missed deadlines.
"""

from bench.placement.board import Board
from bench.placement.needs import offline_room, online_shorts, replicas
from bench.placement.packing import Packing

_LEAST = 1e-9


def make_room(packing: Packing, choice: int, *, tier: int, avoid: int | None) -> int | None:
    """Evicts, on the node where it costs least, what a replica of `choice` needs gone.

    Args:
        packing: Changed where a node is found.
        choice: Of what.
        tier: 0 and 1 online, 2 deadlines.
        avoid: A failure domain where it would not help.

    Returns:
        The node, with room now; None where evictions cannot make any.
    """
    board = packing.board
    what = board.choices[choice]
    spare = _Spare(packing, tier=tier, exempt=what.deployment)
    found: list[tuple[float, int, tuple[int, ...]]] = []
    for node in packing.nodes_of(what.kind).tolist():
        if board.domain[node] == avoid or board.devices[node] < what.devices:
            continue
        free, memory = packing.free(node), packing.memory(node)
        held = [
            (loss, k)
            for k in packing.counts[node].nonzero()[0].tolist()
            if (loss := spare.loss(k)) is not None
        ]
        cost, gone = 0.0, list[int]()
        for loss, k in sorted(held):
            for _ in range(int(packing.counts[node, k])):
                if free >= what.devices and memory >= what.host_memory_bytes:
                    break
                free += board.choices[k].devices
                memory += board.choices[k].host_memory_bytes
                cost += loss * board.choices[k].devices
                gone.append(k)
        if free >= what.devices and memory >= what.host_memory_bytes:
            found.append((cost, node, tuple(gone)))
    # Which node of a domain it is matters to nobody.
    harmless: dict[tuple[int, tuple[int, ...]], bool] = {}
    for _, node, taken in sorted(found):
        key = (int(board.domain[node]), taken)
        if key not in harmless:
            harmless[key] = _is_harmless(packing, node, taken, tier=tier)
        if harmless[key]:
            for k in taken:
                packing.take(node, k)
            return node
    return None


def drop_surplus(packing: Packing) -> None:
    """Takes away what neither online work, failover nor any batch needs."""
    board = packing.board
    for deployment, own in enumerate(board.of_deployment):
        wanted = sum(batch.most for batch in board.batches if batch.deployment == deployment)
        for node in _emptiest(packing, own):
            for k in own:
                while packing.counts[node, k] and _is_surplus(packing, node, k, wanted=wanted):
                    packing.take(node, k)


def _emptiest(packing: Packing, own: tuple[int, ...]) -> list[int]:
    nodes = packing.counts[:, list(own)].sum(axis=1).nonzero()[0].tolist()
    return sorted(nodes, key=lambda node: (-packing.free(node), node))


def _is_surplus(packing: Packing, node: int, choice: int, *, wanted: float) -> bool:
    board = packing.board
    deployment = board.choices[choice].deployment
    totals = packing.by_domain.sum(axis=1).tolist()
    totals[choice] -= 1
    return offline_room(board, totals, deployment) >= wanted and _is_harmless(
        packing, node, (choice,), tier=1
    )


class _Spare:
    """What evicting a replica costs by device, where it may be evicted at all."""

    def __init__(self, packing: Packing, *, tier: int, exempt: int) -> None:
        self._packing = packing
        self._tier = tier
        self._exempt = exempt
        self._known: dict[int, float | None] = {}

    def loss(self, choice: int) -> float | None:
        """Weighted value a device of it brings at the most; None: not to be evicted."""
        if choice not in self._known:
            self._known[choice] = self._find(choice)
        return self._known[choice]

    def _find(self, choice: int) -> float | None:
        board = self._packing.board
        what = board.choices[choice]
        if what.deployment == self._exempt:
            return None
        # The last served batch by value is what one replica less costs.
        totals = self._packing.by_domain.sum(axis=1).tolist()
        room = offline_room(board, totals, what.deployment)
        return _marginal(board, what.deployment, room) * what.most_offline / what.devices


def _marginal(board: Board, deployment: int, room: float) -> float:
    """Value of the last unit of offline work served; 0 where there is room to spare."""
    own = sorted(
        (batch for batch in board.batches if batch.deployment == deployment),
        key=lambda batch: -batch.value,
    )
    for batch in own:
        room -= batch.most
        if room <= 0.0:
            return batch.value
    return 0.0


def _is_harmless(packing: Packing, node: int, gone: tuple[int, ...], *, tier: int) -> bool:
    """Whether taking these from a node adds to no shortfall that matters to the tier."""
    board = packing.board
    after = packing.by_domain.copy()
    for k in gone:
        after[k, board.domain[node]] -= 1
    for deployment in sorted({board.choices[k].deployment for k in gone}):
        if replicas(board, after, deployment) < board.deployments[deployment].min_replicas:
            return False
        then = online_shorts(board, after, deployment)
        now = online_shorts(board, packing.by_domain, deployment)
        if any(
            b > a + _LEAST for a, b in zip((*now[0], *now[1]), (*then[0], *then[1]), strict=True)
        ):
            return False
        if tier == 2:
            least = sum(b.least for b in board.batches if b.deployment == deployment)
            if offline_room(board, after.sum(axis=1).tolist(), deployment) < least - _LEAST:
                return False
    return True
