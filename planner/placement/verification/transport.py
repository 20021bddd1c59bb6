"""Whether sources can feed sinks.

Owns the maximum flow from sources to sinks (Dinic 1970: shortest augmenting paths, level by
level). Refuses to know what flows.
"""

from collections import deque
from collections.abc import Mapping

_LEAST = 1e-9  # a residue below this is rounding


def fed(
    supplies: Mapping[str, float],
    edges: Mapping[tuple[str, str], float],
    needs: Mapping[str, float],
) -> dict[str, float]:
    """What each sink receives in one maximum flow.

    Args:
        supplies: What each source gives at most; inf: no limit.
        edges: What goes from a source to a sink at most.
        needs: What each sink takes at most.

    Returns:
        By sink; together as much as any flow brings.
    """
    graph = _Graph()
    for source, most in supplies.items():
        graph.join(_ROOT, ("source", source), most)
    for (source, sink), most in edges.items():
        if source in supplies and sink in needs:
            graph.join(("source", source), ("sink", sink), most)
    taps = {sink: graph.join(("sink", sink), _END, need) for sink, need in needs.items()}
    graph.fill()
    return {sink: graph.room[tap ^ 1] for sink, tap in taps.items()}


_Key = tuple[str, str]
_ROOT, _END = ("root", ""), ("end", "")


class _Graph:
    """Residual edges: edge `i ^ 1` is the reverse of edge `i`."""

    def __init__(self) -> None:
        self.room: list[float] = []
        self._to: list[_Key] = []
        self._out: dict[_Key, list[int]] = {_ROOT: [], _END: []}

    def join(self, one: _Key, other: _Key, room: float) -> int:
        number = len(self.room)
        self._out.setdefault(one, []).append(number)
        self._out.setdefault(other, []).append(number + 1)
        self._to += [other, one]
        self.room += [max(0.0, room), 0.0]
        return number

    def fill(self) -> None:
        while (levels := self._levels()) is not None:
            untried = {key: list(edges) for key, edges in self._out.items()}
            while (path := self._path(levels, untried)) is not None:
                taken = min(self.room[edge] for edge in path)
                for edge in path:
                    self.room[edge] -= taken
                    self.room[edge ^ 1] += taken

    def _levels(self) -> dict[_Key, int] | None:
        """Distance from the root over edges with room; None where the end is out of reach."""
        levels = {_ROOT: 0}
        queue = deque([_ROOT])
        while queue:
            key = queue.popleft()
            for edge in self._out[key]:
                there = self._to[edge]
                if self.room[edge] > _LEAST and there not in levels:
                    levels[there] = levels[key] + 1
                    queue.append(there)
        return levels if _END in levels else None

    def _path(self, levels: Mapping[_Key, int], untried: dict[_Key, list[int]]) -> list[int] | None:
        """Edges from the root to the end, each a level further; None where none is left."""
        path: list[int] = []
        here = _ROOT
        while here != _END:
            edges = untried[here]
            while edges and not (
                self.room[edges[-1]] > _LEAST
                and levels.get(self._to[edges[-1]]) == levels[here] + 1
            ):
                edges.pop()
            if edges:
                path.append(edges[-1])
                here = self._to[edges[-1]]
            elif path:
                here = self._to[path.pop() ^ 1]
                untried[here].pop()
            else:
                return None
        return path
