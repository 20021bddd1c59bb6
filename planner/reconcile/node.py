"""One node's assigned replicas against its engines: ordered steps for its agent.

Owns the order: what must go goes first, and nothing is started on devices that an
engine still holds. Refuses restarts and backoff; those are the supervisor's, which keeps
an engine it was told to start until it is told to drain or stop it. Invariants: at most
one step a replica; steps are safe to repeat, so the agent may call this after every
change; the same input gives the same steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from planner.model import Desired, ReplicaState

# Grace for an engine that no assignment names: it was replaced while this node was away,
# so no router sends it requests any more and only streams in flight can lose.
UNASSIGNED_GRACE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaBudgets:
    """What a replica carries; live settings, changed without a restart."""

    online_share: float = 0.0
    offline_share: float = 0.0
    latency_budget_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignedReplica:
    """One replica this node shall run or stop, as its newest assignment says.

    `desired` is STOPPED only once the leader released the removal (`moves.releasable`).
    `spec_fingerprint` names all of the spec that an engine cannot change while it runs.
    """

    replica: str
    deployment: str
    spec_fingerprint: str
    devices: tuple[int, ...]
    budgets: ReplicaBudgets
    desired: Desired = Desired.RUNNING
    drain_grace_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedEngine:
    """One engine the supervisor knows of, running or not.

    `state` is what the agent reports for its replica. `budgets` are the last that were
    set, or that it will be given when it is ready.
    """

    replica: str
    spec_fingerprint: str
    devices: tuple[int, ...]
    state: ReplicaState
    budgets: ReplicaBudgets

    @property
    def holds_devices(self) -> bool:
        """Whether its devices are, or may be, in use. A failed one may be restarted."""
        return self.state is not ReplicaState.STOPPED


@dataclass(frozen=True, slots=True, kw_only=True)
class StopEngine:
    """End it now: it serves nobody. Its devices are free once it is STOPPED."""

    replica: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainEngine:
    """Take no new requests, finish those in flight within `grace_s`, then stop it."""

    replica: str
    grace_s: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetEngine:
    """It is stopped and no assignment names it: drop its record."""

    replica: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportStopped:
    """It shall be stopped and nothing of it runs: report STOPPED."""

    replica: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetBudgets:
    """Change what a live engine carries."""

    replica: str
    budgets: ReplicaBudgets


@dataclass(frozen=True, slots=True, kw_only=True)
class StartEngine:
    """Start an engine; its devices are free."""

    assigned: AssignedReplica

    @property
    def replica(self) -> str:
        """The replica it starts."""
        return self.assigned.replica


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitForDevices:
    """It starts once the replicas in `held_by` have stopped: report PENDING."""

    replica: str
    held_by: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectReplica:
    """It cannot run here whatever happens: report FAILED with `reason`."""

    replica: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepEngine:
    """Nothing to do: it is as wanted, or on its way there."""

    replica: str


Step = (
    StopEngine
    | DrainEngine
    | ForgetEngine
    | ReportStopped
    | SetBudgets
    | StartEngine
    | WaitForDevices
    | RejectReplica
    | KeepEngine
)

_ORDER: tuple[type[Step], ...] = (
    StopEngine,
    DrainEngine,
    ForgetEngine,
    ReportStopped,
    SetBudgets,
    StartEngine,
    WaitForDevices,
    RejectReplica,
    KeepEngine,
)


def plan_steps(
    desired: Sequence[AssignedReplica],
    observed: Sequence[ObservedEngine],
    *,
    devices: Sequence[int],
) -> tuple[Step, ...]:
    """Steps from what runs to what is wanted, in the order they shall be taken.

    Args:
        desired: The newest assignment; a replica it does not name shall not run.
        observed: Every engine the supervisor knows of, at most one a replica.
        devices: Indices of the devices this node has.

    Returns:
        At most one step a replica, stops before starts.
    """
    engines = {engine.replica: engine for engine in observed}
    wanted = {assigned.replica: assigned for assigned in desired}
    held = _held_devices(observed)
    steps: list[Step] = []
    for replica in sorted(engines.keys() - wanted.keys()):
        steps.append(_step_unassigned(engines[replica]))
    for replica in sorted(wanted):
        assigned = wanted[replica]
        engine = engines.get(replica)
        if assigned.desired is Desired.STOPPED:
            steps.append(_step_unwanted(assigned, engine))
        elif engine is not None and engine.holds_devices:
            steps.append(_step_live(assigned, engine))
        else:
            steps.append(_step_absent(assigned, held, frozenset(devices)))
    return tuple(sorted(steps, key=lambda step: (_ORDER.index(type(step)), step.replica)))


def _held_devices(observed: Sequence[ObservedEngine]) -> dict[int, set[str]]:
    held: dict[int, set[str]] = {}
    for engine in observed:
        if engine.holds_devices:
            for device in engine.devices:
                held.setdefault(device, set()).add(engine.replica)
    return held


def _step_unassigned(engine: ObservedEngine) -> Step:
    if engine.state is ReplicaState.STOPPED:
        return ForgetEngine(replica=engine.replica)
    return _end(engine, grace_s=UNASSIGNED_GRACE_S, reason="no assignment names it")


def _step_unwanted(assigned: AssignedReplica, engine: ObservedEngine | None) -> Step:
    if engine is None:
        return ReportStopped(replica=assigned.replica)
    if engine.state is ReplicaState.STOPPED:
        return KeepEngine(replica=engine.replica)
    return _end(engine, grace_s=assigned.drain_grace_s, reason="the plan removes it")


def _step_live(assigned: AssignedReplica, engine: ObservedEngine) -> Step:
    """The engine exists and shall run: as it is, with new budgets, or made anew."""
    if (engine.spec_fingerprint, engine.devices) != (assigned.spec_fingerprint, assigned.devices):
        return _end(
            engine,
            grace_s=assigned.drain_grace_s,
            reason=f"it runs spec {engine.spec_fingerprint} on devices {engine.devices}, "
            f"wanted {assigned.spec_fingerprint} on {assigned.devices}",
        )
    if engine.state is not ReplicaState.DRAINING and engine.budgets != assigned.budgets:
        return SetBudgets(replica=engine.replica, budgets=assigned.budgets)
    return KeepEngine(replica=engine.replica)  # a drain is not taken back; it starts anew after


def _step_absent(
    assigned: AssignedReplica, held: dict[int, set[str]], devices: frozenset[int]
) -> Step:
    """Nothing of it runs: start it if its devices are free. Marks them held."""
    missing = sorted(set(assigned.devices) - devices)
    if missing or not assigned.devices:
        return RejectReplica(
            replica=assigned.replica,
            reason=f"replica {assigned.replica}: wants devices {list(assigned.devices)}, "
            f"this node has {sorted(devices)}; restart the agent with the devices it "
            "registered, or remove the node",
        )
    holders = {holder for device in assigned.devices for holder in held.get(device, ())}
    if holders:
        return WaitForDevices(replica=assigned.replica, held_by=tuple(sorted(holders)))
    held.update({device: {assigned.replica} for device in assigned.devices})
    return StartEngine(assigned=assigned)


def _end(engine: ObservedEngine, *, grace_s: float, reason: str) -> Step:
    match engine.state:
        case ReplicaState.RUNNING:
            return DrainEngine(replica=engine.replica, grace_s=grace_s, reason=reason)
        case ReplicaState.DRAINING | ReplicaState.STOPPED:
            return KeepEngine(replica=engine.replica)
        case _:
            return StopEngine(replica=engine.replica, reason=reason)
