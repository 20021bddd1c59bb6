"""A workload run to its end on a simulated engine.

Owns simulated time and what is measured: what clients of online requests saw, offline
throughput in a window, how busy the engine was. Refuses decisions. Deterministic: equal
arguments give equal results; there is no clock and nothing global.

Invariants: the window counts by time, [from, to); online requests *sent* in it are
measured to their end, with offline clients going on meanwhile, so the last ones bear the
same load; an offline prompt token counts once, however often an eviction repeats it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from planner.batching.policy import Policy
from planner.batching.state import Budgets
from planner.latency.predictor import LatencyModel
from planner.simulation.counters import EngineCounters
from planner.simulation.engine import Engine
from planner.simulation.passes import Pass
from planner.simulation.request import SimulatedRequest
from planner.simulation.settings import EngineSettings, Loop
from planner.simulation.truth import Truth
from planner.simulation.watch import EndedRequest, PassRecord, Watch
from planner.simulation.workload import Arrivals, ClosedLoop
from planner.slo import Outcome, Quantiles, RequestTrace, gaps_ms, quantiles, ttft_ms

_MAX_IDLE_POLLS = 1_000_000  # a policy that never runs anything is a defect, not a run


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What a run measured.

    Attributes:
        online: Of each online request sent in the window, in order of arrival.
        window_s: Its length.
        offline_prompt_tokens: Prompt tokens of offline requests done in the window,
            cached ones included, recomputed ones not.
        offline_output_tokens: Output tokens emitted in the window.
        online_tokens: Prompt and output, likewise.
        busy_ratio: Share of the window in which a pass ran.
        online_busy_ratio: Share in which a pass with online work ran.
        offline_ended: Offline requests that ended in the window.
        end_s: When the run ended.
        counters: Over the whole run.
    """

    online: tuple[RequestTrace, ...]
    window_s: float
    offline_prompt_tokens: int
    offline_output_tokens: int
    online_tokens: int
    busy_ratio: float
    online_busy_ratio: float
    offline_ended: int
    end_s: float
    counters: EngineCounters

    @property
    def offline_tokens_per_s(self) -> float:
        """Prompt and output tokens of offline requests per second."""
        return (self.offline_prompt_tokens + self.offline_output_tokens) / self.window_s

    @property
    def ttft(self) -> Quantiles:
        """Of the online requests, in milliseconds."""
        return quantiles(ms for trace in self.online if (ms := ttft_ms(trace)) is not None)

    @property
    def itl(self) -> Quantiles:
        """Of all gaps of the online requests, in milliseconds."""
        return quantiles(gap for trace in self.online for gap in gaps_ms(trace))


def replay(
    *,
    settings: EngineSettings,
    policy: Policy,
    model: LatencyModel,
    budgets: Budgets,
    truth: Truth,
    scheduled: Iterable[SimulatedRequest] = (),
    clients: Iterable[ClosedLoop] = (),
    from_s: float = 0.0,
    to_s: float = inf,
    watch: Watch | None = None,
    keeps_traces: bool = True,
) -> Replayed:
    """Runs a workload.

    Args:
        settings: The engine.
        policy: Plans its passes.
        model: What the policy believes of their duration.
        budgets: The policy's settings.
        truth: How long they really last.
        scheduled: Requests in order of arrival.
        clients: Closed loops beside them.
        from_s: The window's begin.
        to_s: Its end; inf: the run ends with its last request, and so does the window.
        watch: Told of each pass, result and end.
        keeps_traces: False: `Replayed.online` stays empty, so that memory is bounded by the
            requests in flight; `watch` is told of each.

    Raises:
        ValueError: A request that cannot fit, unsorted arrivals, a window that ends
            before it begins, or a truth that gives no positive duration.
        RuntimeError: The policy runs nothing for good while work waits.
        ConservationError: Requests, tokens or KV did not add up, checked in every run.
    """
    if not 0.0 <= from_s < to_s:
        raise ValueError(f"window [{from_s}, {to_s}): must begin at or after 0 and not be empty")
    run = _Run(
        engine=Engine(settings, policy=policy, model=model, budgets=budgets),
        arrivals=Arrivals(scheduled=scheduled, clients=clients),
        truth=truth,
        from_s=from_s,
        to_s=to_s,
        watch=watch,
        keeps_traces=keeps_traces,
    )
    run.to_the_end()
    return run.result()


@dataclass(slots=True)
class _InFlight:
    """A launched pass."""

    run: Pass
    end_s: float
    lasted_ms: float


class _Run:
    """The state of one replay."""

    def __init__(
        self,
        *,
        engine: Engine,
        arrivals: Arrivals,
        truth: Truth,
        from_s: float,
        to_s: float,
        watch: Watch | None,
        keeps_traces: bool,
    ) -> None:
        self._engine, self._arrivals, self._truth = engine, arrivals, truth
        self._from_s, self._to_s = from_s, to_s
        self._watch, self._keeps_traces = watch, keeps_traces
        self._now_s = 0.0
        self._device_free_s = 0.0
        self._pending: _InFlight | None = None
        self._traces: list[tuple[float, str, RequestTrace]] = []
        self._measured_live = 0
        self._busy_s = self._online_busy_s = 0.0
        self._offline_prompt = self._offline_output = self._online_tokens = 0
        self._offline_ended = 0
        self._polls = 0

    def to_the_end(self) -> None:
        engine, arrivals = self._engine, self._arrivals
        while self._now_s < self._to_s or self._measured_live:
            if arrivals.next_s <= self._now_s:
                for request in arrivals.take(until_s=self._now_s):
                    self._arrive(request)
            run = engine.begin_pass(now_s=self._now_s) if engine.live else None
            if run is not None:
                self._polls = 0
                self._execute(run)
            elif self._pending is not None:
                pending, self._pending = self._pending, None
                self._now_s = max(self._now_s, pending.end_s)
                self._settle(pending, at_s=self._now_s)
            elif not self._wait():
                return

    def _arrive(self, request: SimulatedRequest) -> None:
        self._engine.add(request)
        self._measured_live += self._is_measured(request)

    def _is_measured(self, request: SimulatedRequest) -> bool:
        return request.work_class.value == "online" and self._from_s <= request.at_s < self._to_s

    def _wait(self) -> bool:
        """Goes on to when something may happen; False when nothing will."""
        next_s = self._arrivals.next_s
        if not self._engine.live:
            if next_s == inf or (next_s >= self._to_s and not self._measured_live):
                return False
            self._now_s = max(self._now_s, next_s)
            return True
        self._polls += 1
        if self._polls > _MAX_IDLE_POLLS:
            raise RuntimeError(
                f"simulation: {self._engine.live} requests in the engine, and the policy has "
                f"run nothing for {_MAX_IDLE_POLLS} polls up to {self._now_s:.3f} s"
            )
        poll_s = self._engine.settings.poll_ms / 1e3
        self._now_s = max(self._now_s, min(next_s, self._now_s + poll_s))
        return True

    def _execute(self, run: Pass) -> None:
        settings = self._engine.settings
        lasted_ms = (
            self._truth(run.shape)
            + settings.pass_overhead_ms
            + settings.changing_ms(run.changed_rows)
        )
        if not 0.0 < lasted_ms < inf:
            raise ValueError(f"truth: a pass of {run.shape} lasts {lasted_ms} ms, must be > 0")
        start_s = max(self._now_s, self._device_free_s)
        end_s = start_s + lasted_ms / 1e3
        self._device_free_s = end_s
        launched = _InFlight(run, end_s, lasted_ms)
        self._note(start_s, launched)
        before, self._pending = self._pending, launched
        match settings.loop:
            case Loop.PLAIN:
                self._pending = None
                self._now_s = end_s
                self._settle(launched, at_s=end_s)
            case Loop.OVERLAP:
                if before is not None:  # its results come in while the new one runs
                    self._now_s = max(self._now_s, before.end_s)
                    self._settle(before, at_s=self._now_s)
            case Loop.OVERLAP_BLOCKING:
                self._now_s = end_s
                if before is not None:
                    self._settle(before, at_s=end_s)

    def _note(self, start_s: float, launched: _InFlight) -> None:
        within_s = max(0.0, min(launched.end_s, self._to_s) - max(start_s, self._from_s))
        self._busy_s += within_s
        if launched.run.online_rows:
            self._online_busy_s += within_s
        if self._watch is not None:
            self._watch.passed(
                PassRecord(start_s=start_s, lasted_ms=launched.lasted_ms, run=launched.run)
            )

    def _settle(self, done: _InFlight, *, at_s: float) -> None:
        settled = self._engine.settle(done.run, at_s=at_s, lasted_ms=done.lasted_ms)
        is_counted = self._from_s <= at_s < self._to_s
        if is_counted:
            self._online_tokens += settled.online_tokens
            self._offline_prompt += settled.offline_prompt_tokens
            self._offline_output += settled.offline_output_tokens
        watch = self._watch
        if watch is not None:
            watch.settled(settled, at_s=at_s)
        for live in settled.ended:
            self._arrivals.ended(live.rid, at_s=at_s)
            is_measured = not live.is_offline and self._is_measured(live.request)
            self._offline_ended += live.is_offline and is_counted
            self._measured_live -= is_measured
            keeps = is_measured and self._keeps_traces
            if not keeps and watch is None:
                continue
            trace = RequestTrace(
                scheduled_s=live.arrival_s,
                chunks=tuple(live.chunks),
                outcome=Outcome.COMPLETED,
            )
            if keeps:
                self._traces.append((live.arrival_s, live.rid, trace))
            if watch is not None:
                watch.ended(
                    EndedRequest(request=live.request, trace=trace, is_measured=is_measured)
                )

    def result(self) -> Replayed:
        self._engine.audit()
        self._traces.sort(key=lambda entry: entry[:2])
        to_s = self._to_s if self._to_s < inf else max(self._now_s, self._from_s)
        window_s = max(to_s - self._from_s, 1e-9)
        return Replayed(
            online=tuple(trace for _, _, trace in self._traces),
            window_s=window_s,
            offline_prompt_tokens=self._offline_prompt,
            offline_output_tokens=self._offline_output,
            online_tokens=self._online_tokens,
            busy_ratio=self._busy_s / window_s,
            online_busy_ratio=self._online_busy_s / window_s,
            offline_ended=self._offline_ended,
            end_s=self._now_s,
            counters=self._engine.counters,
        )
