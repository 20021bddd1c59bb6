"""ItemService, as a replica's puller uses it.

Owns the protobuf of items and the deadlines of its calls. Refuses to retry: the puller
comes again by itself, and every call is safe to repeat.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import grpc
import grpc.aio
from slacktide.v1 import item_service_pb2, item_service_pb2_grpc
from slacktide.wire.names import resource_name

from nodeagent.offline.bodies import Item, Result
from nodeagent.offline.ledger import Lease

_PULL_DEADLINE_S = 5.0
_COMMIT_DEADLINE_S = 20.0  # answered once durable in object storage and database
_MOST_ITEMS = 256  # item_service.proto


class NoControlPlaneError(Exception):
    """No session is established, or the call failed; come again."""


class ItemControl:
    """Calls the control plane the session speaks to.

    Args:
        node: id of this node.
        channel: the session's channel, None without one.
        epoch: the highest fencing epoch seen.
    """

    def __init__(
        self,
        *,
        node: str,
        channel: Callable[[], grpc.aio.Channel | None],
        epoch: Callable[[], int],
    ) -> None:
        self._node = resource_name("nodes", node)
        self._channel = channel
        self._epoch = epoch

    async def pull(self, *, replica: str, held: Sequence[Lease], most: int) -> tuple[Item, ...]:
        """Says what is held and leases up to `most` more items.

        Raises:
            NoControlPlaneError: it could not be reached or refused.
        """
        request = item_service_pb2.PullItemsRequest(
            node=self._node,
            replica=resource_name("replicas", replica),
            held=[_lease_to_proto(lease) for lease in held],
            max_items=min(most, _MOST_ITEMS),
            epoch=self._epoch(),
        )
        with _unreachable():
            response = await self._stub().PullItems(request, timeout=_PULL_DEADLINE_S)
        return tuple(
            Item(
                name=item.lease.item,
                attempt=item.lease.attempt,
                url=item.url,
                body=item.body,
                deadline_unix_s=item.deadline_unix_s,
            )
            for item in response.items
        )

    async def commit(self, *, replica: str, results: Sequence[Result]) -> int:
        """Stores results; returns how many were superseded by another execution.

        Raises:
            NoControlPlaneError: it is unknown whether they were stored; commit again.
        """
        request = item_service_pb2.CommitResultsRequest(
            node=self._node,
            replica=resource_name("replicas", replica),
            results=[
                item_service_pb2.ItemResult(
                    lease=_lease_to_proto((result.name, result.attempt)),
                    status_code=result.status_code,
                    body=result.body,
                    retryable=result.is_retryable,
                    prompt_tokens=result.prompt_tokens,
                    output_tokens=result.output_tokens,
                )
                for result in results
            ],
        )
        with _unreachable():
            response = await self._stub().CommitResults(request, timeout=_COMMIT_DEADLINE_S)
        return len(response.superseded)

    async def give_back(self, *, replica: str, leases: Sequence[Lease], reason: str) -> None:
        """Returns items unfinished.

        Raises:
            NoControlPlaneError: return them again.
        """
        request = item_service_pb2.ReturnItemsRequest(
            node=self._node,
            replica=resource_name("replicas", replica),
            leases=[_lease_to_proto(lease) for lease in leases],
            reason=reason,
        )
        with _unreachable():
            await self._stub().ReturnItems(request, timeout=_PULL_DEADLINE_S)

    def _stub(self) -> "item_service_pb2_grpc.ItemServiceAsyncStub":
        channel = self._channel()
        if channel is None:
            raise NoControlPlaneError("no session with a control plane")
        return item_service_pb2_grpc.ItemServiceStub(channel)


def _lease_to_proto(lease: Lease) -> item_service_pb2.ItemLease:
    name, attempt = lease
    return item_service_pb2.ItemLease(item=name, attempt=attempt)


@contextmanager
def _unreachable() -> Iterator[None]:
    """Says of a failed call that there is no control plane.

    A session that ends closes its channel, which cancels the calls on it, though nobody
    cancelled the task that made them.
    """
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise NoControlPlaneError(f"{error.code().name}: {error.details()}") from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise NoControlPlaneError("the session ended during the call") from error
