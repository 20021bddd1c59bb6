"""DeploymentService: what is wanted, and the replicas that serve it."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import grpc
from slacktide.v1 import deployment_pb2, deployment_service_pb2, deployment_service_pb2_grpc
from slacktide.wire.errors import Refusal

from controlplane.feed import StateFeed
from controlplane.messages.deployments import parse_deployment, to_deployment
from controlplane.messages.replicas import to_replica
from controlplane.rounds.outcome import RoundLog
from controlplane.services.lookups import found, id_of, live
from controlplane.services.mutations import mutate
from controlplane.services.paging import page
from controlplane.telemetry import Telemetry
from planner.model import Desired, ReplicaState
from storage.batch_records import BatchState
from storage.batches import BatchStore
from storage.records import DeploymentRecord, DeploymentSpec, FleetView
from storage.store import FleetStore, FleetTransaction

_UNFINISHED = tuple(state for state in BatchState if not state.is_terminal)


class DeploymentServicer(deployment_service_pb2_grpc.DeploymentServiceServicer):
    """Admin: deployments and their replicas.

    Args:
        store: fleet state.
        batches: says whether a deployment has unfinished batches.
        feed: the newest view.
        telemetry: last reports of replicas.
        rounds: what the last round could not place.
        request_round: asks for a round, with what triggers it.
    """

    def __init__(
        self,
        *,
        store: FleetStore,
        batches: BatchStore,
        feed: StateFeed,
        telemetry: Telemetry,
        rounds: RoundLog,
        request_round: Callable[[str], None],
    ) -> None:
        self._store = store
        self._batches = batches
        self._feed = feed
        self._telemetry = telemetry
        self._rounds = rounds
        self._request_round = request_round

    async def ListDeployments(  # noqa: N802
        self, request: deployment_service_pb2.ListDeploymentsRequest, context: Any
    ) -> deployment_service_pb2.ListDeploymentsResponse:
        """Lists deployments by name."""
        view = self._feed.view
        chosen, token = page(
            [one for one in view.deployments if not one.is_deleted],
            key=lambda one: one.id,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return deployment_service_pb2.ListDeploymentsResponse(
            deployments=[self._shown(view, one) for one in chosen], next_page_token=token
        )

    async def GetDeployment(  # noqa: N802
        self, request: deployment_service_pb2.GetDeploymentRequest, context: Any
    ) -> deployment_service_pb2.GetDeploymentResponse:
        """Gets one deployment."""
        id_ = id_of("deployments", request.name)
        record = live(self._feed.view.deployment(id_), id_)
        return deployment_service_pb2.GetDeploymentResponse(
            deployment=self._shown(self._feed.view, record)
        )

    async def ApplyDeployment(  # noqa: N802
        self, request: deployment_service_pb2.ApplyDeploymentRequest, context: Any
    ) -> deployment_service_pb2.ApplyDeploymentResponse:
        """Creates a deployment or replaces its spec."""
        id_, spec = parse_deployment(request.deployment)
        view = self._feed.view
        if request.validate_only:
            record = applied(
                view.deployment(id_), id_, spec, generation=request.generation, now_s=time.time()
            )
            return deployment_service_pb2.ApplyDeploymentResponse(
                deployment=self._shown(view, record)
            )

        def work(state: FleetTransaction) -> deployment_service_pb2.ApplyDeploymentResponse:
            record = applied(
                state.deployment(id_), id_, spec, generation=request.generation, now_s=time.time()
            )
            state.put_deployment(record)
            for one in state.allocations_of(id_):
                if one.runs(record):
                    current = replace(one.allocation, generation=record.generation)
                    state.put_allocation(replace(one, allocation=current))
            return deployment_service_pb2.ApplyDeploymentResponse(
                deployment=self._shown(state.view(), record)
            )

        response = await mutate(
            self._store,
            self._feed,
            request,
            answer=deployment_service_pb2.ApplyDeploymentResponse,
            work=work,
        )
        self._request_round(f"deployment {id_} applied")
        return response

    async def DeleteDeployment(  # noqa: N802
        self, request: deployment_service_pb2.DeleteDeploymentRequest, context: Any
    ) -> deployment_service_pb2.DeleteDeploymentResponse:
        """Deletes a deployment; its replicas drain."""
        id_ = id_of("deployments", request.name)

        def work(state: FleetTransaction) -> deployment_service_pb2.DeleteDeploymentResponse:
            record = live(state.deployment(id_), id_)
            self._refuse_unfinished(id_)
            state.put_deployment(replace(record, is_deleted=True, update_s=time.time()))
            state.release_holds(id_)
            for one in state.allocations_of(id_):
                stopped = replace(one.allocation, desired=Desired.STOPPED, after=())
                state.put_allocation(replace(one, allocation=stopped))
            return deployment_service_pb2.DeleteDeploymentResponse()

        response = await mutate(
            self._store,
            self._feed,
            request,
            answer=deployment_service_pb2.DeleteDeploymentResponse,
            work=work,
        )
        self._request_round(f"deployment {id_} deleted")
        return response

    async def ListReplicas(  # noqa: N802
        self, request: deployment_service_pb2.ListReplicasRequest, context: Any
    ) -> deployment_service_pb2.ListReplicasResponse:
        """Lists replicas by name, of one deployment or of all."""
        view = self._feed.view
        listed = view.allocations
        if request.deployment:
            id_ = id_of("deployments", request.deployment, field="deployment")
            found(view.deployment(id_), kind="deployment", id_=id_)
            listed = view.of_deployment(id_)
        chosen, token = page(
            listed,
            key=lambda one: one.allocation.replica,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        now_s = time.monotonic()
        return deployment_service_pb2.ListReplicasResponse(
            replicas=[
                to_replica(one, report=self._telemetry.report(one.allocation.replica, now_s=now_s))
                for one in chosen
            ],
            next_page_token=token,
        )

    async def GetReplica(  # noqa: N802
        self, request: deployment_service_pb2.GetReplicaRequest, context: Any
    ) -> deployment_service_pb2.GetReplicaResponse:
        """Gets one replica."""
        id_ = id_of("replicas", request.name)
        record = found(
            next(
                (one for one in self._feed.view.allocations if one.allocation.replica == id_), None
            ),
            kind="replica",
            id_=id_,
        )
        report = self._telemetry.report(id_, now_s=time.monotonic())
        return deployment_service_pb2.GetReplicaResponse(replica=to_replica(record, report=report))

    def _refuse_unfinished(self, deployment: str) -> None:
        unfinished = [
            batch.id
            for batch in self._batches.in_states(*_UNFINISHED)
            if batch.deployment == deployment
        ]
        if unfinished:
            raise Refusal(
                code=grpc.StatusCode.FAILED_PRECONDITION,
                reason="DEPLOYMENT_HAS_BATCHES",
                message=f"deployment {deployment}: {len(unfinished)} batches of it are not"
                f" finished ({', '.join(unfinished[:3])}); wait for them or cancel them first",
                violations=[(f"batches/{batch}", "is not finished") for batch in unfinished[:32]],
            )

    def _shown(self, view: FleetView, record: DeploymentRecord) -> deployment_pb2.Deployment:
        placed = [
            one.allocation
            for one in view.of_deployment(record.id)
            if one.allocation.desired is Desired.RUNNING
        ]
        return to_deployment(
            record,
            running=sum(one.state is ReplicaState.RUNNING for one in placed),
            placed=len(placed),
            misfits=self._rounds.misfits_of(record),
        )


def applied(
    before: DeploymentRecord | None,
    id_: str,
    spec: DeploymentSpec,
    *,
    generation: int,
    now_s: float,
) -> DeploymentRecord:
    """The record after the change; the same spec again changes nothing."""
    current = 0 if before is None or before.is_deleted else before.generation
    if generation > 0 and generation != current:
        raise Refusal(
            code=grpc.StatusCode.ABORTED,
            reason="STALE_GENERATION",
            message=f"deployment {id_}: generation {generation} is stale, it is at {current};"
            " read it again and re-apply the change",
            metadata={"generation": str(current)},
        )
    if before is None:
        return DeploymentRecord(id=id_, generation=1, spec=spec, create_s=now_s, update_s=now_s)
    if not before.is_deleted and before.spec == spec:
        return before
    same_model = before.spec.engine.model == spec.engine.model
    return DeploymentRecord(
        id=id_,
        generation=before.generation + 1,
        spec=spec,
        needs=before.needs if same_model else None,
        needs_error=before.needs_error if same_model else "",
        create_s=now_s if before.is_deleted else before.create_s,
        update_s=now_s,
    )
