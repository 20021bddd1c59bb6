"""One control plane: what it is made of, how it starts and how it stops.

Owns construction order and the tasks of the process. Refuses decisions. Invariants:
leadership is taken before anything is served; health says SERVING only once every
service is up, and NOT_SERVING before the first of them goes; a newer leader ends this
process, so that no agent stays with one that can commit nothing.
"""

import asyncio
import logging
import time
from types import TracebackType
from typing import Any

import grpc
from slacktide.v1 import (
    agent_service_pb2,
    agent_service_pb2_grpc,
    batch_service_pb2,
    batch_service_pb2_grpc,
    deployment_service_pb2,
    deployment_service_pb2_grpc,
    fleet_service_pb2,
    fleet_service_pb2_grpc,
    item_service_pb2,
    item_service_pb2_grpc,
    node_service_pb2,
    node_service_pb2_grpc,
    placement_service_pb2,
    placement_service_pb2_grpc,
    rollout_service_pb2,
    rollout_service_pb2_grpc,
    routing_service_pb2,
    routing_service_pb2_grpc,
    tenant_service_pb2,
    tenant_service_pb2_grpc,
)
from slacktide.wire.errors import Refusal
from slacktide.wire.server import FleetServer
from slacktide.wire.version import build_version

from controlplane.batches.items import ItemServicer
from controlplane.batches.objects import ObjectStore
from controlplane.batches.service import BatchServicer
from controlplane.batches.worker import BatchWorker
from controlplane.feed import StateFeed
from controlplane.keeper import FleetKeeper
from controlplane.opening import ServerSettings, open_database, open_objects
from controlplane.rounds.demandwatch import DemandWatch
from controlplane.rounds.deriving import FrontierDeriver
from controlplane.rounds.dryrun import DryRun
from controlplane.rounds.loop import RoundLoop
from controlplane.rounds.outcome import RoundLog
from controlplane.rounds.resplitting import Resplitter
from controlplane.rounds.solver import Solver
from controlplane.services.agents import AgentServicer
from controlplane.services.deployments import DeploymentServicer
from controlplane.services.fleet import FleetServicer
from controlplane.services.nodes import NodeServicer
from controlplane.services.placement import PlacementServicer
from controlplane.services.rollout import RolloutServicer
from controlplane.services.routing import GatewayNotes, RoutingServicer
from controlplane.services.tenants import TenantServicer
from controlplane.sessions import Sessions
from controlplane.stored import stored
from controlplane.telemetry import Telemetry
from storage.batches import BatchStore
from storage.offline_facts import StoredFleet
from storage.store import FleetStore

__all__ = ["ControlPlane", "ServerSettings"]

_log = logging.getLogger(__name__)

_SERVICES: tuple[Any, ...] = (
    agent_service_pb2,
    batch_service_pb2,
    deployment_service_pb2,
    fleet_service_pb2,
    item_service_pb2,
    node_service_pb2,
    placement_service_pb2,
    rollout_service_pb2,
    routing_service_pb2,
    tenant_service_pb2,
)
_REQUESTS_KEPT_S = 7 * 24 * 3600.0
_HOUSEKEEPING_S = 3600.0


class ControlPlane:
    """A control plane that leads. Use as an async context manager, then `run`.

    Args:
        settings: how it is started.
        solver: solves rounds; by default the product's own process.
    """

    def __init__(self, settings: ServerSettings, *, solver: Solver | None = None) -> None:
        self._settings = settings
        self._solver = solver or Solver(limits=settings.solver)
        self._dry_solver = Solver(limits=settings.solver)
        self._server = FleetServer([_full_name(module) for module in _SERVICES])
        self.port = 0
        self.epoch = 0

    async def __aenter__(self) -> "ControlPlane":
        """Opens the database, takes leadership and binds.

        Raises:
            Refusal: the address is in use, or the state folder cannot be written.
            StorageError: the database is newer, full or cannot be reached.
        """
        settings = self._settings
        self.port = self._server.bind(settings.listen)
        self._database = await asyncio.to_thread(open_database, settings)
        self._store = FleetStore(self._database)
        self._batches = BatchStore(self._database)
        objects = await asyncio.to_thread(open_objects, settings)
        self.epoch = await asyncio.to_thread(
            self._store.acquire_epoch, settings.control_plane, now_s=time.time()
        )
        view = await asyncio.to_thread(self._store.view)

        self._feed = StateFeed(self._store, view)
        self._sessions = Sessions(lease_s=settings.lease_s)
        self._sessions.grace(
            tuple(node.id for node in view.nodes if node.is_ready), now_s=time.monotonic()
        )
        self._telemetry = Telemetry()
        self._gateways = GatewayNotes(self._store)
        self._demand = DemandWatch(
            store=self._store,
            feed=self._feed,
            telemetry=self._telemetry,
            epoch=self.epoch,
            round_interval_s=settings.round_interval_s,
        )
        await self._demand.load(now_s=time.time())
        self._log = RoundLog(view.plan.plan.misfits if view.plan else ())
        self._rounds = RoundLoop(
            store=self._store,
            batches=self._batches,
            feed=self._feed,
            telemetry=self._telemetry,
            solver=self._solver,
            log=self._log,
            epoch=self.epoch,
            interval_s=settings.round_interval_s,
            budget_s=settings.solve_budget_s,
            settings=settings.placement,
            forecast=lambda: self._demand.bounds,
            frontiers=lambda: self._deriver.book,
        )
        self._deriver = FrontierDeriver(
            store=self._store,
            feed=self._feed,
            epoch=self.epoch,
            request_round=self._rounds.request,
        )
        await self._deriver.load()
        self._resplitter = Resplitter(feed=self._feed, rounds=self._rounds)
        self._keeper = FleetKeeper(
            store=self._store,
            batches=self._batches,
            feed=self._feed,
            sessions=self._sessions,
            telemetry=self._telemetry,
            epoch=self.epoch,
            request_round=self._rounds.request,
        )
        self._worker = BatchWorker(self._batches, objects, demand_changed=self._rounds.request)
        self._add_services(objects)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the processes it started and closes the database."""
        await self._server.stop(grace_s=0)
        await self._solver.close()
        await self._deriver.close()
        await self._dry_solver.close()
        await asyncio.to_thread(self._database.close)

    async def run(self, stop: asyncio.Event) -> None:
        """Serves until `stop` is set.

        Raises:
            ExceptionGroup: of Refusals, where another leader took over.
        """
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(work)
                for work in (
                    self._warm_solver(),
                    self._feed.run(),
                    self._keeper.run(),
                    self._demand.run(),
                    self._rounds.run(),
                    self._resplitter.run(),
                    *([self._deriver.run()] if self._settings.derive_frontiers else []),
                    self._worker.run(),
                    self._watch_epoch(),
                    self._gateways.run(),
                    self._keep_house(),
                )
            ]
            try:
                await self._server.start()
                await self._server.set_serving(True)
                self._rounds.request("control plane started")
                _log.info(
                    "control_plane_serving id=%s version=%s port=%d epoch=%d revision=%d",
                    self._settings.control_plane,
                    build_version(),
                    self.port,
                    self.epoch,
                    self._feed.view.state.revision,
                )
                await stop.wait()
            finally:
                await self._server.set_serving(False)
                self._feed.close()
                self._sessions.end_all(f"control plane {self._settings.control_plane} stops")
                await self._server.stop(grace_s=self._settings.grace_s)
                await self._keep_forecasts()
                for task in background:
                    task.cancel()
        _log.info("control_plane_stopped id=%s", self._settings.control_plane)

    def _add_services(self, objects: ObjectStore) -> None:
        """Adds every service; RPCs a servicer lacks answer UNIMPLEMENTED by its base.

        That is what the ignored `abstract` errors are about: the stubs' types ask for all.
        """
        server, rounds = self._server.grpc, self._rounds
        dry_run = DryRun(solver=self._dry_solver, rounds=rounds)
        fleet = StoredFleet()
        agent_service_pb2_grpc.add_AgentServiceServicer_to_server(
            AgentServicer(
                store=self._store,
                batches=self._batches,
                feed=self._feed,
                sessions=self._sessions,
                telemetry=self._telemetry,
                epoch=self.epoch,
                request_round=rounds.request,
            ),
            server,
        )
        deployment_service_pb2_grpc.add_DeploymentServiceServicer_to_server(
            DeploymentServicer(
                store=self._store,
                batches=self._batches,
                feed=self._feed,
                telemetry=self._telemetry,
                rounds=self._log,
                request_round=rounds.request,
            ),
            server,
        )
        node_service_pb2_grpc.add_NodeServiceServicer_to_server(
            NodeServicer(
                store=self._store,
                feed=self._feed,
                sessions=self._sessions,
                dry_run=dry_run,
                request_round=rounds.request,
            ),
            server,
        )
        placement_service_pb2_grpc.add_PlacementServiceServicer_to_server(
            PlacementServicer(
                store=self._store,
                feed=self._feed,
                dry_run=dry_run,
                rounds=self._log,
                epoch=self.epoch,
                request_round=rounds.request,
            ),
            server,
        )
        routing_service_pb2_grpc.add_RoutingServiceServicer_to_server(
            RoutingServicer(feed=self._feed, telemetry=self._telemetry, gateways=self._gateways),
            server,
        )
        rollout_service_pb2_grpc.add_RolloutServiceServicer_to_server(
            RolloutServicer(store=self._store, feed=self._feed),  # type: ignore[abstract]
            server,
        )
        tenant_service_pb2_grpc.add_TenantServiceServicer_to_server(
            TenantServicer(store=self._store, feed=self._feed, request_round=rounds.request),
            server,
        )
        fleet_service_pb2_grpc.add_FleetServiceServicer_to_server(
            FleetServicer(
                store=self._store,
                feed=self._feed,
                sessions=self._sessions,
                telemetry=self._telemetry,
                control_plane=self._settings.control_plane,
                epoch=self.epoch,
                address=f"{self._settings.listen.rpartition(':')[0]}:{self.port}",
            ),
            server,
        )
        batch_service_pb2_grpc.add_BatchServiceServicer_to_server(
            BatchServicer(  # type: ignore[abstract]
                self._batches, fleet, objects, wake=self._worker.wake
            ),
            server,
        )
        item_service_pb2_grpc.add_ItemServiceServicer_to_server(
            ItemServicer(self._batches, fleet, objects, wake=self._worker.wake), server
        )

    async def _watch_epoch(self) -> None:
        while not self._feed.is_closed:
            state = self._feed.view.state
            if state.epoch != self.epoch:
                raise Refusal(
                    code=grpc.StatusCode.ABORTED,
                    reason="STALE_EPOCH",
                    message=f"control plane {self._settings.control_plane}: epoch {self.epoch} is"
                    f" superseded by epoch {state.epoch} of {state.leader}; it stops",
                )
            await self._feed.after(state.revision, timeout_s=60.0)

    async def _warm_solver(self) -> None:
        """Lets OR-Tools load while agents register, so that the first round has its time."""
        try:
            await self._solver.warm()
        except Exception:  # noqa: BLE001 - the first solve tries again and tells
            _log.exception("solver_not_warm")

    async def _keep_forecasts(self) -> None:
        """At the end, so that a restart loses no minute of them."""
        try:
            await self._demand.store()
        except Refusal as refusal:
            _log.error("forecast_not_stored reason=%s message=%s", refusal.reason, refusal)

    async def _keep_house(self) -> None:
        while True:
            try:
                dropped = await stored(
                    self._store.forget_requests, before_s=time.time() - _REQUESTS_KEPT_S
                )
                _log.debug("requests_forgotten count=%d", dropped)
            except Refusal as refusal:
                _log.error("housekeeping_failed reason=%s message=%s", refusal.reason, refusal)
            except Exception:  # noqa: BLE001 - nothing waits for it
                _log.exception("housekeeping_alert")
            await asyncio.sleep(_HOUSEKEEPING_S)


def _full_name(module: Any) -> str:
    (service,) = module.DESCRIPTOR.services_by_name.values()
    name: str = service.full_name
    return name
