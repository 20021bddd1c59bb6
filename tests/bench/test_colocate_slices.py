"""Slices of traces and the batch beside them."""

from itertools import pairwise
from pathlib import Path

import pytest

from bench.colocate import slices
from bench.colocate.slices import TRACES, OfflinePrompts, Slice, Trace, cut, load_trace
from bench.prefix.batch import SharedPrefixBatch
from planner.workload.request import WorkloadRequest

_AZURE = Trace(
    spec=TRACES["azure"],
    requests=tuple(
        WorkloadRequest(at_s=i * i / 50.0, prompt_tokens=80 + 8 * i, output_tokens=16)
        for i in range(60)
    ),
    is_generated=False,
)


def _cut(trace: Trace, **changed: object) -> Slice:
    arguments = {
        "number": 1,
        "count": 20,
        "requests_per_s": 4.0,
        "length_scale": 1 / 8,
        "max_context_tokens": 4096,
        "seed": 3,
    }
    return cut(trace, **(arguments | changed))  # type: ignore[arg-type]


def test_slice_has_the_rate_asked_for_when_it_is_scaled() -> None:
    """So many requests, spanning so many mean gaps; arrivals keep their pattern."""
    online = _cut(_AZURE)
    assert len(online.requests) == 20
    assert online.duration_s == pytest.approx(5.0)
    times = [r.at_s for r in online.requests]
    assert times == sorted(times)
    assert times[0] == 0.0
    assert times[-1] == pytest.approx(5.0 * 19 / 20)
    gaps = [b - a for a, b in pairwise(times)]
    assert gaps == sorted(gaps)  # as the trace's own, which grow


def test_slices_share_no_request_when_their_numbers_differ() -> None:
    """Nothing tuned on is judged; a number past the end wraps around."""
    starts = [_cut(_AZURE, number=n).start for n in (0, 1, 2, -1, 3)]
    assert starts == [0, 20, 40, 40, 0]


def test_slice_is_the_same_when_cut_again() -> None:
    """All arms of a round are sent the same; another seed means other contents."""
    assert _cut(_AZURE) == _cut(_AZURE)
    assert _cut(_AZURE).prompts != _cut(_AZURE, seed=4).prompts


def test_lengths_and_blocks_shrink_alike_when_scaled() -> None:
    """Mooncake / 64: 512-token blocks become 8, and equal blocks stay equal prefixes."""
    requests = tuple(
        WorkloadRequest(
            at_s=3.0 * (i // 5), prompt_tokens=2048, output_tokens=64,
            blocks=(7, 8, 100 + i, 200 + i), block_tokens=512,
        )
        for i in range(10)
    )  # fmt: skip
    trace = Trace(spec=TRACES["mooncake"], requests=requests, is_generated=False)
    online = _cut(trace, number=0, count=10, length_scale=1 / 64)
    assert {r.prompt_tokens for r in online.requests} == {32}
    assert {r.block_tokens for r in online.requests} == {8}
    assert len({prompt[:16] for prompt in online.prompts}) == 1
    assert len({prompt[16:] for prompt in online.prompts}) == 10
    # Stamps of 3 s are spread, or five arrivals would be one burst.
    assert len({r.at_s for r in online.requests}) == 10


def test_workload_is_generated_and_says_so_when_the_trace_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default workload stands in; a file that is there is read."""
    monkeypatch.setenv(slices.TRACES_VARIABLE, str(tmp_path))
    generated = load_trace(TRACES["azure"], seed=0)
    assert generated.is_generated
    assert len(generated.requests) > 10_000
    lines = ["TIMESTAMP,ContextTokens,GeneratedTokens", "2023-11-16 18:15:46.6805900,374,44"]
    (tmp_path / TRACES["azure"].file).write_text("\n".join(lines))
    read = load_trace(TRACES["azure"], seed=0)
    assert not read.is_generated
    assert [r.prompt_tokens for r in read.requests] == [374]


def test_batch_items_are_their_lengths_and_unshared_when_drawn() -> None:
    """Item n is the same for every arm; lengths lie around the mean."""
    batch = OfflinePrompts(seed=1)
    lengths = [batch.lengths(i) for i in range(400)]
    assert all(128 <= p <= 384 and 16 <= o <= 48 for p, o in lengths)
    assert 240 < sum(p for p, _ in lengths) / 400 < 272
    assert [len(batch.ids(i)) for i in range(20)] == [p for p, _ in lengths[:20]]
    assert len({tuple(batch.ids(i)[:16]) for i in range(100)}) == 100


def test_prefix_batch_holds_each_group_once_a_turn_when_shuffled() -> None:
    """Neighbours in order of arrival share no prefix; a group's items do."""
    batch = SharedPrefixBatch(seed=2, groups=8, prefix_tokens=32)
    for turn in range(3):
        assert sorted(batch.group(turn * 8 + i) for i in range(8)) == list(range(8))
    mates = [i for i in range(24) if batch.group(i) == 5]
    assert len({tuple(batch.ids(i)[:32]) for i in mates}) == 1
    assert len({tuple(batch.ids(i)[32:]) for i in mates}) == 3
