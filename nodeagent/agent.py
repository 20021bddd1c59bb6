"""The agent: one process, one node.

Owns the composition and the end: which parts exist, who calls whom, and what happens in
which order on `stop` (health down, replicas drained with their streams, engines stopped,
items handed back, session closed). Refuses a state folder another agent holds.
"""

import asyncio
import fcntl
import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import grpc
from slacktide.v1 import agent_service_pb2, inference_service_pb2, inference_service_pb2_grpc
from slacktide.wire.errors import Refusal
from slacktide.wire.server import FleetServer
from slacktide.wire.version import PROTOCOL_VERSION, build_version

from nodeagent.assignment import DesiredReplica
from nodeagent.assignment_store import AssignmentStore
from nodeagent.catalog import Catalog
from nodeagent.codec import assignment_from_proto, facts_to_proto, node_to_proto, status_to_proto
from nodeagent.engine.command import EngineNeeds
from nodeagent.engine.supervisor import Supervisor
from nodeagent.fits import FittedModels
from nodeagent.hostmemory import host_memory_bytes
from nodeagent.inference.servicer import InferenceServicer
from nodeagent.models.facts import ModelFacts
from nodeagent.offline.control import ItemControl
from nodeagent.offline.gate import NodeFacts
from nodeagent.reconciler import Reconciler
from nodeagent.replica import Replica
from nodeagent.session import Session
from nodeagent.settings import Settings
from nodeagent.telemetry import Telemetry
from nodeagent.warmth import Warmth
from planner.latency.predictor import default_model, identity_of
from planner.model import Device

_log = logging.getLogger(__name__)

_SERVICE = inference_service_pb2.DESCRIPTOR.services_by_name["InferenceService"].full_name
_LAST_STREAMS_S = 1.0
_FIRST_LOOK_S = 2.0


class Agent:
    """Everything of one node. Use `run`.

    Args:
        settings: the command line.
        devices: found on this machine.
    """

    def __init__(self, settings: Settings, devices: tuple[Device, ...]) -> None:
        self._settings = settings
        self._devices = devices
        self._incarnation = str(uuid.uuid4())
        self._sglang_version = _sglang_version()
        self._store = AssignmentStore(settings.state_dir / "assignment.bin")
        self._catalog = Catalog(settings.models_dir)
        self._models = FittedModels()
        self._stop = asyncio.Event()
        self._session = Session(
            addresses=settings.control_planes,
            hello=self._hello,
            report=self._report,
            accept=self._accept,
        )
        self._host_memory_bytes = (
            settings.host_memory_bytes or host_memory_bytes() // settings.host_memory_parts
        )
        self._warmth = Warmth(
            models_dir=settings.models_dir,
            asked=self._catalog.known,
            on_change=self._session.report_soon,
        )
        self._items = ItemControl(
            node=settings.node,
            channel=lambda: self._session.channel,
            epoch=lambda: self._session.lease.epoch,
        )
        self._reconciler = Reconciler(
            devices=devices,
            catalog=self._catalog,
            make=self._make_replica,
            on_change=self._session.report_soon,
        )

    def stop(self) -> None:
        """Has `run` drain and return."""
        self._stop.set()

    async def run(self) -> None:
        """Serves until `stop`; kills its engines when cancelled.

        Raises:
            Refusal: the address or the state folder is in use.
        """
        server = FleetServer([_SERVICE])
        inference_service_pb2_grpc.add_InferenceServiceServicer_to_server(
            InferenceServicer(node=self._settings.node, replicas=self._reconciler), server.grpc
        )
        server.bind(self._settings.listen)
        with _state_folder_held(self._settings.state_dir):
            await self._start_from_file()
            await self._look_for_warm_models()
            await server.start()
            await server.set_serving(True)
            _log.info(
                "agent_started node=%s listen=%s devices=%d version=%s sglang=%s",
                *(self._settings.node, self._settings.listen, len(self._devices)),
                *(build_version(), self._sglang_version or "none"),
            )
            async with asyncio.TaskGroup() as tasks:
                session = tasks.create_task(self._session.run())
                replicas = tasks.create_task(self._reconciler.run())
                warmth = tasks.create_task(self._warmth.run())
                await self._stop.wait()
                _log.info("agent_stopping node=%s", self._settings.node)
                await server.set_serving(False)
                self._reconciler.close(grace_s=self._settings.stop_grace_s)
                await replicas
                session.cancel()
                warmth.cancel()
                await server.stop(grace_s=_LAST_STREAMS_S)
        _log.info("agent_stopped node=%s", self._settings.node)

    async def _look_for_warm_models(self) -> None:
        """Looks before the first hello, whose round shall know; a slow disk delays no start."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_LOOK_S):
                await self._warmth.look()

    async def _start_from_file(self) -> None:
        message = await asyncio.to_thread(self._store.load)
        if message is None:
            return
        _log.info("assignment_loaded epoch=%d revision=%d", message.epoch, message.revision)
        self._reconciler.assign(assignment_from_proto(message, devices=self._devices))

    async def _accept(self, message: agent_service_pb2.NodeAssignment) -> None:
        await asyncio.to_thread(self._store.accept, message)
        _log.info(
            "assignment_accepted epoch=%d revision=%d replicas=%d kill_switch=%s cordoned=%s",
            *(message.epoch, message.revision, len(message.replicas)),
            *(message.kill_switch, message.cordoned),
        )
        self._reconciler.assign(assignment_from_proto(message, devices=self._devices))

    def _make_replica(
        self, desired: DesiredReplica, fingerprint: str, facts: ModelFacts
    ) -> Replica:
        chosen = tuple(d for d in self._devices if d.index in desired.device_indices)
        device_type = chosen[0].device_type
        settings = self._settings
        identity = identity_of(
            model=desired.model,
            device_type=device_type,
            tensor_parallel_size=desired.tensor_parallel_size,
            engine_build=self._sglang_version,
        )
        supervisor = Supervisor(
            replica=desired.id,
            needs=EngineNeeds(
                model_path=facts.path,
                served_name=desired.deployment,
                devices=chosen,
                tensor_parallel_size=desired.tensor_parallel_size,
                kv_cache_tokens=desired.kv_cache_tokens,
                max_context_tokens=desired.max_context_tokens,
                max_running_requests=desired.max_running_requests,
                chunked_prefill_size=desired.chunked_prefill_size,
                dtype=desired.dtype,
            ),
            log_folder=settings.state_dir / "engines" / desired.id,
            ready_timeout_s=settings.engine_ready_timeout_s,
            python=settings.engine_python,
            environment=os.environ,
            on_change=self._session.report_soon,
        )
        telemetry = Telemetry(
            replica=desired.id,
            identity=identity,
            default=default_model(device_type, weights_bytes=facts.weights_bytes),
            models=self._models,
        )
        return Replica(
            desired,
            fingerprint=fingerprint,
            context_tokens=min(
                desired.max_context_tokens or facts.max_context_tokens, desired.kv_cache_tokens
            ),
            vocab_size=facts.vocab_size,
            supervisor=supervisor,
            telemetry=telemetry,
            control=self._items,
            node_facts=self._node_facts,
            offline_window=settings.offline_window,
            on_change=self._session.report_soon,
        )

    def _node_facts(self) -> NodeFacts:
        assignment = self._reconciler.assignment
        return NodeFacts(
            is_lease_held=self._session.is_lease_held,
            kill_switch=assignment.kill_switch or self._session.is_kill_switch_unstored,
            is_cordoned=assignment.cordoned,
        )

    def _hello(self) -> agent_service_pb2.Hello:
        assignment = self._reconciler.assignment
        return agent_service_pb2.Hello(
            node=node_to_proto(
                node=self._settings.node,
                address=self._settings.advertise,
                failure_domain=self._settings.failure_domain,
                devices=self._devices,
                labels=self._settings.labels,
                agent_version=build_version(),
                sglang_version=self._sglang_version,
                host_memory_bytes=self._host_memory_bytes,
                warm_models=self._warmth.models,
            ),
            protocol_version=PROTOCOL_VERSION,
            incarnation=self._incarnation,
            held_epoch=assignment.epoch,
            held_revision=assignment.revision,
            replicas=[status_to_proto(status) for status in self._reconciler.take_statuses()],
        )

    def _report(self) -> agent_service_pb2.NodeReport:
        return agent_service_pb2.NodeReport(
            replicas=[status_to_proto(status) for status in self._reconciler.take_statuses()],
            revision=self._reconciler.assignment.revision,
            models=[facts_to_proto(name, facts) for name, facts in self._catalog.known().items()],
            warm_models=self._warmth.models,
        )


@contextmanager
def _state_folder_held(folder: Path) -> Iterator[None]:
    """Holds the folder's lock; the kernel lets go of it with the process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "agent.lock").open("w")
    except OSError as error:
        raise Refusal(
            code=grpc.StatusCode.FAILED_PRECONDITION,
            reason="STATE_FOLDER_UNUSABLE",
            message=f"state folder {folder}: {error}; choose a writable one with --state-dir",
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Refusal(
                code=grpc.StatusCode.FAILED_PRECONDITION,
                reason="STATE_FOLDER_IN_USE",
                message=f"state folder {folder}: another agent holds it; stop that agent or"
                " choose another folder with --state-dir",
            ) from error
        yield


def _sglang_version() -> str:
    try:
        return version("sglang")
    except PackageNotFoundError:
        return ""
