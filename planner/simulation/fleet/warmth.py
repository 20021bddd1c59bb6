"""Weights that stay in host memory once they were read.

Owns which models are warm on which node: the latest read, as many as fit. Refuses to load.
"""

from collections.abc import Iterable, Mapping

from planner.model import Deployment, Node


class Warmth:
    """Warm models by node."""

    def __init__(self, nodes: Iterable[Node], deployments: Mapping[str, Deployment]) -> None:
        self._room = {node.id: node.host_memory_bytes for node in nodes}
        self._warm = {node.id: node.warm_models for node in nodes}
        self._bytes = {one.model: one.weights_bytes for one in deployments.values()}

    def of(self, node: str) -> tuple[str, ...]:
        """Models warm there, the latest read first."""
        return self._warm[node]

    def read(self, node: str, deployment: Deployment) -> None:
        """Its weights were read there; the longest unread make room."""
        others = (model for model in self._warm[node] if model != deployment.model)
        room = self._room[node]
        kept = []
        for model in (deployment.model, *others):
            room -= self._bytes.get(model, 0)
            if room >= 0:
                kept.append(model)
        self._warm[node] = tuple(kept)

    def forget(self, node: str) -> None:
        """The node failed: its memory is empty."""
        self._warm[node] = ()
