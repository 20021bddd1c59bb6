"""Vidur's tables from lines: what is read, and which line is named when it cannot be."""

import pytest
from machines import lines_of

from planner.hardware.device import device_named
from planner.hardware.model import model_named
from planner.hardware.operators import (
    TableError,
    read_all_reduces,
    read_operators,
    table_names,
)

LLAMA = model_named("llama2-7b")
OPERATORS = [
    "time_stats.emb.median,time_stats.up.median,time_stats.add.median,time_stats.add.max,"
    "n_embd,num_tokens,num_tensor_parallel_workers",
    "9,0.2,0.1,7,4096,1,1",
    "9,0.4,0.1,7,4096,101,1",
    "9,0.6,,7,4096,101,1",
    "9,0.1,0.1,7,4096,1,2",
    "9,0.2,0.1,7,4096,101,2",
]
ALL_REDUCES = [
    ",time_stats.all_reduce.median,num_workers,size,devices_per_node",
    "0,0.03,2,2048,2",
    "1,0.05,2,4096,2",
    "2,9,2,4096,1",
]


def test_operators_are_the_medians_of_all_layers_by_size():
    """Not the embedding, not other statistics; a repeated measurement is averaged."""
    read = read_operators(OPERATORS, model=LLAMA)
    assert list(read) == [1, 2]
    assert read[1].at == (1.0, 101.0)
    assert read[1].values == pytest.approx((32 * 0.3, 32 * (0.5 + 0.6) / 2))
    assert read[2].values == pytest.approx((32 * 0.2, 32 * 0.3))


def test_all_reduces_are_those_within_a_node():
    """Two devices of two nodes are another measurement."""
    read = read_all_reduces(ALL_REDUCES)
    assert list(read) == [2]
    assert read[2].at == (2048.0, 4096.0) and read[2].values == (0.03, 0.05)


@pytest.mark.parametrize(
    ("number", "line", "said"),
    [
        (1, "time_stats.up.median,num_tokens", "no column num_tensor_parallel_workers"),
        (1, "num_tokens,num_tensor_parallel_workers", "no column time_stats"),
        (3, "9,nine,0.1,7,4096,101,1", "nine"),
        (3, "9,-0.4,0.1,7,4096,101,1", "a time is -0.4"),
        (3, "9,inf,0.1,7,4096,101,1", "a time is inf"),
        (3, "9,nan,0.1,7,4096,101,1", "a time is nan"),
        (3, "9,0.4,0.1,7,4096,0,1", "a count is 0"),
        (3, "9,0.4,0.1,7,4096,101,1.5", "1.5"),
        (3, "9,0.4,0.1,7,4096", "5 columns, the header has 7"),
        (3, "9,0.4,0.1,7,4096,101,1,2,3", "9 columns, the header has 7"),
        (3, "9,0.4,0.1,7,8192,101,1", "n_embd is 8192, llama2-7b has 4096"),
    ],
)
def test_broken_operator_line_is_named(number, line, said):
    """The line, what it held or what it lacks."""
    lines = list(OPERATORS)
    lines[number - 1] = line
    with pytest.raises(TableError, match=f"^line {number}: .*{said}"):
        read_operators(lines, model=LLAMA)


def test_broken_all_reduce_line_is_named():
    """Likewise."""
    with pytest.raises(TableError, match=r"^line 5: .*a count is -1"):
        read_all_reduces([*ALL_REDUCES, "3,0.1,2,-1,2"])
    with pytest.raises(TableError, match=r"^line 1: no column .*devices_per_node"):
        read_all_reduces([OPERATORS[0]])


@pytest.mark.parametrize(("lines", "said"), [([], "line 1"), (OPERATORS[:1], "no measurement")])
def test_empty_table_is_refused(lines, said):
    """No header, and nothing after it."""
    with pytest.raises(TableError, match=said):
        read_operators(lines, model=LLAMA)


def test_size_measured_once_is_refused():
    """A line needs two points."""
    with pytest.raises(TableError, match="2 devices were measured at fewer than two"):
        read_operators(OPERATORS[:5], model=LLAMA)


def test_public_tables_read_as_their_notes_say():
    """The A100's Llama-2-7B on one device: 9.3 ms at 1 token, 133.5 at 2,048."""
    operators, all_reduces = table_names(device_named("a100-40gb"), LLAMA)
    read = read_operators(lines_of(operators), model=LLAMA)
    assert sorted(read) == [1, 2, 4, 8]
    assert [read[1](tokens) for tokens in (1, 32, 256, 512, 2048)] == pytest.approx(
        [9.3, 9.5, 17.8, 33.4, 133.5], rel=0.005
    )
    assert {2, 4, 8} <= set(read_all_reduces(lines_of(all_reduces)))
    with pytest.raises(TableError, match="llama2-70b has 8192"):
        read_operators(lines_of(operators), model=model_named("llama2-70b"))
