"""Slicing, scaling and filling a workload; batch lines."""

import json
from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.workload.batches import batch_lines
from planner.workload.content import prompt_token_ids
from planner.workload.request import WorkloadRequest
from planner.workload.shape import shape, shape_stream


def _requests(count: int = 10) -> list[WorkloadRequest]:
    return [
        WorkloadRequest(at_s=float(i), prompt_tokens=100 + i, output_tokens=50)
        for i in range(count)
    ]


def _blocks(*blocks: int, prompt_tokens: int) -> WorkloadRequest:
    return WorkloadRequest(
        at_s=0, prompt_tokens=prompt_tokens, output_tokens=1, blocks=blocks, block_tokens=512
    )


def test_slice_begins_at_zero_when_the_trace_is_skipped_into() -> None:
    """start_s is of the trace, duration_s of the replay."""
    sliced = shape(_requests(), start_s=4, duration_s=2, rate_scale=2)
    assert [request.at_s for request in sliced] == [0.0, 0.5, 1.0, 1.5]
    assert [request.prompt_tokens for request in sliced] == [104, 105, 106, 107]


def test_slice_ends_at_the_count_when_it_is_lower() -> None:
    """At most so many requests."""
    assert len(shape(_requests(), count=3)) == 3


def test_stream_is_shaped_as_it_goes() -> None:
    """One request at a time, and none after the slice: endless work can be shaped."""
    read: list[float] = []

    def endless() -> Iterator[WorkloadRequest]:
        for at_s in count():
            read.append(at_s)
            yield WorkloadRequest(at_s=at_s, prompt_tokens=9, output_tokens=9)

    stream = shape_stream(endless(), start_s=2, duration_s=2, rate_scale=2, length_scale=2)
    assert read == []
    assert next(stream).prompt_tokens == 18
    assert read == [0, 1, 2]
    assert [request.at_s for request in stream] == [0.5, 1.0, 1.5]
    assert read[-1] == 6  # the first beyond the slice tells that it ended
    read.clear()
    assert len(shape(endless(), count=3)) == 3
    assert read == [0, 1, 2]


@given(
    times=st.lists(st.floats(0, 1000), max_size=20).map(sorted),
    start_s=st.floats(0, 500),
    duration_s=st.none() | st.floats(0, 500),
    limit=st.none() | st.integers(0, 20),
    rate_scale=st.floats(0.1, 10),
)
def test_stream_is_the_slice_in_order(
    times: list[float],
    start_s: float,
    duration_s: float | None,
    limit: int | None,
    rate_scale: float,
) -> None:
    """What lies in the slice, scaled, in order, at most so many; the tuple is the stream."""
    requests = [WorkloadRequest(at_s=t, prompt_tokens=2, output_tokens=1) for t in times]
    bounds = {"start_s": start_s, "duration_s": duration_s, "count": limit}
    shaped = shape(requests, rate_scale=rate_scale, **bounds)
    assert shaped == tuple(shape_stream(requests, rate_scale=rate_scale, **bounds))
    scaled = [(t - start_s) / rate_scale for t in times]
    inside = [t for t in scaled if t >= 0 and (duration_s is None or t < duration_s)]
    assert [request.at_s for request in shaped] == inside[:limit]


@given(scale=st.floats(0.001, 10), context=st.integers(2, 5000), size=st.integers(1, 20000))
def test_lengths_fit_the_context_when_scaled(scale: float, context: int, size: int) -> None:
    """Prompt and output stay at least one token and together within the context."""
    request = WorkloadRequest(
        at_s=0,
        prompt_tokens=size,
        output_tokens=size,
        blocks=tuple(range(-(-size // 512))),
        block_tokens=512,
    )
    (shaped,) = shape([request], length_scale=scale, max_context_tokens=context)
    assert shaped.prompt_tokens >= 1
    assert shaped.output_tokens >= 1
    assert shaped.prompt_tokens + shaped.output_tokens <= context
    assert len(shaped.blocks) == -(-shaped.prompt_tokens // shaped.block_tokens)


@pytest.mark.parametrize(
    "wrong", [{"rate_scale": 0}, {"length_scale": -1}, {"rate_scale": float("inf")}]
)
def test_scale_is_refused_when_not_positive(wrong: dict[str, float]) -> None:
    """Names the scale, at the call."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        shape_stream(_requests(), **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=next(iter(wrong))):
        shape(_requests(), **wrong)  # type: ignore[arg-type]


def test_prompts_share_exactly_their_common_blocks() -> None:
    """Equal leading block ids are equal prefixes; the first different block differs."""
    first = prompt_token_ids(_blocks(1, 2, prompt_tokens=1000), index=0, seed=5)
    second = prompt_token_ids(_blocks(1, 3, prompt_tokens=900), index=1, seed=5)
    assert len(first) == 1000
    assert len(second) == 900
    assert first[:512] == second[:512]
    assert first[512:900] != second[512:900]


def test_prompts_differ_when_they_share_no_block() -> None:
    """Unshared prompts are unique, repeatable and within the vocabulary."""
    request = WorkloadRequest(at_s=0, prompt_tokens=64, output_tokens=1)
    for vocab in (256, 500):
        ids = [prompt_token_ids(request, index=i, seed=1, vocab_tokens=vocab) for i in (0, 1)]
        assert ids[0] != ids[1]
        assert ids[0] == prompt_token_ids(request, index=0, seed=1, vocab_tokens=vocab)
        assert all(0 <= token < vocab for token in ids[0])


def test_batch_lines_are_valid_and_unique_when_drawn() -> None:
    """OpenAI batch lines of the asked lengths, half of them with a shared prefix."""
    lines = list(batch_lines(seed=1, count=200, model="chat", prompt_tokens=(64, 192)))
    assert lines == list(batch_lines(seed=1, count=200, model="chat", prompt_tokens=(64, 192)))
    items = [json.loads(line) for line in lines]
    assert len({item["custom_id"] for item in items}) == 200
    prompts = [item["body"]["prompt"] for item in items]
    assert all(64 <= len(prompt) <= 192 for prompt in prompts)
    heads = [prompt[:32] for prompt in prompts]
    shared = sum(heads.count(head) > 1 for head in heads)
    assert 60 <= shared <= 140


def test_batch_lines_are_refused_when_lengths_make_no_sense() -> None:
    """Least above most, or a ratio beyond 1."""
    with pytest.raises(ValueError, match="prompt_tokens"):
        next(batch_lines(seed=1, count=1, model="m", prompt_tokens=(9, 3)))
    with pytest.raises(ValueError, match="shared_ratio"):
        next(batch_lines(seed=1, count=1, model="m", shared_ratio=1.5))
