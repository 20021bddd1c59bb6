"""`slacktide replay --fleet`, from its file to its report."""

import contextlib
import io
import json
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from unittest.mock import patch

import pytest
import yaml

from controlplane.cli.app import main
from controlplane.cli.failures import CommandError
from controlplane.cli.replay_fleet_file import read_fleet
from controlplane.cli.replay_fleet_keys import FLEET_HELP
from controlplane.cli.replay_fleet_supposed import Supposing, supposed
from planner.replay.fleet_document import SCHEMA

FRONTIER = {"h100": {"max_online_work": 20_000, "segments": [[0.6, 1, 15_000]]}}


@dataclass(frozen=True)
class Done:
    code: int
    stdout: str
    stderr: str


def replay(*arguments):
    """Runs the program in this process, as its console script does."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        patch.object(sys, "argv", ["slacktide", "replay", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


def fleet(**changes):
    """A small fleet's file, as values."""
    return {
        "duration": "30m",
        "rounds": {"interval": "5m", "solver": "greedy"},
        "prices": {"h100": 3.0},
        "nodes": [{"type": "h100", "count": 2, "devices": 2, "domains": ["r0", "r1"]}],
        "deployments": [
            {
                "name": "chat",
                "model": "llama3-8b",
                "slo": {"ttft": "2s", "tpot": "60ms"},
                "demand": {"rate": 4},
                "frontier": FRONTIER,
            }
        ],
        "batches": [{"deployment": "chat", "items": 500, "deadline": "25m"}],
        "failures": [{"domain": "r0", "at": "10m", "for": "5m"}],
    } | changes


@pytest.fixture
def write(tmp_path):
    def written(values):
        path = tmp_path / "fleet.yaml"
        path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
        return path

    return written


def deployment(**changes):
    return [fleet()["deployments"][0] | changes]


def test_fleet_is_replayed_with_report_and_figures(write, tmp_path):
    """The page is well-formed, the JSON holds what happened, the table says it."""
    page = tmp_path / "out" / "fleet.html"
    done = replay("--fleet", write(fleet()), "--report", page)
    assert done.code == 0, done.stderr
    assert "chat" in done.stdout
    assert "0 of 1 deadlines missed" in done.stdout
    ElementTree.fromstring(page.read_text().removeprefix("<!DOCTYPE html>\n"))
    values = json.loads(page.with_suffix(".json").read_text())
    assert values["schema"] == SCHEMA
    assert values["figures"]["missed_deadlines"] == 0
    assert values["figures"]["online_requests"] == pytest.approx(4 * 1800)
    assert values["batches"][0]["done"] == 500
    assert sum(values["series"]["cost"]) == pytest.approx(values["figures"]["cost"], abs=0.1)
    assert {one["trigger"] for one in values["rounds"]} >= {"start", "interval"}


def test_equal_files_give_equal_answers(write):
    """Twice the same file: the same JSON."""
    path = write(fleet())
    first, second = (replay("--fleet", path, "-o", "json") for _ in range(2))
    assert first.code == 0
    assert first.stdout == second.stdout


def test_exact_mode_replays_every_request(write):
    """A small fleet, iteration by iteration."""
    values = fleet(mode="exact", duration="40s", batches=[], failures=[])
    done = replay("--fleet", write(values), "-o", "json")
    assert done.code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["mode"] == "exact"
    assert found["figures"]["attainment_ratio"] == pytest.approx(1.0)
    assert found["figures"]["online_requests"] > 100


def test_replica_is_profiled_where_the_file_gives_no_frontier(write):
    """Without a frontier the simulated engine says what a replica bears."""
    one = deployment()[0]
    del one["frontier"]
    one["requests"], one["items"] = {"prompt": 200, "output": 20}, {"prompt": 400, "output": 20}
    told = []
    made = read_fleet(write(fleet(deployments=[one])), tell=told.append)
    profile = made.scenario.services[0].profiles["h100"]
    assert profile.source == "simulated"
    assert profile.levels[0].offline_work > profile.levels[-1].offline_work
    assert told == ["measuring what a replica of chat bears on h100"]


def test_trace_gives_rate_and_lengths(write, tmp_path):
    """A trace's requests per second, scaled; lengths are its own."""
    rows = "".join(f"2023-11-16 18:00:{s:02d}.0000000,300,40\n" for s in range(60))
    (tmp_path / "t.csv").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + rows)
    values = fleet(deployments=deployment(demand={"trace": "t.csv", "scale": 3}))
    demand = read_fleet(write(values), tell=lambda _: None).scenario.services[0].demand
    assert demand.rate(0.0, 60.0) == pytest.approx(3.0)
    assert demand.lengths(__import__("random").Random(0)) == (300, 40)


def test_documented_keys_are_a_fleet_that_reads(write, tmp_path):
    """What --fleet-keys prints is itself a file that can be read, but for its trace."""
    printed = replay("--fleet-keys")
    assert printed.code == 0
    assert printed.stdout == FLEET_HELP
    values = yaml.safe_load(FLEET_HELP)
    values["nodes"][0]["count"] = 1
    values["failures"] = [{"node": "n0000", "at": "2h", "for": "30m"}]
    made = read_fleet(write(values), tell=lambda _: None)
    assert made.scenario.duration_s == 6 * 3600
    assert len(made.scenario.batches) == 4
    assert made.scenario.services[0].deployment.node_groups == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"duration": "soon"}, ["duration", "'soon'", "write e.g."]),
        ({"duration": None}, ["duration", "required"]),
        ({"duration": "99999999h"}, ["duration", "99999999h is too long", "at most 3.456e+07s"]),
        ({"interval": 10**30}, ["interval", "is too long", "at most 1e+12s"]),
        (
            {"batches": [{"deployment": "chat", "items": 1, "count": 10**9}]},
            ["batches[0].count", "1e+09", "1..100000"],
        ),
        ({"durration": "6h"}, ["durration", "did you mean duration?"]),
        ({"mode": "fast"}, ["mode", "'fast'", "aggregated, exact"]),
        ({"nodes": []}, ["nodes", "one entry at least"]),
        ({"nodes": [{"type": "tpu"}]}, ["nodes[0].type", "'tpu'", "known are"]),
        ({"nodes": [{"type": "h100", "count": 0}]}, ["nodes[0].count", "0", "1.."]),
        ({"nodes": [{"type": "h100", "count": 1.5}]}, ["nodes[0].count", "1.5", "whole"]),
        ({"rounds": {"device_cost": 101}}, ["rounds.device_cost", "101", "0..100"]),
        ({"rounds": {"solver": "magic"}}, ["rounds.solver", "'magic'", "solve, greedy"]),
        ({"prices": {"h100": "much"}}, ["prices.h100", "'much'", "number"]),
        ({"batches": [{"deployment": "x", "items": 1}]}, ["batches[0].deployment", "'x'", "chat"]),
        (
            {"batches": [{"deployment": "chat", "items": 1, "submit": "2h", "deadline": "1h"}]},
            ["batches[0].deadline", "not after submit"],
        ),
        ({"failures": [{"at": "1m", "for": "1m"}]}, ["failures[0]", "either node or domain"]),
        (
            {"failures": [{"domain": "r9", "at": "1m", "for": "1m"}]},
            ["failures[0].domain", "'r9'", "r0, r1"],
        ),
        (
            {"failures": [{"domain": "r0", "at": "1m", "for": "5m"}] * 2},
            ["failures", "while it is down"],
        ),
        ({"deployments": deployment(model="gpt")}, ["deployments[0].model", "'gpt'", "known are"]),
        (
            {"deployments": deployment(slo={"ttft": "2s"})},
            ["deployments[0].slo.tpot", "either itl or tpot"],
        ),
        (
            {"deployments": deployment(device_types=["a40"])},
            ["deployments[0].device_types", "'a40'", "h100"],
        ),
        (
            {"deployments": deployment(model="llama3-70b")},
            ["deployments[0].device_types", "does not fit", "tensor_parallel_size"],
        ),
        (
            {"deployments": deployment(demand={"trace": "no.csv"})},
            ["demand.trace", "no.csv", "No such file"],
        ),
        ({"deployments": deployment() * 2}, ["deployments[1].name", "more than once"]),
        (
            {"deployments": deployment(max_replicas=1, min_replicas=3)},
            ["deployments[0].max_replicas", "below min_replicas 3"],
        ),
        (
            {"deployments": deployment(anti_affinity=["nobody"])},
            ["deployments[0].anti_affinity", "no deployment 'nobody'", "chat"],
        ),
        ({"deployments": deployment(frozen="yes")}, ["deployments[0].frozen", "true or false"]),
        ({"tenants": {"a": 0}}, ["tenants.a", "0 is out of range"]),
        ({"tenants": {"a": {"quotta": 1}}}, ["tenants.a.quotta", "did you mean quota?"]),
        ({"tenants": {"a": {"quota": -1}}}, ["tenants.a.quota", "-1 is out of range"]),
        ({"pins": [{"deployment": "x", "node": "n0000"}]}, ["pins[0].deployment", "'x'", "chat"]),
        ({"pins": [{"deployment": "chat", "node": "n9"}]}, ["pins[0].node", "'n9'", "take the"]),
        (
            {"pins": [{"deployment": "chat", "node": "n0000", "replicas": 65}]},
            ["pins[0].replicas", "65", "1..64"],
        ),
        (
            {"pins": [{"deployment": "chat", "node": "n0000"}] * 2},
            ["pins[1].node", "'n0000' has a pin of chat already"],
        ),
        (
            {"prices": {"h100": 3.0, "a100": 2.0}},
            ["prices.a100", "no node has devices of this type", "there are h100", "take it out"],
        ),
        (
            {"deployments": deployment(frontier={"H100": FRONTIER["h100"]})},
            ["deployments[0].frontier.H100", "no node has devices of this type", "h100"],
        ),
    ],
)
def test_file_is_refused_by_key_value_and_remedy(write, changes, words):
    """Each refusal is one line: file, key, what was given, what is allowed."""
    path = write(fleet(**changes))
    with pytest.raises(CommandError) as refused:
        read_fleet(path, tell=lambda _: None)
    line = str(refused.value)
    assert "\n" not in line
    for word in ["fleet.yaml", *words]:
        assert word in line, line


def test_broken_yaml_is_told_with_its_line(write):
    """Line and reason."""
    done = replay("--fleet", write("duration: 1h\nnodes: [\n"))
    assert done.code == 2
    assert "fleet.yaml: line" in done.stderr
    assert "YAML" in done.stderr


def test_replay_without_trace_or_fleet_says_what_to_give():
    """Neither is no default."""
    done = replay()
    assert done.code == 2
    assert "--fleet" in done.stderr


def test_trace_and_fleet_exclude_each_other(write):
    """A fleet has its own demand."""
    done = replay("generated", "--fleet", write(fleet()))
    assert done.code == 2
    assert "either TRACE or --fleet" in done.stderr


def test_deadlines_are_told_of_batches_that_have_one(write):
    """Two batches, one deadline: none of one missed."""
    due = {"deployment": "chat", "items": 1, "deadline": "29m"}
    batches = [due, {"deployment": "chat", "items": 1}]
    done = replay("--fleet", write(fleet(batches=batches)))
    assert done.code == 0, done.stderr
    assert "of 1 deadlines missed" in done.stdout


OWN = {
    "name": "own",
    "model": "own",
    "request_work": 100.0,
    "slo": {"ttft": "2s", "tpot": "60ms"},
    "weights": "100GiB",
}
SMALL = {"id": "small", "type": "x", "memory": "8GiB", "devices": 2}
LARGE = {"id": "large", "type": "y", "memory": "200GiB", "devices": 2}
RUNNING = {"deployment": "own", "node": "small", "devices": [1]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ["deployment own needs 100.0 GiB", "device 1 of node small has 8.0 GiB", "take the"]),
        (
            {"device_types": ["y"], "weights": "1GiB"},
            ["device 1 of node small is of type x", "own runs on y", "name a node of those"],
        ),
    ],
)
def test_running_replica_is_refused_when_its_device_cannot_hold_it(write, changes, words):
    """No round would have placed it there: where, what it needs, what there is, what to do."""
    values = fleet(
        nodes=[SMALL, LARGE],
        deployments=[OWN | changes],
        running=[dict(RUNNING)],
        batches=[],
        failures=[],
        prices={},
    )
    path = write(values)
    with pytest.raises(CommandError) as refused:
        read_fleet(path, tell=lambda _: None)
    for word in ["fleet.yaml.running[0].devices", *words]:
        assert word in str(refused.value)
    values["running"][0] |= {"node": "large"}
    assert len(read_fleet(write(values), tell=lambda _: None).scenario.allocations) == 1


def test_lost_node_takes_its_pins_along(write):
    """As a replica of it goes, so does what was asked of it."""
    pins = [{"deployment": "chat", "node": f"n000{i}"} for i in range(2)]
    asked = read_fleet(write(fleet(pins=pins)), tell=lambda _: None)
    left = supposed(asked, Supposing(lost_nodes=("n0000",))).scenario
    assert [pin.node for pin in left.pins] == ["n0001"]


def test_page_tells_deadlines_of_batches_that_have_one(write, tmp_path):
    """As the summary does: a batch without a deadline cannot have kept it."""
    page = tmp_path / "fleet.html"
    replayed = replay("--fleet", write(fleet(batches=[])), "--report", page)
    assert replayed.code == 0, replayed.stderr
    assert "0 of 0 deadlines missed." in page.read_text()
    due = {"deployment": "chat", "items": 1, "deadline": "29m"}
    batches = [due, {"deployment": "chat", "items": 1}]
    assert replay("--fleet", write(fleet(batches=batches)), "--report", page).code == 0
    assert "0 of 1 deadline missed." in page.read_text()


def test_replica_of_another_size_is_placed_where_only_that_fits(write):
    """Own size 1 needs more than a device has; over two devices it fits, and serves."""
    own = OWN | {"weights": "12GiB", "demand": {"work": 100}}
    values = fleet(nodes=[SMALL], deployments=[own], batches=[], failures=[], prices={})
    values["rounds"]["solver"] = "solve"
    held = []
    for sizes in ([], [2]):
        values["deployments"][0]["other_tensor_parallel_sizes"] = sizes
        done = replay("--fleet", write(values), "-o", "json")
        assert done.code == 0, done.stderr
        found = json.loads(done.stdout)["figures"]
        held.append((found["held_device_hours"], found["attainment_ratio"]))
    assert held == [(0.0, 0.0), (pytest.approx(1.0), pytest.approx(1.0))]


@pytest.mark.parametrize(
    ("sizes", "word"),
    [([0], "0 is out of range"), ("2", "list of whole"), ([1.5], "list of whole")],
)
def test_other_sizes_are_refused_when_they_are_none(write, sizes, word):
    """Key, value, what is allowed."""
    one = OWN | {"other_tensor_parallel_sizes": sizes}
    with pytest.raises(CommandError, match=word) as refused:
        values = fleet(nodes=[SMALL], deployments=[one], batches=[], failures=[], prices={})
        read_fleet(write(values), tell=lambda _: None)
    assert "deployments[0].other_tensor_parallel_sizes" in str(refused.value)
