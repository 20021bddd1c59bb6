"""Sticky and fair greedy: keeps what runs and takes the best single action, repeatedly.

Owns the baseline, the hint and the fallback of every round. One action is a new replica,
a new one in place of one that is due, broken or in a crowded failure domain, or a
reservation on devices that others free, evicting those that lose least (offline-only
replicas, by the objective) where nothing is free. The deployment whose action gains most
per device goes first, so none starves while another is filled. Refuses what does not
lower the shared objective. Deterministic; loads no solver.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from planner.model import Allocation, Deployment, Plan, PlanStatus, ReplicaState, Snapshot
from planner.placement.fleet import Draft, Fleet, Seat, Standing, is_frozen, survey
from planner.placement.objective import Tally, cost, floor, tallies, values
from planner.placement.publish import publish
from planner.placement.seats import seats

NODE_BY_NODE_UP_TO = 60
"""Nodes of a fleet that is decided node by node; the greedy looks at every one for every step."""

_LEAST_GAIN = 1e-6
_EVICTING_TERMS = ("replica_shortfall", "online_shortfall", "deadline_shortfall", "due_uncovered")


def greedy(snapshot: Snapshot) -> Plan:
    """Plans a snapshot without a solver.

    Args:
        snapshot: The state to plan from.

    Returns:
        A plan no worse than keeping everything as it is; its bound is the trivial one.
    """
    fleet = survey(snapshot)
    return publish(
        fleet,
        improve(fleet, keep_all(fleet)),
        status=PlanStatus.FEASIBLE,
        solver="greedy",
        bound=floor(fleet),
    )


def keep_all(fleet: Fleet) -> Draft:
    """Everything that may be kept, within max_replicas: the plan as it is."""
    kept: set[str] = set()
    for deployment in fleet.deployments.values():
        own = [a for a in fleet.of(deployment.id) if fleet.standing[a.replica].is_keepable]
        own.sort(key=lambda a: _keep_rank(fleet, a))
        kept.update(a.replica for a in own[: deployment.max_replicas])
        kept.update(a.replica for a in own if is_frozen(fleet, a))
    return Draft(kept=frozenset(kept))


def improve(fleet: Fleet, draft: Draft) -> Draft:
    """Takes the best action until none lowers the objective.

    Args:
        fleet: The survey the draft was made from.
        draft: Where to start.

    Returns:
        A draft at no higher cost.
    """
    bench = _Bench(fleet, draft)
    actions = {deployment: bench.best(deployment) for deployment in fleet.deployments}
    while True:
        ranked = [action for action in actions.values() if action is not None]
        if not ranked or bench.is_spent:
            return bench.draft()
        action = max(ranked, key=lambda a: (a.gain / len(a.seat.devices), a.seat.deployment))
        bench.take(action)
        touched = {action.seat.node}
        touched.update(fleet.allocations[replica].node for replica in action.drops)
        changed = {action.seat.deployment}
        changed.update(fleet.allocations[replica].deployment for replica in action.drops)
        for name, known in actions.items():
            if name in changed or _is_stale(known, action, touched):
                actions[name] = bench.best(name)


def _is_stale(known: "_Action | None", taken: "_Action", touched: set[str]) -> bool:
    """Whether an action known before `taken` may have changed."""
    if known is None:
        return bool(taken.drops)  # devices may have come free
    return bool(known.drops) or known.seat.node in touched


@dataclass(frozen=True, slots=True, kw_only=True)
class _Action:
    """A seat to take, what to drop for it, and what that gains."""

    gain: float
    seat: Seat
    is_waiting: bool
    drops: tuple[str, ...] = ()


class _Bench:
    """The draft being improved, with its counts and devices kept up to date."""

    def __init__(self, fleet: Fleet, draft: Draft) -> None:
        self._fleet = fleet
        self._kept = set(draft.kept)
        self._new = list(draft.new)
        self._waiting = list(draft.waiting)
        self._tallies = tallies(fleet, draft)
        self._costs = {
            name: cost(fleet, deployment, self._tallies[name])
            for name, deployment in fleet.deployments.items()
        }
        self._free = dict(fleet.free)
        for seat in (*draft.new, *draft.waiting):
            self._free[seat.node] -= set(seat.devices)
        self._coming = self._coming_devices()

    def draft(self) -> Draft:
        """The draft as it stands."""
        return Draft(kept=frozenset(self._kept), new=tuple(self._new), waiting=tuple(self._waiting))

    @property
    def is_spent(self) -> bool:
        """Whether the round's bound on moves is reached."""
        moves = self._fleet.snapshot.max_moves
        return moves is not None and len(self._new) + len(self._waiting) >= moves

    def best(self, name: str) -> _Action | None:
        """The action that gains most for a deployment, if any gains."""
        if self.is_spent:
            return None
        deployment = self._fleet.deployments[name]
        actions = [a for a in self._actions(deployment) if a.gain > _LEAST_GAIN]
        return max(actions, key=lambda a: (a.gain, not a.is_waiting, a.seat.node), default=None)

    def take(self, action: _Action) -> None:
        """Applies an action."""
        for replica in action.drops:
            self._kept.remove(replica)
            self._tally_drop(self._tallies, replica)
        node, devices = action.seat.node, set(action.seat.devices)
        (self._waiting if action.is_waiting else self._new).append(action.seat)
        self._free[node] -= devices
        self._tally_add(self._tallies[action.seat.deployment], action.seat, action.is_waiting)
        changed = {self._fleet.allocations[replica].deployment for replica in action.drops}
        for name in changed | {action.seat.deployment}:
            self._costs[name] = cost(
                self._fleet, self._fleet.deployments[name], self._tallies[name]
            )
        self._coming = self._coming_devices()

    def _actions(self, deployment: Deployment) -> Iterator[_Action]:
        tally = self._tallies[deployment.id]
        beside = tally.domains
        replaced = self._replaceable(deployment)
        for is_waiting, devices in ((False, self._free), (True, self._coming)):
            for seat in seats(self._fleet, deployment, free=devices, beside=beside):
                if tally.can_add(deployment):
                    yield self._weigh(seat, is_waiting=is_waiting, drops=())
                if replaced is not None and not is_waiting:
                    yield self._weigh(seat, is_waiting=False, drops=(replaced,))
        if self._lacks(deployment, tally):
            yield from self._evictions(deployment)

    def _replaceable(self, deployment: Deployment) -> str | None:
        """The replica that a new one would best stand in for."""
        own = [a for a in self._fleet.of(deployment.id) if a.replica in self._kept]
        due = [a for a in own if self._fleet.standing[a.replica] is not Standing.GOOD]
        if due:
            return max(due, key=lambda a: _keep_rank(self._fleet, a)).replica
        if not deployment.spread or not own:
            return None
        domains = self._tallies[deployment.id].domains
        return max(
            own,
            key=lambda a: (domains[self._fleet.nodes[a.node].failure_domain], a.replica),
        ).replica

    def _lacks(self, deployment: Deployment, tally: Tally) -> bool:
        """Whether it is short of what others may be evicted for: not of offline work alone."""
        lacking = values(self._fleet, deployment, tally)
        return tally.later < deployment.max_replicas and any(
            lacking[term] > 0.0 for term in _EVICTING_TERMS
        )

    def _evictions(self, deployment: Deployment) -> Iterator[_Action]:
        """Reservations on the devices of others, node by node, cheapest others first."""
        for name in self._fleet.free:
            if (deployment.id, name) in self._fleet.avoided:
                continue
            others = [
                a
                for a in self._fleet.allocations.values()
                if a.node == name and a.replica in self._kept and a.deployment != deployment.id
            ]
            if not others:
                continue
            others.sort(key=lambda a: (self._loss((a.replica,)) / len(a.devices), a.replica))
            devices = self._coming[name]
            drops: tuple[str, ...] = ()
            for other in others:
                devices, drops = devices | set(other.devices), (*drops, other.replica)
                found = seats(
                    self._fleet,
                    deployment,
                    free={name: devices},
                    beside=self._tallies[deployment.id].domains,
                )
                for seat in found:
                    yield self._weigh(seat, is_waiting=True, drops=drops)

    def _weigh(self, seat: Seat, *, is_waiting: bool, drops: tuple[str, ...]) -> _Action:
        """An action with what it gains over the draft as it stands."""
        names = {self._fleet.allocations[replica].deployment for replica in drops}
        names.add(seat.deployment)
        trial = {name: self._tallies[name].copy() for name in sorted(names)}
        for replica in drops:
            self._tally_drop(trial, replica)
        self._tally_add(trial[seat.deployment], seat, is_waiting)
        gain = sum(
            self._costs[name] - cost(self._fleet, self._fleet.deployments[name], tally)
            for name, tally in trial.items()
        )
        deployment = self._fleet.deployments[seat.deployment]
        tally = trial[seat.deployment]
        bounded = tally.now <= deployment.max_replicas and tally.later <= deployment.max_replicas
        return _Action(gain=gain if bounded else 0.0, seat=seat, is_waiting=is_waiting, drops=drops)

    def _loss(self, replicas: tuple[str, ...]) -> float:
        trial = {
            name: self._tallies[name].copy()
            for name in {self._fleet.allocations[replica].deployment for replica in replicas}
        }
        for replica in replicas:
            self._tally_drop(trial, replica)
        return sum(
            cost(self._fleet, self._fleet.deployments[name], tally) - self._costs[name]
            for name, tally in trial.items()
        )

    def _tally_drop(self, counted: dict[str, Tally], replica: str) -> None:
        allocation = self._fleet.allocations[replica]
        counted[allocation.deployment].keep(
            self._fleet.standing[replica],
            kind=self._fleet.device_type(allocation.node, allocation.devices),
            domain=self._fleet.nodes[allocation.node].failure_domain,
            count=-1,
        )

    def _tally_add(self, tally: Tally, seat: Seat, is_waiting: bool) -> None:
        tally.add(
            kind=self._fleet.device_type(seat.node, seat.devices),
            domain=self._fleet.nodes[seat.node].failure_domain,
            is_waiting=is_waiting,
        )

    def _coming_devices(self) -> dict[str, frozenset[int]]:
        """Devices free once all that the draft removes has stopped, less what waits."""
        return coming_devices(self._fleet, self.draft())


def coming_devices(fleet: Fleet, draft: Draft) -> dict[str, frozenset[int]]:
    """Devices nobody holds once all that a draft removes has stopped, by node.

    Those of the draft's own new and waiting seats are taken.
    """
    taken: dict[str, set[int]] = {name: set() for name in fleet.free}
    held = [(fleet.allocations[r].node, fleet.allocations[r].devices) for r in draft.kept]
    held += [(seat.node, seat.devices) for seat in (*draft.new, *draft.waiting)]
    for node, devices in held:
        if node in taken:
            taken[node].update(devices)
    return {
        name: frozenset(d.index for d in fleet.nodes[name].devices) - used
        for name, used in taken.items()
    }


def _keep_rank(fleet: Fleet, allocation: Allocation) -> tuple[int, bool, str]:
    """Sorts what is best kept first: good before due before broken, running first."""
    order = (Standing.GOOD, Standing.DUE, Standing.BROKEN)
    return (
        order.index(fleet.standing[allocation.replica]),
        allocation.state is not ReplicaState.RUNNING,
        allocation.replica,
    )
