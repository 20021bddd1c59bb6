"""Calls of the item service when their channel goes, over real gRPC."""

import asyncio

import grpc.aio
import pytest
from slacktide.v1 import item_service_pb2_grpc

from nodeagent.offline.control import ItemControl, NoControlPlaneError


class _Silent(item_service_pb2_grpc.ItemServiceServicer):
    """Takes a call and never answers it."""

    def __init__(self) -> None:
        self.called = asyncio.Event()

    async def _hang(self, request, context):
        self.called.set()
        await asyncio.Event().wait()

    PullItems = CommitResults = ReturnItems = _hang


_CALLS = {
    "pull": lambda control: control.pull(replica="r", held=(), most=1),
    "commit": lambda control: control.commit(replica="r", results=()),
    "give_back": lambda control: control.give_back(replica="r", leases=(), reason="drill"),
}


async def _in_flight(call, act):
    """Makes a call, acts on (its channel, its task) once the server has it, and awaits it."""
    servicer, server = _Silent(), grpc.aio.server()
    item_service_pb2_grpc.add_ItemServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    try:
        control = ItemControl(node="n1", channel=lambda: channel, epoch=lambda: 1)
        task = asyncio.create_task(_CALLS[call](control))
        async with asyncio.timeout(10.0):
            await servicer.called.wait()
            await act(channel, task)
            return await task
    finally:
        await channel.close()
        await server.stop(None)


@pytest.mark.parametrize("call", list(_CALLS))
async def test_call_says_there_is_no_control_plane_when_the_session_closes_its_channel(call):
    """Not a cancellation, which would end the loop that made the call without a word."""

    async def close(channel, _):
        await channel.close()

    with pytest.raises(NoControlPlaneError):
        await _in_flight(call, close)


@pytest.mark.parametrize("call", list(_CALLS))
async def test_call_is_cancelled_when_its_task_is(call):
    """Who cancels the task still ends it."""

    async def cancel(_, task):
        task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await _in_flight(call, cancel)
