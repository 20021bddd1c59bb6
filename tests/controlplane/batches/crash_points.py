"""Drives a batch from end to end in processes that are killed; run by its test.

    python -m tests.controlplane.batches.crash_points FOLDER

For k = 1, 2, … a process drives a batch and kills itself (SIGKILL) at the k-th point
where something is about to become, or just became, durable; a second process resumes.
Ends when k is past the last point. Prints one line of JSON: the points that were hit.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slacktide.v1 import item_service_pb2 as item_v1

from controlplane.batches import intake
from controlplane.batches.finalise import finalise
from controlplane.batches.intake import take_chunk
from controlplane.batches.items import ItemServicer
from controlplane.batches.objects import ObjectStore
from storage.batches import BatchStore
from tests.controlplane.batches.batch_house import House, good_line

NO_CONTEXT: Any = None  # the servicer asks nothing of it
LINES = 10
BAD_LINES = (3, 8)
POINTS: tuple[tuple[type, str], ...] = (
    (BatchStore, "add_chunk"),
    (BatchStore, "pull"),
    (BatchStore, "commit"),
    (BatchStore, "publish"),
    (ObjectStore, "_publish"),
)
intake._CHUNK_LINES = 4


def input_lines() -> list[bytes]:
    return [
        b"{broken" if line in BAD_LINES else good_line(f"c{line}") for line in range(1, LINES + 1)
    ]


def arm(kill_at: int, log: Path) -> None:
    """Replaces every point by one that counts, and kills at that count."""
    passed = 0

    def reach(point: str) -> None:
        nonlocal passed
        passed += 1
        if passed == kill_at:
            log.write_text(point)
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            reach(f"before {name}")
            value = original(*args, **kwargs)
            reach(f"after {name}")
            return value

        return wrapper

    for owner, name in POINTS:
        setattr(owner, name, counted(name, getattr(owner, name)))


async def drive(house: House) -> None:
    """A control plane and an agent that know nothing but what is stored."""
    while not (batch := house.found("b")).is_intake_done:
        take_chunk(house.store, house.objects, batch, now_s=2.0)
    servicer = ItemServicer(house.store, house.fleet, house.objects, wake=lambda: None)
    caller = {"node": "nodes/n1", "replica": "replicas/r1"}
    while True:
        pulled = await servicer.PullItems(
            item_v1.PullItemsRequest(max_items=3, epoch=1, **caller), NO_CONTEXT
        )
        if not pulled.items:
            break
        results = [
            item_v1.ItemResult(lease=one.lease, status_code=200, body=one.body)
            for one in pulled.items
        ]
        answer = await servicer.CommitResults(
            item_v1.CommitResultsRequest(results=results, **caller), NO_CONTEXT
        )
        assert not answer.superseded
    batch = house.found("b")
    if not batch.state.is_terminal:
        finalise(house.store, house.objects, batch, now=lambda: 3.0, is_stopping=lambda: False)


def check(house: House) -> None:
    """Exactly one line each, in order, and nothing half-written is named."""
    batch = house.found("b")
    good = [line for line in range(1, LINES + 1) if line not in BAD_LINES]
    output, errors = house.lines(batch.output_uri), house.lines(batch.error_uri)
    assert [line["custom_id"] for line in output] == [f"c{line}" for line in good]
    assert [line["error"]["line"] for line in errors] == list(BAD_LINES)  # type: ignore[index]
    assert (batch.state.value, batch.succeeded, batch.failed) == (
        "completed",
        len(good),
        len(BAD_LINES),
    )


def in_child(work: Callable[[], None]) -> int:
    """Runs work in a fork; returns its wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - the child must never return into the parent
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def main(folder: Path) -> None:
    def prepare() -> None:
        House(folder / "template").submit(b"\n".join(input_lines()), batch="b")

    (folder / "template").mkdir()
    assert in_child(prepare) == 0
    hit: list[str] = []
    while True:
        # The input's URI names the template's folder, which stays as it is.
        home = folder / str(len(hit) + 1)
        shutil.copytree(folder / "template", home)
        log = home / "point"

        def killed(home: Path = home, log: Path = log) -> None:
            arm(len(hit) + 1, log)
            asyncio.run(drive(House(home)))

        def resumed(home: Path = home) -> None:
            asyncio.run(drive(House(home)))
            check(House(home))

        status = in_child(killed)
        assert in_child(resumed) == 0, f"not resumed after {log.read_text()}"
        if status == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL, status
        hit.append(log.read_text())
    print(json.dumps(hit))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
