"""Work of a request: what it costs an engine that serves nothing else.

Owns the conversion from a request's tokens to work, the unit of loads, shares and
frontiers (engine-milliseconds). Refuses batching effects: those are the frontier's.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from planner.latency.features import BatchShape
from planner.latency.predictor import LatencyModel


def request_work_ms(
    model: LatencyModel, *, prompt_tokens: int, cached_tokens: int, output_tokens: int
) -> float:
    """Predicted solo engine-milliseconds of one request.

    The prompt's uncached part is one prefill, which gives the first token; each further
    token is a decode of one row. A lone decode's time is linear in its context, so the
    sum over the request is its count times the time at its mean context.

    Args:
        model: Of the engine.
        prompt_tokens: >= 0.
        cached_tokens: Leading prompt tokens found in the prefix cache; at least one
            token of a prompt is always computed.
        output_tokens: Tokens generated, >= 0.

    Returns:
        Milliseconds, >= 0.

    Raises:
        ValueError: A count is negative.
    """
    for name, count in (
        ("prompt_tokens", prompt_tokens),
        ("cached_tokens", cached_tokens),
        ("output_tokens", output_tokens),
    ):
        if count < 0:
            raise ValueError(f"request work: {name} is {count}, must be >= 0")
    work = 0.0
    if prompt_tokens:
        cached = min(cached_tokens, prompt_tokens - 1)
        work += model.predict_ms(
            BatchShape().with_prefill(new_tokens=prompt_tokens - cached, cached_tokens=cached)
        )
    decodes = max(0, output_tokens - 1)
    if decodes:
        # Contexts prompt+1 … prompt+decodes; their sum is what the linear terms see.
        first = model.predict_ms(BatchShape().with_decode(context_tokens=prompt_tokens + 1))
        last = model.predict_ms(BatchShape().with_decode(context_tokens=prompt_tokens + decodes))
        work += decodes * (first + last) / 2.0
    return work


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenWork:
    """Work by kind of token, for requests alike: a prompt token costs far less than another.

    A token costs by where it stands in its request; over whole requests these means are
    exact.

    Attributes:
        prompt_ms: Of a prompt token.
        output_ms: Of an output token.
    """

    prompt_ms: float
    output_ms: float

    def of(self, *, prompt_tokens: float, output_tokens: float) -> float:
        """Work of so many tokens, engine-milliseconds."""
        return prompt_tokens * self.prompt_ms + output_tokens * self.output_ms


def token_work(model: LatencyModel, sizes: Iterable[tuple[int, int]]) -> TokenWork:
    """Mean work of the tokens of requests.

    Args:
        model: Of the engine that work counts on.
        sizes: (prompt tokens, output tokens) of each request; one at least, all >= 1.
    """
    prompts = outputs = 0
    prompt_ms = output_ms = 0.0
    for prompt_tokens, output_tokens in sizes:
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
