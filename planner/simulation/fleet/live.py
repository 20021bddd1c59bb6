"""One engine on a node of a replayed fleet.

Owns the value that `hosts` changes and the modes read. Refuses decisions.
"""

from dataclasses import dataclass

from planner.model import ReplicaState
from planner.reconcile.node import ReplicaBudgets


@dataclass(slots=True, kw_only=True)
class Live:
    """One engine on a node; owned and changed by `Hosts` only."""

    replica: str
    deployment: str
    node: str
    devices: tuple[int, ...]
    device_type: str
    state: ReplicaState
    due_s: float  # when it has loaded, or must have drained
    budgets: ReplicaBudgets

    @property
    def serves(self) -> bool:
        """Whether it takes new online requests."""
        return self.state is ReplicaState.RUNNING
