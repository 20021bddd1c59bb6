"""Labels that ride on a request: its class, its targets, its deadline.

Refuses absolute times: a deadline travels as seconds from submission, since the engine
adds it to its own stamp and clocks are never compared. Invariant: what is not labelled
as offline is online.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nodeagent.plugin_contract.numbers import (
    ContractError,
    finite_or_none,
    positive,
    positive_or_none,
)
from planner.batching.state import WorkClass

ONLINE_PRIORITY = 0
OFFLINE_PRIORITY = -1
"""SGLang priorities: higher runs first. They also drive retraction and cache eviction."""

_CLASS = "slacktide_class"
_TTFT = "slacktide_ttft_ms"
_ITL = "slacktide_itl_ms"
_TPOT = "slacktide_tpot_ms"
_MAX_GAP = "slacktide_max_gap_ms"
_DEADLINE = "slacktide_deadline_in_s"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLabels:
    """What the plugin knows of a request beyond SGLang's own fields. Times are relative."""

    work_class: WorkClass = WorkClass.ONLINE
    ttft_target_ms: float | None = None
    itl_target_ms: float | None = None
    tpot_target_ms: float | None = None
    max_gap_ms: float | None = None
    deadline_in_s: float | None = None  # seconds after the engine received it


def online_labels(
    *,
    ttft_ms: float | None = None,
    itl_ms: float | None = None,
    tpot_ms: float | None = None,
    max_gap_ms: float | None = None,
) -> dict[str, Any]:
    """Labels of an online request, with the SLO its slack is computed from.

    Args:
        ttft_ms: Target of the first token, milliseconds.
        itl_ms: Target of each gap, milliseconds.
        tpot_ms: Target of the request's mean gap, milliseconds; instead of `itl_ms`.
        max_gap_ms: Largest single gap under a `tpot_ms` target, milliseconds.

    Returns:
        `priority` for the request body, and `custom_params` for its `sampling_params`
        (`/generate`) or its top level (OpenAI routes).
    """
    params: dict[str, Any] = {_CLASS: WorkClass.ONLINE.value}
    for key, value in ((_TTFT, ttft_ms), (_ITL, itl_ms), (_TPOT, tpot_ms), (_MAX_GAP, max_gap_ms)):
        if value is not None:
            params[key] = positive(key, value)
    return {"priority": ONLINE_PRIORITY, "custom_params": params}


def offline_labels(*, deadline_in_s: float | None = None) -> dict[str, Any]:
    """Labels of an offline request.

    Args:
        deadline_in_s: Seconds from now until it should be done; may be negative (late).

    Returns:
        `priority` and `custom_params`, as of `online_labels`.
    """
    params: dict[str, Any] = {_CLASS: WorkClass.OFFLINE.value}
    if deadline_in_s is not None:
        if not math.isfinite(deadline_in_s):
            raise ContractError(f"{_DEADLINE}: got {deadline_in_s}, allowed are finite seconds")
        params[_DEADLINE] = float(deadline_in_s)
    return {"priority": OFFLINE_PRIORITY, "custom_params": params}


def read_labels(custom_params: Mapping[str, Any] | None) -> RequestLabels:
    """Reads labels back inside the engine. Anything unlabelled or unusable is online."""
    if not isinstance(custom_params, Mapping):
        return RequestLabels()
    if custom_params.get(_CLASS) == WorkClass.OFFLINE.value:
        return RequestLabels(
            work_class=WorkClass.OFFLINE, deadline_in_s=finite_or_none(custom_params, _DEADLINE)
        )
    return RequestLabels(
        ttft_target_ms=positive_or_none(custom_params, _TTFT),
        itl_target_ms=positive_or_none(custom_params, _ITL),
        tpot_target_ms=positive_or_none(custom_params, _TPOT),
        max_gap_ms=positive_or_none(custom_params, _MAX_GAP),
    )
