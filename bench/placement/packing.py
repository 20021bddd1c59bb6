"""Where replicas lie on nodes, while a baseline decides.

Owns the room on each node and the three ways of choosing one. Refuses to know demand.
Invariant: no node ever holds more than its devices and host memory.
"""

from enum import Enum

import numpy as np

from bench.placement.board import Board, Counts


class Policy(Enum):
    """How a node is chosen among those with room."""

    FIRST = "first"  # in order of nodes
    BEST = "best"  # least room left, then the domain with least of the deployment
    SPREAD = "spread"  # the domain with least of the deployment, then most room


class Packing:
    """Replicas on nodes, with their sums kept."""

    def __init__(self, board: Board, counts: Counts) -> None:
        self.board = board
        self.counts = counts.copy()
        self.by_domain = board.by_domain(counts)
        self.loads = 0
        devices = np.array([choice.devices for choice in board.choices])
        memory = np.array([float(choice.host_memory_bytes) for choice in board.choices])
        self._free = board.devices - counts @ devices
        self._memory = board.host_memory_bytes - counts @ memory
        self._before = counts.copy()
        self._of_kind = [np.nonzero(board.kind == kind)[0] for kind in range(len(board.kinds))]
        self._domain_of = [board.domain[nodes] for nodes in self._of_kind]

    @property
    def is_spent(self) -> bool:
        """Whether the round's bound on moves is reached."""
        most = self.board.snapshot.max_moves
        return most is not None and self.loads >= most

    def free(self, node: int) -> int:
        """Devices nobody holds."""
        return int(self._free[node])

    def memory(self, node: int) -> float:
        """Host memory nobody holds, bytes."""
        return float(self._memory[node])

    def nodes_of(self, kind: int) -> Counts:
        """Nodes of a kind."""
        return self._of_kind[kind]

    def has_room(self, choice: int) -> bool:
        """Whether some node has room for a replica."""
        return bool(self._room(choice).any())

    def node_for(self, choice: int, *, policy: Policy, avoid: int | None = None) -> int | None:
        """The node for one more replica, if any has room.

        Args:
            choice: Of what.
            policy: How to choose.
            avoid: A failure domain that another one would be better than.
        """
        what = self.board.choices[choice]
        room = self._room(choice)
        domains = self._domain_of[what.kind]
        if avoid is not None and (elsewhere := room & (domains != avoid)).any():
            room = elsewhere
        at = np.nonzero(room)[0]
        if not len(at):
            return None
        nodes = self._of_kind[what.kind][at]
        if policy is Policy.FIRST:
            return int(nodes[0])
        own = self.by_domain[list(self.board.of_deployment[what.deployment])].sum(axis=0)
        crowd, free = own[domains[at]], self._free[nodes]
        keys = (crowd, free) if policy is Policy.BEST else (-free, crowd)
        return int(nodes[np.lexsort((nodes, *keys))[0]])

    def put(self, node: int, choice: int) -> None:
        """One more replica.

        Raises:
            ValueError: The node has no room.
        """
        what = self.board.choices[choice]
        if self._free[node] < what.devices or self._memory[node] < what.host_memory_bytes:
            raise ValueError(f"node {node}: no room for choice {choice}")
        self.loads += int(self.counts[node, choice] >= self._before[node, choice])
        self._change(node, choice, 1)

    def take(self, node: int, choice: int) -> None:
        """One replica less."""
        self._change(node, choice, -1)
        self.loads -= int(self.counts[node, choice] >= self._before[node, choice])

    def _change(self, node: int, choice: int, by: int) -> None:
        what = self.board.choices[choice]
        self.counts[node, choice] += by
        self.by_domain[choice, self.board.domain[node]] += by
        self._free[node] -= by * what.devices
        self._memory[node] -= by * what.host_memory_bytes

    def _room(self, choice: int) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        what = self.board.choices[choice]
        nodes = self._of_kind[what.kind]
        room: np.ndarray[tuple[int], np.dtype[np.bool_]] = (self._free[nodes] >= what.devices) & (
            self._memory[nodes] >= what.host_memory_bytes
        )
        return room
