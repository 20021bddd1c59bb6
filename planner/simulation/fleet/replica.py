"""One replica's engine, a pass at a time, among others on one clock.

Owns the engine's loop as `simulation.replay` runs it, cut into steps so that requests can be
routed to it while it runs. Refuses routing. Invariants: it steps in order of time; a request
it got is in its engine, or ended; an idle one takes no steps.
"""

from collections import deque
from dataclasses import dataclass
from math import inf

from planner.batching.decide import plan_iteration
from planner.batching.state import Budgets
from planner.simulation.engine import Engine
from planner.simulation.kind import EngineKind
from planner.simulation.live import LiveRequest
from planner.simulation.passes import Pass, Settled
from planner.simulation.request import SimulatedRequest
from planner.simulation.settings import Loop


@dataclass(frozen=True, slots=True)
class _InFlight:
    """A launched pass."""

    run: Pass
    end_s: float
    lasted_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a step brought; `settled` is None where nothing came in."""

    at_s: float
    settled: Settled | None = None


class ReplicaRun:
    """One engine under way."""

    def __init__(self, kind: EngineKind, *, budgets: Budgets, seed: int, now_s: float) -> None:
        self._engine = Engine(
            kind.settings, policy=plan_iteration, model=kind.model, budgets=budgets
        )
        self._truth = kind.truth(seed)
        self._now_s = self._device_free_s = now_s
        self._pending: _InFlight | None = None
        self._inbox: deque[SimulatedRequest] = deque()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in it."""
        return not self._inbox and not self._engine.live and self._pending is None

    @property
    def next_s(self) -> float:
        """When it steps next; inf while idle."""
        return inf if self.is_idle else self._now_s

    def hold_to(self, budgets: Budgets) -> None:
        """Changes its live settings."""
        self._engine.budgets = budgets

    def add(self, request: SimulatedRequest, *, now_s: float) -> None:
        """Takes a request that was sent now, or before its engine's own time."""
        if self.is_idle:
            self._now_s = max(self._now_s, now_s)
        self._inbox.append(request)

    def inside(self) -> list[LiveRequest]:
        """Requests its engine has taken in."""
        return list(self._engine.requests())

    def step(self) -> Step:
        """One turn of the loop: launch a pass, or settle one, or look again later."""
        while self._inbox:
            self._engine.add(self._inbox.popleft())
        run = self._engine.begin_pass(now_s=self._now_s) if self._engine.live else None
        if run is not None:
            return self._execute(run)
        if self._pending is not None:
            pending, self._pending = self._pending, None
            self._now_s = max(self._now_s, pending.end_s)
            return self._settle(pending, at_s=self._now_s)
        self._now_s += self._engine.settings.poll_ms / 1e3
        return Step(at_s=self._now_s)

    def _execute(self, run: Pass) -> Step:
        settings = self._engine.settings
        lasted_ms = (
            self._truth(run.shape)
            + settings.pass_overhead_ms
            + settings.changing_ms(run.changed_rows)
        )
        start_s = max(self._now_s, self._device_free_s)
        end_s = start_s + lasted_ms / 1e3
        self._device_free_s = end_s
        launched = _InFlight(run, end_s, lasted_ms)
        before, self._pending = self._pending, launched
        match settings.loop:
            case Loop.PLAIN:
                self._pending = None
                self._now_s = end_s
                return self._settle(launched, at_s=end_s)
            case Loop.OVERLAP:
                if before is None:
                    return Step(at_s=self._now_s)
                self._now_s = max(self._now_s, before.end_s)
                return self._settle(before, at_s=self._now_s)
            case Loop.OVERLAP_BLOCKING:
                self._now_s = end_s
                if before is None:
                    return Step(at_s=end_s)
                return self._settle(before, at_s=end_s)

    def _settle(self, done: _InFlight, *, at_s: float) -> Step:
        settled = self._engine.settle(done.run, at_s=at_s, lasted_ms=done.lasted_ms)
        return Step(at_s=at_s, settled=settled)
