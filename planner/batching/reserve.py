"""How much KV offline prompts leave free for online bursts.

Owns the recent peak of online KV and the reserve that follows from it. Refuses eviction:
what online takes beyond the reserve, offline rows give up (`survey`).

Echo keeps an online reserve in the KV cache; how large is measured here, on the engine
itself: online comes back to what it held lately, so as much is kept free as it has given
back since. The peak halves in every half-life, so an engine without online traffic comes
back to the floor.
"""

from math import exp, log

from planner.batching.state import Budgets, Memory

_LN_2 = log(2.0)


def recent_peak_tokens(
    memory: Memory, *, online_tokens: int, now_s: float, budgets: Budgets
) -> float:
    """The decayed maximum of online KV, in tokens: never below what online holds now.

    Args:
        memory: Holds the peak so far and the stamp it is of.
        online_tokens: KV that online holds or takes in this pass.
        now_s: The stamped time; a stamp that goes back decays nothing.
        budgets: Live settings.
    """
    half_life_s = budgets.kv_burst_half_life_s
    if not half_life_s > 0.0:
        return float(online_tokens)
    half_lives = max(0.0, now_s - memory.peak_s) / half_life_s
    return max(float(online_tokens), memory.online_kv_peak_tokens * exp(-_LN_2 * half_lives))


def reserve_tokens(
    *, peak_tokens: float, online_tokens: int, total_tokens: int, budgets: Budgets
) -> int:
    """KV kept free of offline prompts: what online gave back since its peak, bounded.

    Returns:
        Tokens, between floor and ceiling of `Budgets`; the floor where the two cross.
    """
    floor = budgets.kv_reserve_ratio * total_tokens
    ceiling = budgets.kv_reserve_ceiling_ratio * total_tokens
    return int(max(floor, min(ceiling, peak_tokens - online_tokens)))
