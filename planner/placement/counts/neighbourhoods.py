"""Which part of the counts to free next.

Owns the choice, by a seeded generator. Refuses to solve. What costs most is freed most
often: deployments that are short of something, in some domains; then deployments that
share a device type; then any. A deployment that has one replica or none of a shape needs
others freed beside it in the very cells where they could make room, so a part is drawn as
deployments by cells, to a size that the last parts have shown to be solved well.
"""

import random
from dataclasses import dataclass
from enum import Enum

from planner.placement.counts.problem import Problem
from planner.placement.counts.programme import Part
from planner.placement.counts.standing import Standing


class Kind(Enum):
    """How a part is drawn."""

    ANY = "any"  # any deployments, everywhere
    DOMAINS = "domains"  # any deployments, in some domains
    KINDS = "kinds"  # any deployments, on two device types
    SHORT = "short"  # those that are short first, everywhere
    SHORT_DOMAINS = "short-domains"  # those, in some domains
    WORTH = "worth"  # offline work of much weight beside one of little


_DRAWN = (
    (Kind.ANY, 0.15),
    (Kind.DOMAINS, 0.2),
    (Kind.KINDS, 0.15),
    (Kind.SHORT, 0.15),
    (Kind.SHORT_DOMAINS, 0.2),
    (Kind.WORTH, 0.15),
)
SHORT_KINDS = frozenset({Kind.SHORT, Kind.SHORT_DOMAINS})
"""Those that free what is short."""

_SHORTFALL_PULL = 50.0  # of a replica-equivalent short, beside what any deployment has
_LEAST_INTEGERS = 30.0
_MOST_INTEGERS = 2_000.0


@dataclass(slots=True)
class Drawing:
    """Draws parts of a size that follows how hard the last ones were."""

    problem: Problem
    random: random.Random
    integers: float
    kinds: frozenset[Kind] = frozenset(Kind)

    def draw(self, standing: Standing) -> Part:
        """The next part to free."""
        is_divided = len({cell.domain for cell in self.problem.cells}) > 2
        drawn = [
            (kind, share)
            for kind, share in _DRAWN
            if kind in self.kinds and (is_divided or kind not in (Kind.DOMAINS, Kind.SHORT_DOMAINS))
        ]
        kind = self.random.choices([kind for kind, _ in drawn], [share for _, share in drawn])[0]
        cells = self._cells(kind)
        deployments = self._deployments(kind, standing, cells)
        return Part(deployments=deployments, cells=frozenset(cells))

    def learn(self, *, is_solved: bool) -> None:
        """Takes in whether the last part was solved within its limits."""
        if is_solved:
            self.integers = min(_MOST_INTEGERS, self.integers * 1.08)
        else:
            self.integers = max(_LEAST_INTEGERS, self.integers * 0.95)

    def _cells(self, kind: Kind) -> list[int]:
        cells = list(range(len(self.problem.cells)))
        if kind in (Kind.DOMAINS, Kind.SHORT_DOMAINS):
            domains = sorted({cell.domain for cell in self.problem.cells}, key=str)
            most = max(2, len(domains) // 2)
            some = set(self.random.sample(domains, min(len(domains), self.random.randint(2, most))))
            return [c for c in cells if self.problem.cells[c].domain in some]
        if kind is Kind.KINDS:
            kinds = sorted({cell.kind for cell in self.problem.cells})
            two = set(self.random.sample(kinds, min(2, len(kinds))))
            return [c for c in cells if self.problem.cells[c].kind in two]
        return cells

    def _deployments(self, kind: Kind, standing: Standing, cells: list[int]) -> tuple[int, ...]:
        ordered = self._ordered(kind, standing)
        by_kind: dict[int, int] = {}
        for c in cells:
            by_kind[self.problem.cells[c].kind] = by_kind.get(self.problem.cells[c].kind, 0) + 1
        size: dict[int, int] = {}
        for shape in self.problem.shapes:
            size[shape.deployment] = size.get(shape.deployment, 0) + by_kind.get(shape.kind, 0)
        chosen: list[int] = []
        total = 0
        for d in ordered:
            if len(chosen) >= 2 and total + size.get(d, 0) > self.integers:
                break
            chosen.append(d)
            total += size.get(d, 0)
        return tuple(sorted(chosen))

    def _ordered(self, kind: Kind, standing: Standing) -> list[int]:
        """All deployments, the ones to free first."""
        deployments = list(range(len(self.problem.wanted)))
        if kind in (Kind.SHORT, Kind.SHORT_DOMAINS):
            pull = [1.0] * len(deployments)
            for tier, shorts in standing.missing.items():
                for key, short in shorts.items():
                    if tier == "fair":
                        continue
                    d = self.problem.offline[key[0]].deployment if tier == "deadline" else key[0]
                    pull[d] += _SHORTFALL_PULL * short
            return self._weighted(deployments, pull)
        if kind is Kind.WORTH:
            unserved = [1e-3] * len(deployments)
            for j, demand in enumerate(self.problem.offline):
                rest = demand.most - standing.offline.get(j, 0.0)
                unserved[demand.deployment] += max(0.0, rest) * demand.weight
            return self._weighted(deployments, unserved)
        self.random.shuffle(deployments)
        return deployments

    def _weighted(self, items: list[int], pull: list[float]) -> list[int]:
        """A random order in which items of much pull tend to come first."""
        return sorted(items, key=lambda d: -(self.random.random() ** (1.0 / max(pull[d], 1e-9))))
