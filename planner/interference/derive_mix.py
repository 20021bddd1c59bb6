"""Requests of one kind: how long they are, and what work they are.

Owns the lengths a derived frontier is about. Refuses arrival
times and prefixes: a prompt shares nothing, so a replica with a warm prefix cache bears more.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from math import exp, log1p, sqrt
from statistics import NormalDist, fmean

from planner.latency.predictor import LatencyModel
from planner.latency.work import request_work_ms

_STRATA = 8  # of each length; their pairs are the sizes of a spread mix


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestMix:
    """Sizes that are equally frequent.

    Attributes:
        sizes: (prompt tokens, output tokens) of each, all >= 1; at least one.
    """

    sizes: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if not self.sizes or any(min(size) < 1 for size in self.sizes):
            raise ValueError(
                f"request mix: sizes {self.sizes[:3]}… must be one or more pairs of prompt and "
                "output tokens, all >= 1"
            )

    @classmethod
    def around(
        cls,
        *,
        prompt_tokens: float,
        output_tokens: float,
        spread_ratio: float = 0.8,
        context_tokens: int | None = None,
    ) -> "RequestMix":
        """Log-normal lengths with those means, prompt and output independent of each other.

        Args:
            prompt_tokens: Mean, >= 1.
            output_tokens: Mean, >= 1.
            spread_ratio: Deviation over mean, >= 0; 0: all alike.
            context_tokens: Prompt and output together at most, > 1; longer ones are cut.

        Raises:
            ValueError: A number is out of range.
        """
        if not (prompt_tokens >= 1.0 and output_tokens >= 1.0 and spread_ratio >= 0.0):
            raise ValueError(
                f"request mix: {prompt_tokens} prompt and {output_tokens} output tokens must be "
                f">= 1, spread_ratio {spread_ratio} >= 0"
            )
        pairs = (
            (prompt, output)
            for prompt in _log_normal(prompt_tokens, spread_ratio=spread_ratio)
            for output in _log_normal(output_tokens, spread_ratio=spread_ratio)
        )
        return cls(sizes=tuple(_cut(*pair, context_tokens=context_tokens) for pair in pairs))

    def draw(self, source: random.Random) -> tuple[int, int]:
        """Prompt and output tokens of one request."""
        return source.choice(self.sizes)

    @property
    def prompt_tokens(self) -> float:
        """Mean of a request."""
        return fmean(prompt for prompt, _ in self.sizes)

    @property
    def output_tokens(self) -> float:
        """Mean of a request."""
        return fmean(output for _, output in self.sizes)

    @property
    def longest_tokens(self) -> int:
        """Prompt and output of the longest request."""
        return max(prompt + output for prompt, output in self.sizes)


def work_of(sizes: Iterable[tuple[int, int]], *, reference: LatencyModel) -> float:
    """Work of these very requests, in predicted solo engine-milliseconds."""
    known: dict[tuple[int, int], float] = {}
    total = 0.0
    for size in sizes:
        if size not in known:
            prompt, output = size
            known[size] = request_work_ms(
                reference, prompt_tokens=prompt, cached_tokens=0, output_tokens=output
            )
        total += known[size]
    return total


def _log_normal(mean: float, *, spread_ratio: float) -> list[int]:
    """One length for each stratum of the distribution, at its middle, of that mean."""
    variance = log1p(spread_ratio * spread_ratio)
    normal = NormalDist()
    heights = [
        exp(sqrt(variance) * normal.inv_cdf((stratum + 0.5) / _STRATA))
        for stratum in range(_STRATA)
    ]
    return [max(1, round(mean * height / fmean(heights))) for height in heights]


def _cut(prompt: int, output: int, *, context_tokens: int | None) -> tuple[int, int]:
    if context_tokens is None or prompt + output <= context_tokens:
        return prompt, output
    output = min(output, max(1, context_tokens // 2))
    return max(1, context_tokens - output), output
