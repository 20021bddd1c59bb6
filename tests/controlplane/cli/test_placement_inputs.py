"""What `slacktide placement` reads: saved plans, suppositions, rounds, consent."""

import io
import json
from pathlib import Path

import pytest
import yaml
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st
from slacktide.v1 import placement_pb2
from slacktide.v1.placement_pb2 import Move, ObjectiveTerm, Placement, Plan
from slacktide.v1.placement_service_pb2 import GetPlacementResponse

from controlplane.cli.failures import CommandError, ExitCode
from controlplane.cli.output import Format, show_message
from controlplane.cli.placement_apply import read_plan
from controlplane.cli.placement_formats import consent, round_name
from controlplane.cli.placement_whatif import parse_added, parse_factor, split
from tests.controlplane.cli.program import slacktide

ids = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)
placements = st.builds(
    lambda d, n, i, share: Placement(
        deployment=f"deployments/{d}", node=f"nodes/{n}", device_indices=i, online_share=share
    ),
    ids, ids, st.lists(st.integers(0, 63), max_size=4), numbers,
)  # fmt: skip
plans = st.builds(
    lambda revision, status, objective, places, reason: Plan(
        base_revision=revision, status=status, objective=objective, placements=places,
        waiting=places[:1], terms=[ObjectiveTerm(name="moves", weight=2.0, value=objective)],
        moves=[Move(kind=placement_pb2.MOVE_KIND_ADD, replica="replicas/new:0", reason=reason)],
    ),
    st.integers(0, 2**63 - 1), st.integers(0, 4), numbers, st.lists(placements, max_size=5),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)  # fmt: skip


@given(plan=plans, form=st.sampled_from([Format.JSON, Format.YAML]))
def test_plan_is_read_back_as_it_was_shown(
    tmp_path_factory: pytest.TempPathFactory, plan: Plan, form: Format
) -> None:
    """What `plan -o json` or `-o yaml` prints is, read by `apply`, the same plan."""
    if form is Format.YAML:  # YAML folds some control characters; JSON keeps every one
        for move in plan.moves:
            move.reason = "".join(c if c.isprintable() else "?" for c in move.reason)
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", printed)
        show_message(plan, form)
    path = tmp_path_factory.mktemp("plans") / "p"
    path.write_text(printed.getvalue())
    assert read_plan(str(path)) == plan


def test_plan_is_read_from_stdin_and_from_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe will do, and so will what `placement show -o json` writes."""
    plan = Plan(base_revision=7, placements=[Placement(node="nodes/n1")])
    fields = MessageToDict(plan, always_print_fields_with_no_presence=True)
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(fields)))
    assert read_plan("-") == plan
    path = tmp_path / "show.yaml"
    answer = MessageToDict(
        GetPlacementResponse(plan=plan), always_print_fields_with_no_presence=True
    )
    path.write_text(yaml.safe_dump(answer))
    assert read_plan(str(path)) == plan


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no plan"),
        ("[1]", "holds no plan"),
        ("{}", "holds no plan (no baseRevision)"),
        ("{", "is neither JSON nor YAML"),
        ('{"baseRevision": "seven"}', "baseRevision"),
        ('{"baseRevision": "7", "placments": []}', "placments"),
        ('{"baseRevision": "7", "placements": {"a": 1}}', "placements"),
        ("\tbase: [", "is neither JSON nor YAML"),
    ],
)
def test_plan_is_refused_with_its_file_when_it_is_none(
    tmp_path: Path, text: str, says: str
) -> None:
    """File, what is wrong, and what was expected."""
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(CommandError) as refused:
        read_plan(str(path))
    assert str(path) in str(refused.value)
    assert says in str(refused.value)
    assert "placement plan -o json" in str(refused.value)


def test_plan_is_refused_when_it_is_not_text(tmp_path: Path) -> None:
    """Bytes of another kind are one sentence, no stack trace."""
    path = tmp_path / "p.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CommandError, match="is not UTF-8"):
        read_plan(str(path))


@pytest.mark.parametrize(
    ("text", "count", "kind", "devices", "group"),
    [
        ("4xH100", 4, "H100", 0, ""),
        ("1xcpu:2", 1, "cpu", 2, ""),
        ("2 x NVIDIA H100 80GB HBM3:8@pool-a", 2, "NVIDIA H100 80GB HBM3", 8, "pool-a"),
        ("10000xL40S@b", 10_000, "L40S", 0, "b"),
        ("3xxeon", 3, "xeon", 0, ""),
    ],
)
def test_added_nodes_are_read(text: str, count: int, kind: str, devices: int, group: str) -> None:
    """Count and type; devices and group where they are given."""
    added = parse_added(text)
    assert (added.count, added.device_type, added.devices, added.group) == (
        count, kind, devices, group,
    )  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "",
        "H100",
        "x H100",
        "4x",
        "0xH100",
        "10001xH100",
        "-1xH100",
        "4xH100:0",
        "4xH100:a",
        "9" * 5000 + "xH100",
    ],
)
def test_added_nodes_are_refused_when_they_are_none(text: str) -> None:
    """The option, what was given, and an example or a range."""
    with pytest.raises(CommandError, match=r"--add-nodes .*expected"):
        parse_added(text)


def test_added_nodes_are_refused_with_their_range_when_they_have_too_many_devices() -> None:
    """Both ends are told: 100000 is at least 1."""
    with pytest.raises(CommandError, match="100000 devices; expected 1 to 10000"):
        parse_added("1xcpu:100000")


@pytest.mark.parametrize(
    ("text", "devices", "memory_bytes", "group"),
    [
        ("4xH100:8x80GiB", 8, 80 << 30, ""),
        ("2 x NVIDIA B200:8x180 GiB@pool-a", 8, 180 << 30, "pool-a"),
        ("1xcpu:2x4096", 2, 4096, ""),
    ],
)
def test_added_nodes_have_the_memory_that_is_given(
    text: str, devices: int, memory_bytes: int, group: str
) -> None:
    """So that a type the fleet does not have can be supposed."""
    added = parse_added(text)
    assert (added.devices, added.memory_bytes, added.group) == (devices, memory_bytes, group)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1xcpu:2xmuch", "'much' is not a size"),
        ("1xcpu:2x0", "expected 1 to 1024.0 TiB"),
        ("1xcpu:2x" + "9" * 30, "expected 1 to 1024.0 TiB"),
    ],
)
def test_added_nodes_are_refused_when_their_memory_is_none(text: str, says: str) -> None:
    """One line, with what was given and what is taken; also beyond what the wire can carry."""
    with pytest.raises(CommandError) as refused:
        parse_added(text)
    assert says in str(refused.value)


@pytest.mark.parametrize("replicas", ["0", "65", "99999999999"])
def test_pin_is_refused_when_it_asks_for_no_count_of_replicas(replicas: str) -> None:
    """Usage, exit 2, before anybody is asked; also beyond what the wire can carry."""
    done = slacktide("placement", "pin", "chat", "n1", "--replicas", replicas)
    assert (done.code, "--replicas" in done.err) == (2, True)


@pytest.mark.parametrize("duration", ["x", "0s", "-1h", "nan", ""])
def test_export_is_refused_when_replay_would_refuse_its_duration(duration: str) -> None:
    """Exit 2 with the option and an example, before anybody is asked."""
    done = slacktide("placement", "export", f"--duration={duration}")
    assert (done.code, done.out, "--duration" in done.err) == (2, "", True)
    assert "e.g." in done.err


@given(deployment=ids, factor=st.floats(0.0, 1e6))
def test_factor_is_read_back(deployment: str, factor: float) -> None:
    """Any factor of 0 or more."""
    assert parse_factor(f"{deployment}={factor!r}") == (deployment, factor)


@pytest.mark.parametrize("text", ["chat", "chat=", "=1", "chat=-1", "chat=nan", "chat=inf", "c=x"])
def test_factor_is_refused_when_it_is_none(text: str) -> None:
    """Negative, infinite and missing factors are named."""
    with pytest.raises(CommandError, match=r"--scale-load .*expected DEPLOYMENT=FACTOR"):
        parse_factor(text)


def test_options_may_be_repeated_or_separated_by_commas() -> None:
    """Both ways are one list."""
    assert split(["n1,n2", "n3"]) == ["n1", "n2", "n3"]
    assert split(None) == []


def test_round_is_a_number_with_or_without_its_collection() -> None:
    """Anything else names the command that lists rounds."""
    assert round_name("12") == round_name("plans/12") == "plans/12"
    for given_round in ("", "a", "1.5", "-1", "²", "plans/", "9" * 5000):
        with pytest.raises(CommandError, match="next: slacktide placement history"):
            round_name(given_round)


def test_consent_is_never_asked_off_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that did not say --yes is refused, and told what to add."""
    consent("Sure?", yes=True)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(CommandError, match=r"Sure.*add --yes") as refused:
        consent("Sure?", yes=False)
    assert refused.value.code is ExitCode.REFUSED


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "agrees"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_consent_is_a_yes_at_a_terminal(
    monkeypatch: pytest.MonkeyPatch, answer: str, agrees: bool
) -> None:
    """The default is no, and no changes nothing."""
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    monkeypatch.setattr("sys.stderr", Terminal())
    if agrees:
        consent("Sure?", yes=False)
        return
    with pytest.raises(CommandError, match="nothing was changed") as refused:
        consent("Sure?", yes=False)
    assert refused.value.code is ExitCode.DIFFERENT
