"""What a node shall run.

Owns the domain's view of a NodeAssignment and which of two assignments is newer. Refuses
protobuf (see codec) and files (see assignment_store). Invariant: an assignment is whole;
a replica in it that cannot be run stays in it, with the reason.
"""

from dataclasses import dataclass

from planner.model import Desired, Slo, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredReplica:
    """One replica the node shall run, or stop.

    `slo` is what the replica is held to: that of `slo_class`, the tightest class it serves,
    where its deployment has classes. A request is held to the SLO of its own.
    """

    id: str
    deployment: str
    model: str
    slo: Slo
    device_indices: tuple[int, ...]
    desired: Desired = Desired.RUNNING
    online_share: float = 0.0
    offline_share: float = 0.0
    latency_budget_ms: float = 0.0  # 0: derived from the SLO
    stage: Stage = Stage.OBSERVE
    tensor_parallel_size: int = 1
    kv_cache_tokens: int = 32768
    max_context_tokens: int = 0  # 0: the model's own
    max_running_requests: int = 32
    chunked_prefill_size: int = 512
    dtype: str = ""
    drain_grace_s: float = 0.0
    slo_class: str = ""
    slo_classes: tuple[tuple[str, Slo], ...] = ()  # of its deployment, tightest first

    def class_of(self, asked: str) -> tuple[str, Slo]:
        """The class a request is served in and its SLO.

        The tightest where it names none, or one this replica has not heard of: the promise
        of any other is kept with it.
        """
        if not self.slo_classes:
            return "", self.slo
        return next((one for one in self.slo_classes if one[0] == asked), self.slo_classes[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusableReplica:
    """A replica of the assignment that cannot be run here, and why."""

    id: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Everything a node shall run, at an (epoch, revision)."""

    epoch: int = 0
    revision: int = 0
    replicas: tuple[DesiredReplica, ...] = ()
    unusable: tuple[UnusableReplica, ...] = ()
    kill_switch: bool = False
    cordoned: bool = False
    wanted_models: tuple[str, ...] = ()

    @property
    def version(self) -> tuple[int, int]:
        """Newer assignments have the larger (epoch, revision)."""
        return (self.epoch, self.revision)

    def find(self, replica: str) -> DesiredReplica | None:
        """The desired replica of that id."""
        return next((wanted for wanted in self.replicas if wanted.id == replica), None)
