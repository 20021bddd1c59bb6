"""The node's lease, on the agent's monotonic clock.

Owns until when the agent may run offline work without hearing from the control plane.
Refuses grants of a lower epoch: their sender is no longer the leader. Online work needs
no lease.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Times are seconds on one monotonic clock."""

    epoch: int = 0
    duration_s: float = 0.0
    expires_s: float = 0.0

    def welcomed(self, *, epoch: int, duration_s: float, now_s: float) -> "Lease":
        """After a welcome, which grants the lease for the first time."""
        if epoch < self.epoch:
            return self
        return Lease(epoch=epoch, duration_s=duration_s, expires_s=now_s + duration_s)

    def granted(self, *, epoch: int, now_s: float) -> "Lease":
        """After a grant."""
        if epoch < self.epoch:
            return self
        return replace(self, epoch=epoch, expires_s=now_s + self.duration_s)

    def is_held(self, *, now_s: float) -> bool:
        """Whether offline work may go on."""
        return now_s < self.expires_s
