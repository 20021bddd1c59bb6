"""The proof that no line of a batch is lost."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.demo.batch import compare, compare_files, write_input


def lines(ids: Sequence[str], status: int = 200) -> list[str]:
    return [json.dumps({"custom_id": i, "response": {"status_code": status}}) for i in ids]


def test_compare_is_exact_when_every_line_is_in_one_file() -> None:
    """Output and error file together hold each custom_id once."""
    verdict = compare(lines("abc"), lines("ca"), lines("b", 400))
    assert verdict.is_exact
    assert (verdict.lines_in, verdict.lines_out, verdict.errors) == (3, 2, 1)


@pytest.mark.parametrize(
    ("output", "errors", "says"),
    [
        ("ab", "", "c: 0 result lines for 1"),
        ("abcc", "", "c: 2 result lines for 1"),
        ("abc", "c", "c: 2 result lines for 1"),
        ("abcd", "", "d: a result line that nobody asked for"),
    ],
)
def test_compare_names_the_line_when_one_is_lost_doubled_or_strange(
    output: str, errors: str, says: str
) -> None:
    """Every way to break the promise is seen."""
    verdict = compare(lines("abc"), lines(output), lines(errors))
    assert not verdict.is_exact
    assert says in verdict.problems


def test_compare_names_the_line_when_a_failure_is_in_the_output_file() -> None:
    """A failed item belongs to the error file."""
    verdict = compare(lines("a"), lines("a", 500), [])
    assert verdict.problems == ("a: in the output file, with status 500",)


def test_input_is_exact_against_itself_when_written(tmp_path: Path) -> None:
    """The demo's input has as many lines as asked, each with its own custom_id."""
    path, empty = tmp_path / "in.jsonl", tmp_path / "none.jsonl"
    write_input(path, seed=1, count=25, deployment="chat")
    empty.touch()
    verdict = compare_files(path, output=empty, errors=empty)
    assert (verdict.lines_in, len(verdict.problems)) == (25, 25)
