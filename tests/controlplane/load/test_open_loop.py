"""The open loop against a real gRPC server that can be slow or fail."""

import asyncio
import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from controlplane.load.openloop import LoadProgress, LoadSettings, replay
from controlplane.load.report import load_report, request_rows
from planner.model import Slo
from planner.slo import Outcome, ttft_ms
from planner.workload.content import prompt_token_ids
from planner.workload.request import WorkloadRequest

if TYPE_CHECKING:
    from conftest import ScriptedServer

_SLO = Slo(ttft_ms=200, itl_ms=100)


def _every(gap_s: float, *, count: int) -> list[WorkloadRequest]:
    return [WorkloadRequest(at_s=i * gap_s, prompt_tokens=8, output_tokens=3) for i in range(count)]


def _settings(server: "ScriptedServer", **given: object) -> LoadSettings:
    return LoadSettings(gateway=server.address, deployment="chat", **given)  # type: ignore[arg-type]


async def test_requests_are_sent_when_due_though_none_is_answered(
    server: "ScriptedServer",
) -> None:
    """A slow server does not slow the load: that is what open loop means."""
    server.delay_s = 1.0
    records = await replay(_every(0.05, count=10), _settings(server))
    spread_s = server.arrivals_s[-1] - server.arrivals_s[0]
    assert spread_s == pytest.approx(0.45, abs=0.2)
    assert all(record.trace.outcome is Outcome.COMPLETED for record in records)
    assert all((ttft_ms(record.trace) or 0) >= 1000 for record in records)


async def test_latency_counts_from_the_schedule_when_the_generator_stalls(
    server: "ScriptedServer",
) -> None:
    """A generator that cannot send in time shows its lag in TTFT, not a shorter one."""
    stall_s = 0.3

    def stall(_: LoadProgress) -> None:
        end_s = asyncio.get_running_loop().time() + stall_s
        while asyncio.get_running_loop().time() < end_s:
            pass

    workload = _every(0.02, count=10)
    records = await replay(workload, _settings(server), on_progress=stall, progress_every_s=0.05)
    late = [record for record in records if record.lag_ms > 100]
    assert late
    for record in late:
        assert (ttft_ms(record.trace) or 0) > record.lag_ms
    gaps = [
        later.trace.scheduled_s - sooner.trace.scheduled_s for sooner, later in pairwise(records)
    ]
    assert gaps == pytest.approx([0.02] * 9)


async def test_no_request_is_sent_early(server: "ScriptedServer") -> None:
    """Timers may fire early; the generator does not."""
    records = await replay(_every(0.007, count=30), _settings(server))
    assert min(record.lag_ms for record in records) >= 0


async def test_request_is_dropped_and_fails_when_too_many_are_open(
    server: "ScriptedServer",
) -> None:
    """The bound is not a queue: what is due and has no room counts as failed."""
    server.delay_s = 0.5
    records = await replay(_every(0.01, count=6), _settings(server, max_outstanding=4))
    assert [record.sent_s is None for record in records] == [False] * 4 + [True] * 2
    report = load_report(records, _SLO)["online"]
    assert (report["dropped"], report["failed"], report["attainment"]) == (2, 2, 0.0)
    assert len(server.requests) == 4


async def test_request_is_cancelled_when_it_exceeds_its_timeout(
    server: "ScriptedServer",
) -> None:
    """It counts as timed out, and the server learns of it."""
    server.delay_s = 30.0
    (record,) = await replay(_every(1, count=1), _settings(server, timeout_s=0.2))
    assert record.trace.outcome is Outcome.TIMED_OUT
    await asyncio.wait_for(server.cancelled.wait(), 5)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Outcome.SHED),
        (grpc.StatusCode.UNAVAILABLE, Outcome.FAILED),
        (grpc.StatusCode.INVALID_ARGUMENT, Outcome.FAILED),
    ],
)
async def test_refused_request_is_sent_once_when_it_fails(
    server: "ScriptedServer", code: grpc.StatusCode, outcome: Outcome
) -> None:
    """No retries: one request, one arrival, one failure."""
    server.code = code
    (record,) = await replay(_every(1, count=1), _settings(server))
    assert record.trace.outcome is outcome
    assert record.error.startswith(code.name)
    assert len(server.requests) == 1


async def test_stream_fails_when_it_ends_without_finish(server: "ScriptedServer") -> None:
    """Tokens alone are not completion."""
    server.finish = ""
    (record,) = await replay(_every(1, count=1), _settings(server))
    assert record.trace.outcome is Outcome.FAILED
    assert "finish" in record.error


async def test_prompts_are_those_of_the_seed_when_sent(server: "ScriptedServer") -> None:
    """Deterministic ids within the vocabulary, the trace's lengths, greedy, past EOS."""
    workload = _every(0.01, count=3)
    await replay(workload, _settings(server, seed=9, vocab_tokens=100))
    sent = {request.request_id: request for request in server.requests}
    for index, planned in enumerate(workload):
        request = sent[f"load-9-{index}"]
        expected = prompt_token_ids(planned, index=index, seed=9, vocab_tokens=100)
        assert list(request.token_ids.ids) == expected
        assert request.sampling.max_tokens == 3
        assert request.sampling.ignore_eos
        assert request.deployment == "deployments/chat"


async def test_report_counts_tokens_gaps_and_replicas_when_done(
    server: "ScriptedServer",
) -> None:
    """The keys the demo and benches read."""
    seen: list[LoadProgress] = []
    records = await replay(
        _every(0.05, count=5), _settings(server), on_progress=seen.append, progress_every_s=0.05
    )
    online = load_report(records, _SLO)["online"]
    assert (online["requests"], online["failed"]) == (5, 0)
    assert online["attainment"] == 1.0
    assert online["output_tokens"] == 15
    assert online["prompt_tokens"] == 40
    assert online["itl_ms"]["count"] == 10  # a zero within the first chunk, then one gap
    assert online["itl_ms"]["p50"] >= 0
    assert {"p50", "p99", "mean"} <= set(online["ttft_ms"])
    assert online["replicas"] == {"replicas/r1": 5}
    rows = request_rows(records)
    assert [row["scheduled_ms"] for row in rows] == pytest.approx([0, 50, 100, 150, 200], abs=0.1)
    assert len(seen) > 2
    assert seen[-1].completed == seen[-1].due == seen[-1].total == 5


async def test_command_reports_json_when_it_replays_a_generated_load(
    server: "ScriptedServer", tmp_path: Path
) -> None:
    """`slacktide load replay` end to end: report on stdout and in a file, progress beside."""
    report_path, rows_path = tmp_path / "out" / "report.json", tmp_path / "rows.jsonl"
    done = await asyncio.to_thread(
        _slacktide,
        "load", "replay", "--generate", "azure", "--deployment", "chat",
        "--gateway", server.address, "--duration", "1.5", "--rate", "10",
        "--max-context", "64", "-o", "json",
        "--report", str(report_path), "--requests", str(rows_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["online"]["failed"] == 0
    assert report["online"]["requests"] == len(server.requests) > 0
    assert json.loads(report_path.read_text()) == report
    assert len(rows_path.read_text().splitlines()) == report["online"]["requests"]
    assert "requests over" in done.stderr
    assert all(len(r.token_ids.ids) + r.sampling.max_tokens <= 64 for r in server.requests)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--generate", "azure", "--gateway", "127.0.0.1:1"], "nobody accepts connections"),
        (["--generate", "azure", "--gateway", "here"], "HOST:PORT"),
        ([], "TRACE"),
        (["TRACE"], "line 1"),
        (
            ["--generate", "azure", "--slo-itl-ms", "5", "--slo-tpot-ms", "5"],
            "exclude each other",
        ),
        (["--generate", "azure", "--rate", "-1"], "rate"),
    ],
)
def test_command_says_one_clear_error_when_it_cannot_start(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    """Bad input: what, observed, allowed; no stack trace; exit code 2 or 3."""
    trace = tmp_path / "trace.csv"
    trace.write_text("not a trace\n")
    given = [str(trace) if word == "TRACE" else word for word in arguments]
    done = _slacktide("load", "replay", "--deployment", "chat", *given)
    assert done.returncode in (2, 3)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def _slacktide(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "controlplane.cli.app", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )


async def test_every_request_carries_the_class_it_was_given(server: "ScriptedServer") -> None:
    """None by default, so that a deployment without classes can be loaded as before."""
    await replay(_every(0.01, count=2), _settings(server))
    await replay(_every(0.01, count=2), _settings(server, slo_class="relaxed"))
    assert [one.slo_class for one in server.requests] == ["", "", "relaxed", "relaxed"]
