"""How long the next iteration may last, as far as offline work has a say.

Owns slack and the least of the limits. Refuses the profile: the latency budget comes
measured from outside. Slack is what is left until a target is missed; missed already, it
is negative and offline work yields entirely.

Source: the latency budget of an iteration is HyGen's (arXiv 2501.14808, SLO-aware profiler);
the idle budget and the share of an uncalibrated bound are ours.
"""

from math import inf

from planner.batching.state import Budgets, DecodeRow, PrefillWork
from planner.latency.coefficients import Coefficients

_DEFAULT_GAP_TPOTS = 10.0  # longest single gap in TPOTs where none is set, as planner.model.Slo


def gap_slack_ms(row: DecodeRow, *, now_s: float) -> float:
    """Milliseconds until the next token of an online row misses its targets.

    Per-gap ITL: last token + target - now; nothing is saved. Per-request TPOT: slack
    accrues over the request, from its first token on. The scheduler that Niyama's authors
    published (see `baselines.qoserve`) sizes chunks by such a slack of the requests that
    decode, but lets it accrue from the TTFT deadline, or the first token where that is later.
    The longest single gap is ours. The tightest counts where a row has both. Without targets:
    inf.
    """
    slack_ms = inf
    # A first token on its way ends the wait for it now: the gap after it begins.
    since_token_ms = (now_s - row.last_token_s) * 1000.0 if row.generated_tokens else 0.0
    if row.itl_target_ms is not None:
        slack_ms = row.itl_target_ms - since_token_ms
    target_ms = row.tpot_target_ms
    if target_ms is None:
        return slack_ms
    if row.first_token_s <= 0.0:
        return min(slack_ms, target_ms - since_token_ms)
    gap_ms = row.max_gap_ms
    if gap_ms is None:
        gap_ms = _DEFAULT_GAP_TPOTS * target_ms
    since_first_ms = (now_s - row.first_token_s) * 1000.0
    saved_ms = target_ms * row.generated_tokens - since_first_ms
    return min(slack_ms, gap_ms - since_token_ms, saved_ms)


def first_token_slack_ms(work: PrefillWork, *, now_s: float) -> float:
    """Milliseconds until a waiting online request misses its TTFT target; inf without one."""
    if work.ttft_target_ms is None:
        return inf
    return work.ttft_target_ms - (now_s - work.arrival_s) * 1000.0


def offline_limit_ms(budgets: Budgets, *, has_online: bool, slack_ms: float) -> float:
    """The least of the limits on an iteration with offline work in it.

    With online work: the profiled latency budget and the tightest slack. Without: the
    idle budget, since a launched iteration cannot be cancelled and an arrival waits for
    its end.

    Returns:
        Milliseconds, >= 0; 0 lets no offline work in.
    """
    if not budgets.runs_offline:
        return 0.0
    if not has_online:
        return max(0.0, budgets.idle_budget_ms)
    return max(0.0, min(budgets.latency_budget_ms, slack_ms))


def max_rows(budgets: Budgets, *, has_online: bool) -> int:
    """Offline rows that hold KV before another prompt begins."""
    if has_online and budgets.max_rows_beside_online < budgets.max_offline_rows:
        return budgets.max_rows_beside_online
    return budgets.max_offline_rows


def trusted_ms(limit_ms: float, *, coefficients: Coefficients, budgets: Budgets) -> float:
    """What of a limit may be planned for with these coefficients' bound, in milliseconds.

    All of it where measurements calibrated the bound; else a share, so that an engine
    starts with small chunks and few rows until its own iterations have been fitted.
    """
    if coefficients.coverage_ratio > 0.0:
        return limit_ms
    return limit_ms * min(1.0, budgets.uncalibrated_ratio)
