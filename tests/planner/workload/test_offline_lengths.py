"""Generated offline work against the statistics it claims."""

import statistics
from collections.abc import Callable, Iterator
from itertools import islice

import pytest
from distances import kolmogorov_smirnov, rank_correlation
from hypothesis import given, settings
from hypothesis import strategies as st
from trace_files import public_file

from planner.slo import quantile
from planner.workload.lengths import stream_lengths
from planner.workload.mmlu import mmlu
from planner.workload.offline import ARXIV_CONTEXT_TOKENS, arxiv_summarization, cnn_dailymail
from planner.workload.request import WorkloadRequest

_GENERATORS: list[Callable[..., Iterator[WorkloadRequest]]] = [
    arxiv_summarization,
    cnn_dailymail,
    mmlu,
]


@pytest.fixture(scope="module")
def arxiv() -> list[WorkloadRequest]:
    return list(arxiv_summarization(seed=3, count=20_000))


@pytest.mark.parametrize("generator", _GENERATORS)
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 60), more=st.integers(0, 40))
def test_offline_work_is_the_same_and_only_grows_when_the_seed_is_the_same(
    generator: Callable[..., Iterator[WorkloadRequest]], seed: int, count: int, more: int
) -> None:
    """A longer count appends; all is there at 0; nothing is shorter than one token."""
    short = list(generator(seed=seed, count=count))
    long = list(generator(seed=seed, count=count + more))
    endless = list(islice(generator(seed=seed), count + more))
    assert long[:count] == short
    assert long == endless
    assert len(long) == count + more
    assert all(r.at_s == 0 and r.prompt_tokens >= 1 and r.output_tokens >= 1 for r in long)


@pytest.mark.parametrize("generator", _GENERATORS)
def test_offline_work_differs_when_the_seed_does(
    generator: Callable[..., Iterator[WorkloadRequest]],
) -> None:
    """Another seed, other lengths."""
    assert list(generator(seed=1, count=20)) != list(generator(seed=2, count=20))


@pytest.mark.parametrize("generator", _GENERATORS)
def test_offline_work_is_refused_at_the_call_when_the_count_is_negative(
    generator: Callable[..., Iterator[WorkloadRequest]],
) -> None:
    """Not only once the first request is asked for."""
    with pytest.raises(ValueError, match=r"count -1.*>= 0"):
        generator(seed=1, count=-1)


def test_arxiv_lengths_match_the_published_quantiles(arxiv: list[WorkloadRequest]) -> None:
    """Vidur's 28,257 pairs: means 2,588 and 291, medians 2,730 and 167, 4,096 at most."""
    prompts = sorted(request.prompt_tokens for request in arxiv)
    outputs = sorted(request.output_tokens for request in arxiv)
    assert statistics.fmean(prompts) == pytest.approx(2588, rel=0.03)
    assert statistics.fmean(outputs) == pytest.approx(291, rel=0.06)
    for share, prompt, output in ((0.1, 1242, 78), (0.5, 2730, 167), (0.9, 3702, 372)):
        assert quantile(prompts, share) == pytest.approx(prompt, rel=0.05), share
        assert quantile(outputs, share) == pytest.approx(output, rel=0.06), share
    assert quantile(outputs, 0.99) == pytest.approx(3273, rel=0.06)
    assert all(r.prompt_tokens + r.output_tokens <= ARXIV_CONTEXT_TOKENS for r in arxiv)


def test_arxiv_long_outputs_belong_to_short_prompts(arxiv: list[WorkloadRequest]) -> None:
    """4.4 % of the pairs are inverted; the lengths of the others are independent."""
    inverted = [r for r in arxiv if r.output_tokens > 1000]
    others = [r for r in arxiv if r.output_tokens <= 1000]
    assert len(inverted) / len(arxiv) == pytest.approx(0.044, abs=0.006)
    assert statistics.median(r.prompt_tokens for r in inverted) < 500
    assert statistics.median(r.prompt_tokens for r in others) > 2500
    correlation = rank_correlation(
        [r.prompt_tokens for r in others], [r.output_tokens for r in others]
    )
    assert abs(correlation) < 0.1


def test_arxiv_lengths_match_the_real_file_when_present(arxiv: list[WorkloadRequest]) -> None:
    """Distances below 4 % for prompts, outputs and totals; rank correlation within 0.1."""
    with public_file("arxiv_summarization_lengths.csv").open() as lines:
        real = list(stream_lengths(lines, max_context_tokens=ARXIV_CONTEXT_TOKENS))
    assert len(real) == 28_257
    for length in (
        lambda r: r.prompt_tokens,
        lambda r: r.output_tokens,
        lambda r: r.prompt_tokens + r.output_tokens,
    ):
        assert kolmogorov_smirnov([length(r) for r in arxiv], [length(r) for r in real]) < 0.04
    ours, theirs = (
        rank_correlation([r.prompt_tokens for r in side], [r.output_tokens for r in side])
        for side in (arxiv, real)
    )
    assert ours == pytest.approx(theirs, abs=0.1)


@pytest.mark.parametrize("tokens_per_word", [1.0, 1.3])
def test_cnn_lengths_have_the_published_means(tokens_per_word: float) -> None:
    """781 and 56 words on average, no article above 2,000 (See et al. 2017)."""
    requests = list(cnn_dailymail(seed=5, count=20_000, tokens_per_word=tokens_per_word))
    prompts = [request.prompt_tokens for request in requests]
    assert statistics.fmean(prompts) == pytest.approx(781 * tokens_per_word, rel=0.02)
    assert max(prompts) <= 2000 * tokens_per_word
    outputs = statistics.fmean(request.output_tokens for request in requests)
    assert outputs == pytest.approx(56 * tokens_per_word, rel=0.02)


@pytest.mark.parametrize("tokens_per_word", [0.0, -1.0, float("nan"), float("inf")])
def test_cnn_is_refused_when_words_have_no_length(tokens_per_word: float) -> None:
    """Says what is allowed."""
    with pytest.raises(ValueError, match="tokens_per_word"):
        cnn_dailymail(seed=1, tokens_per_word=tokens_per_word)
