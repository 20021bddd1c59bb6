"""What a run tells whoever watches it, as it happens.

Owns the seam between the simulation and its recordings. Refuses to keep anything: a watch
keeps what it wants, so that memory need not grow with the length of a trace.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

from planner.simulation.passes import Pass, Settled
from planner.simulation.request import SimulatedRequest
from planner.slo import Chunk, Outcome, RequestTrace


class PassRecord(NamedTuple):
    """One pass as it ran, for histograms."""

    start_s: float
    lasted_ms: float
    run: Pass


@dataclass(frozen=True, kw_only=True)  # no slots: `trace` is made when it is asked for
class EndedRequest:
    """One request as its client saw it.

    Attributes:
        request: What arrived.
        emitted_s: When each of its tokens reached the client.
        is_measured: Whether it is online, and was sent in the window.
    """

    request: SimulatedRequest
    emitted_s: tuple[float, ...]
    is_measured: bool

    @cached_property
    def trace(self) -> RequestTrace:
        """Its latencies' source; a batch's are seldom looked at, and are many."""
        return RequestTrace(
            scheduled_s=self.request.at_s,
            chunks=tuple([Chunk(at_s=at_s, tokens=1) for at_s in self.emitted_s]),
            outcome=Outcome.COMPLETED,
        )


class Watch(Protocol):
    """Is told what happens, as it happens; must not change any of it."""

    def passed(self, record: PassRecord) -> None:
        """A pass was launched."""

    def settled(self, settled: Settled, *, at_s: float) -> None:
        """A pass's results are in, and its tokens emitted."""

    def ended(self, ended: EndedRequest) -> None:
        """A request of either class has its last token."""
