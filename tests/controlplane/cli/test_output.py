"""How answers are shown off a terminal."""

import json

import pytest
import yaml
from slacktide.v1.node_pb2 import Node
from slacktide.v1.node_service_pb2 import ListNodesResponse

from controlplane.cli.output import Column, Format, plain_lines, show_list, show_one

COLUMNS = (
    Column[Node](header="node", cell=lambda n: n.name),
    Column[Node](header="address", cell=lambda n: n.address),
)
ANSWER = ListNodesResponse(nodes=[Node(name="nodes/n1", address="h:1"), Node(name="nodes/n22")])


def test_show_list_is_aligned_plain_text_when_not_on_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No colour and no frames in a pipe."""
    show_list(ANSWER, ANSWER.nodes, COLUMNS, Format.TABLE)
    assert capsys.readouterr().out == "NODE       ADDRESS\nnodes/n1   h:1\nnodes/n22\n"


def test_show_list_is_the_wire_contract_when_json_is_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """proto-JSON with every field present, so that scripts need no guards."""
    show_list(ANSWER, ANSWER.nodes, COLUMNS, Format.JSON)
    values = json.loads(capsys.readouterr().out)
    assert values["nodes"][0]["name"] == "nodes/n1"
    assert values["nodes"][1]["agentVersion"] == ""
    assert values["nextPageToken"] == ""


def test_show_list_is_the_same_data_when_yaml_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """YAML and JSON differ in spelling only."""
    show_list(ANSWER, ANSWER.nodes, COLUMNS, Format.JSON)
    as_json = json.loads(capsys.readouterr().out)
    show_list(ANSWER, ANSWER.nodes, COLUMNS, Format.YAML)
    assert yaml.safe_load(capsys.readouterr().out) == as_json


def test_show_one_leaves_empty_facts_out_when_shown_as_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An empty value is no line; a value of two lines is indented."""
    facts = [("a", "1"), ("empty", ""), ("long", "x\ny")]
    show_one(Node(), facts, Format.TABLE)
    assert capsys.readouterr().out == "a     1\nlong  x\n      y\n"


def test_plain_lines_puts_numbers_right_when_asked() -> None:
    """Columns are two blanks apart."""
    assert plain_lines([["a", "n"], ["bb", "10"]], [False, True]) == ["a    n", "bb  10"]
