"""One replica on this node: its engine and everything that hangs on it.

Owns the tasks of a replica and the order of its end: no new requests, offline items handed
back, online streams finished or their grace over, engine stopped. Refuses to decide
whether it should exist (the reconciler's) and what offline work may do (its gate's).
Invariants: `state` is derived, never set; requests are accepted only in RUNNING; when
`run` has returned, no process of the engine is left.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from nodeagent.aborts import Aborts
from nodeagent.assignment import DesiredReplica
from nodeagent.engine.client import EngineClient, EngineFinish
from nodeagent.engine.errors import EngineError
from nodeagent.engine.supervisor import EngineState, Supervisor
from nodeagent.latencies import Latencies
from nodeagent.offline.bodies import Result
from nodeagent.offline.control import ItemControl
from nodeagent.offline.gate import NodeFacts, OfflineGate
from nodeagent.offline.puller import Puller
from nodeagent.status import ReplicaLoad, ReplicaStatus
from nodeagent.telemetry import Telemetry
from nodeagent.work import WorkMeter
from planner.batching.state import WorkClass
from planner.model import ReplicaState, Slo

_log = logging.getLogger(__name__)

_POLL_INTERVAL_S = 1.0
_DRAIN_INTERVAL_S = 0.1
_AFTER_SURPRISE_S = 1.0
_HAND_BACK_S = 5.0
_QUEUE_FACTOR = 8
"""Online requests held per running slot; what waits behind more could not meet an SLO."""


class Replica:
    """A replica that runs, starts or ends.

    Args:
        desired: what the assignment wants of it.
        fingerprint: names the part of `desired` an engine cannot change while it runs.
        context_tokens: longest prompt plus output it serves; 0: unknown.
        vocab_size: token ids its model has; 0: unknown.
        supervisor: of its engine.
        telemetry: of its engine.
        control: ItemService.
        node_facts: asked again and again.
        offline_window: offline items in the engine at the most.
        on_change: called when the state may have changed.
    """

    def __init__(
        self,
        desired: DesiredReplica,
        *,
        fingerprint: str,
        context_tokens: int,
        vocab_size: int,
        supervisor: Supervisor,
        telemetry: Telemetry,
        control: ItemControl,
        node_facts: Callable[[], NodeFacts],
        offline_window: int,
        on_change: Callable[[], None],
    ) -> None:
        self.id = desired.id
        self.fingerprint = fingerprint
        self.context_tokens = context_tokens
        self.vocab_size = vocab_size
        self.latencies = Latencies(desired.slo)
        self._desired = desired
        self._supervisor = supervisor
        self._telemetry = telemetry
        self._on_change = on_change
        self._drain_by_s: float | None = None
        self._drain_requested = asyncio.Event()
        self._work = WorkMeter(model=lambda: telemetry.model, clock=time.monotonic)
        self._aborts = Aborts(replica=desired.id, client=lambda: supervisor.client)
        self._gate = OfflineGate(
            desired=lambda: self._desired,
            state=lambda: self.state,
            node_facts=node_facts,
            telemetry=telemetry,
            latencies=self.latencies,
            client=lambda: supervisor.client,
            window=offline_window,
        )
        self._puller = Puller(
            replica=desired.id,
            window=offline_window,
            control=control,
            refuse=self._gate.refuse,
            limit=self._gate.limit,
            client=lambda: supervisor.client,
            count=self._count_offline,
            abort_soon=self._aborts.add,
        )

    # -- what others see ------------------------------------------------------------

    @property
    def desired(self) -> DesiredReplica:
        """What the newest assignment that named it wanted."""
        return self._desired

    @property
    def deployment(self) -> str:
        """Deployment id."""
        return self._desired.deployment

    @property
    def state(self) -> ReplicaState:
        """As reported."""
        match self._supervisor.status.state:
            case EngineState.STOPPED:
                return ReplicaState.STOPPED
            case _ if self._drain_by_s is not None:
                return ReplicaState.DRAINING
            case EngineState.STARTING:
                return ReplicaState.STARTING
            case EngineState.RUNNING:
                return ReplicaState.RUNNING
            case EngineState.FAILED:
                return ReplicaState.FAILED

    @property
    def online_client(self) -> EngineClient | None:
        """The engine, while new online requests are taken."""
        return None if self._drain_by_s is not None else self._supervisor.client

    @property
    def online_limit(self) -> int:
        """Online requests held at the most, running or queued."""
        return _QUEUE_FACTOR * self._desired.max_running_requests

    def class_of(self, asked: str) -> tuple[str, Slo]:
        """The SLO class a request is served in, "" without classes, and its SLO."""
        return self._desired.class_of(asked)

    def load(self) -> ReplicaLoad:
        """Load now: own counts where they are live, the engine's where only it knows."""
        state = self._telemetry.state
        running = min(self.latencies.running, self._desired.max_running_requests)
        load = ReplicaLoad(
            online_running=running,
            online_waiting=self.latencies.running - running,
            offline_waiting=self._puller.in_engine,
            online_work=self._work.rate(WorkClass.ONLINE),
            offline_work=self._work.rate(WorkClass.OFFLINE),
            online_tokens_total=self._work.tokens(WorkClass.ONLINE),
            offline_tokens_total=self._work.tokens(WorkClass.OFFLINE),
            online_work_by_class=self._work_by_class(),
        )
        if state is None:
            return load
        return replace(
            load,
            offline_running=state.offline.running,
            offline_parked=state.offline.parked,
            offline_waiting=state.offline.waiting,
            kv_used_ratio=state.kv_used_ratio,
        )

    def _work_by_class(self) -> tuple[tuple[str, float], ...]:
        """Online work of each class of its deployment; () where it has none."""
        if not self._desired.slo_classes:
            return ()
        rates = self._work.online_rates()
        return tuple((name, rates.get(name, 0.0)) for name, _ in self._desired.slo_classes)

    def take_status(self) -> ReplicaStatus:
        """The report's content; latencies and iterations are those since the last call."""
        engine = self._supervisor.status
        state = self._telemetry.state
        refusal = self._gate.refuse()
        return ReplicaStatus(
            id=self.id,
            state=self.state,
            message=engine.message,
            engine_version=engine.engine_version,
            plugin_version=state.version if state else "",
            offline_refusal=refusal.reason if refusal else "",
            starts=engine.starts,
            load=self.load(),
            latency=self.latencies.take_report(now_s=time.monotonic()),
            iterations=self._telemetry.take_iterations(),
        )

    # -- what others do to it -------------------------------------------------------

    def update(self, desired: DesiredReplica) -> None:
        """Takes new shares, budgets, stage and SLO; the engine goes on."""
        self._desired = desired
        self.latencies.slo = desired.slo

    def drain(self, *, grace_s: float) -> None:
        """Ends the replica: `run` returns at the latest after the grace and a stop.

        A second call can only shorten the grace.
        """
        by_s = time.monotonic() + grace_s
        self._drain_by_s = by_s if self._drain_by_s is None else min(self._drain_by_s, by_s)
        self._drain_requested.set()

    def count_online(self, finish: EngineFinish, *, slo_class: str) -> None:
        """Accounts a finished online request of an SLO class."""
        self._work.add(
            WorkClass.ONLINE,
            prompt_tokens=finish.prompt_tokens,
            cached_tokens=finish.cached_tokens,
            output_tokens=finish.output_tokens,
            slo_class=slo_class,
        )

    def abort_soon(self, rid: str) -> None:
        """Has the engine abort the request; its connection is closed either way."""
        self._aborts.add(rid)

    # -- its life -------------------------------------------------------------------

    async def run(self) -> None:
        """Runs the replica until it is drained; kills its engine when cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                engine = tasks.create_task(self._supervisor.run())
                others = [
                    tasks.create_task(self._keep(part))
                    for part in (
                        self._poll_forever,
                        self._gate.run,
                        self._aborts.run,
                        self._puller.run,
                    )
                ]
                await self._drain_requested.wait()
                await self._drain()
                self._supervisor.request_stop()
                await engine
                for task in others:
                    task.cancel()
        finally:
            self._on_change()
        _log.info("replica_stopped replica=%s", self.id)

    async def _keep(self, part: Callable[[], Awaitable[None]]) -> None:
        """Runs a part again when it fails: none of them is worth the online streams.

        What it was for is in doubt meanwhile: without polls telemetry grows stale and the
        gate closes; without a guard or a puller nothing new starts for long.
        """
        while True:
            try:
                await part()
            except Exception:  # noqa: BLE001 - as above
                _log.exception("replica_part_failed replica=%s part=%s", self.id, part.__qualname__)
            await asyncio.sleep(_AFTER_SURPRISE_S)

    async def _drain(self) -> None:
        _log.info("replica_draining replica=%s online=%d", self.id, self.latencies.running)
        self._on_change()
        await self._puller.hand_back(reason="drain", within_s=_HAND_BACK_S)
        while self.latencies.running and self._drain_by_s is not None:
            if time.monotonic() >= self._drain_by_s:
                _log.warning(
                    "drain_grace_over replica=%s online=%d", self.id, self.latencies.running
                )
                return
            await asyncio.sleep(_DRAIN_INTERVAL_S)

    async def _poll_forever(self) -> None:
        failures = 0
        while True:
            client = self._supervisor.client
            if client is None:
                self._telemetry.forget()
            else:
                try:
                    now_s = time.monotonic()
                    await self._telemetry.poll(client, budgets=self._gate.budgets, now_s=now_s)
                    await self._telemetry.refit(now_s=now_s)
                    failures = 0
                except EngineError as error:
                    failures += 1
                    if failures == 1:
                        _log.warning("telemetry_lost replica=%s cause=%s", self.id, error)
            await asyncio.sleep(_POLL_INTERVAL_S)

    def _count_offline(self, result: Result) -> None:
        work_ms = self._work.add(
            WorkClass.OFFLINE,
            prompt_tokens=result.prompt_tokens,
            output_tokens=result.output_tokens,
        )
        self._gate.charge(work_ms)
