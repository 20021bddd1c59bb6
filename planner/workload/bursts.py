"""Bursts and idle phases in turn, as batch gateways are measured.

Owns arrivals whose rate jumps between two values, Poisson within a phase, and the lengths
asked for. Refuses files and clocks; a seed says everything. Invariants: requests come in
order of time; equal seeds give equal requests; more cycles only append.

Source: the users of llm-d's batch gateway (llm-d-batch-gateway, issue 491) measure the
tails of interactive requests while a batch runs in the background: 512 prompt and 128
output tokens, 90 s of burst and 90 s of idle, five cycles of which the first warms up. The
burst is 88 % of what the replicas sustain (28 of 32 requests/s on two); the idle rate is
1 for a burst of 15 requests/s.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count as counted

from planner.workload.generate import Lengths, RateStep, arrivals, requests_at
from planner.workload.request import WorkloadRequest

GATEWAY_BURST_RATIO = 0.88  # of the sustained rate; 28 of 32 requests/s
GATEWAY_IDLE_RATIO = 1 / 15  # of the burst's rate
GATEWAY_CYCLES = 5  # the first warms up
GATEWAY_PROMPT_TOKENS, GATEWAY_OUTPUT_TOKENS = 512, 128


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstShape:
    """A cycle: a burst, then an idle phase.

    Args:
        burst_requests_per_s: >= 0.
        idle_requests_per_s: >= 0; 0 sends nothing.
        burst_s: How long a burst lasts, > 0.
        idle_s: How long an idle phase lasts, > 0.

    Raises:
        ValueError: A rate or duration out of range, or no rate above 0.
    """

    burst_requests_per_s: float
    idle_requests_per_s: float
    burst_s: float = 90.0
    idle_s: float = 90.0

    def __post_init__(self) -> None:
        rates = (self.burst_requests_per_s, self.idle_requests_per_s)
        durations = (self.burst_s, self.idle_s)
        if not all(0 <= rate < math.inf for rate in rates) or not any(rates):
            raise ValueError(
                f"bursts of {rates[0]} and idle phases of {rates[1]} requests/s: both must be"
                " >= 0, one > 0"
            )
        if not all(0 < duration < math.inf for duration in durations):
            raise ValueError(
                f"bursts of {durations[0]} s and idle phases of {durations[1]} s: both must be > 0"
            )

    @property
    def cycle_s(self) -> float:
        """How long a burst and an idle phase last together."""
        return self.burst_s + self.idle_s

    def is_burst(self, at_s: float) -> bool:
        """Whether a time, >= 0, lies in a burst."""
        return at_s % self.cycle_s < self.burst_s

    def rate_steps(self, cycles: int | None = None) -> Iterator[RateStep]:
        """The phases as steps of the rate; without end for None."""
        for cycle in counted() if cycles is None else range(cycles):
            start_s = cycle * self.cycle_s
            yield RateStep(
                start_s=start_s,
                duration_s=self.burst_s,
                requests_per_s=self.burst_requests_per_s,
            )
            yield RateStep(
                start_s=start_s + self.burst_s,
                duration_s=self.idle_s,
                requests_per_s=self.idle_requests_per_s,
            )


def gateway_shape(sustained_requests_per_s: float) -> BurstShape:
    """The shape of llm-d's users, for replicas that sustain that rate of its lengths."""
    burst = GATEWAY_BURST_RATIO * sustained_requests_per_s
    return BurstShape(burst_requests_per_s=burst, idle_requests_per_s=GATEWAY_IDLE_RATIO * burst)


def fixed_lengths(prompt_tokens: int, output_tokens: int) -> Lengths:
    """The same lengths for every request.

    Raises:
        ValueError: A length below 1.
    """
    if prompt_tokens < 1 or output_tokens < 1:
        raise ValueError(
            f"{prompt_tokens} prompt and {output_tokens} output tokens: both must be >= 1"
        )
    return lambda _: (prompt_tokens, output_tokens)


def bursts(
    *,
    seed: int,
    shape: BurstShape,
    cycles: int | None = GATEWAY_CYCLES,
    lengths: Lengths | None = None,
) -> Iterator[WorkloadRequest]:
    """Draws requests in bursts.

    Args:
        seed: says everything; the same arrivals whatever the lengths.
        shape: rates and durations.
        cycles: bursts with their idle phases, >= 0; None: without end.
        lengths: of requests, such as `generate.azure_lengths`; None: the 512 and 128 tokens
            of llm-d's users.

    Raises:
        ValueError: cycles below 0; at the call.
    """
    if cycles is not None and cycles < 0:
        raise ValueError(f"cycles {cycles}: must be >= 0, or None for bursts without end")
    draw = lengths or fixed_lengths(GATEWAY_PROMPT_TOKENS, GATEWAY_OUTPUT_TOKENS)
    return requests_at(
        arrivals(shape.rate_steps(cycles), random.Random(f"{seed}/bursts/arrivals")),
        lengths=draw,
        source=random.Random(f"{seed}/bursts/lengths"),
    )
