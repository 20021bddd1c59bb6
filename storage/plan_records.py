"""Records of the ledger and of what operators hold fixed: frozen values.

Owns how a round came out. Refuses I/O. Invariants: as `planner.model`; times are Unix
seconds.
"""

from dataclasses import dataclass
from enum import Enum

from planner.model import Plan


class PlanOutcome(Enum):
    """What became of a round."""

    APPLIED = "applied"
    PARTLY_APPLIED = "partly_applied"  # some groups no longer fitted the state
    UNCHANGED = "unchanged"
    REFUSED = "refused"  # nothing of it fitted the state any more
    FROZEN = "frozen"  # moves were wanted, and a freeze of the fleet held them back
    FAILED = "failed"  # no plan came

    @property
    def makes_placements(self) -> bool:
        """Whether a round that came out so has placements of its own."""
        return self in (PlanOutcome.APPLIED, PlanOutcome.PARTLY_APPLIED)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandRecord:
    """Online work of a deployment, or of one of its SLO classes, as a round saw it.

    All in engine-ms per second.
    """

    deployment: str
    slo_class: str = ""  # "" of a deployment without classes
    observed: float = 0.0  # then, smoothed
    forecast: float = 0.0  # the upper bound of the next rounds; 0: none was made
    placed: float = 0.0  # what the round placed for


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRecord:
    """An entry of the ledger.

    Where it was applied, its plan names committed replicas only. Otherwise its moves say
    what it would have done, and its placements are those of the round `placements_from`,
    which stayed in force.
    """

    round: int
    epoch: int
    trigger: str
    solve_s: float
    create_s: float
    plan: Plan
    outcome: PlanOutcome = PlanOutcome.APPLIED
    inputs_hash: str = ""
    failure: str = ""
    refused_groups: tuple[int, ...] = ()
    placements_from: int | None = None
    demand: tuple[DemandRecord, ...] = ()  # of deployments with any

    @property
    def source(self) -> int:
        """The round that made the placements in force after this one."""
        return self.round if self.placements_from is None else self.placements_from


@dataclass(frozen=True, slots=True, kw_only=True)
class PinRecord:
    """An operator's word that a node has at least so many replicas of a deployment."""

    deployment: str
    node: str
    replicas: int = 1
    reason: str = ""
    create_s: float = 0.0


FLEET_TARGET = ""
"""Target of a freeze of the whole fleet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeRecord:
    """What no plan changes: the fleet (""), `deployments/<id>` or `nodes/<id>`."""

    target: str
    reason: str = ""
    create_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantRecord:
    """Who batches belong to; one without a record has weight 1 and no quota."""

    id: str
    weight: float = 1.0
    max_offline_work: float | None = None  # engine-ms per second
    create_s: float = 0.0
    update_s: float = 0.0
