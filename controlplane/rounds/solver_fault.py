"""What can go wrong with a solver process, in words an operator can act on.

Owns the kinds of faults and the remedy of each. Refuses to decide what a round does about
one. Invariant: a kind is from a closed set, so that it may label a metric.
"""

from dataclasses import dataclass
from enum import Enum


class FaultKind(Enum):
    """Why a solve did not end as it should."""

    KILLED = "killed"  # by a signal that this control plane did not send
    EXITED = "exited"
    OUT_OF_MEMORY = "out_of_memory"
    OUT_OF_CPU = "out_of_cpu"
    HUNG = "hung"
    GARBLED = "garbled"
    TOO_LARGE = "too_large"
    REFUSED = "refused"
    RAISED = "raised"  # it told of an error itself
    NOT_STARTED = "not_started"


REMEDIES = {
    FaultKind.KILLED: "signal 9: look for `Out of memory` in the kernel log, or ask who sent it;"
    " another: read what the solver wrote to the stderr of the control plane",
    FaultKind.EXITED: "read what the solver wrote to the stderr of the control plane",
    FaultKind.OUT_OF_MEMORY: "raise --solver-memory; see what grew in the fleet",
    FaultKind.OUT_OF_CPU: "see why this control plane stood still; it ends a solver in time else",
    FaultKind.HUNG: "raise --solve-budget if this repeats at this fleet's size",
    FaultKind.GARBLED: "check that all of the installed control plane is of one release",
    FaultKind.TOO_LARGE: "check that all of the installed control plane is of one release",
    FaultKind.REFUSED: "report it with the ledger entry of the round: a defect of the solver",
    FaultKind.RAISED: "report it with the ledger entry of the round: a defect of the solver",
    FaultKind.NOT_STARTED: "read what the solver wrote to the stderr of the control plane;"
    " check memory, process limits and the installation",
}
"""What to do about a fault; what runs stays as it is meanwhile, and the next round tries anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverFault:
    """One fault: its kind, and what was observed against what is allowed."""

    kind: FaultKind
    message: str

    @property
    def remedy(self) -> str:
        """What an operator can do."""
        return REMEDIES[self.kind]

    def __str__(self) -> str:
        return f"{self.kind.value}: {self.message}"
