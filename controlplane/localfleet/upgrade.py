"""The walk that replaces every process of a local fleet by another build.

Owns acting on the steps of `planner.rollout.upgrade`, one at a time, looking again after
each; so a walk that stopped goes on where it stood when it is started again. Refuses to
take a second node out while the first is not back, and to go on past a process that does
not become ready: then everything stays as it is, and the error says how it stands.
"""

from dataclasses import dataclass
from pathlib import Path

import grpc
from slacktide.v1.node_service_pb2 import DrainNodeRequest, UncordonNodeRequest

from controlplane.client import CALL_DEADLINE_S, Fleet, new_request_id
from controlplane.localfleet import commands, processes
from controlplane.localfleet.lifecycle import require_fleet
from controlplane.localfleet.readiness import (
    Tell,
    is_serving,
    list_nodes,
    wait_drained,
    wait_nodes_ready,
    wait_seen,
    wait_serving,
    wait_settled,
)
from controlplane.localfleet.record import (
    ClusterRecord,
    LocalFleetError,
    ProcessRecord,
    exclusive,
    write_record,
)
from controlplane.localfleet.release import Release
from planner.rollout.upgrade import Action, ProcessKind, SeenProcess, Step, plan_upgrade

_REASON = "slacktide upgrade"
"""Every cordon of an upgrade begins so; how a later walk knows its own."""
_READY_TIMEOUT_S = 90.0
_SETTLE_TIMEOUT_S = 300.0
_CONTROL_PLANE_GRACE_S = 15.0
_GATEWAY_GRACE_S = 180.0  # its connections renew first, then its last streams end
_AGENT_GRACE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeOptions:
    """How a walk goes about it.

    Args:
        drain_deadline_s: what is left on a node then is stopped by force.
        force: drain even if some replica fits nowhere else.
    """

    drain_deadline_s: float = 180.0
    force: bool = False


def upgrade(
    state_dir: Path, *, release: Release, options: UpgradeOptions, tell: Tell
) -> ClusterRecord:
    """Replaces every process that does not run `release`.

    Raises:
        LocalFleetError: a step failed; the message says which, what is done and what is
            left. The same call goes on from there.
    """
    state_dir = state_dir.absolute()
    with exclusive(state_dir):
        walk = _Walk(require_fleet(state_dir), release=release, options=options, tell=tell)
        walk.run()
        return walk.record


class _Walk:
    def __init__(
        self, record: ClusterRecord, *, release: Release, options: UpgradeOptions, tell: Tell
    ) -> None:
        self.record = record
        self._release = release
        self._options = options
        self._tell = tell
        self._fleet = Fleet(record.control_plane.address)

    def run(self) -> None:
        with self._fleet:
            previous: Step | None = None
            while steps := plan_upgrade(self._look(), target=self._release.version):
                step = steps[0]
                words = ", ".join(action.value for action in step.actions)
                self._tell(
                    f"{step.kind.value} {step.id}: {step.from_version} to"
                    f" {self._release.version} ({words}); {len(steps) - 1} to follow"
                )
                if step == previous:
                    raise self._stopped(step, steps, "the same step is needed again")
                try:
                    self._act(step)
                except (LocalFleetError, grpc.RpcError) as error:
                    raise self._stopped(step, steps, _words(error)) from error
                previous = step
            self._tell(f"every process runs {self._release.version}")

    def _look(self) -> list[SeenProcess]:
        held: set[str] = set()
        if is_serving(self.record.control_plane.address):
            held = {
                node.name.rpartition("/")[2]
                for node in list_nodes(self._fleet)
                if node.cordoned and node.reason.startswith(_REASON)
            }
        return [
            SeenProcess(
                kind=process.kind,
                id=process.id,
                version=process.version,
                is_running=self._counts_as_running(process),
                is_held=process.kind is ProcessKind.AGENT and process.id in held,
            )
            for process in self.record.processes
        ]

    def _counts_as_running(self, process: ProcessRecord) -> bool:
        """A process of the old build need only live; one of the new must be healthy."""
        if not processes.is_running(process):
            return False
        if process.version != self._release.version:
            return True
        return any(is_serving(process.address) for _ in range(3))

    def _act(self, step: Step) -> None:
        process = next(p for p in self.record.processes if (p.kind, p.id) == (step.kind, step.id))
        match step.kind:
            case ProcessKind.CONTROL_PLANE:
                self._replace_control_plane(process)
            case ProcessKind.GATEWAY:
                self._replace_gateway(process)
            case ProcessKind.AGENT:
                for action in step.actions:
                    self._act_on_node(action, process)

    def _replace_control_plane(self, old: ProcessRecord) -> None:
        """Gateways and agents go on by themselves meanwhile."""
        self._stop(old, grace_s=_CONTROL_PLANE_GRACE_S)
        new = self._start(commands.again(old, self.record))
        wait_serving(new, timeout_s=_READY_TIMEOUT_S)
        wait_seen(self._fleet, new, timeout_s=_READY_TIMEOUT_S)
        agents = [a for a in self.record.of_kind(ProcessKind.AGENT) if processes.is_running(a)]
        wait_nodes_ready(self._fleet, agents, timeout_s=_READY_TIMEOUT_S)

    def _replace_gateway(self, old: ProcessRecord) -> None:
        """The new one listens beside the old one, is ready, and only then the old one ends."""
        gateways = self.record.of_kind(ProcessKind.GATEWAY)
        ready = [g for g in gateways if g.version == self._release.version]
        if not any(processes.is_running(g) for g in ready):
            numbers = [int(g.id.removeprefix("g")) for g in gateways]
            new = self._start(
                commands.gateway(
                    state_dir=self.record.state_dir,
                    address=old.address,
                    control_plane_address=self.record.control_plane.address,
                    number=max(numbers) + 1,
                )
            )
            wait_seen(self._fleet, new, timeout_s=_READY_TIMEOUT_S)
            wait_serving(new, timeout_s=_READY_TIMEOUT_S)
        self._stop(old, grace_s=_GATEWAY_GRACE_S)
        self._keep(self.record.without_process(old))

    def _act_on_node(self, action: Action, old: ProcessRecord) -> None:
        node = old.id
        match action:
            case Action.DRAIN:
                self._drain(node)
            case Action.REPLACE:
                self._stop(old, grace_s=_AGENT_GRACE_S)
                new = self._start(commands.again(old, self.record))
                wait_serving(new, timeout_s=_READY_TIMEOUT_S)
                wait_nodes_ready(self._fleet, [new], timeout_s=_READY_TIMEOUT_S)
            case Action.UNCORDON:
                request = UncordonNodeRequest(name=f"nodes/{node}", request_id=new_request_id())
                self._fleet.nodes.UncordonNode(request, timeout=CALL_DEADLINE_S)
                wait_settled(self._fleet, timeout_s=_SETTLE_TIMEOUT_S, tell=self._tell)

    def _drain(self, node: str) -> None:
        request = DrainNodeRequest(
            name=f"nodes/{node}",
            reason=f"{_REASON} to {self._release.version}",
            force=self._options.force,
            request_id=new_request_id(),
        )
        request.deadline.FromNanoseconds(int(self._options.drain_deadline_s * 1e9))
        self._fleet.nodes.DrainNode(request, timeout=CALL_DEADLINE_S)
        wait_drained(
            self._fleet, node, timeout_s=self._options.drain_deadline_s + 60, tell=self._tell
        )

    def _start(self, launch: commands.Launch) -> ProcessRecord:
        process = processes.start(
            launch,
            python=self._release.python,
            version=self._release.version,
            state_dir=self.record.state_dir,
            environment=self.record.options.environment,
        )
        self._keep(self.record.with_process(process))
        return process

    def _stop(self, process: ProcessRecord, *, grace_s: float) -> None:
        for forced in processes.stop([process], grace_s=grace_s):
            self._tell(f"{forced.kind.value} {forced.id}: did not end in {grace_s:.0f} s, killed")

    def _keep(self, record: ClusterRecord) -> None:
        self.record = record
        write_record(record)

    def _stopped(self, step: Step, steps: tuple[Step, ...], why: str) -> LocalFleetError:
        target = self._release.version
        done = [f"{p.kind.value} {p.id}" for p in self.record.processes if p.version == target]
        left = [f"{s.kind.value} {s.id}" for s in steps]
        return LocalFleetError(
            f"upgrade to {target} stopped at {step.kind.value} {step.id}: {why}\n"
            f"  runs {target}: {', '.join(done) or 'nothing'}\n"
            f"  left to do: {', '.join(left)}\n"
            f"  next: slacktide cluster status; then the same upgrade again goes on from here"
        )


def _words(error: LocalFleetError | grpc.RpcError) -> str:
    if isinstance(error, grpc.Call):
        return f"{error.code().name}: {error.details()}"
    return str(error)
