"""How the last round came out, also when it changed nothing.

Owns what a deployment's status says of its misfits, and why what runs was kept.
"""

from dataclasses import dataclass
from typing import assert_never

from planner.model import Misfit, PlanStatus
from storage.plan_records import PlanOutcome, PlanRecord
from storage.records import DeploymentRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundOutcome:
    """What a round found; `round` is its entry in the ledger, None where none was written."""

    trigger: str
    base_revision: int
    status: PlanStatus
    outcome: PlanOutcome = PlanOutcome.APPLIED
    misfits: tuple[Misfit, ...] = ()
    round: int | None = None
    failure: str = ""
    solve_s: float = 0.0


class RoundLog:
    """The outcome of the last round; before the first, that of the plan in force."""

    def __init__(self, misfits: tuple[Misfit, ...] = ()) -> None:
        self._misfits = misfits
        self.last: RoundOutcome | None = None

    def note(self, outcome: RoundOutcome) -> None:
        """Takes in an outcome; one without an answer keeps the misfits known before."""
        self.last = outcome
        if not outcome.failure:
            self._misfits = outcome.misfits

    def misfits_of(self, record: DeploymentRecord) -> tuple[str, ...]:
        """One line each: why replicas that are wanted are not placed."""
        if not record.engine.is_sized:
            return (_unsized(record),)
        return tuple(one.message for one in self._misfits if one.deployment == record.id)


def kept_because(record: PlanRecord) -> str:
    """Why what runs was kept though a round wanted otherwise, or could not say; else "".

    That nothing found is worth its moves is no reason to alert anybody: so most rounds end.
    Neither is a freeze of the fleet: somebody ordered it.
    """
    match record.outcome:
        case PlanOutcome.FAILED:
            return record.failure or "no plan came"
        case PlanOutcome.REFUSED:
            return record.failure or "nothing of the plan fits the state any more"
        case PlanOutcome.UNCHANGED:
            return record.failure
        case PlanOutcome.APPLIED | PlanOutcome.PARTLY_APPLIED | PlanOutcome.FROZEN:
            return ""
        case _:
            assert_never(record.outcome)


def _unsized(record: DeploymentRecord) -> str:
    model = record.spec.engine.model
    if record.needs_error:
        return (
            f"deployment {record.id}: model path unknown: {model}: {record.needs_error}; put the"
            " model where every agent finds it, or name another with `slacktide deployment apply`"
        )
    return (
        f"deployment {record.id}: waits for an agent to read the needs of model {model};"
        " start an agent, or set weights_bytes and kv_bytes_per_token"
    )
