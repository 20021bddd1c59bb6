"""The engine behind a replica, as an exact replay runs it.

Owns what it takes to build one: settings, the time model it plans by, and the truth. Refuses
to run it.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from planner.batching.state import WorkClass
from planner.latency.predictor import LatencyModel
from planner.latency.work import request_work_ms
from planner.model import Slo
from planner.simulation.request import SimulatedRequest
from planner.simulation.settings import EngineSettings
from planner.simulation.truth import Truth

Lengths = Callable[[random.Random], tuple[int, int]]
"""Draws prompt and output tokens of a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKind:
    """One model on one type of devices.

    Args:
        settings: The engine's limits.
        model: What its policy believes of its passes.
        truth: Makes how long they really last, from a seed.
        offline_in_flight: Items an agent keeps in it at once.
    """

    settings: EngineSettings
    model: LatencyModel
    truth: Callable[[int], Truth]
    offline_in_flight: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenWork:
    """Work by kind of token, for requests alike: a prompt token costs far less than another.

    Args:
        prompt_ms: Of a prompt token.
        output_ms: Of an output token.
    """

    prompt_ms: float
    output_ms: float

    def of(self, *, prompt_tokens: float, output_tokens: float) -> float:
        """Work of so many, engine-ms."""
        return prompt_tokens * self.prompt_ms + output_tokens * self.output_ms


def token_work(model: LatencyModel, lengths: Lengths, *, count: int = 500) -> TokenWork:
    """Mean work of the tokens of requests of those lengths.

    Args:
        model: Of the engine that work counts on.
        lengths: Draws the requests.
        count: How many are drawn.
    """
    source = random.Random("work")
    prompts = outputs = 0
    prompt_ms = output_ms = 0.0
    for _ in range(count):
        prompt_tokens, output_tokens = lengths(source)
        first_ms = request_work_ms(
            model, prompt_tokens=prompt_tokens, cached_tokens=0, output_tokens=1
        )
        whole_ms = request_work_ms(
            model, prompt_tokens=prompt_tokens, cached_tokens=0, output_tokens=output_tokens
        )
        prompts += prompt_tokens
        outputs += output_tokens
        prompt_ms += first_ms
        output_ms += whole_ms - first_ms
    return TokenWork(prompt_ms=prompt_ms / prompts, output_ms=output_ms / outputs)


def mean_tokens(lengths: Lengths, *, seed: str = "mean", count: int = 4000) -> tuple[float, float]:
    """Mean prompt and output tokens of what a source draws."""
    source = random.Random(seed)
    drawn = [lengths(source) for _ in range(count)]
    return sum(p for p, _ in drawn) / count, sum(o for _, o in drawn) / count


def mean_work_ms(model: LatencyModel, lengths: Lengths) -> float:
    """Work of a mean request of those lengths on an engine of that time model."""
    prompt_tokens, output_tokens = mean_tokens(lengths)
    return token_work(model, lengths).of(prompt_tokens=prompt_tokens, output_tokens=output_tokens)


def online_request(
    rid: str, *, at_s: float, prompt_tokens: int, output_tokens: int, slo: Slo
) -> SimulatedRequest:
    """An online request with the targets that its agent labels it with."""
    return SimulatedRequest(
        rid=rid,
        work_class=WorkClass.ONLINE,
        at_s=at_s,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        ttft_target_ms=slo.ttft_ms,
        itl_target_ms=slo.itl_ms,
        tpot_target_ms=slo.tpot_ms,
        max_gap_ms=slo.max_gap_ms,
    )


def offline_request(
    rid: str, *, at_s: float, prompt_tokens: int, output_tokens: int
) -> SimulatedRequest:
    """A batch item."""
    return SimulatedRequest(
        rid=rid,
        work_class=WorkClass.OFFLINE,
        at_s=at_s,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
    )
