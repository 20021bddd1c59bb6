"""The whole way over real gRPC: upload, create, pull, commit, files."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from slacktide.v1 import batch_pb2, batch_service_pb2_grpc, item_service_pb2_grpc
from slacktide.v1 import batch_service_pb2 as batch_v1
from slacktide.v1 import item_service_pb2 as item_v1
from slacktide.wire.server import CHANNEL_OPTIONS, FleetServer

from controlplane.batches.items import ItemServicer
from controlplane.batches.objects import ObjectStore
from controlplane.batches.service import BatchServicer
from controlplane.batches.worker import BatchWorker
from storage.batch_records import LeaseEnd
from tests.controlplane.batches.batch_house import House, good_line

DEADLINE_S = 20.0
NODE, REPLICA = "nodes/n1", "replicas/r1"


class Stubs:
    """Both services, as their callers see them."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.batches = batch_service_pb2_grpc.BatchServiceStub(channel)
        self.items = item_service_pb2_grpc.ItemServiceStub(channel)

    async def upload(self, content: bytes, *, request_id: str = "") -> str:
        async def pieces() -> AsyncIterator[batch_v1.UploadInputRequest]:
            yield batch_v1.UploadInputRequest(request_id=request_id or str(uuid4()))
            for at in range(0, len(content), 1000):
                yield batch_v1.UploadInputRequest(content=content[at : at + 1000])

        answer = await self.batches.UploadInput(pieces(), timeout=DEADLINE_S)
        return str(answer.input_uri)

    async def create(self, input_uri: str, **changes: object) -> batch_pb2.Batch:
        members = {
            "deployment": "deployments/chat",
            "input_uri": input_uri,
            "request_id": str(uuid4()),
        } | changes
        request = batch_v1.CreateBatchRequest(**members)  # type: ignore[arg-type]
        return (await self.batches.CreateBatch(request, timeout=DEADLINE_S)).batch

    async def submit(self, *lines: bytes) -> str:
        """A batch that is in progress; its name."""
        batch = await self.create(await self.upload(b"\n".join(lines)))
        await self.until(batch.name, lambda now: now.state != batch_pb2.BATCH_STATE_VALIDATING)
        return str(batch.name)

    async def get(self, name: str) -> batch_pb2.Batch:
        request = batch_v1.GetBatchRequest(name=name)
        return (await self.batches.GetBatch(request, timeout=DEADLINE_S)).batch

    async def until(self, name: str, holds: Callable[[batch_pb2.Batch], bool]) -> batch_pb2.Batch:
        async with asyncio.timeout(DEADLINE_S):
            while not holds(batch := await self.get(name)):  # noqa: ASYNC110 - polls an RPC
                await asyncio.sleep(0.02)
        return batch

    async def pull(
        self, *, held: object = (), max_items: int = 100, replica: str = REPLICA, epoch: int = 1
    ) -> list[item_v1.Item]:
        request = item_v1.PullItemsRequest(
            node=NODE, replica=replica, held=held, max_items=max_items, epoch=epoch
        )
        return list((await self.items.PullItems(request, timeout=DEADLINE_S)).items)

    async def commit(
        self,
        items: list[item_v1.Item],
        *,
        status_code: int = 200,
        body: bytes = b'{"choices": []}',
        retryable: bool = False,
    ) -> list[item_v1.ItemLease]:
        results = [
            item_v1.ItemResult(
                lease=item.lease,
                status_code=status_code,
                body=body,
                retryable=retryable,
                prompt_tokens=3,
                output_tokens=2,
            )
            for item in items
        ]
        request = item_v1.CommitResultsRequest(node=NODE, replica=REPLICA, results=results)
        answer = await self.items.CommitResults(request, timeout=DEADLINE_S)
        return list(answer.superseded)

    async def download(self, name: str, file: batch_v1.ResultFile) -> bytes:
        request = batch_v1.DownloadResultsRequest(name=name, file=file)
        content = b""
        async for piece in self.batches.DownloadResults(request, timeout=DEADLINE_S):
            content += piece.content
        return content


@asynccontextmanager
async def served(house: House) -> AsyncIterator[Stubs]:
    server = FleetServer(["slacktide.v1.BatchService", "slacktide.v1.ItemService"])
    worker = BatchWorker(house.store, house.objects)
    parts = (house.store, house.fleet, house.objects)
    batch_service_pb2_grpc.add_BatchServiceServicer_to_server(
        BatchServicer(*parts, wake=worker.wake), server.grpc
    )
    item_service_pb2_grpc.add_ItemServiceServicer_to_server(
        ItemServicer(*parts, wake=worker.wake), server.grpc
    )
    port = server.bind("127.0.0.1:0")
    await server.start()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(worker.run())
        async with grpc.aio.insecure_channel(
            f"127.0.0.1:{port}", options=list(CHANNEL_OPTIONS)
        ) as channel:
            yield Stubs(channel)
        running.cancel()
        await server.stop(grace_s=0)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The ErrorInfo's reason."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = status_pb2.Status.FromString(value)  # type: ignore[arg-type]
            info = error_details_pb2.ErrorInfo()
            status.details[0].Unpack(info)
            return str(info.reason)
    return ""


async def test_batch_completes_when_every_item_is_committed(house: House) -> None:
    """One line per input line, in order, in OpenAI's shape; download equals the file."""
    async with served(house) as stubs:
        lines = [good_line(f"c{n}") for n in range(5)]
        lines[2] = b"{broken"
        name = await stubs.submit(*lines)
        items = await stubs.pull()
        assert [item.custom_id for item in items] == ["c0", "c1", "c3", "c4"]
        assert [item.lease.item for item in items] == [f"{name}/items/{n}" for n in (1, 2, 4, 5)]
        assert json.loads(items[0].body) == json.loads(lines[0])["body"]
        assert items[0].url == "/v1/chat/completions"
        assert await stubs.commit(items[:2], body=b'{\n "choices": [NaN] \n}') == []
        assert await stubs.commit(items[3:]) == []
        error = b'{"error": {"message": "too long"}}'
        assert await stubs.commit(items[2:3], status_code=400, body=error) == []
        batch = await stubs.until(name, lambda b: b.state == batch_pb2.BATCH_STATE_COMPLETED)
        assert (batch.counts.total, batch.counts.succeeded, batch.counts.failed) == (5, 3, 2)
        assert (batch.prompt_tokens, batch.output_tokens) == (12, 8)
        output = house.lines(batch.output_uri)
        errors = house.lines(batch.error_uri)
        assert [line["custom_id"] for line in output] == ["c0", "c1", "c4"]
        assert output[0]["error"] is None
        assert output[0]["response"] == {
            "status_code": 200,
            "request_id": f"{name.removeprefix('batches/')}-1-1",
            "body": {"choices": [None]},
        }
        assert [line["custom_id"] for line in errors] == [None, "c3"]
        assert errors[0]["error"]["line"] == 3  # type: ignore[index]
        assert errors[1]["response"]["status_code"] == 400  # type: ignore[index]
        for uri, kind in (
            (batch.output_uri, batch_v1.RESULT_FILE_OUTPUT),
            (batch.error_uri, batch_v1.RESULT_FILE_ERROR),
        ):
            with house.objects.open(uri) as file:
                assert await stubs.download(name, kind) == file.read()


async def test_items_go_back_when_the_replica_does_not_name_them(house: House) -> None:
    """A lost answer heals at the next pull, and its late results are superseded."""
    async with served(house) as stubs:
        await stubs.submit(*(good_line(f"c{n}") for n in range(4)))
        lost = await stubs.pull(max_items=2)
        again = await stubs.pull()
        assert [item.custom_id for item in again] == ["c0", "c1", "c2", "c3"]
        assert [item.lease.attempt for item in again] == [2, 2, 1, 1]
        assert await stubs.pull(held=[item.lease for item in again]) == []
        superseded = await stubs.commit(lost)
        assert superseded == [item.lease for item in lost]
        assert await stubs.commit(again) == []
        assert await stubs.commit(again) == [], "a repeat after a lost answer is accepted"
        assert len(await stubs.commit(lost)) == 2


async def test_items_are_pending_again_when_they_are_returned(house: House) -> None:
    """A return costs no failure; the item's next attempt is a new lease."""
    async with served(house) as stubs:
        name = await stubs.submit(good_line("c0"))
        for attempt in range(1, 7):
            [item] = await stubs.pull()
            assert item.lease.attempt == attempt
            request = item_v1.ReturnItemsRequest(
                node=NODE, replica=REPLICA, leases=[item.lease], reason="drain"
            )
            await stubs.items.ReturnItems(request, timeout=DEADLINE_S)
        assert (await stubs.get(name)).counts.pending == 1


async def test_item_becomes_an_error_line_when_it_failed_three_times(house: House) -> None:
    """Retryable failures are tried again up to the limit, then told."""
    async with served(house) as stubs:
        name = await stubs.submit(good_line("c0"))
        for _ in range(3):
            [item] = await stubs.pull()
            body = b'{"error": {"message": "engine gone"}}'
            await stubs.commit([item], status_code=0, body=body, retryable=True)
        batch = await stubs.until(name, lambda b: b.state == batch_pb2.BATCH_STATE_COMPLETED)
        [line] = house.lines(batch.error_uri)
        assert line["error"]["message"] == "line 1: engine gone"  # type: ignore[index]
        assert house.lines(batch.output_uri) == []


async def test_item_becomes_an_error_line_when_it_kills_whoever_runs_it(house: House) -> None:
    """Leases that are only ever lost end too, and no neighbour goes down with it."""
    async with served(house) as stubs:
        name = await stubs.submit(good_line("poison"), good_line("fine"))
        for _ in range(6):
            items = await stubs.pull()
            if "poison" not in {item.custom_id for item in items}:
                await stubs.commit(items)
            house.store.return_node_items(None, "n1", end=LeaseEnd.LOST)
        batch = await stubs.until(name, lambda b: b.state == batch_pb2.BATCH_STATE_COMPLETED)
        [line] = house.lines(batch.error_uri)
        assert line["custom_id"] == "poison"
        assert line["error"]["code"] == "attempts_exhausted"  # type: ignore[index]
        assert [line["custom_id"] for line in house.lines(batch.output_uri)] == ["fine"]


async def test_pull_is_empty_when_a_gate_is_closed(house: House) -> None:
    """Held leases stay, the rest go back, and nothing new is leased."""
    async with served(house) as stubs:
        name = await stubs.submit(*(good_line(f"c{n}") for n in range(4)))
        [first, _] = await stubs.pull(max_items=2)
        house.fleet.change(is_killed=True)
        assert await stubs.pull(held=[first.lease]) == []
        batch = await stubs.get(name)
        assert (batch.counts.leased, batch.counts.pending) == (1, 3)
        assert await stubs.pull(epoch=9) == [], "a control plane that is behind does nothing"
        assert (await stubs.get(name)).counts.leased == 1
        house.fleet.change(is_killed=False)
        assert await stubs.pull(epoch=0) == []
        assert len(await stubs.pull()) == 4


async def test_pull_stays_within_a_message_when_bodies_are_large(house: House) -> None:
    """Eight megabytes a line are allowed, and every one gets through."""
    content = "x" * (5 << 20)
    body = {"messages": [{"role": "user", "content": content}]}
    async with served(house) as stubs:
        name = await stubs.submit(*(good_line(f"c{n}", body=body) for n in range(4)))
        held: list[item_v1.ItemLease] = []
        for expected in (2, 2, 0):
            items = await stubs.pull(held=held)
            assert len(items) == expected
            assert all(len(item.body) > len(content) for item in items)
            held += [item.lease for item in items]
        assert (await stubs.get(name)).counts.leased == 4


async def test_batch_rests_when_its_input_cannot_be_read(house: House) -> None:
    """No attempt is used up, the batch says so, and other batches go on."""
    async with served(house) as stubs:
        name = await stubs.submit(good_line("c0"))
        other = await stubs.submit(good_line("other"))
        uri = (await stubs.get(name)).input_uri
        house.objects.remove(uri)
        for expected in (["other"], []):
            items = await stubs.pull()
            assert [item.custom_id for item in items] == expected
            await stubs.commit(items)
        batch = await stubs.get(name)
        assert (batch.counts.pending, batch.counts.failed) == (1, 0)
        assert "cannot be read now" in batch.message
        await stubs.until(other, lambda b: b.state == batch_pb2.BATCH_STATE_COMPLETED)


async def test_cancel_keeps_finished_lines_when_others_are_running(house: House) -> None:
    """What is leased is superseded, what is pending never runs, each gets its line."""
    async with served(house) as stubs:
        name = await stubs.submit(*(good_line(f"c{n}") for n in range(5)), b"bad")
        items = await stubs.pull(max_items=3)
        await stubs.commit(items[:1])
        request = batch_v1.CancelBatchRequest(name=name, request_id=str(uuid4()))
        await stubs.batches.CancelBatch(request, timeout=DEADLINE_S)
        batch = await stubs.until(name, lambda b: b.state == batch_pb2.BATCH_STATE_CANCELLED)
        assert len(await stubs.commit(items[1:])) == 2
        assert await stubs.pull() == []
        [line] = house.lines(batch.output_uri)
        assert line["custom_id"] == "c0"
        codes = [line["error"]["code"] for line in house.lines(batch.error_uri)]  # type: ignore[index]
        assert codes == ["batch_cancelled"] * 4 + ["invalid_json"]
        repeated = await stubs.batches.CancelBatch(request, timeout=DEADLINE_S)
        assert repeated.batch == batch


async def test_finaliser_waits_when_a_segment_is_missing(house: House) -> None:
    """Nothing is published with a hole in it; the batch says what is wrong and heals."""
    async with served(house) as stubs:
        name = await stubs.submit(good_line("c0"), good_line("c1"))
        items = await stubs.pull()
        await stubs.commit(items[:1])
        [segment] = (house.folder / "objects" / "segments").rglob("*.jsonl")
        segment.rename(segment.with_suffix(".away"))
        await stubs.commit(items[1:])
        batch = await stubs.until(name, lambda b: "goes on trying" in b.message)
        assert batch.state == batch_pb2.BATCH_STATE_FINALIZING
        segment.with_suffix(".away").rename(segment)
        batch = await stubs.until(name, lambda b: b.state == batch_pb2.BATCH_STATE_COMPLETED)
        assert len(house.lines(batch.output_uri)) == 2
        assert batch.message == ""


async def test_batch_fails_when_its_input_is_gone(house: House) -> None:
    """An input that cannot be read at all is the one thing that refuses a batch."""
    batch = house.submit(good_line())
    house.objects.remove(batch.input_uri)
    async with served(house) as stubs:
        failed = await stubs.until(
            f"batches/{batch.id}", lambda b: b.state == batch_pb2.BATCH_STATE_FAILED
        )
        assert "cannot be read" in failed.message
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stubs.download(failed.name, batch_v1.RESULT_FILE_OUTPUT)
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_repeats_answer_the_same_when_their_request_id_is_known(house: House) -> None:
    """An upload and a submission are made once; an id reused for another is refused."""
    async with served(house) as stubs:
        upload_id, create_id = str(uuid4()), str(uuid4())
        uri = await stubs.upload(good_line("c0"), request_id=upload_id)
        assert await stubs.upload(good_line("c0"), request_id=upload_id) == uri
        for other in (good_line("other"), good_line("c0") + b"\n", b""):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stubs.upload(other, request_id=upload_id)
            assert reason_of(refused.value) == "REQUEST_ID_REUSED"
        first = await stubs.create(uri, request_id=create_id, deadline=Duration(seconds=60))
        again = await stubs.create(uri, request_id=create_id, deadline=Duration(seconds=60))
        assert first.name == again.name
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stubs.create(uri, request_id=create_id)
        assert reason_of(refused.value) == "REQUEST_ID_REUSED"


async def test_list_pages_newest_first_when_there_are_many(house: House) -> None:
    """Every batch once, and an empty token at the end."""
    async with served(house) as stubs:
        uri = await stubs.upload(good_line())
        made = [(await stubs.create(uri)).name for _ in range(5)]
        seen: list[str] = []
        token = ""
        while True:
            page = await stubs.batches.ListBatches(
                batch_v1.ListBatchesRequest(page_size=2, page_token=token), timeout=DEADLINE_S
            )
            seen += [batch.name for batch in page.batches]
            token = page.next_page_token
            if not token:
                break
        assert seen == made[::-1]


async def test_requests_are_refused_clearly_when_they_are_wrong(
    house: House, tmp_path: object
) -> None:
    """A status, a reason, and never a file of the server's own."""
    async with served(house) as stubs:
        uri = await stubs.upload(good_line())
        gone = uri.replace(uri.rsplit("/", 1)[1], f"{uuid4()}.jsonl")
        invalid, missing = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
        lease = item_v1.ItemLease(item="batches/b/items/x", attempt=1)
        pulled = item_v1.PullItemsRequest(node="n1", replica=REPLICA)
        for call, code, reason in (
            (stubs.create("file:///etc/passwd"), invalid, "INVALID_FIELD"),
            (stubs.create(gone), missing, "INPUT_NOT_FOUND"),
            (stubs.create(uri, deployment="deployments/none"), missing, "DEPLOYMENT_NOT_FOUND"),
            (stubs.create(uri, deployment="chat"), invalid, "INVALID_FIELD"),
            (stubs.create(uri, request_id="1"), invalid, "INVALID_REQUEST_ID"),
            (stubs.create(uri, deadline=Duration(seconds=-1)), invalid, "INVALID_FIELD"),
            (stubs.upload(b"x", request_id="x"), invalid, "INVALID_REQUEST_ID"),
            (stubs.get("batches/none"), missing, "BATCH_NOT_FOUND"),
            (stubs.get("none"), invalid, "INVALID_FIELD"),
            (stubs.pull(max_items=257), invalid, "INVALID_FIELD"),
            (stubs.pull(held=[lease]), invalid, "INVALID_FIELD"),
            (stubs.items.PullItems(pulled, timeout=DEADLINE_S), invalid, "INVALID_FIELD"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert (refused.value.code(), reason_of(refused.value)) == (code, reason)


async def test_upload_is_refused_and_removed_when_it_is_too_large(house: House) -> None:
    """The bound holds while the stream runs, not after."""
    house.objects = ObjectStore(f"file://{house.folder}/objects", max_input_bytes=5000)
    async with served(house) as stubs:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stubs.upload(b"x" * 6000)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert not list((house.folder / "objects" / "spool").iterdir())
        assert not list((house.folder / "objects").rglob("*.jsonl"))


async def test_upload_and_commit_tell_when_the_disk_is_full(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RESOURCE_EXHAUSTED, nothing kept, nothing lost; it works again with space."""
    from controlplane.batches import objects as room

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    async with served(house) as stubs:
        name = await stubs.submit(good_line())
        items = await stubs.pull()
        with monkeypatch.context() as patched:
            patched.setattr(room.os, "fsync", full)
            for call in (stubs.upload(good_line()), stubs.commit(items)):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await call
                assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert reason_of(refused.value) == "OBJECTS_FULL"
        assert not list((house.folder / "objects" / "spool").iterdir())
        assert await stubs.commit(items) == []
        await stubs.until(name, lambda b: b.state == batch_pb2.BATCH_STATE_COMPLETED)
