"""Offline work with the lengths of the public summarisation sets.

Owns lengths drawn to match what is published or was measured of each set. Refuses arrival
times, content and files: every request is there at 0, `lengths` reads a real set's file.
Invariants: equal seeds give equal requests; a longer count only appends.

arXiv summarisation (Cohan et al., NAACL 2018): quantiles measured on the 28,257 pairs of
lengths that Vidur publishes (Agrawal et al., MLSys 2024; MIT), counted with Llama 2's
tokenizer, prompt and output together at most 4,096 tokens. 4.4 % of the pairs have an
output above 1,000 tokens and a short prompt (medians 2,677 and 322); among the others
prompt and output do not depend on each other (rank correlation 0.006). So the generator
draws which of the two kinds a pair is, then prompt and output independently from that
kind's quantiles, again until they fit 4,096. Against the set: Kolmogorov-Smirnov distance
of prompts 0.02, outputs 0.01, totals 0.03; rank correlation -0.16 for -0.11, Pearson's
-0.48 for -0.46; means 2,551 and 283 for 2,588 and 291.

CNN/DailyMail: an approximation, no lengths were measured. Published: articles of 781 and
highlights of 56 Penn Treebank tokens on average (See et al., ACL 2017), articles of at most
2,000 (Hermann et al., NeurIPS 2015). Assumed: 1.3 tokens of a large vocabulary for each;
log-normal lengths, deviation over mean 0.5 for articles and 0.4 for highlights;
independence.
"""

import math
import random
from collections.abc import Iterator
from itertools import count as counted
from itertools import islice

from planner.workload.quantiles import Quantiles, invert_tokens
from planner.workload.request import WorkloadRequest

ARXIV_CONTEXT_TOKENS = 4096  # of the published lengths, Llama 2's context
CNN_TOKENS_PER_WORD = 1.3  # assumed, English under a vocabulary of 32,000

_ARXIV_LONG_RATIO = 0.0439  # 1,241 of 28,257 pairs have an output above 1,000 tokens
_ARXIV_PROMPTS: Quantiles = (
    (0.0, 1), (0.001, 107), (0.005, 456), (0.01, 620), (0.025, 855), (0.05, 1124),
    (0.10, 1487), (0.15, 1734), (0.20, 1925), (0.25, 2091), (0.30, 2244), (0.40, 2531),
    (0.50, 2787), (0.60, 3043), (0.70, 3281), (0.75, 3394), (0.80, 3508), (0.85, 3610),
    (0.90, 3712), (0.95, 3818), (0.975, 3880), (0.99, 3936), (0.999, 4013), (1.0, 4054),
)  # fmt: skip
_ARXIV_OUTPUTS: Quantiles = (
    (0.0, 5), (0.001, 18), (0.005, 29), (0.01, 35), (0.025, 47), (0.05, 59), (0.10, 77),
    (0.15, 90), (0.20, 102), (0.25, 112), (0.30, 122), (0.40, 141), (0.50, 162), (0.60, 185),
    (0.70, 212), (0.75, 229), (0.80, 249), (0.85, 276), (0.90, 316), (0.95, 388),
    (0.975, 476), (0.99, 645), (0.999, 931), (1.0, 999),
)  # fmt: skip
_ARXIV_PROMPTS_OF_LONG: Quantiles = (
    (0.0, 1), (0.05, 1), (0.10, 30), (0.15, 49), (0.20, 68), (0.25, 86), (0.30, 123),
    (0.40, 213), (0.50, 322), (0.60, 447), (0.70, 604), (0.75, 702), (0.80, 816), (0.85, 985),
    (0.90, 1240), (0.95, 1817), (0.975, 2182), (0.99, 2657), (1.0, 3022),
)  # fmt: skip
_ARXIV_LONG_OUTPUTS: Quantiles = (
    (0.0, 1004), (0.01, 1026), (0.025, 1066), (0.05, 1159), (0.10, 1415), (0.15, 1621),
    (0.20, 1813), (0.25, 1992), (0.30, 2156), (0.40, 2430), (0.50, 2677), (0.60, 2873),
    (0.70, 3083), (0.75, 3194), (0.80, 3341), (0.85, 3479), (0.90, 3625), (0.95, 3759),
    (0.975, 3842), (0.99, 3964), (1.0, 4056),
)  # fmt: skip

_ARTICLE_MOST_WORDS = 2000
_ARTICLE_WORDS, _ARTICLE_SPREAD = 805.0, 0.5  # 781 on average once the longest are left out
_HIGHLIGHT_WORDS, _HIGHLIGHT_SPREAD = 56.0, 0.4


def arxiv_summarization(*, seed: int, count: int | None = None) -> Iterator[WorkloadRequest]:
    """Draws articles of arXiv to summarise, as Vidur publishes their lengths.

    Args:
        seed: says everything that is drawn.
        count: requests, >= 0; None: without end.

    Raises:
        ValueError: count below 0; at the call.
    """
    source = random.Random(f"{seed}/arxiv")
    return limited((_request(*_arxiv_lengths(source)) for _ in counted()), count)


def cnn_dailymail(
    *, seed: int, count: int | None = None, tokens_per_word: float = CNN_TOKENS_PER_WORD
) -> Iterator[WorkloadRequest]:
    """Draws news articles to summarise, of about CNN/DailyMail's lengths.

    Args:
        seed: says everything that is drawn.
        count: requests, >= 0; None: without end.
        tokens_per_word: of the model's tokenizer, > 0; 1 gives the published lengths.

    Raises:
        ValueError: count or tokens_per_word out of range; at the call.
    """
    if not 0 < tokens_per_word < math.inf:
        raise ValueError(f"tokens_per_word {tokens_per_word}: must be > 0, about 1.3 for English")
    source = random.Random(f"{seed}/cnn")

    def draw() -> WorkloadRequest:
        words = math.inf
        while words > _ARTICLE_MOST_WORDS:
            words = _log_normal(source, mean=_ARTICLE_WORDS, spread=_ARTICLE_SPREAD)
        highlight = _log_normal(source, mean=_HIGHLIGHT_WORDS, spread=_HIGHLIGHT_SPREAD)
        return _request(
            max(1, round(words * tokens_per_word)), max(1, round(highlight * tokens_per_word))
        )

    return limited((draw() for _ in counted()), count)


def limited(requests: Iterator[WorkloadRequest], count: int | None) -> Iterator[WorkloadRequest]:
    """The first `count` of them, or all.

    Raises:
        ValueError: count below 0.
    """
    if count is not None and count < 0:
        raise ValueError(f"count {count}: must be >= 0, or None for requests without end")
    return islice(requests, count)


def _arxiv_lengths(source: random.Random) -> tuple[int, int]:
    if source.random() < _ARXIV_LONG_RATIO:
        prompts, outputs = _ARXIV_PROMPTS_OF_LONG, _ARXIV_LONG_OUTPUTS
    else:
        prompts, outputs = _ARXIV_PROMPTS, _ARXIV_OUTPUTS
    while True:
        prompt_tokens = invert_tokens(prompts, source.random())
        output_tokens = invert_tokens(outputs, source.random())
        if prompt_tokens + output_tokens <= ARXIV_CONTEXT_TOKENS:
            return prompt_tokens, output_tokens


def _log_normal(source: random.Random, *, mean: float, spread: float) -> float:
    """With that mean; `spread` is deviation over mean."""
    variance = math.log1p(spread * spread)
    return source.lognormvariate(math.log(mean) - variance / 2, math.sqrt(variance))


def _request(prompt_tokens: int, output_tokens: int) -> WorkloadRequest:
    return WorkloadRequest(at_s=0.0, prompt_tokens=prompt_tokens, output_tokens=output_tokens)
