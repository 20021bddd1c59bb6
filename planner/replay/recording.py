"""What a replay leaves behind: sums over stretches of time, and distributions.

Owns a `planner.simulation.watch.Watch` that keeps no request and no token: its memory is
the number of bins and of histogram buckets, however long the trace. Refuses judgement: a
target is held against it elsewhere. Invariants: tokens count when their pass settles, in
the window [from, to) only, so that the bins add up to what `Replayed` counts; iterations
count by their start, in the window too; latencies are of online requests sent in the
window, to their end.
"""

from dataclasses import dataclass
from math import ceil, floor, inf, isfinite, log10

from planner.replay.histogram import Distribution, LogHistogram
from planner.simulation.passes import Settled
from planner.simulation.watch import EndedRequest, PassRecord
from planner.slo import gaps_ms, ttft_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """Equal stretches of a window, the last one possibly cut.

    Args:
        from_s: Where the first begins.
        to_s: Where the last ends, finite and after `from_s`.
        bin_s: Length of one, > 0.
    """

    from_s: float
    to_s: float
    bin_s: float

    def __post_init__(self) -> None:
        if not (0.0 <= self.from_s < self.to_s < inf and self.bin_s > 0.0):
            raise ValueError(
                f"bins of {self.bin_s} s in [{self.from_s}, {self.to_s}): the window must be "
                "finite, begin at or after 0 and not be empty, and a bin last longer than 0 s"
            )

    @property
    def count(self) -> int:
        """How many."""
        return max(1, ceil((self.to_s - self.from_s) / self.bin_s))

    def index(self, at_s: float) -> int | None:
        """Which one holds that time; None outside the window."""
        if not self.from_s <= at_s < self.to_s:
            return None
        return min(int((at_s - self.from_s) / self.bin_s), self.count - 1)

    def length_s(self, index: int) -> float:
        """How long that one is; only the last may be shorter."""
        start_s = self.from_s + index * self.bin_s
        return min(self.bin_s, self.to_s - start_s)

    def rates(self, sums: tuple[int, ...]) -> tuple[float, ...]:
        """Sums over each as rates per second."""
        return tuple(value / self.length_s(index) for index, value in enumerate(sums))


def bins_over(from_s: float, to_s: float, *, about: int) -> Bins:
    """Bins of a round length of a second at least, about as many as asked for.

    Args:
        from_s: Begin of the window.
        to_s: Its end, after it.
        about: How many at most, >= 1; as few as two fifths of it come out, and fewer of a
            short window.
    """
    wanted_s = max(1.0, (to_s - from_s) / about)  # below, single iterations show
    power = 10.0 ** floor(log10(wanted_s))
    bin_s = next(step * power for step in (1.0, 2.0, 5.0, 10.0) if step * power >= wanted_s)
    return Bins(from_s=from_s, to_s=to_s, bin_s=bin_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Iterations:
    """How long iterations lasted, by whom they served.

    Attributes:
        online: With online requests alone.
        shared: With online and offline ones.
        offline: With offline ones alone.
        budgeted: Those with offline work that the policy held to a budget.
        over_budget: Those of them that lasted longer than it.
        prediction_error_ratio: Mean of |lasted - predicted| / lasted over iterations the
            policy predicted; None where it predicted none.
    """

    online: Distribution
    shared: Distribution
    offline: Distribution
    budgeted: int
    over_budget: int
    prediction_error_ratio: float | None

    @property
    def count(self) -> int:
        """All of them."""
        return self.online.count + self.shared.count + self.offline.count


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One replay, recorded.

    Attributes:
        bins: The stretches of time that the sums are over.
        offered_requests: Online requests sent, per bin.
        offered_tokens: Prompt tokens they bring and output tokens they ask for, per bin.
        online_tokens: Prompt tokens done and output tokens emitted, per bin.
        offline_prompt_tokens: Prompt tokens of offline requests done, per bin.
        offline_output_tokens: Output tokens of theirs, per bin.
        ttft_ms: Of online requests sent in the window.
        itl_ms: Of all gaps of those requests.
        iterations: Of the window.
    """

    bins: Bins
    offered_requests: tuple[int, ...]
    offered_tokens: tuple[int, ...]
    online_tokens: tuple[int, ...]
    offline_prompt_tokens: tuple[int, ...]
    offline_output_tokens: tuple[int, ...]
    ttft_ms: Distribution
    itl_ms: Distribution
    iterations: Iterations

    @property
    def window_s(self) -> float:
        """Length of the window."""
        return self.bins.to_s - self.bins.from_s

    @property
    def offline_tokens(self) -> tuple[int, ...]:
        """Prompt and output tokens of offline requests, per bin."""
        return tuple(
            prompt + output
            for prompt, output in zip(
                self.offline_prompt_tokens, self.offline_output_tokens, strict=True
            )
        )

    @property
    def offline_tokens_per_s(self) -> float:
        """Over the window."""
        return sum(self.offline_tokens) / self.window_s

    @property
    def total_tokens_per_s(self) -> float:
        """Online and offline, over the window."""
        return (sum(self.online_tokens) + sum(self.offline_tokens)) / self.window_s


class Recording:
    """Watches one replay."""

    def __init__(self, bins: Bins) -> None:
        self._bins = bins
        self._offered_requests = [0] * bins.count
        self._offered_tokens = [0] * bins.count
        self._online_tokens = [0] * bins.count
        self._offline_prompt = [0] * bins.count
        self._offline_output = [0] * bins.count
        self._ttft, self._itl = LogHistogram(), LogHistogram()
        self._online, self._shared, self._offline = (LogHistogram() for _ in range(3))
        self._budgeted = self._over_budget = self._predicted = 0
        self._error_ratios = 0.0

    def passed(self, record: PassRecord) -> None:
        """Counts an iteration."""
        if not self._bins.from_s <= record.start_s < self._bins.to_s:
            return
        run, lasted_ms = record.run, record.lasted_ms
        if not run.offline_rows:
            self._online.add(lasted_ms)
            return
        (self._shared if run.online_rows else self._offline).add(lasted_ms)
        plan = run.plan
        if isfinite(plan.budget_ms) and plan.budget_ms > 0.0:
            self._budgeted += 1
            self._over_budget += lasted_ms > plan.budget_ms
        if plan.predicted_ms > 0.0:
            self._predicted += 1
            self._error_ratios += abs(lasted_ms - plan.predicted_ms) / lasted_ms

    def settled(self, settled: Settled, *, at_s: float) -> None:
        """Counts the tokens of a pass."""
        index = self._bins.index(at_s)
        if index is None:
            return
        self._online_tokens[index] += settled.online_tokens
        self._offline_prompt[index] += settled.offline_prompt_tokens
        self._offline_output[index] += settled.offline_output_tokens

    def ended(self, ended: EndedRequest) -> None:
        """Counts an online request, and what its client waited for."""
        index = self._bins.index(ended.trace.scheduled_s) if ended.is_measured else None
        if index is None:
            return
        self._offered_requests[index] += 1
        self._offered_tokens[index] += ended.request.prompt_tokens + ended.request.output_tokens
        first_ms = ttft_ms(ended.trace)
        if first_ms is not None:
            self._ttft.add(first_ms)
        self._itl.add_all(gaps_ms(ended.trace))

    def recorded(self) -> Recorded:
        """All of it."""
        return Recorded(
            bins=self._bins,
            offered_requests=tuple(self._offered_requests),
            offered_tokens=tuple(self._offered_tokens),
            online_tokens=tuple(self._online_tokens),
            offline_prompt_tokens=tuple(self._offline_prompt),
            offline_output_tokens=tuple(self._offline_output),
            ttft_ms=self._ttft.distribution(),
            itl_ms=self._itl.distribution(),
            iterations=Iterations(
                online=self._online.distribution(),
                shared=self._shared.distribution(),
                offline=self._offline.distribution(),
                budgeted=self._budgeted,
                over_budget=self._over_budget,
                prediction_error_ratio=(
                    self._error_ratios / self._predicted if self._predicted else None
                ),
            ),
        )
