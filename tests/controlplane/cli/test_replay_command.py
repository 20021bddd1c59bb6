"""`slacktide replay`, from the command line to its files."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest

from controlplane.cli.app import main
from planner.replay.document import from_values
from planner.replay.policies import POLICIES

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens"


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


class Terminal(io.StringIO):
    """What a program takes for a terminal."""

    def isatty(self) -> bool:
        return True


def replay(*arguments: str, is_terminal: bool = False) -> Done:
    """Runs the program in this process, as its console script does."""
    out, err = io.StringIO(), Terminal() if is_terminal else io.StringIO()
    code = 0
    with (
        patch.object(sys, "argv", ["slacktide", "replay", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


def stamp(at_s: float) -> str:
    minutes, seconds = divmod(at_s, 60.0)
    return f"2023-11-16 18:{int(minutes):02d}:{seconds:010.7f}"


def row(at_s: float, prompt_tokens: int = 300, output_tokens: int = 40) -> str:
    return f"{stamp(at_s)},{prompt_tokens},{output_tokens}"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Forty seconds of four requests a second."""
    path = tmp_path / "conv.csv"
    path.write_text("\n".join([HEADER, *(row(n / 4, 200 + n % 5 * 80) for n in range(160)), ""]))
    return path


QUICK = ("--predictor", "oracle", "--offline", "cnn", "--offline-in-flight", "8")
TWO = ("--policy", "online-only", "--policy", "slacktide", "--budget", "latency_budget_ms=40")


def test_replay_writes_report_and_figures_beside_it(trace: Path, tmp_path: Path) -> None:
    """Two policies on a tiny trace: a table, an HTML page, its JSON, which reads back."""
    page = tmp_path / "out" / "replay.html"
    done = replay(str(trace), *QUICK, *TWO, "--slo", "itl_p99=50%", "--report", str(page))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("POLICY")
    assert re.search(r"^slacktide +(kept|missed)", done.stdout, re.MULTILINE)
    markup = page.read_text(encoding="utf-8")
    ElementTree.fromstring(markup.partition("\n")[2])
    document = from_values(json.loads(page.with_suffix(".json").read_text()))
    online, slacktide = document.runs
    assert (online.policy, slacktide.policy) == ("online-only", "slacktide")
    assert document.workload.requests == 160 == online.recorded.ttft_ms.count
    assert online.recorded.offline_tokens_per_s == 0.0 < slacktide.recorded.offline_tokens_per_s
    assert slacktide.settings["latency_budget_ms"] == 40.0
    (target,) = document.targets
    baseline_ms = online.recorded.itl_ms.quantile(0.99)
    assert target.baseline_ms == baseline_ms
    assert target.limit_ms == pytest.approx(1.5 * baseline_ms)


def test_replay_bounds_what_any_scheduler_could_have_done(trace: Path) -> None:
    """Only if asked: a line of the table, the same figure in JSON, what is assumed as a note."""
    asked = (str(trace), *QUICK, *TWO, "--slo", "none", "--duration", "12")
    shown, data, plain = (
        replay(*asked, "--bound"), replay(*asked, "--bound", "-o", "json"), replay(*asked),
    )  # fmt: skip
    assert shown.returncode == data.returncode == 0, shown.stderr + data.stderr
    values = json.loads(data.stdout)
    (bound,) = values["bounds"]
    assert bound["policy"] == "slacktide" and 0.0 < bound["done_ratio"] <= 1.0
    line = rf"^bound beside slacktide +- .* <= {bound['offline_tokens_per_s']:.0f} +-$"
    assert re.search(line, shown.stdout, re.MULTILINE)
    assert sum("knows all arrivals" in note for note in values["notes"]) == 1
    assert "bound" not in plain.stdout


def test_replay_repeats_itself_by_seed(trace: Path) -> None:
    """Equal arguments give equal answers to the last digit, another seed another one."""
    arguments = (str(trace), *QUICK, *TWO, "--slo", "none", "-o", "json")
    first, second = replay(*arguments), replay(*arguments)
    other = replay(*arguments, "--seed", "1")
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout != other.stdout
    assert json.loads(first.stdout)["configuration"]["Simulation"]["seed"] == 0


def test_replay_tunes_policies_for_the_slo(trace: Path) -> None:
    """A looser limit lets HyGen do more offline work; each keeps what it was tuned for."""
    rates = []
    for limit in ("5%", "150%"):
        slo = ("--slo", f"itl_mean={limit}", "--duration", "12")
        done = replay(str(trace), *QUICK, "--policy", "hygen", *slo, "-o", "json")
        assert done.returncode == 0, done.stderr
        (run,) = json.loads(done.stdout)["runs"]
        (verdict,) = run["verdicts"]
        assert verdict["kept"], verdict
        assert "within the SLO in" in run["tuning"]
        rates.append(run["figures"]["offline_tokens_per_s"])
    assert 0.0 <= rates[0] < rates[1]


def test_replay_needs_no_file() -> None:
    """A generated workload says that it is one, and that operator times are derived."""
    done = replay("generated", *QUICK, "--policy", "slacktide", "--slo", "none", "--duration", "8")
    assert done.returncode == 0, done.stderr
    assert "No trace was given" in done.stdout and "derived" in done.stdout


def test_replay_draws_bursts_and_idle_phases() -> None:
    """The shape in which batch gateways are measured, at a rate of one's own."""
    done = replay(
        "burst-idle", *QUICK, "--policy", "slacktide", "--slo", "none", "--rate", "4",
        "--duration", "100", "--start", "80", "-o", "json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    offered = values["runs"][0]["recorded"]["offered_requests"]
    assert sum(offered[:10]) > 3 * sum(offered[20:30])  # the burst ends 10 s in


def test_replay_plans_by_the_predictor_asked_for(trace: Path) -> None:
    """The oracle errs by noise alone, fitted models by more, each by its own."""
    errors = {}
    for predictor in ("oracle", "fitted", "hygen"):
        done = replay(
            str(trace), *QUICK, "--policy", "slacktide", "--slo", "none", "--duration", "12",
            "--predictor", predictor, "-o", "json",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        recorded = json.loads(done.stdout)["runs"][0]["recorded"]
        errors[predictor] = recorded["iterations"]["prediction_error_ratio"]
    assert 0.0 < errors["oracle"] < errors["fitted"] < 0.5
    assert errors["hygen"] not in (errors["fitted"], errors["oracle"])


@pytest.mark.parametrize("offline", ["arxiv", "mmlu", "none"])
def test_replay_runs_each_batch_beside(trace: Path, offline: str) -> None:
    """Drawn batches do work, none does none."""
    done = replay(
        str(trace), "--predictor", "oracle", "--policy", "slacktide", "--slo", "none",
        "--offline", offline, "--duration", "10", "-o", "json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rate = json.loads(done.stdout)["runs"][0]["figures"]["offline_tokens_per_s"]
    assert (rate > 0.0) == (offline != "none")


def test_replay_reads_offline_lengths_over_and_over(trace: Path, tmp_path: Path) -> None:
    """A batch of two documents keeps the engine busy for the whole window."""
    batch = tmp_path / "batch.csv"
    batch.write_text("num_prefill_tokens,num_decode_tokens\n400,20\n600,10\n")
    done = replay(
        str(trace), "--predictor", "oracle", "--policy", "slacktide", "--slo", "none",
        "--offline", str(batch), "--duration", "20", "-o", "json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["runs"][0]["offline_ended"] > 10


def test_replay_cuts_long_requests_when_told_to(trace: Path) -> None:
    """What is an error without --fit-context is a note with it."""
    with trace.open("a") as lines:
        lines.write(row(41.0, 5000, 200) + "\n")
    done = replay(str(trace), *QUICK, *TWO, "--slo", "none", "--fit-context")
    assert done.returncode == 0, done.stderr
    assert "longer than the context of 4096 tokens were cut: 1" in done.stdout


def test_replay_shows_progress_where_asked(trace: Path) -> None:
    """Simulated time and speed on stderr; nothing off a terminal unless asked."""
    arguments = (str(trace), *QUICK, *TWO, "--slo", "none", "--duration", "5")
    quiet, told = replay(*arguments), replay(*arguments, "--progress")
    assert quiet.stderr == ""
    first, *lines = told.stderr.splitlines()
    assert first.startswith("reading the workload") and len(lines) == 2
    assert all(re.search(r"\d+ of \d+ s simulated, \d+ × real time", line) for line in lines)
    assert quiet.stdout == told.stdout


def test_replay_rewrites_one_line_on_a_terminal(trace: Path) -> None:
    """Progress is on by default there, in one line a replay; --no-progress is silent."""
    arguments = (str(trace), *QUICK, *TWO, "--slo", "none", "--duration", "5")
    told = replay(*arguments, is_terminal=True)
    _, *lines, end = told.stderr.split("\n")
    assert len(lines) == 2 and end == ""
    assert all(line.startswith("\r\x1b[K") for line in lines)
    assert replay(*arguments, "--no-progress", is_terminal=True).stderr == ""


def test_context_is_of_scaled_lengths(trace: Path) -> None:
    """What fits once scaled is replayed; what does not any more is refused, with its line."""
    with trace.open("a") as lines:
        lines.write(row(41.0, 5000, 200) + "\n")
    arguments = (str(trace), *QUICK, "--policy", "online-only", "--slo", "none")
    assert replay(*arguments, "--length-scale", "0.5").returncode == 0
    refused = replay(*arguments, "--length-scale", "10", "--duration", "5")
    assert refused.returncode == 2 and f"{trace}: line " in refused.stderr


# ------------------------------------------------------------ what is refused


def lines_of(*rows: str) -> str:
    return "\n".join([HEADER, *rows, ""])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lines_of(row(0.0), "2023-11-16 18:00:01,many,3"), ["line 3", "many"]),
        (lines_of(row(0.0), row(1.0, -5)), ["line 3", "-5"]),
        (lines_of(row(0.0), row(9.0), row(8.0)), ["line 4", "sort the trace"]),
        (lines_of(row(0.0), row(1.0), row(2.0, 4000, 200)), ["line 4", "4200", "--fit-context"]),
        (lines_of(), ["no request"]),
        ("", ["line 1", "empty"]),
        ("\ufeff\n\n", ["line 1", "empty"]),
        ("when,how much\n1,2\n", ["line 1", "no trace that is known"]),
        (
            '{"timestamp": -5, "input_length": 10, "output_length": 2, "hash_ids": []}\n',
            ["line 1", "-5"],
        ),
        ("\x00\x01\x02", ["line 1"]),
    ],
)
def test_broken_trace_is_one_line_with_file_and_line(
    tmp_path: Path, content: str, words: list[str]
) -> None:
    """Whatever is wrong with it: what, where, and exit code 2, before anything runs."""
    path = tmp_path / "broken.csv"
    path.write_text(content)
    done = replay(str(path), *QUICK, *TWO)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    for word in ("broken.csv", *words):
        assert word in done.stderr, done.stderr


def test_trace_with_a_gap_of_years_asks_for_a_duration(tmp_path: Path) -> None:
    """The batch would be simulated for all of it."""
    path = tmp_path / "ages.jsonl"
    rows = [f'{{"timestamp": {at}, "input_length": 10, "output_length": 2, "hash_ids": []}}\n'
            for at in (0, 10**12)]  # fmt: skip
    path.write_text("".join(rows))
    done = replay(str(path), "--policy", "online-only", "--slo", "none")
    assert done.returncode == 2 and "11574 days" in done.stderr and "--duration" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--hardware", "b9000"], ["b9000", "a100-40gb"]),
        (["--model", "gpt-17"], ["gpt-17", "llama2-7b"]),
        (["--policy", "clever"], ["clever", "slacktide", "sglang-priority"]),
        (["--policy", "cap:many"], ["cap:many", "no number"]),
        (["--slo", "itl_p42=10%"], ["itl_p42", "itl_p99"]),
        (["--slo", "itl_p99=10"], ["itl_p99=10", "no unit"]),
        (["--slo", "itl_p99=0ms"], ["itl_p99=0ms", "> 0"]),
        (["--slo", "itl_p99=10%", "--slo", "itl_p99=20ms"], ["itl_p99", "2 times"]),
        (["--budget", "speed=9"], ["speed", "latency_budget_ms"]),
        (["--budget", "latency_budget_ms=soon"], ["soon", "no number"]),
        (["--budget", "latency_budget_ms=-1"], ["-1", ">= 0"]),
        (["--budget", "max_offline_rows=0.5"], ["max_offline_rows=0.5", "whole"]),
        (["--tensor-parallel-size", "3"], ["3", "32 heads"]),
        (["--model", "llama2-70b"], ["no memory for KV", "--tensor-parallel-size"]),
        (["--context-tokens", "100000"], ["100000", "does not fit KV"]),
        (["--start", "4000"], ["no request", "--start 4000"]),
        (["--rate", "3"], ["--rate-scale"]),
        (["--offline", "/nowhere/batch.csv"], ["/nowhere/batch.csv"]),
        (["--operators", "/nowhere/mlp.csv"], ["/nowhere/mlp.csv"]),
        (
            ["--duration", "5", "--slo", "ttft_p99=10%", "--policy", "hygen"],
            ["too short", "--slo none"],
        ),
    ],
)
def test_unknown_or_impossible_input_is_one_clear_line(
    trace: Path, arguments: list[str], words: list[str]
) -> None:
    """What was given, what is allowed, exit code 2."""
    done = replay(str(trace), *QUICK, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr, done.stderr


@pytest.mark.parametrize(
    "option", ["--rate", "--rate-scale", "--length-scale", "--start", "--duration"]
)
@pytest.mark.parametrize("number", ["inf", "nan"])
def test_number_that_is_not_finite_is_refused(option: str, number: str) -> None:
    """By the option's name, without a trace of the program's own."""
    done = replay("generated", *QUICK, *TWO, option, number)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"'{option}'" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("option", ["trace", "offline"])
def test_pipe_is_refused_since_it_is_read_only_once(
    trace: Path, tmp_path: Path, option: str
) -> None:
    """A replay under the second policy would find no request in it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    given = [str(pipe)] if option == "trace" else [str(trace), "--offline", str(pipe)]
    done = replay(*QUICK, *TWO, *given)
    assert (done.returncode, done.stdout) == (2, "")
    assert str(pipe) in done.stderr and "save it to a file" in done.stderr


def test_report_that_cannot_be_written_is_told_before_anything_runs(
    trace: Path, tmp_path: Path
) -> None:
    """Not after minutes of simulation: a folder, or the figures' own file."""
    for page in (tmp_path, tmp_path / "replay.json"):
        done = replay(str(trace), *QUICK, *TWO, "--report", str(page), "--progress")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"error: {page}: cannot"), done.stderr


def test_missing_trace_is_named(tmp_path: Path) -> None:
    """As any file that cannot be opened."""
    done = replay(str(tmp_path / "none.csv"))
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path / 'none.csv'}: No such file or directory\n"


def test_broken_tables_are_named_with_their_line(trace: Path, tmp_path: Path) -> None:
    """Offline lengths and operator times as well as traces."""
    batch, table = tmp_path / "batch.csv", tmp_path / "mlp.csv"
    batch.write_text("num_prefill_tokens,num_decode_tokens\n400,20\n600\n")
    table.write_text(
        "num_tokens,num_tensor_parallel_workers,time_stats.mlp.median\n1,1,0.2\n2,1,slow\n"
    )
    for option, path in (("--offline", batch), ("--operators", table)):
        done = replay(str(trace), *QUICK, *TWO, option, str(path))
        assert done.returncode == 2
        assert f"{path}: line 3" in done.stderr, done.stderr


def test_measured_operators_are_used_and_said(trace: Path, tmp_path: Path) -> None:
    """Slower tables give slower iterations, and the note on derived times is gone."""
    table = tmp_path / "mlp.csv"
    rows = [f"{tokens},1,{0.5 + tokens * 0.004}" for tokens in (1, 64, 256, 1024, 4096)]
    table.write_text(
        "\n".join(["num_tokens,num_tensor_parallel_workers,time_stats.mlp.median", *rows, ""])
    )
    arguments = (str(trace), *QUICK, "--policy", "online-only", "--slo", "none", "--duration", "9")
    derived = replay(*arguments, "-o", "json")
    measured = replay(*arguments, "-o", "json", "--operators", str(table))
    assert measured.returncode == 0, measured.stderr
    before, after = (json.loads(done.stdout) for done in (derived, measured))
    assert any("derived" in note for note in before["notes"])
    assert not any("derived" in note for note in after["notes"])
    assert after["configuration"]["Engine"]["operators"] == "mlp.csv"
    slow, fast = (v["runs"][0]["figures"]["itl_ms"]["mean"] for v in (after, before))
    assert slow > fast


# ------------------------------------------------------------ the program


def test_help_names_every_policy() -> None:
    """And nothing has to be known beforehand."""
    done = replay("--help")
    assert done.returncode == 0
    for name in POLICIES:
        assert name.partition("[")[0] in done.stdout


def test_program_loads_no_simulator_before_it_is_asked_to() -> None:
    """Other commands start as quickly as before: no numpy, no simulator."""
    check = (
        "import sys, controlplane.cli.app;"
        "print([m for m in sys.modules if m == 'numpy' or m.startswith('planner.simulation')"
        " or m.startswith('planner.replay')])"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
