"""A client of one control plane, for the command line, the local fleet and the demo.

Owns typed stubs over one channel, pages, request ids and the pieces of an upload. Every
call its users make carries a deadline; these are the usual ones.
"""

import uuid
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol, TypeVar

import grpc
from slacktide.v1 import (
    batch_service_pb2_grpc,
    deployment_service_pb2_grpc,
    fleet_service_pb2_grpc,
    node_service_pb2_grpc,
    placement_service_pb2_grpc,
    rollout_service_pb2_grpc,
    tenant_service_pb2_grpc,
)
from slacktide.v1.batch_service_pb2 import UploadInputRequest
from slacktide.wire.server import CHANNEL_OPTIONS

CALL_DEADLINE_S = 15.0
"""Reads and small changes."""
SOLVE_DEADLINE_S = 120.0
TRANSFER_DEADLINE_S = 3600.0
_PIECE_BYTES = 1024 * 1024  # the contract's largest, see UploadInputRequest.content


class Fleet:
    """Stubs of one control plane.

    Args:
        endpoint: host:port.
    """

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.channel = grpc.insecure_channel(endpoint, options=list(CHANNEL_OPTIONS))
        self.nodes = node_service_pb2_grpc.NodeServiceStub(self.channel)
        self.deployments = deployment_service_pb2_grpc.DeploymentServiceStub(self.channel)
        self.batches = batch_service_pb2_grpc.BatchServiceStub(self.channel)
        self.placement = placement_service_pb2_grpc.PlacementServiceStub(self.channel)
        self.rollout = rollout_service_pb2_grpc.RolloutServiceStub(self.channel)
        self.tenants = tenant_service_pb2_grpc.TenantServiceStub(self.channel)
        self.fleet = fleet_service_pb2_grpc.FleetServiceStub(self.channel)

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the channel."""
        self.channel.close()


def new_request_id() -> str:
    """A UUID for one mutation; retries of it must carry the same."""
    return str(uuid.uuid4())


class _Page(Protocol):
    @property
    def next_page_token(self) -> str: ...


PageT = TypeVar("PageT", bound=_Page)


def pages(ask: Callable[[str], PageT]) -> Iterator[PageT]:
    """All pages; `ask` takes a page token, empty for the first."""
    token = ""
    while True:
        page = ask(token)
        yield page
        token = page.next_page_token
        if not token:
            return


def upload_pieces(stream: BinaryIO) -> Iterator[UploadInputRequest]:
    """The messages of an UploadInput call for a file."""
    yield UploadInputRequest(request_id=new_request_id())
    while content := stream.read(_PIECE_BYTES):
        yield UploadInputRequest(content=content)
