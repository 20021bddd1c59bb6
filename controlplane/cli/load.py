"""`slacktide load`: replay a trace, or a generated workload, in an open loop.

Owns the options and what is shown. Refuses to start against a gateway nobody listens at.
"""

import contextlib
import json
import os
import socket
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from controlplane.cli.connection import find_cluster_file
from controlplane.cli.failures import CommandError, ExitCode
from controlplane.cli.output import Format, FormatOption, say, show_mapping, show_table
from controlplane.load.openloop import LoadProgress, LoadSettings, replay
from controlplane.load.report import load_report, request_rows
from planner.model import Slo
from planner.workload.content import BYTE_VOCAB_TOKENS
from planner.workload.generate import AZURE_REQUESTS_PER_S, generate
from planner.workload.request import WorkloadRequest
from planner.workload.shape import shape
from planner.workload.traces import TraceError, read_trace

app = typer.Typer(
    no_args_is_help=True,
    help="Online load as its clients would make it, and what they saw.",
)

_REPLAY_HELP = """Replays a workload against a gateway and reports TTFT, ITL and attainment.

The loop is open: each request is sent when it is due, however slow the others are, and
its latencies count from when it was due. Nothing is retried; a request that fails, is
shed or times out misses its SLO.

TRACE is an Azure CSV of 2023 or 2024 (TIMESTAMP,ContextTokens,GeneratedTokens), a BurstGPT
CSV (Timestamp, Request tokens, Response tokens) or a Mooncake JSONL (timestamp,
input_length, output_length, hash_ids), sorted by time; the first line tells which. Instead,
--generate azure draws arrivals and lengths with the published statistics of the Azure
conversation trace (5.53 requests/s; prompts of 1,155 and outputs of 211 tokens on
average).

Production traces are large for a small machine. Scale them:
--rate-scale 0.25 replays four times slower, --length-scale 0.1 makes prompts and outputs
ten times shorter, --max-context cuts what is still too long for the model.

\b
Examples:
  slacktide load replay --generate azure --deployment chat --duration 60 \\
      --rate 2 --length-scale 0.125
  slacktide load replay conv.csv --deployment chat --start 600 --duration 120 \\
      --rate-scale 0.5 -o json --report load.json

Progress goes to stderr. Exit code 0: all requests completed; 1: some did not.
"""


class Generator(StrEnum):
    """Workloads that can be generated."""

    AZURE = "azure"


@app.command("replay", help=_REPLAY_HELP)
def replay_command(
    deployment: Annotated[str, typer.Option(help="Deployment that serves the requests.")],
    trace: Annotated[
        Path | None, typer.Argument(help="Trace file.", exists=True, dir_okay=False)
    ] = None,
    generator: Annotated[
        Generator | None, typer.Option("--generate", help="Draw the workload instead.")
    ] = None,
    gateway: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            envvar="SLACKTIDE_GATEWAY",
            help="Default: the local fleet's, from its cluster.json.",
            show_default=False,
        ),
    ] = "",
    duration: Annotated[
        float | None,
        typer.Option(
            min=0.1, help="Seconds of load. Default: 120, or all of a trace.", show_default=False
        ),
    ] = None,
    start: Annotated[float, typer.Option(min=0, help="Seconds of the trace to skip.")] = 0.0,
    count: Annotated[
        int | None, typer.Option(min=1, help="At most so many requests.", show_default=False)
    ] = None,
    rate: Annotated[
        float, typer.Option(min=0.001, help="Mean requests/s of a generated workload.")
    ] = AZURE_REQUESTS_PER_S,
    rate_scale: Annotated[float, typer.Option(min=0.001, help="2 replays twice as fast.")] = 1.0,
    length_scale: Annotated[
        float, typer.Option(min=0.0001, help="Factor on prompt and output tokens.")
    ] = 1.0,
    max_context: Annotated[
        int, typer.Option(min=2, help="Prompt and output together, in tokens; longer are cut.")
    ] = 2048,
    slo_ttft_ms: Annotated[
        float, typer.Option(min=0.001, help="Target of the time to the first token.")
    ] = 1000.0,
    slo_itl_ms: Annotated[
        float | None,
        typer.Option(
            min=0.001, help="Target of every gap between tokens. Default: 200.", show_default=False
        ),
    ] = None,
    slo_tpot_ms: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            help="Target of a request's mean gap, instead of --slo-itl-ms.",
            show_default=False,
        ),
    ] = None,
    slo_class: Annotated[
        str,
        typer.Option(
            help="SLO class of the requests. Default: the deployment's tightest, if it has any;"
            " its targets are not read, give them as --slo-….",
            show_default=False,
        ),
    ] = "",
    seed: Annotated[int, typer.Option(help="Of a generated workload and of prompts.")] = 0,
    vocab: Annotated[
        int, typer.Option(min=1, help="Prompt token ids lie in 0..VOCAB-1.")
    ] = BYTE_VOCAB_TOKENS,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds until a request is cancelled.")
    ] = 60.0,
    max_outstanding: Annotated[
        int, typer.Option(min=1, help="Requests open before one that is due is dropped.")
    ] = 1024,
    channels: Annotated[int, typer.Option(min=1, help="Connections to the gateway.")] = 4,
    report_file: Annotated[
        Path | None, typer.Option("--report", help="Also write the report, as JSON.")
    ] = None,
    requests_file: Annotated[
        Path | None, typer.Option("--requests", help="Also write one JSON line a request.")
    ] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Replays a workload; the help text is above."""
    slo = _slo(slo_ttft_ms, slo_itl_ms, slo_tpot_ms)
    planned = _workload(
        trace,
        generator,
        seed=seed,
        duration_s=duration,
        rate=rate,
        rate_scale=rate_scale,
        start_s=start,
    )
    workload = shape(
        planned,
        start_s=start,
        duration_s=duration,
        count=count,
        rate_scale=rate_scale,
        length_scale=length_scale,
        max_context_tokens=max_context,
    )
    if not workload:
        raise CommandError(
            f"the slice from {start} s holds no request; the workload is"
            f" {planned[-1].at_s if planned else 0:.0f} s long, choose an earlier --start"
        )
    settings = LoadSettings(
        gateway=_reachable(gateway or _local_gateway()),
        deployment=deployment,
        slo_class=slo_class,
        seed=seed,
        vocab_tokens=vocab,
        timeout_s=timeout,
        max_outstanding=max_outstanding,
        channels=channels,
    )
    say(_announcement(workload, settings))
    records = uvloop.run(replay(workload, settings, on_progress=_show_progress))
    report = load_report(records, slo)
    if report_file is not None:
        _write(report_file, [json.dumps(report, indent=2)])
    if requests_file is not None:
        _write(requests_file, [json.dumps(row) for row in request_rows(records)])
    if output is Format.TABLE:
        _show_table(report["online"])
    else:
        show_mapping(report, output)
    if report["online"]["failed"]:
        raise typer.Exit(ExitCode.DIFFERENT)


def _slo(ttft_ms: float, itl_ms: float | None, tpot_ms: float | None) -> Slo:
    if itl_ms is not None and tpot_ms is not None:
        raise CommandError("--slo-itl-ms and --slo-tpot-ms exclude each other; give one")
    if tpot_ms is not None:
        return Slo(ttft_ms=ttft_ms, tpot_ms=tpot_ms)
    return Slo(ttft_ms=ttft_ms, itl_ms=200.0 if itl_ms is None else itl_ms)


def _workload(
    trace: Path | None,
    generator: Generator | None,
    *,
    seed: int,
    duration_s: float | None,
    rate: float,
    rate_scale: float,
    start_s: float,
) -> Sequence[WorkloadRequest]:
    if (trace is None) == (generator is None):
        raise CommandError("give either a TRACE file or --generate azure, not both or none")
    if trace is None:
        # Long enough for what is skipped and for a faster replay.
        length_s = start_s + (120.0 if duration_s is None else duration_s) * rate_scale
        return generate(seed=seed, duration_s=length_s, requests_per_s=rate)
    try:
        with trace.open(encoding="utf-8") as lines:
            return read_trace(lines)
    except TraceError as error:
        raise CommandError(f"{trace}: {error}") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{trace}: not a text file ({error.reason}); give a trace") from error


def _local_gateway() -> str:
    path = find_cluster_file()
    if path is None:
        raise CommandError(
            "no gateway is known; give --gateway HOST:PORT, set SLACKTIDE_GATEWAY, or start a"
            " local fleet: slacktide cluster up",
            ExitCode.UNREACHABLE,
        )
    try:
        return str(json.loads(path.read_text())["gateway"]["address"])
    except (ValueError, KeyError, TypeError) as error:
        raise CommandError(
            f"{path}: does not name a gateway; run slacktide cluster down, then up"
        ) from error


def _reachable(gateway: str) -> str:
    host, _, port = gateway.rpartition(":")
    if not host or not port.isdigit():
        raise CommandError(f"gateway {gateway!r}: expected HOST:PORT")
    with contextlib.suppress(OSError), socket.create_connection((host.strip("[]"), int(port)), 5):
        return gateway
    raise CommandError(
        f"gateway {gateway}: nobody accepts connections there; next: slacktide cluster status",
        ExitCode.UNREACHABLE,
    )


def _announcement(workload: Sequence[WorkloadRequest], settings: LoadSettings) -> str:
    prompt = sum(request.prompt_tokens for request in workload)
    out = sum(request.output_tokens for request in workload)
    return (
        f"{len(workload)} requests over {workload[-1].at_s:.0f} s to {settings.deployment} at"
        f" {settings.gateway}: {prompt / len(workload):.0f} prompt and {out / len(workload):.0f}"
        " output tokens on average"
    )


_SHOW_EVERY = 5 if not os.isatty(2) else 1


def _show_progress(progress: LoadProgress) -> None:
    is_last = not progress.outstanding and progress.due == progress.total
    if not is_last and round(progress.elapsed_s) % _SHOW_EVERY:
        return
    say(
        f"  {progress.elapsed_s:5.0f} s  sent {progress.due}/{progress.total}"
        f"  open {progress.outstanding}  completed {progress.completed}"
        f"  failed {progress.failed}  tokens {progress.output_tokens}"
    )


def _show_table(online: dict[str, Any]) -> None:
    rows = [
        [name, *(f"{online[key][figure]:.1f}" for figure in ("p50", "p90", "p99", "mean", "max"))]
        for name, key in (
            ("TTFT ms", "ttft_ms"), ("ITL ms", "itl_ms"), ("TPOT ms", "tpot_ms"),
            ("send lag ms", "send_lag_ms"),
        )
    ]  # fmt: skip
    show_table(["latency", "p50", "p90", "p99", "mean", "max"], rows, right=[False] + [True] * 5)
    slo = online["slo"]
    gap = f"ITL {slo['itl_ms']} ms" if slo["itl_ms"] is not None else f"TPOT {slo['tpot_ms']} ms"
    print(
        f"\nrequests {online['requests']}, failed {online['failed']} (shed {online['shed']}, timed"
        f" out {online['timed_out']}, dropped {online['dropped']})\nattainment"
        f" {online['attainment']:.2%} of TTFT {slo['ttft_ms']} ms, {gap}"
    )
    for replica, served in online["replicas"].items():
        print(f"{replica}: {served} requests")
    for error, times in online["errors"].items():
        print(f"{times} x {error}")


def _write(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
