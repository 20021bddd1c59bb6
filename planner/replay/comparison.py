"""One workload under several policies, each tuned for the same SLO.

Owns the order of a comparison: online alone first, whose latencies a tolerance is over; then
each policy is tuned on a slice and replayed over the whole window, where it is judged.
Refuses files and clocks; a `Progress` may have one. Invariants: what tunes and what judges
read latencies from the same histograms; no replay is run twice; memory is bounded by
requests in flight and by histograms, not by the workload's length.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Protocol

from planner.batching.state import Budgets
from planner.interference.dimensions import searched_names
from planner.interference.search import ProbeResult
from planner.replay.document import Fact, Run, Target
from planner.replay.policies import POLICIES, PolicyChoice, policy_named
from planner.replay.recording import Recorded, Recording, bins_over
from planner.replay.scenario import Scenario
from planner.replay.starts import starting_budgets
from planner.replay.terms import SloError, SloTerm, limits
from planner.replay.tuning import Tuned, is_tuned, tune
from planner.simulation.passes import Settled
from planner.simulation.replay import Replayed
from planner.simulation.watch import EndedRequest, PassRecord

FLOOR = "online-only"
_BINS = 60
_BUDGETED = ("hygen", "slacktide")  # those that budgets tune
_BISECTED_PROBES = 14  # enough for a knob to a quarter of a per cent


class Progress(Protocol):
    """Is told how far a comparison is."""

    def begin(self, what: str, *, to_s: float) -> None:
        """A replay begins, up to that simulated time."""

    def reach(self, at_s: float) -> None:
        """The replay is there, in simulated time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What a comparison found."""

    targets: tuple[Target, ...]
    runs: tuple[Run, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What is compared.

    Args:
        scenario: What every policy meets, over the window.
        policies: Names as `policy_named` takes them.
        slo: What online latencies must keep; none: nothing is tuned or judged.
        is_usual: Nobody asked for this SLO: where the slice has too few requests for it, means
            stand in for tails, or nothing is limited; a note says so.
        slice_s: How much of the window's begin policies are tuned on, > 0.
        budgets: Settings of `Budgets` that are given, by name; where there are any, the
            policies that look at budgets are not tuned.
        max_probes: Replays of the slice a policy may take, >= 1.
        progress: Told of each replay.
    """

    scenario: Scenario
    policies: Sequence[str]
    slo: Sequence[SloTerm]
    slice_s: float
    budgets: Mapping[str, float]
    max_probes: int
    progress: Progress
    is_usual: bool = False

    def run(self) -> Compared:
        """Replays everything.

        Raises:
            UnknownPolicyError: No such policy; before anything is replayed.
            SloError: A tolerance over a statistic that online alone does not have, or a
                slice with too few requests to tune on.
        """
        given = _budgets(self.budgets)
        for name in self.policies:
            policy_named(name, budgets=given)
        return _Comparing(self, given=given).run()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A replay, without its requests."""

    replayed: Replayed
    recorded: Recorded

    @property
    def probe(self) -> ProbeResult:
        return ProbeResult(
            ttft=self.recorded.ttft_ms.quantiles(),
            itl=self.recorded.itl_ms.quantiles(),
            offline_tokens_per_s=self.recorded.offline_tokens_per_s,
        )


class _Comparing:
    """One comparison under way."""

    def __init__(self, asked: Comparison, *, given: Budgets) -> None:
        self.asked, self.given = asked, given
        self.seen: dict[tuple[str, Budgets, float], _Seen] = {}
        self.slo = asked.slo
        self.notes: list[str] = []

    def run(self) -> Compared:
        asked = self.asked
        if asked.is_usual and self.slo:
            self._ease()
        targets = self._targets(asked.scenario.duration_s) if self.slo else ()
        tuned = [self._tuned(name) for name in asked.policies]
        runs = tuple([self._run(found) for found in tuned])
        return Compared(targets=targets, runs=runs, notes=tuple(self.notes))

    def _ease(self) -> None:
        """Limits what the slice's requests can tell of."""
        floor = self._replay(self._floor(), duration_s=self._slice_s).probe
        for slo in (self.slo, _of_means(self.slo)):
            self.slo = slo
            short = self._short(floor)
            if not short:
                return
            self.notes.append(
                f"{short}: the usual SLO was not applied, but means instead of tails"
                if slo is self.asked.slo
                else f"{short}: nothing is limited or tuned"
            )
        self.slo = ()

    def _short(self, floor: ProbeResult) -> str:
        try:
            targets = limits([term.target(ttft=floor.ttft, itl=floor.itl) for term in self.slo])
        except SloError as error:
            return str(error)
        return targets.samples_short(ttft=floor.ttft, itl=floor.itl)

    def _targets(self, duration_s: float) -> tuple[Target, ...]:
        probe = self._replay(self._floor(), duration_s=duration_s).probe
        return tuple(term.target(ttft=probe.ttft, itl=probe.itl) for term in self.slo)

    def _floor(self) -> PolicyChoice:
        return policy_named(FLOOR, budgets=self.given)

    # ------------------------------------------------------------ tuning

    def _tuned(self, name: str) -> Tuned:
        asked = self.asked
        choice = policy_named(name, budgets=self.given)
        is_given = bool(asked.budgets) and name.partition(":")[0] in _BUDGETED
        if not self.slo or is_given or not is_tuned(name):
            return Tuned(choice=choice, passed=True, expected=None, probes=0)
        targets = limits(self._targets(self._slice_s))
        floor = self._replay(self._floor(), duration_s=self._slice_s).probe
        short = targets.samples_short(ttft=floor.ttft, itl=floor.itl)
        if short:
            raise SloError(
                f"{self._slice_s:g} s are too short to tune a policy on: {short}; give a longer"
                " --duration or --tune-duration"
            )
        is_searched = name.partition(":")[0] == "slacktide"
        max_probes = asked.max_probes if is_searched else min(asked.max_probes, _BISECTED_PROBES)
        probes = 0

        def probe(choice: PolicyChoice) -> ProbeResult:
            nonlocal probes
            probes += 1
            tag = f"{name}: tuning, replay {probes}"
            return self._replay(choice, duration_s=self._slice_s, what=tag).probe

        return tune(
            name,
            probe=probe,
            targets=targets,
            starts=starting_budgets(floor, targets),
            max_probes=max_probes,
        )

    @property
    def _slice_s(self) -> float:
        return min(self.asked.slice_s, self.asked.scenario.duration_s)

    # ------------------------------------------------------------ replays

    def _run(self, tuned: Tuned) -> Run:
        choice = tuned.choice
        seen = self._replay(choice, duration_s=self.asked.scenario.duration_s)
        return Run(
            policy=choice.name,
            title=choice.title,
            description=_description(choice),
            serves_online=choice.serves_online,
            runs_offline=choice.runs_offline,
            settings=_settings(choice),
            tuning=self._tuning_words(tuned),
            recorded=seen.recorded,
            busy_ratio=seen.replayed.busy_ratio,
            offline_ended=seen.replayed.offline_ended,
            counters=asdict(seen.replayed.counters),
        )

    def _replay(self, choice: PolicyChoice, *, duration_s: float, what: str = "") -> _Seen:
        key = (choice.name, choice.budgets, duration_s)
        found = self.seen.get(key)
        if found is None:
            scenario = replace(self.asked.scenario, duration_s=duration_s)
            from_s = scenario.settle_s
            to_s = from_s + duration_s
            recording = Recording(bins_over(from_s, to_s, about=_BINS))
            self.asked.progress.begin(what or choice.name, to_s=to_s)
            replayed = scenario.run(
                choice,
                watch=_Watching(recording, self.asked.progress.reach),
                keeps_traces=False,
            )
            found = self.seen[key] = _Seen(replayed=replayed, recorded=recording.recorded())
        return found

    def _tuning_words(self, tuned: Tuned) -> str:
        if tuned.expected is None:
            return ""
        where = (
            "on the window itself"
            if self._slice_s == self.asked.scenario.duration_s
            else f"on its first {self._slice_s:g} s"
        )
        if tuned.passed:
            return f"the most offline work within the SLO in {tuned.probes} replays {where}"
        return f"nothing kept the SLO in {tuned.probes} replays {where}; the nearest was taken"


class _Watching:
    """A recording that also tells how far the replay is."""

    def __init__(self, recording: Recording, reach: Callable[[float], None]) -> None:
        self._recording, self._reach = recording, reach

    def passed(self, record: PassRecord) -> None:
        self._recording.passed(record)
        self._reach(record.start_s)

    def settled(self, settled: Settled, *, at_s: float) -> None:
        self._recording.settled(settled, at_s=at_s)

    def ended(self, ended: EndedRequest) -> None:
        self._recording.ended(ended)


def _description(choice: PolicyChoice) -> str:
    bare = choice.name.partition(":")[0]
    return next(words for name, words in POLICIES.items() if name.partition("[")[0] == bare)


def _of_means(slo: Sequence[SloTerm]) -> list[SloTerm]:
    """The same limits on means."""
    means = {term.statistic.partition("_")[0]: term for term in slo}
    return [replace(term, statistic=f"{family}_mean") for family, term in means.items()]


def _settings(choice: PolicyChoice) -> dict[str, Fact]:
    """The budgets of a policy that looks at them; a knob is in the name already."""
    if choice.name.partition(":")[0] not in _BUDGETED:
        return {}
    searched = searched_names(choice.budgets)
    return {
        field.name: float(value)
        for field in fields(Budgets)
        if (value := getattr(choice.budgets, field.name)) != field.default or field.name in searched
    }


def _budgets(given: Mapping[str, float]) -> Budgets:
    """The defaults with what is given; counts stay whole."""
    return replace(
        Budgets(),
        **{name: type(getattr(Budgets(), name))(value) for name, value in given.items()},
    )
