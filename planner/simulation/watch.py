"""What a run tells whoever watches it, as it happens.

Owns the seam between the simulation and its recordings. Refuses to keep anything: a watch
keeps what it wants, so that memory need not grow with the length of a trace.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from planner.simulation.passes import Pass, Settled
from planner.simulation.request import SimulatedRequest
from planner.slo import RequestTrace


class PassRecord(NamedTuple):
    """One pass as it ran, for histograms."""

    start_s: float
    lasted_ms: float
    run: Pass


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRequest:
    """One request as its client saw it; `is_measured`: online, and sent in the window."""

    request: SimulatedRequest
    trace: RequestTrace
    is_measured: bool


class Watch(Protocol):
    """Is told what happens, as it happens; must not change any of it."""

    def passed(self, record: PassRecord) -> None:
        """A pass was launched."""

    def settled(self, settled: Settled, *, at_s: float) -> None:
        """A pass's results are in, and its tokens emitted."""

    def ended(self, ended: EndedRequest) -> None:
        """A request of either class has its last token."""
