"""Replays of one slice under many policies, none run twice.

Owns the memory of what was replayed, which all cells of a slice share: a probe says all
statistics at once. Refuses choices.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from planner.batching.state import Budgets
from planner.interference.search import ProbeResult
from planner.replay.policies import PolicyChoice
from planner.replay.scenario import Scenario
from planner.simulation.passes import Settled
from planner.simulation.replay import Replayed
from planner.simulation.watch import EndedRequest, PassRecord


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
    idle_tokens_per_s: float  # offline, in the window's passes without an online request
    idle_s: float

    @classmethod
    def of(cls, choice: PolicyChoice, replayed: Replayed, idle: "IdleWork") -> "Seen":
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
            idle_tokens_per_s=idle.tokens / max(1e-9, idle.seconds),
            idle_s=idle.seconds,
        )


@dataclass(slots=True)
class IdleWork:
    """Offline tokens of passes without an online request; recomputed ones count again.

    Of passes that begin in [from, to): what fills an empty engine before the window is mostly
    prompts, a tenth faster than what comes after (measured).
    """

    from_s: float
    to_s: float
    tokens: int = 0
    seconds: float = 0.0

    def passed(self, record: PassRecord) -> None:
        """Counts a pass."""
        if not record.run.online_rows and self.from_s <= record.start_s < self.to_s:
            self.seconds += record.lasted_ms / 1e3
            self.tokens += record.run.shape.prefill_tokens + record.run.shape.decode_rows

    def settled(self, settled: Settled, *, at_s: float) -> None:
        """Nothing to count."""

    def ended(self, ended: EndedRequest) -> None:
        """Nothing to count."""


@dataclass(slots=True)
class Pool:
    """One slice."""

    scenario: Scenario
    _seen: dict[tuple[str, Budgets], Seen] = field(default_factory=dict)

    def see(self, choice: PolicyChoice) -> Seen:
        """The replay of that policy, run if it was not yet."""
        key = (choice.name, choice.budgets)
        found = self._seen.get(key)
        if found is None:
            from_s = self.scenario.settle_s
            idle = IdleWork(from_s, from_s + self.scenario.duration_s)
            replayed = self.scenario.run(choice, watch=idle)
            found = self._seen[key] = Seen.of(choice, replayed, idle)
        return found

    def probe(self, choice: PolicyChoice) -> ProbeResult:
        """What a search reads of it."""
        return self.see(choice).probe

    def of(self, name: str) -> Iterator[Seen]:
        """Every replay so far of the policy called so, whatever its knob."""
        return (seen for (known, _), seen in self._seen.items() if known.partition(":")[0] == name)

    def __len__(self) -> int:
        return len(self._seen)
