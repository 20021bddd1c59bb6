"""The fleet's machines and what is committed to them, as control plane and agents keep it.

Owns allocations, engines and nodes over time. What a removal waits for is
`reconcile.moves`, what an agent does next is `reconcile.node`: the production code. Refuses
load. Invariants: a device is held by one engine at a time; an engine serves once its model
has loaded; a lost node's engines are gone at once, its replicas LOST when its lease lapses.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from planner.model import (
    Allocation,
    Deployment,
    Desired,
    Node,
    Placement,
    Plan,
    ReplicaState,
)
from planner.reconcile.moves import releasable
from planner.reconcile.node import (
    AssignedReplica,
    DrainEngine,
    ForgetEngine,
    RejectReplica,
    ReportStopped,
    SetBudgets,
    StartEngine,
    StopEngine,
    plan_steps,
)
from planner.simulation.fleet.assigning import assigned, observed
from planner.simulation.fleet.committing import Moved, committed
from planner.simulation.fleet.live import Live
from planner.simulation.fleet.warmth import Warmth


class Hosts:
    """Nodes, allocations, engines."""

    def __init__(
        self,
        nodes: tuple[Node, ...],
        deployments: Mapping[str, Deployment],
        *,
        allocations: Iterable[Allocation] = (),
    ) -> None:
        self._nodes = {node.id: node for node in nodes}
        self._deployments = deployments
        self._down: set[str] = set()
        self._lapsed: set[str] = set()
        self._warmth = Warmth(nodes, deployments)
        self._types = {
            node.id: {device.index: device.device_type for device in node.devices} for node in nodes
        }
        self._made = 0
        self.revision = 0
        self.allocations: dict[str, Allocation] = {}
        self.engines: dict[str, dict[str, Live]] = {node.id: {} for node in nodes}
        self.changes = 0  # rises with each change of what serves
        for one in allocations:
            self.allocations[one.replica] = replace(one, state=ReplicaState.PENDING)

    # ------------------------------------------------------------ read

    def nodes(self) -> tuple[Node, ...]:
        """As a round sees them."""
        return tuple(
            replace(
                node,
                is_ready=node.is_ready and node.id not in self._lapsed,
                warm_models=self._warmth.of(node.id),
            )
            for node in self._nodes.values()
        )

    def live(self) -> Iterator[Live]:
        """Every engine there is."""
        for engines in self.engines.values():
            yield from engines.values()

    def is_down(self, node: str) -> bool:
        """Whether it failed and is not back."""
        return node in self._down

    # ------------------------------------------------------------ a round's plan

    def commit(self, plan: Plan, *, now_s: float) -> Moved:
        """Takes a verified plan over as the applier does, and lets agents act on it."""
        names = {
            index: self._name(placement.deployment)
            for index, placement in enumerate(plan.placements)
            if placement.replica is None
        }
        generations = {name: one.generation for name, one in self._deployments.items()}
        self.allocations, moved = committed(
            self.allocations, plan, names=names, generations=generations
        )
        if moved.adds or moved.removes or moved.adjusts:
            self.revision += 1
        self.act(now_s=now_s)
        return moved

    def load_at_once(self, *, now_s: float) -> None:
        """What loads has loaded: the fleet ran before."""
        for live in self.live():
            if live.state is ReplicaState.STARTING:
                live.due_s = now_s
        self.act(now_s=now_s)

    def set_shares(self, placements: Iterable[Placement], *, now_s: float) -> None:
        """Between rounds: what replicas that stay shall carry from now on."""
        is_changed = False
        for placement in placements:
            one = self.allocations.get(placement.replica or "")
            if one is None:
                continue
            changed = replace(
                one,
                online_share=placement.online_share,
                offline_share=placement.offline_share,
                latency_budget_ms=placement.latency_budget_ms,
            )
            if changed != one:
                self.allocations[one.replica] = changed
                is_changed = True
        if is_changed:
            self.revision += 1
            self.act(now_s=now_s)

    # ------------------------------------------------------------ what happens

    def fail(self, node: str) -> list[Live]:
        """The node is gone with all its engines, which are returned."""
        self._down.add(node)
        self._warmth.forget(node)
        lost = list(self.engines[node].values())
        self.engines[node] = {}
        self.changes += bool(lost)
        return lost

    def lapse(self, node: str) -> bool:
        """Its lease ran out, unless it came back; whether that changed the state."""
        if node not in self._down:
            return False
        self._lapsed.add(node)
        for replica, one in list(self.allocations.items()):
            if one.node == node:
                self._observe(replica, ReplicaState.LOST)
        self.revision += 1
        return True

    def come_back(self, node: str, *, now_s: float) -> None:
        """The node is there again, empty; its agent starts what is still assigned to it."""
        self._down.discard(node)
        self._lapsed.discard(node)
        self.revision += 1
        for replica, one in list(self.allocations.items()):
            if one.node == node:
                self._observe(replica, ReplicaState.PENDING)
        self.act(now_s=now_s)

    def act(self, *, now_s: float) -> None:
        """Lets every agent act until nothing changes: loads end, drains end, removals begin."""
        is_changed = True
        while is_changed:
            is_changed = self._ripen(now_s)
            released = frozenset(releasable(self.allocations.values()))
            told = assigned(self.allocations.values(), released)
            for node in self._nodes:
                if node not in self._down and (told.get(node) or self.engines[node]):
                    is_changed |= self._agent(node, told.get(node, []), now_s=now_s)
            self._drop_ended()

    def drained(self, replica: str, *, now_s: float) -> None:
        """A draining engine has nothing left in flight."""
        for engines in self.engines.values():
            live = engines.get(replica)
            if live is not None and live.state is ReplicaState.DRAINING:
                live.due_s = min(live.due_s, now_s)

    @property
    def next_s(self) -> float:
        """When the next load or drain ends; inf where none is under way."""
        return min(
            (live.due_s for live in self.live() if live.state in _UNDER_WAY), default=float("inf")
        )

    # ------------------------------------------------------------ details

    def _ripen(self, now_s: float) -> bool:
        is_changed = False
        for live in self.live():
            if live.state not in _UNDER_WAY or live.due_s > now_s + 1e-9:
                continue
            is_running = live.state is ReplicaState.STARTING
            live.state = ReplicaState.RUNNING if is_running else ReplicaState.STOPPED
            self._observe(live.replica, live.state)
            self.changes += 1
            is_changed = True
        return is_changed

    def _agent(self, node: str, told: list[AssignedReplica], *, now_s: float) -> bool:
        """One agent's steps; whether any changed an engine."""
        engines = self.engines[node]
        is_changed = False
        for step in plan_steps(
            told, observed(engines.values(), self.allocations), devices=tuple(self._types[node])
        ):
            match step:
                case StartEngine(assigned=wanted):
                    engines[wanted.replica] = self._start(node, wanted, now_s=now_s)
                    self._observe(wanted.replica, ReplicaState.STARTING)
                case StopEngine(replica=replica):
                    engines[replica].state = ReplicaState.STOPPED
                    self._observe(replica, ReplicaState.STOPPED)
                case DrainEngine(replica=replica, grace_s=grace_s):
                    engines[replica].state = ReplicaState.DRAINING
                    engines[replica].due_s = now_s + grace_s
                    self._observe(replica, ReplicaState.DRAINING)
                case ForgetEngine(replica=replica):
                    del engines[replica]
                case ReportStopped(replica=replica):
                    self._observe(replica, ReplicaState.STOPPED)
                    continue
                case SetBudgets(replica=replica, budgets=budgets):
                    engines[replica].budgets = budgets
                    self.changes += 1
                    continue
                case RejectReplica(replica=replica):
                    self._observe(replica, ReplicaState.FAILED)
                    continue
                case _:
                    continue
            self.changes += 1
            is_changed = True
        return is_changed

    def _start(self, node: str, wanted: AssignedReplica, *, now_s: float) -> Live:
        deployment = self._deployments[wanted.deployment]
        is_warm = deployment.model in self._warmth.of(node)
        self._warmth.read(node, deployment)
        return Live(
            replica=wanted.replica,
            deployment=wanted.deployment,
            node=node,
            devices=wanted.devices,
            device_type=self._types[node][wanted.devices[0]],
            state=ReplicaState.STARTING,
            due_s=now_s + (deployment.warm_load_s if is_warm else deployment.load_s),
            budgets=wanted.budgets,
        )

    def _observe(self, replica: str, state: ReplicaState) -> None:
        one = self.allocations.get(replica)
        if one is not None and one.state is not state:
            self.allocations[replica] = replace(one, state=state)
            self.revision += 1

    def _drop_ended(self) -> None:
        for replica, one in list(self.allocations.items()):
            if one.desired is Desired.STOPPED and not one.holds_devices:
                del self.allocations[replica]
                engines = self.engines[one.node]
                if replica in engines and engines[replica].state is ReplicaState.STOPPED:
                    del engines[replica]

    def _name(self, deployment: str) -> str:
        self._made += 1
        return f"{deployment}-{self._made:05d}"


_UNDER_WAY = frozenset({ReplicaState.STARTING, ReplicaState.DRAINING})
