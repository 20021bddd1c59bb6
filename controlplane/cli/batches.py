"""`slacktide batch`: submit, follow, fetch and cancel offline work."""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from slacktide.v1 import batch_pb2
from slacktide.v1.batch_pb2 import Batch, BatchState
from slacktide.v1.batch_service_pb2 import (
    RESULT_FILE_ERROR,
    RESULT_FILE_OUTPUT,
    CancelBatchRequest,
    CreateBatchRequest,
    DownloadResultsRequest,
    GetBatchRequest,
    ListBatchesRequest,
    ListBatchesResponse,
    ResultFile,
)

from controlplane.cli.connection import connect
from controlplane.cli.failures import CommandError, ExitCode
from controlplane.cli.lookup import (
    complete_batch,
    complete_deployment,
    find_batch,
    find_deployment,
)
from controlplane.cli.output import Column, Format, FormatOption, say, show_list, show_one
from controlplane.cli.wording import (
    age_words,
    bare,
    duration_of,
    enum_word,
    parse_duration_s,
    time_words,
)
from controlplane.client import (
    CALL_DEADLINE_S,
    TRANSFER_DEADLINE_S,
    Fleet,
    new_request_id,
    pages,
    upload_pieces,
)

app = typer.Typer(no_args_is_help=True, help="Offline submissions in OpenAI's batch format.")
BatchArgument = Annotated[
    str, typer.Argument(help="Batch id or unique prefix.", autocompletion=complete_batch)
]
FINISHED = (
    batch_pb2.BATCH_STATE_COMPLETED,
    batch_pb2.BATCH_STATE_FAILED,
    batch_pb2.BATCH_STATE_CANCELLED,
)
_POLL_S = 1.0


@app.command("list")
def list_batches(output: FormatOption = Format.TABLE) -> None:
    """Lists batches, newest first."""
    answer = ListBatchesResponse()
    with connect() as fleet:
        for page in pages(
            lambda token: fleet.batches.ListBatches(
                ListBatchesRequest(page_token=token), timeout=CALL_DEADLINE_S
            )
        ):
            answer.batches.extend(page.batches)
    now = datetime.now(UTC)
    columns = (
        Column[Batch](header="batch", cell=lambda b: bare(b.name)),
        Column[Batch](header="deployment", cell=lambda b: bare(b.deployment)),
        Column[Batch](header="state", cell=lambda b: enum_word(BatchState, b.state)),
        Column[Batch](header="done", cell=_done, right=True),
        Column[Batch](header="failed", cell=lambda b: str(b.counts.failed), right=True),
        Column[Batch](header="deadline", cell=lambda b: time_words(b.deadline_time)),
        Column[Batch](header="age", cell=lambda b: age_words(b.create_time, now=now)),
        Column[Batch](header="message", cell=lambda b: b.message),
    )
    show_list(answer, answer.batches, columns, output)


@app.command()
def submit(
    file: Annotated[Path, typer.Argument(help="JSON lines, as for OpenAI's batches.", exists=True)],
    deployment: Annotated[
        str,
        typer.Option(help="Deployment that runs it.", autocompletion=complete_deployment),
    ],
    deadline: Annotated[str, typer.Option(help="When it should be done, e.g. 6h.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Return once it is finished.")] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Uploads a file and submits it as a batch; prints the batch's id.

    A line: {"custom_id": "a1", "method": "POST", "url": "/v1/chat/completions",
    "body": {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 32}}

    Example:  slacktide batch submit questions.jsonl --deployment chat --wait
    """
    with connect() as fleet:
        target = find_deployment(fleet, deployment)
        with file.open("rb") as stream:
            uploaded = fleet.batches.UploadInput(upload_pieces(stream), timeout=TRANSFER_DEADLINE_S)
        say(f"{file}: {uploaded.size_bytes} bytes uploaded")
        request = CreateBatchRequest(
            deployment=target, input_uri=uploaded.input_uri, request_id=new_request_id()
        )
        if deadline:
            try:
                request.deadline.CopyFrom(duration_of(parse_duration_s(deadline)))
            except ValueError as error:
                raise CommandError(f"--deadline: {error}") from error
        batch = fleet.batches.CreateBatch(request, timeout=CALL_DEADLINE_S).batch
        if wait:
            say(f"batch {bare(batch.name)}")
            batch = wait_finished(fleet, batch)
        _show(batch, output)
    _exit_by(batch, waited=wait)


@app.command()
def status(
    batch: BatchArgument,
    wait: Annotated[bool, typer.Option("--wait", help="Return once it is finished.")] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Shows how a batch stands."""
    with connect() as fleet:
        found = get_batch(fleet, find_batch(fleet, batch))
        if wait:
            found = wait_finished(fleet, found)
        _show(found, output)
    _exit_by(found, waited=wait)


app.command("describe", help="Same as status.")(status)


@app.command()
def results(
    batch: BatchArgument,
    to: Annotated[
        Path | None, typer.Option("--to", help="Where the output goes; default: stdout.")
    ] = None,
    errors: Annotated[
        Path | None, typer.Option("--errors", help="Where the error lines go; default: nowhere.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "--wait", help="First wait until it is finished.")
    ] = False,
) -> None:
    """Fetches the output lines, and the error lines where asked.

    Every input line is exactly one line of either file.

    Example:  slacktide batch results b-12 --follow --to out.jsonl --errors err.jsonl
    """
    with connect() as fleet:
        found = get_batch(fleet, find_batch(fleet, batch))
        if follow:
            found = wait_finished(fleet, found)
        if to is None:
            _fetch(fleet, found, RESULT_FILE_OUTPUT, sys.stdout.buffer)
        else:
            _fetch_to(fleet, found, RESULT_FILE_OUTPUT, to)
        if errors is not None:
            _fetch_to(fleet, found, RESULT_FILE_ERROR, errors)
    if found.counts.failed and errors is None:
        say(
            f"batch {bare(found.name)}: {found.counts.failed} lines failed;"
            " --errors FILE fetches them"
        )


@app.command()
def cancel(batch: BatchArgument, output: FormatOption = Format.TABLE) -> None:
    """Cancels a batch; finished lines stay, the rest become error lines."""
    with connect() as fleet:
        request = CancelBatchRequest(name=find_batch(fleet, batch), request_id=new_request_id())
        _show(fleet.batches.CancelBatch(request, timeout=CALL_DEADLINE_S).batch, output)


def get_batch(fleet: Fleet, name: str) -> Batch:
    """One batch by its resource name."""
    return fleet.batches.GetBatch(GetBatchRequest(name=name), timeout=CALL_DEADLINE_S).batch


def wait_finished(fleet: Fleet, batch: Batch) -> Batch:
    """Polls until the batch is finished, with progress on stderr."""
    said = ""
    while batch.state not in FINISHED:
        line = f"{enum_word(BatchState, batch.state)}, {_done(batch)} lines"
        if line != said:
            say(f"batch {bare(batch.name)}: {line}")
            said = line
        time.sleep(_POLL_S)
        batch = get_batch(fleet, batch.name)
    return batch


def _fetch(fleet: Fleet, batch: Batch, file: ResultFile, into: BinaryIO) -> None:
    request = DownloadResultsRequest(name=batch.name, file=file)
    for piece in fleet.batches.DownloadResults(request, timeout=TRANSFER_DEADLINE_S):
        into.write(piece.content)
    into.flush()


def _fetch_to(fleet: Fleet, batch: Batch, file: ResultFile, path: Path) -> None:
    """Writes beside the target and renames, so that half a file never looks whole."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as stream:
        _fetch(fleet, batch, file, stream)
    partial.replace(path)
    say(f"{path}: written")


def _show(batch: Batch, output: Format) -> None:
    counts = batch.counts
    facts = [
        ("batch", bare(batch.name)),
        ("deployment", bare(batch.deployment)),
        ("state", enum_word(BatchState, batch.state)),
        ("message", batch.message),
        (
            "lines",
            f"{counts.total}: {counts.succeeded} succeeded, {counts.failed} failed,"
            f" {counts.leased} running, {counts.pending} pending",
        ),
        ("tokens", f"{batch.prompt_tokens} in, {batch.output_tokens} out"),
        ("input", batch.input_uri),
        ("output", batch.output_uri),
        ("errors", batch.error_uri),
        ("deadline", time_words(batch.deadline_time)),
        ("created", time_words(batch.create_time)),
        ("finished", time_words(batch.end_time)),
    ]
    show_one(batch, facts, output)


def _done(batch: Batch) -> str:
    return f"{batch.counts.succeeded + batch.counts.failed}/{batch.counts.total}"


def _exit_by(batch: Batch, *, waited: bool) -> None:
    if waited and batch.state != batch_pb2.BATCH_STATE_COMPLETED:
        raise typer.Exit(ExitCode.DIFFERENT)
