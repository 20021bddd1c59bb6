"""From an input file to items, in bounded memory, resumable."""

import io
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.batches.intake import take_chunk
from controlplane.batches.lines import read_lines
from storage.batch_records import BatchState
from tests.controlplane.batches.batch_house import House, good_line

MIB = 1 << 20


@given(
    st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"")), max_size=12),
    st.booleans(),
)
def test_lines_cover_the_file_when_read_from_any_line(pieces: list[bytes], ends: bool) -> None:
    """Offsets join without a gap, and reading on from any of them gives the same rest."""
    content = b"\n".join(pieces) + (b"\n" if ends and pieces else b"")
    lines = list(read_lines(io.BytesIO(content), offset=0, number=1, max_line_bytes=8))
    at = 0
    for number, line in enumerate(lines, start=1):
        assert (line.number, line.offset) == (number, at)
        whole = content[line.offset : line.offset + line.length]
        assert b"\n" not in whole
        assert line.content == (whole if len(whole) <= 8 else None)
        at = line.end_offset
        rest = read_lines(io.BytesIO(content), offset=at, number=number + 1, max_line_bytes=8)
        assert list(rest) == lines[number:]
    assert at == len(content)


def test_intake_keeps_the_other_lines_when_some_are_bad(house: House) -> None:
    """Bad lines become error lines by number; blank ones are no lines at all."""
    content = b"\n".join(
        [
            good_line("a"),
            b"",
            b"{broken",
            good_line("a"),
            b"   \r",
            good_line("b", method="GET"),
            good_line("b"),
            good_line("c") + b"\r",
        ]
    )
    batch = house.take_in(house.submit(content).id)
    assert batch.state is BatchState.IN_PROGRESS
    assert (batch.total, batch.pending, batch.failed) == (6, 2, 4)
    assert house.errors_of(batch.id) == {
        3: (None, "invalid_json"),
        4: (None, "duplicate_custom_id"),
        6: ("b", "invalid_method"),
        7: (None, "duplicate_custom_id"),
    }


def test_intake_finds_a_repeated_id_when_it_is_chunks_away(house: House) -> None:
    """Duplicates are found over the whole batch, not within a chunk."""
    lines = [good_line(f"c{number % 1200}") for number in range(1300)]
    batch = house.take_in(house.submit(b"\n".join(lines)).id)
    assert (batch.pending, batch.failed) == (1200, 100)
    assert set(house.errors_of(batch.id)) == set(range(1201, 1301))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no line"),
        (b"\n\n  \n", "holds no line"),
        (b"{broken\n{}\n", "none of 2 lines is valid"),
    ],
)
def test_batch_fails_when_no_line_is_valid(house: House, content: bytes, words: str) -> None:
    """Only then is the whole file refused, and the message says why."""
    batch = house.take_in(house.submit(content).id)
    assert batch.state is BatchState.FAILED
    assert words in batch.message


def test_intake_stays_small_when_a_line_has_100_megabytes(house: House, tmp_path: Path) -> None:
    """The line becomes an error line; memory holds no more than the limit allows."""
    path = tmp_path / "objects" / "inputs" / "long.jsonl"
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.write(good_line("before") + b"\n")
        file.write(b'{"custom_id": "long", "body": "')
        for _ in range(100):
            file.write(b"x" * MIB)
        file.write(b'"}\n' + good_line("after") + b"\n")
    batch = house.submit(b"")
    with house.store.database.transaction() as connection:
        connection.exec_driver_sql("UPDATE batches SET input_uri = ?", (f"file://{path}",))
    tracemalloc.start()
    batch = house.take_in(batch.id)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert house.errors_of(batch.id) == {2: (None, "line_too_long")}
    assert (batch.state, batch.pending) == (BatchState.IN_PROGRESS, 2)
    assert peak_bytes < 30 * MIB


def test_chunk_is_not_stored_twice_when_two_control_planes_read(house: House) -> None:
    """The second finds the batch gone on, and changes nothing."""
    batch = house.submit(b"\n".join(good_line(f"c{number}") for number in range(700)))
    assert take_chunk(house.store, house.objects, batch, now_s=2.0)
    assert not take_chunk(house.store, house.objects, batch, now_s=2.0)
    assert house.found(batch.id).total == 500
    assert house.take_in(batch.id).total == 700
