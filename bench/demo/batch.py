"""The demo's batch: its input, its submission, and the proof that no line is lost.

Owns comparing output and error file with the input, line by line. Refuses to believe
counters: the files are read.
"""

import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
from slacktide.v1.batch_pb2 import (
    BATCH_STATE_CANCELLED,
    BATCH_STATE_COMPLETED,
    BATCH_STATE_FAILED,
    Batch,
)
from slacktide.v1.batch_service_pb2 import (
    RESULT_FILE_ERROR,
    RESULT_FILE_OUTPUT,
    CreateBatchRequest,
    DownloadResultsRequest,
    GetBatchRequest,
    ResultFile,
)
from slacktide.v1.placement_pb2 import Plan
from slacktide.v1.placement_service_pb2 import GetPlacementRequest

from controlplane.client import (
    CALL_DEADLINE_S,
    TRANSFER_DEADLINE_S,
    Fleet,
    new_request_id,
    upload_pieces,
)
from planner.workload.batches import batch_lines

FINISHED = (BATCH_STATE_COMPLETED, BATCH_STATE_FAILED, BATCH_STATE_CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether every input line is exactly one line of output or error file."""

    lines_in: int
    lines_out: int
    errors: int
    problems: tuple[str, ...]

    @property
    def is_exact(self) -> bool:
        """One line each, no more, no less."""
        return not self.problems and self.lines_in == self.lines_out + self.errors


def write_input(path: Path, *, seed: int, count: int, deployment: str) -> None:
    """Writes the input file: prompts of 192 to 576 tokens, half of them sharing prefixes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = batch_lines(
        seed=seed, count=count, model=deployment, prompt_tokens=(192, 576), max_tokens=128
    )
    path.write_text("".join(f"{line}\n" for line in lines))


def submit(fleet: Fleet, path: Path, *, deployment: str) -> Batch:
    """Uploads the file and submits it."""
    with path.open("rb") as stream:
        uploaded = fleet.batches.UploadInput(upload_pieces(stream), timeout=TRANSFER_DEADLINE_S)
    request = CreateBatchRequest(
        deployment=f"deployments/{deployment}",
        input_uri=uploaded.input_uri,
        request_id=new_request_id(),
    )
    return fleet.batches.CreateBatch(request, timeout=CALL_DEADLINE_S).batch


def look(fleet: Fleet, name: str) -> Batch:
    """The batch as it stands now."""
    return fleet.batches.GetBatch(GetBatchRequest(name=name), timeout=CALL_DEADLINE_S).batch


def fetch(fleet: Fleet, name: str, *, output: Path, errors: Path) -> None:
    """Downloads both result files."""
    for file, path in ((RESULT_FILE_OUTPUT, output), (RESULT_FILE_ERROR, errors)):
        _download(fleet, name, file, path)


def compare(
    input_lines: Iterable[str], output_lines: Sequence[str], error_lines: Sequence[str]
) -> Verdict:
    """Matches result lines to input lines by custom_id."""
    wanted = Counter(_custom_id(line) for line in input_lines)
    found = Counter(_custom_id(line) for line in [*output_lines, *error_lines])
    problems = [f"{id_}: {found[id_]} result lines for {n}" for id_, n in wanted.items()
                if found[id_] != n]  # fmt: skip
    problems += [f"{id_}: a result line that nobody asked for" for id_ in found - wanted
                 if id_ not in wanted]  # fmt: skip
    problems += [
        f"{_custom_id(line)}: in the output file, with status {status}"
        for line in output_lines
        if (status := json.loads(line)["response"]["status_code"]) != 200
    ]
    return Verdict(
        lines_in=wanted.total(),
        lines_out=len(output_lines),
        errors=len(error_lines),
        problems=tuple(problems),
    )


def compare_files(input_: Path, *, output: Path, errors: Path) -> Verdict:
    """`compare`, on files."""
    return compare(*(path.read_text().splitlines() for path in (input_, output, errors)))


def _custom_id(line: str) -> str:
    return str(json.loads(line)["custom_id"])


def _download(fleet: Fleet, name: str, file: ResultFile, path: Path) -> None:
    request = DownloadResultsRequest(name=name, file=file)
    with path.open("wb") as stream:
        for piece in fleet.batches.DownloadResults(request, timeout=TRANSFER_DEADLINE_S):
            stream.write(piece.content)


class Watcher:
    """Looks at a batch now and then from a thread of its own.

    The load generator must not wait for the control plane, so it reads `latest`. `plan`
    is the one in force when the batch was last seen unfinished.
    """

    def __init__(self, fleet: Fleet, batch: Batch, *, every_s: float = 1.0) -> None:
        self.latest = batch
        self.plan: Plan | None = None
        self._fleet = fleet
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="batch-watcher", daemon=True)

    def __enter__(self) -> "Watcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def words(self) -> str:
        """E.g. "batch 120/400 lines"."""
        counts = self.latest.counts
        return f"batch {counts.succeeded + counts.failed}/{counts.total} lines"

    def wait_finished(self, *, timeout_s: float) -> bool:
        """Whether the batch is finished within the time."""
        give_up = time.monotonic() + timeout_s
        while self.latest.state not in FINISHED and time.monotonic() < give_up:
            time.sleep(self._every_s / 4)
        return self.latest.state in FINISHED

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            # The control plane may be away for a moment; the next look finds it again.
            with contextlib.suppress(grpc.RpcError):
                self.latest = look(self._fleet, self.latest.name)
                if self.latest.state not in FINISHED:
                    self.plan = self._plan()

    def _plan(self) -> Plan:
        """The plan in force; kept from while the batch ran, when it had offline shares."""
        request = GetPlacementRequest()
        return self._fleet.placement.GetPlacement(request, timeout=CALL_DEADLINE_S).plan
