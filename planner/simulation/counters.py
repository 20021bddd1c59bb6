"""What happened in a simulated engine, over a run."""

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class EngineCounters:
    """Sums over the run; the engine adds to them."""

    passes: int = 0
    prefill_passes: int = 0
    decisions: int = 0
    parked: int = 0
    resumed: int = 0
    evicted: int = 0
    requeued: int = 0  # mid-prefill requests that gave up their slot
    retracted_online: int = 0
    retracted_offline: int = 0
    recomputed_tokens: int = 0  # prefill of tokens whose KV was given up
    cached_tokens: int = 0  # found in the prefix cache by admitted requests
    over_bound: int = 0  # passes that lasted longer than the plan's bound
