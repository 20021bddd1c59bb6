"""The replicas of this node, kept as the assignment wants them.

Owns every replica's task and what is said of replicas that do not run. Refuses to decide:
the steps are planner.reconcile's. Invariants: steps are taken one pass at a time; a
replica that fails in a way nobody foresaw takes no other with it.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from nodeagent.assignment import Assignment, DesiredReplica
from nodeagent.catalog import Catalog
from nodeagent.models.facts import ModelFacts
from nodeagent.replica import Replica
from nodeagent.status import ReplicaStatus
from planner.model import Device, ReplicaState
from planner.reconcile.node import (
    AssignedReplica,
    DrainEngine,
    ForgetEngine,
    KeepEngine,
    ObservedEngine,
    RejectReplica,
    ReplicaBudgets,
    ReportStopped,
    SetBudgets,
    StartEngine,
    Step,
    StopEngine,
    WaitForDevices,
    plan_steps,
)

_log = logging.getLogger(__name__)

_INTERVAL_S = 1.0
_AFTER_SURPRISE_S = 5.0

ReplicaFactory = Callable[[DesiredReplica, str, ModelFacts], Replica]
"""Makes a replica of (desired, fingerprint, facts of its model)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Absent:
    """Said of a replica that has no engine."""

    state: ReplicaState
    message: str = ""


class Reconciler:
    """Runs the assignment's replicas on `devices`.

    Args:
        devices: of this node.
        catalog: of its models.
        make: makes a replica.
        on_change: called when a report would differ.
    """

    def __init__(
        self,
        *,
        devices: tuple[Device, ...],
        catalog: Catalog,
        make: ReplicaFactory,
        on_change: Callable[[], None],
    ) -> None:
        self._devices = devices
        self._catalog = catalog
        self._make = make
        self._on_change = on_change
        self._replicas: dict[str, Replica] = {}
        self._absent: dict[str, _Absent] = {}
        self._wake = asyncio.Event()
        self._is_closing = asyncio.Event()
        self.assignment = Assignment()

    # -- what others see ------------------------------------------------------------

    def find(self, replica: str) -> Replica | None:
        """The replica of that id, in whatever state."""
        return self._replicas.get(replica)

    def of_deployment(self, deployment: str) -> tuple[Replica, ...]:
        """All of a deployment, in whatever state."""
        return tuple(r for r in self._replicas.values() if r.deployment == deployment)

    def take_statuses(self) -> tuple[ReplicaStatus, ...]:
        """Every replica's report; consumes the samples since the last call."""
        absent = tuple(
            ReplicaStatus(
                id=replica,
                state=note.state,
                message=note.message,
                offline_refusal=note.message or f"replica is {note.state.value}",
            )
            for replica, note in sorted(self._absent.items())
        )
        return absent + tuple(replica.take_status() for replica in self._replicas.values())

    # -- what others do to it -------------------------------------------------------

    def assign(self, assignment: Assignment) -> None:
        """Takes the newest assignment; `run` acts on it."""
        self.assignment = assignment
        self._wake.set()

    def wake(self) -> None:
        """Has `run` look again."""
        self._wake.set()

    def close(self, *, grace_s: float) -> None:
        """Drains every replica; `run` returns when all have stopped."""
        self._is_closing.set()
        for replica in self._replicas.values():
            replica.drain(grace_s=grace_s)
        self._wake.set()

    # -- its life -------------------------------------------------------------------

    async def run(self) -> None:
        """Reconciles until `close`; kills every engine when cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while not self._is_closing.is_set():
                self._wake.clear()
                await self._reconcile(tasks)
                try:
                    async with asyncio.timeout(_INTERVAL_S):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    async def _reconcile(self, tasks: asyncio.TaskGroup) -> None:
        assignment = self.assignment
        await self._catalog.refresh(assignment.wanted_models)
        wanted = {desired.id: desired for desired in assignment.replicas}
        steps = plan_steps(
            tuple(_assigned(desired) for desired in assignment.replicas),
            tuple(self._observed(replica) for replica in self._replicas.values()),
            devices=[device.index for device in self._devices],
        )
        before = self._absent
        self._absent = {
            bad.id: _Absent(state=ReplicaState.FAILED, message=bad.message)
            for bad in assignment.unusable
            if bad.id not in self._replicas
        }
        for step in steps:
            if self._is_closing.is_set():
                return
            await self._take(step, desired=wanted.get(step.replica), tasks=tasks)
        if self._absent != before:
            self._on_change()

    async def _take(
        self, step: Step, *, desired: DesiredReplica | None, tasks: asyncio.TaskGroup
    ) -> None:
        match step:
            case StopEngine(replica=id_, reason=reason):
                _log.info("replica_stop replica=%s reason=%r", id_, reason)
                self._replicas[id_].drain(grace_s=0.0)
            case DrainEngine(replica=id_, grace_s=grace_s, reason=reason):
                _log.info("replica_drain replica=%s grace_s=%.0f reason=%r", id_, grace_s, reason)
                self._replicas[id_].drain(grace_s=grace_s)
            case ForgetEngine(replica=id_):
                del self._replicas[id_]
                self._on_change()
            case ReportStopped(replica=id_):
                self._absent[id_] = _Absent(state=ReplicaState.STOPPED)
            case StartEngine(assigned=assigned):
                assert desired is not None
                await self._start(desired, assigned.spec_fingerprint, tasks)
            case SetBudgets(replica=id_) | KeepEngine(replica=id_):
                replica = self._replicas[id_]
                if desired is not None and replica.fingerprint == _fingerprint(desired):
                    replica.update(desired)
            case WaitForDevices(replica=id_, held_by=held_by):
                self._absent[id_] = _Absent(
                    state=ReplicaState.PENDING,
                    message=f"replica {id_}: waits for devices held by {', '.join(held_by)}",
                )
            case RejectReplica(replica=id_, reason=reason):
                self._absent[id_] = _Absent(state=ReplicaState.FAILED, message=reason)
            case _:
                assert_never(step)

    async def _start(
        self, desired: DesiredReplica, fingerprint: str, tasks: asyncio.TaskGroup
    ) -> None:
        facts = await self._catalog.facts(desired.model)
        if isinstance(facts, str):
            self._absent[desired.id] = _Absent(
                state=ReplicaState.FAILED, message=f"replica {desired.id}: {facts}"
            )
            return
        if self._is_closing.is_set():
            return
        replica = self._make(desired, fingerprint, facts)
        self._replicas[desired.id] = replica
        _log.info(
            "replica_start replica=%s deployment=%s model=%s devices=%s",
            *(desired.id, desired.deployment, desired.model, list(desired.device_indices)),
        )
        tasks.create_task(self._run_replica(replica))

    async def _run_replica(self, replica: Replica) -> None:
        try:
            await replica.run()
        except Exception:  # noqa: BLE001 - as the comment says
            # One replica's surprise must not end the others: it is dropped, its engine
            # is gone with its tasks, and the next pass starts it anew.
            _log.exception("replica_surprise replica=%s", replica.id)
            await asyncio.sleep(0 if self._is_closing.is_set() else _AFTER_SURPRISE_S)
            if self._replicas.get(replica.id) is replica:
                del self._replicas[replica.id]
        self._wake.set()
        self._on_change()

    @staticmethod
    def _observed(replica: Replica) -> ObservedEngine:
        return ObservedEngine(
            replica=replica.id,
            spec_fingerprint=replica.fingerprint,
            devices=replica.desired.device_indices,
            state=replica.state,
            budgets=_budgets(replica.desired),
        )


def _assigned(desired: DesiredReplica) -> AssignedReplica:
    return AssignedReplica(
        replica=desired.id,
        deployment=desired.deployment,
        spec_fingerprint=_fingerprint(desired),
        devices=desired.device_indices,
        budgets=_budgets(desired),
        desired=desired.desired,
        drain_grace_s=desired.drain_grace_s,
    )


def _budgets(desired: DesiredReplica) -> ReplicaBudgets:
    return ReplicaBudgets(
        online_share=desired.online_share,
        offline_share=desired.offline_share,
        latency_budget_ms=desired.latency_budget_ms,
    )


def _fingerprint(desired: DesiredReplica) -> str:
    """Names what an engine cannot change while it runs."""
    fixed = (
        desired.deployment,
        desired.model,
        desired.tensor_parallel_size,
        desired.kv_cache_tokens,
        desired.max_context_tokens,
        desired.max_running_requests,
        desired.chunked_prefill_size,
        desired.dtype,
    )
    return hashlib.sha256(repr(fixed).encode()).hexdigest()[:12]
