"""InferenceService of an agent.

Owns one call: choose a replica of this node, stream its tokens as they come, abort in the
engine when the caller goes, account latencies. Refuses to queue beyond what could still
meet an SLO. Invariants: no content is logged; every call that got as far as an engine is
counted once, as completed, failed or shed.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Protocol

import grpc
import grpc.aio
from slacktide.v1 import inference_service_pb2, inference_service_pb2_grpc
from slacktide.wire.errors import Refusal
from slacktide.wire.names import resource_name

from nodeagent.codec import load_to_proto
from nodeagent.engine.client import EngineClient, EngineFinish
from nodeagent.engine.errors import EngineRefusedError, EngineUnavailableError
from nodeagent.inference.bodies import chat_body, generate_body, new_rid
from nodeagent.inference.generation import (
    Generation,
    check_context,
    check_vocabulary,
    parse_generation,
)
from nodeagent.latencies import Latencies
from nodeagent.status import ReplicaLoad
from planner.model import Slo
from planner.slo import Outcome

_log = logging.getLogger(__name__)

_RETRY_AFTER_S = 1.0


class OnlineReplica(Protocol):
    """What the servicer needs of a replica."""

    id: str
    latencies: Latencies

    @property
    def deployment(self) -> str:
        """Deployment id."""

    @property
    def online_client(self) -> EngineClient | None:
        """The engine, while the replica takes new online requests."""

    @property
    def online_limit(self) -> int:
        """Online requests it holds at the most, running or queued."""

    @property
    def context_tokens(self) -> int:
        """Longest prompt plus output; 0: unknown."""

    @property
    def vocab_size(self) -> int:
        """Token ids the model has; 0: unknown."""

    def class_of(self, asked: str) -> tuple[str, Slo]:
        """The SLO class a request is served in, "" without classes, and its SLO."""

    def load(self) -> ReplicaLoad:
        """Load now."""

    def count_online(self, finish: EngineFinish, *, slo_class: str) -> None:
        """Accounts a finished request of an SLO class."""

    def abort_soon(self, rid: str) -> None:
        """Has the engine abort the request."""


class ReplicaDirectory(Protocol):
    """The replicas of this node."""

    def find(self, replica: str) -> OnlineReplica | None:
        """The replica of that id, in whatever state."""

    def of_deployment(self, deployment: str) -> tuple[OnlineReplica, ...]:
        """All of a deployment, in whatever state."""


class InferenceServicer(inference_service_pb2_grpc.InferenceServiceServicer):
    """Serves `Generate` from the engines of `node`."""

    def __init__(self, *, node: str, replicas: ReplicaDirectory) -> None:
        self._node = node
        self._replicas = replicas

    async def Generate(  # noqa: N802 - generated name
        self,
        request: inference_service_pb2.GenerateRequest,
        context: "grpc.aio.ServicerContext[Any, Any]",
    ) -> AsyncIterator[inference_service_pb2.GenerateResponse]:
        """Streams one generation; see the proto."""
        arrived_s = time.monotonic()
        generation = parse_generation(request)
        replica, client = self._choose(generation)
        check_context(generation, context_tokens=replica.context_tokens)
        check_vocabulary(generation, vocab_size=replica.vocab_size)
        _check_class(generation, replica)
        if replica.latencies.running >= replica.online_limit:
            raise Refusal(
                code=grpc.StatusCode.RESOURCE_EXHAUSTED,
                reason="REPLICA_CONTENDED",
                message=f"replica {replica.id}: holds {replica.latencies.running} online requests,"
                f" allowed {replica.online_limit}; try again or elsewhere",
                retry_after_s=_RETRY_AFTER_S,
            )
        async with aclosing(
            self._stream(generation, replica=replica, client=client, arrived_s=arrived_s)
        ) as responses:
            async for response in responses:
                yield response

    async def _stream(
        self,
        generation: Generation,
        *,
        replica: OnlineReplica,
        client: EngineClient,
        arrived_s: float,
    ) -> Any:
        rid = new_rid()
        slo_class, slo = replica.class_of(generation.slo_class)
        served: inference_service_pb2.Served | None = inference_service_pb2.Served(
            replica=resource_name("replicas", replica.id),
            node=resource_name("nodes", self._node),
            load=load_to_proto(replica.load()),
            slo_class=slo_class,
        )
        chunks = (
            client.chat(chat_body(generation, rid=rid, slo=slo))
            if generation.turns is not None
            else client.generate(generate_body(generation, rid=rid, slo=slo))
        )
        outcome: Outcome | None = None
        with replica.latencies.measure(arrived_s=arrived_s, slo=slo) as stream:
            try:
                async with aclosing(chunks):
                    async for chunk in chunks:
                        stream.add(chunk.token_count, now_s=time.monotonic())
                        response = inference_service_pb2.GenerateResponse(
                            text=chunk.text,
                            token_ids=chunk.token_ids,
                            token_count=chunk.token_count,
                            served=served,
                        )
                        served = None
                        if chunk.finish is not None:
                            outcome = Outcome.COMPLETED
                            replica.count_online(chunk.finish, slo_class=slo_class)
                            response.finish.CopyFrom(_finish_to_proto(chunk.finish, replica))
                        yield response
            except EngineRefusedError as error:
                is_callers = error.status in (400, 413, 422)
                # A prompt the engine will never take says nothing about latency.
                stream.is_abandoned = is_callers
                outcome = Outcome.SHED if error.status == 429 else Outcome.FAILED
                raise _refusal(error, replica) from error
            except EngineUnavailableError as error:
                outcome = Outcome.FAILED
                _log.warning(
                    "engine_stream_lost replica=%s rid=%s cause=%s", replica.id, rid, error
                )
                raise Refusal(
                    code=grpc.StatusCode.UNAVAILABLE,
                    reason="ENGINE_UNAVAILABLE",
                    message=f"replica {replica.id}: its engine broke off ({error}); try again",
                    retry_after_s=_RETRY_AFTER_S,
                ) from error
            except (asyncio.CancelledError, GeneratorExit):
                if outcome is None:
                    stream.is_abandoned = True
                    replica.abort_soon(rid)
                raise
            finally:
                if outcome is not None or stream.is_abandoned:
                    replica.latencies.finish(
                        stream, outcome or Outcome.FAILED, now_s=time.monotonic()
                    )

    def _choose(self, generation: Generation) -> tuple[OnlineReplica, EngineClient]:
        """The replica asked for, or the least loaded one of the deployment."""
        candidates: tuple[OnlineReplica, ...]
        if generation.replica:
            replica = self._replicas.find(generation.replica)
            is_match = replica is not None and replica.deployment == generation.deployment
            candidates = (replica,) if replica is not None and is_match else ()
        else:
            candidates = self._replicas.of_deployment(generation.deployment)
            if not candidates:
                raise Refusal(
                    code=grpc.StatusCode.NOT_FOUND,
                    reason="DEPLOYMENT_NOT_FOUND",
                    message=f"deployment {generation.deployment}: no replica of it is assigned to"
                    f" node {self._node}; ask a gateway, or apply the deployment",
                )
        open_ = [(r, c) for r in candidates if (c := r.online_client) is not None]
        if not open_:
            wanted = generation.replica or f"of deployment {generation.deployment}"
            raise Refusal(
                code=grpc.StatusCode.UNAVAILABLE,
                reason="NO_REPLICA",
                message=f"node {self._node}: no replica {wanted} takes requests now;"
                " try again or elsewhere",
                retry_after_s=_RETRY_AFTER_S,
            )
        return min(open_, key=lambda pair: (pair[0].latencies.running, pair[0].id))


def _check_class(generation: Generation, replica: OnlineReplica) -> None:
    """Refuses an SLO class the deployment has not, where no gateway did.

    A gateway may have heard of a class before this node: what it sends is served in the
    tightest until then.
    """
    known, _ = replica.class_of(generation.slo_class)
    if generation.replica or generation.slo_class in ("", known):
        return
    problem = f"{generation.slo_class[:64]!r}: not one of its SLO classes"
    raise Refusal(
        code=grpc.StatusCode.INVALID_ARGUMENT,
        reason="UNKNOWN_CLASS",
        message=f"deployment {replica.deployment}: slo_class {problem}; leave it empty, or apply"
        " the deployment with it",
        violations=[("slo_class", problem)],
    )


def _finish_to_proto(finish: EngineFinish, replica: OnlineReplica) -> inference_service_pb2.Finish:
    return inference_service_pb2.Finish(
        reason=finish.reason,
        prompt_tokens=finish.prompt_tokens,
        cached_tokens=finish.cached_tokens,
        output_tokens=finish.output_tokens,
        load=load_to_proto(replica.load()),
    )


def _refusal(error: EngineRefusedError, replica: OnlineReplica) -> Refusal:
    match error.status:
        case 400 | 413 | 422:
            return Refusal(
                code=grpc.StatusCode.INVALID_ARGUMENT,
                reason="ENGINE_REFUSED",
                message=f"deployment {replica.deployment}: {error.message}",
            )
        case 429:
            return Refusal(
                code=grpc.StatusCode.RESOURCE_EXHAUSTED,
                reason="REPLICA_CONTENDED",
                message=f"replica {replica.id}: its engine's queue is full; try again",
                retry_after_s=_RETRY_AFTER_S,
            )
        case _:
            _log.warning("engine_error replica=%s status=%d", replica.id, error.status)
            return Refusal(
                code=grpc.StatusCode.UNAVAILABLE,
                reason="ENGINE_ERROR",
                message=f"replica {replica.id}: {error}; try again",
                retry_after_s=_RETRY_AFTER_S,
            )
