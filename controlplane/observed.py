"""What an agent's words change in the committed state of its node's replicas.

Pure. Invariants: a replica told to stop and gone is retired; a LOST one that its agent
still runs comes back as reported; silence about a replica is believed only from a hello,
or where the agent had accepted its stop.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from planner.model import ReplicaState
from storage.batch_records import LeaseEnd
from storage.records import AllocationRecord, NodeRecord

GONE = frozenset({ReplicaState.STOPPED, ReplicaState.FAILED, ReplicaState.LOST})
"""States in which nothing runs: leased items go back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What an agent said of one replica."""

    state: ReplicaState
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """Allocations to store, and replicas to retire."""

    changed: tuple[AllocationRecord, ...] = ()
    retired: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self.changed or self.retired)

    @property
    def idle(self) -> Mapping[str, ReplicaState]:
        """Replicas that run nothing any more, and how they ended."""
        return dict.fromkeys(self.retired, ReplicaState.STOPPED) | {
            one.allocation.replica: one.allocation.state
            for one in self.changed
            if one.allocation.state in GONE
        }


def lease_end(state: ReplicaState, *, node: NodeRecord | None) -> LeaseEnd:
    """How the items of a replica that came to this state ended.

    Args:
        state: in `GONE`.
        node: where it was; what leaves a cordoned or draining node leaves as asked.
    """
    is_asked = node is None or node.is_cordoned or node.is_draining
    return LeaseEnd.RETURNED if is_asked or state is ReplicaState.STOPPED else LeaseEnd.LOST


def settle(
    records: Sequence[AllocationRecord],
    said: Mapping[str, Observation],
    *,
    is_hello: bool,
    accepted_stops: frozenset[str] = frozenset(),
) -> Settlement:
    """Compares a node's committed allocations with what its agent says.

    Args:
        records: the node's allocations.
        said: by replica id.
        is_hello: the agent listed all it runs, before it was told anything.
        accepted_stops: replicas in an assignment the agent has accepted as to be stopped.
    """
    changed: list[AllocationRecord] = []
    retired: list[str] = []
    for record in records:
        replica = record.allocation.replica
        seen = said.get(replica)
        if seen is None:
            if record.is_released and (is_hello or replica in accepted_stops):
                retired.append(replica)
            elif is_hello:
                changed.append(_as(record, Observation(state=ReplicaState.PENDING)))
        elif record.is_released and seen.state in GONE:
            retired.append(replica)
        else:
            changed.append(_as(record, seen))
    return Settlement(
        changed=tuple(one for one in changed if one not in records), retired=tuple(retired)
    )


def _as(record: AllocationRecord, seen: Observation) -> AllocationRecord:
    return replace(
        record,
        allocation=replace(record.allocation, state=seen.state),
        message=seen.message,
    )
