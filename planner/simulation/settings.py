"""What engine is simulated.

Owns its limits, in SGLang's spelling. Refuses policy: that is a callable beside it.
"""

from dataclasses import dataclass
from enum import Enum
from math import inf


class Loop(Enum):
    """When a pass is decided, and when its tokens reach the clients."""

    PLAIN = "plain"  # decided when the last one has ended and emitted
    OVERLAP = "overlap"  # decided while the last one runs on the device
    # The overlap loop on a device whose launch blocks (a CPU): decided when the last one
    # has ended, whose tokens are emitted only after the next one.
    OVERLAP_BLOCKING = "overlap_blocking"


class Scheduler(Enum):
    """Whose scheduler carries plans out: what gives up KV beyond the plan where it is short."""

    # This project's plugin: offline rows, for online prompts and for decodes.
    PLUGIN = "plugin"
    # SGLang's: nothing for a prompt, which waits; decodes are retracted for one another,
    # and what is evicted leaves only the KV of its prefill in the cache.
    STOCK = "stock"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Limits of one engine.

    Args:
        kv_tokens: `max_total_tokens`.
        page_size: Tokens a KV page holds.
        chunked_prefill_size: Prompt tokens a pass computes; <= 0: prompts are not split.
        max_prefill_tokens: Likewise, over a pass's prompts (SGLang's input budget).
        max_running_requests: Requests past admission.
        mixes: Whether decodes run beside prompts (`enable_mixed_chunk`); on a CPU they
            take turns.
        caches_prefixes: False: `disable_radix_cache`.
        loop: Which loop runs.
        scheduler: Whose scheduler it is; STOCK for policies that stand for stock SGLang.
        pass_overhead_ms: Host time of each pass that the device waits for, >= 0.
        poll_ms: How often the loop looks again while a policy runs nothing.
        change_ms: Added to a pass before which at least one row was parked, resumed or
            evicted, finite and >= 0: the engine rebuilds its batch. The measured pass
            has it; the policy's model knows nothing of it.
        change_row_ms: Added for each such row, likewise.
    """

    kv_tokens: int
    page_size: int = 1
    chunked_prefill_size: int = 8192
    max_prefill_tokens: int = 16384
    max_running_requests: int = 256
    mixes: bool = True
    caches_prefixes: bool = True
    loop: Loop = Loop.PLAIN
    scheduler: Scheduler = Scheduler.PLUGIN
    pass_overhead_ms: float = 0.0
    poll_ms: float = 1.0
    change_ms: float = 0.0
    change_row_ms: float = 0.0

    def __post_init__(self) -> None:
        for name in ("kv_tokens", "page_size", "max_prefill_tokens", "max_running_requests"):
            if getattr(self, name) < 1:
                raise ValueError(f"engine: {name} is {getattr(self, name)}, must be >= 1")
        if not self.pass_overhead_ms >= 0.0 or not self.poll_ms > 0.0:
            raise ValueError(
                f"engine: pass_overhead_ms {self.pass_overhead_ms} must be >= 0 and "
                f"poll_ms {self.poll_ms} > 0"
            )
        for name in ("change_ms", "change_row_ms"):
            if not 0.0 <= getattr(self, name) < inf:
                raise ValueError(
                    f"engine: {name} is {getattr(self, name)}, must be finite and >= 0"
                )

    def changing_ms(self, rows: int) -> float:
        """What parking, resuming and evicting so many rows adds to the pass after it."""
        return self.change_ms + rows * self.change_row_ms if rows else 0.0
