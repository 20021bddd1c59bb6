"""Numbers both sides can carry.

Owns what a usable number is and the one error of the contract.
"""

import math
from collections.abc import Mapping
from typing import Any


class ContractError(ValueError):
    """A value that agent and plugin cannot exchange: which, what it was, what is allowed."""


def finite(name: str, value: float) -> float:
    """The value, if it is a finite number.

    Raises:
        ContractError: It is not.
    """
    if not _is_finite(value):
        raise ContractError(f"{name}: got {value!r:.40}, allowed are finite numbers")
    return float(value)


def positive(name: str, value: float) -> float:
    """The value, if it is a finite number above 0.

    Raises:
        ContractError: It is not.
    """
    if not math.isfinite(value) or value <= 0:
        raise ContractError(f"{name}: got {value}, allowed are finite numbers > 0")
    return float(value)


def finite_or_none(params: Mapping[str, Any], key: str) -> float | None:
    """What stands under `key`, where that is a finite number."""
    value = params.get(key)
    return float(value) if _is_finite(value) else None  # type: ignore[arg-type]


def positive_or_none(params: Mapping[str, Any], key: str) -> float | None:
    """What stands under `key`, where that is a finite number above 0."""
    value = finite_or_none(params, key)
    return value if value is not None and value > 0 else None


def _is_finite(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # JSON has integers of any length
        return False
