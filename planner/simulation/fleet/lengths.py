"""What requests of drawn lengths are in the mean: tokens, and work.

Owns how many are drawn to tell. Refuses to convert tokens to work: `planner.latency.work`.
"""

import random

from planner.latency.predictor import LatencyModel
from planner.latency.work import TokenWork, token_work
from planner.workload.generate import Lengths


def mean_tokens(lengths: Lengths, *, seed: str = "mean", count: int = 4000) -> tuple[float, float]:
    """Mean prompt and output tokens of what a source draws."""
    source = random.Random(seed)
    drawn = [lengths(source) for _ in range(count)]
    return sum(p for p, _ in drawn) / count, sum(o for _, o in drawn) / count


def drawn_token_work(model: LatencyModel, lengths: Lengths, *, count: int = 500) -> TokenWork:
    """Mean work of the tokens of requests of those lengths.

    Args:
        model: Of the engine that work counts on.
        lengths: Draws the requests.
        count: How many are drawn.
    """
    source = random.Random("work")
    return token_work(model, [lengths(source) for _ in range(count)])


def mean_work_ms(model: LatencyModel, lengths: Lengths) -> float:
    """Work of a mean request of those lengths on an engine of that time model."""
    prompt_tokens, output_tokens = mean_tokens(lengths)
    work = drawn_token_work(model, lengths)
    return work.of(prompt_tokens=prompt_tokens, output_tokens=output_tokens)
