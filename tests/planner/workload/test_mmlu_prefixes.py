"""MMLU-like questions: what they share, and in which order they come."""

import statistics
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.workload.content import prompt_token_ids
from planner.workload.mmlu import MMLU_BLOCK_TOKENS, mmlu
from planner.workload.request import WorkloadRequest

_QUESTIONS = 14_042  # Hendrycks et al., ICLR 2021


@pytest.fixture(scope="module")
def asked() -> list[WorkloadRequest]:
    """The whole set, once."""
    return list(mmlu(seed=11, count=_QUESTIONS))


def test_questions_share_their_subjects_examples_and_nothing_else(
    asked: list[WorkloadRequest],
) -> None:
    """57 prefixes; two prompts share all of one or not a block; an answer is a token."""
    prefixes = Counter(request.blocks for request in asked)
    assert len(prefixes) == 57
    blocks = [block for prefix in prefixes for block in prefix]
    assert len(blocks) == len(set(blocks))
    assert max(prefixes.values()) == 1534  # professional law
    assert min(prefixes.values()) == 100
    for request in asked:
        assert request.output_tokens == 1
        assert request.block_tokens == MMLU_BLOCK_TOKENS
        assert request.prompt_tokens > len(request.blocks) * request.block_tokens


def test_lengths_match_the_measured_means(asked: list[WorkloadRequest]) -> None:
    """687 tokens of examples and 122 of the question, on average over questions."""
    shared = [len(request.blocks) * request.block_tokens for request in asked]
    own = [r.prompt_tokens - s for r, s in zip(asked, shared, strict=True)]
    assert statistics.fmean(shared) == pytest.approx(687, rel=0.01)
    assert statistics.fmean(own) == pytest.approx(122, rel=0.04)
    assert statistics.median(own) == pytest.approx(85, rel=0.06)


def test_a_second_pass_asks_every_question_again_in_another_order() -> None:
    """As often of each subject, not in the same places."""
    twice = [request.blocks for request in mmlu(seed=2, count=2 * _QUESTIONS)]
    first, second = twice[:_QUESTIONS], twice[_QUESTIONS:]
    assert Counter(first) == Counter(second)
    assert first != second


def test_neighbours_seldom_share_a_prefix_when_in_order_of_arrival(
    asked: list[WorkloadRequest],
) -> None:
    """As often as a shuffle gives: the chance that two questions have one subject."""
    shares = Counter(request.blocks for request in asked)
    chance = sum((count / _QUESTIONS) ** 2 for count in shares.values())
    same = sum(a.blocks == b.blocks for a, b in pairwise(asked))
    assert same / (_QUESTIONS - 1) == pytest.approx(chance, rel=0.25)


@settings(max_examples=30, deadline=None)  # each draw shuffles the whole set
@given(seed=st.integers(0, 1000), block_tokens=st.integers(1, 600))
def test_equal_blocks_are_equal_prefixes_whatever_their_size(seed: int, block_tokens: int) -> None:
    """Token ids of two questions agree exactly where their blocks do."""
    requests = list(mmlu(seed=seed, count=12, block_tokens=block_tokens))
    prompts = [prompt_token_ids(r, index=i, seed=seed) for i, r in enumerate(requests)]
    for first, prompt in zip(requests, prompts, strict=True):
        assert len(prompt) == first.prompt_tokens
        shared = len(first.blocks) * block_tokens
        for second, other in zip(requests, prompts, strict=True):
            if first.blocks == second.blocks:
                assert prompt[:shared] == other[:shared]
            else:
                assert not set(first.blocks) & set(second.blocks)


def test_questions_are_refused_when_a_block_holds_nothing() -> None:
    """At the call."""
    with pytest.raises(ValueError, match=r"block_tokens 0.*>= 1"):
        mmlu(seed=1, block_tokens=0)
