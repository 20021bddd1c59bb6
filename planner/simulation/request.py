"""What arrives at a simulated engine.

Owns one request's counts and labels. Refuses content: a prompt is its length and the ids
of its prefix blocks, equal leading ids being equal prefixes.
"""

from dataclasses import dataclass

from planner.batching.state import WorkClass
from planner.model import Slo
from planner.workload.request import WorkloadRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedRequest:
    """One request; `at_s` is its scheduled send time on the simulation's clock.

    Args:
        rid: Unique.
        work_class: Whose it is.
        at_s: Seconds, >= 0; a closed-loop client sets it when it sends.
        prompt_tokens: >= 1.
        output_tokens: Tokens it generates, >= 1.
        max_new_tokens: What the engine is told it may generate; 0: exactly the output.
        priority: Among online requests, higher first.
        blocks: Ids of the prompt's leading blocks, each standing for `block_tokens`.
        deadline_in_s: Seconds after arrival, or None.
    """

    rid: str
    work_class: WorkClass
    prompt_tokens: int
    output_tokens: int
    at_s: float = 0.0
    max_new_tokens: int = 0
    priority: int = 0
    blocks: tuple[int, ...] = ()
    block_tokens: int = 0
    ttft_target_ms: float | None = None
    itl_target_ms: float | None = None
    tpot_target_ms: float | None = None
    max_gap_ms: float | None = None
    deadline_in_s: float | None = None

    def __post_init__(self) -> None:
        if self.prompt_tokens < 1 or self.output_tokens < 1:
            raise ValueError(
                f"request {self.rid}: {self.prompt_tokens} prompt and {self.output_tokens} "
                "output tokens; both must be >= 1"
            )
        if not self.at_s >= 0.0:
            raise ValueError(f"request {self.rid}: at_s is {self.at_s}, must be >= 0")
        if self.blocks and self.block_tokens < 1:
            raise ValueError(
                f"request {self.rid}: {len(self.blocks)} blocks of {self.block_tokens} tokens; "
                "a block must hold at least one"
            )

    @property
    def longest_output_tokens(self) -> int:
        """What the engine must expect it to generate."""
        return max(self.max_new_tokens, self.output_tokens)


def simulated(
    request: WorkloadRequest, *, rid: str, work_class: WorkClass = WorkClass.ONLINE
) -> SimulatedRequest:
    """A workload's request as it arrives at an engine."""
    return SimulatedRequest(
        rid=rid,
        work_class=work_class,
        at_s=request.at_s,
        prompt_tokens=request.prompt_tokens,
        output_tokens=request.output_tokens,
        blocks=request.blocks,
        block_tokens=request.block_tokens,
    )


def online_request(
    rid: str, *, at_s: float = 0.0, prompt_tokens: int, output_tokens: int, slo: Slo
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
        max_gap_ms=None if slo.tpot_ms is None else slo.gap_ms,
    )


def offline_request(
    rid: str, *, at_s: float = 0.0, prompt_tokens: int, output_tokens: int
) -> SimulatedRequest:
    """A batch item."""
    return SimulatedRequest(
        rid=rid,
        work_class=WorkClass.OFFLINE,
        at_s=at_s,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
    )
