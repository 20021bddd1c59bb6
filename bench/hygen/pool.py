"""Replays of one slice under many policies, none run twice.

Owns the memory of what was replayed, which all cells of a slice share: a probe says all
statistics at once. Refuses choices.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from planner.batching.state import Budgets
from planner.interference.search import ProbeResult
from planner.replay.policies import PolicyChoice
from planner.replay.scenario import Scenario
from planner.simulation.replay import Replayed


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A replay, without its requests."""

    choice: PolicyChoice
    probe: ProbeResult
    total_tokens_per_s: float
    busy_ratio: float
    evicted: int
    recomputed_tokens: int
    over_bound_ratio: float

    @classmethod
    def of(cls, choice: PolicyChoice, replayed: Replayed) -> "Seen":
        """Keeps statistics, drops requests."""
        offline = replayed.offline_tokens_per_s
        counters = replayed.counters
        return cls(
            choice=choice,
            probe=ProbeResult(ttft=replayed.ttft, itl=replayed.itl, offline_tokens_per_s=offline),
            total_tokens_per_s=offline + replayed.online_tokens / replayed.window_s,
            busy_ratio=replayed.busy_ratio,
            evicted=counters.evicted + counters.retracted_offline,
            recomputed_tokens=counters.recomputed_tokens,
            over_bound_ratio=counters.over_bound / max(1, counters.passes),
        )


@dataclass(slots=True)
class Pool:
    """One slice."""

    scenario: Scenario
    _seen: dict[tuple[str, bool, Budgets], Seen] = field(default_factory=dict)

    def see(self, choice: PolicyChoice) -> Seen:
        """The replay of that policy, run if it was not yet."""
        key = (choice.name, choice.serves_online, choice.budgets)
        found = self._seen.get(key)
        if found is None:
            found = self._seen[key] = Seen.of(choice, self.scenario.run(choice))
        return found

    def idle(self, choice: PolicyChoice) -> float:
        """What the policy does of the batch while nobody is online, tokens a second."""
        return self.see(replace(choice, serves_online=False)).probe.offline_tokens_per_s

    def probe(self, choice: PolicyChoice) -> ProbeResult:
        """What a search reads of it."""
        return self.see(choice).probe

    def of(self, name: str) -> Iterator[Seen]:
        """Every replay so far beside online load of the policy called so, whatever its knob."""
        return (
            seen
            for (known, serves_online, _), seen in self._seen.items()
            if serves_online and known.partition(":")[0] == name
        )

    def __len__(self) -> int:
        return len(self._seen)
