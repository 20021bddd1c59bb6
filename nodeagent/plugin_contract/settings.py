"""Live settings as `POST /set_internal_state` carries them.

Refuses anything but numbers, as SGLang's door does: a model's identity travels as its
fingerprint. Invariant: an update is applied whole or refused whole.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from nodeagent.plugin_contract.numbers import ContractError, finite
from planner.batching.state import Budgets

_BUDGET_PREFIX = "slacktide_budget_"
_COEFFICIENT_PREFIX = "slacktide_coefficient_"
_MODEL_KEY = "slacktide_model_fingerprint"
_KEY_PREFIX = "slacktide_"
_FINGERPRINT_BITS = 48  # exact in JSON numbers

LARGEST_BUDGET = 1e9
"""Of any budget: eleven days in milliseconds. What the engine reports of larger ones may
not fit the integers and numbers of its own JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsUpdate:
    """What one `set_internal_state` call changes; fields left None stay as they are."""

    budgets: Mapping[str, float | int | bool] | None = None  # fields of Budgets, some or all
    coefficients: Mapping[str, float] | None = None  # LatencyModel.to_values(), all
    fingerprint: int | None = None


def encode_budgets(budgets: Budgets) -> dict[str, float | int]:
    """Budgets as `server_args` of `POST /set_internal_state`."""
    check_budgets(budgets)
    return {
        _BUDGET_PREFIX + name: int(value) if isinstance(value, bool) else value
        for name, value in asdict(budgets).items()
    }


def encode_model(*, values: Mapping[str, float], identity: str) -> dict[str, float | int]:
    """A latency model's coefficients as `server_args` of `POST /set_internal_state`.

    Args:
        values: `LatencyModel.to_values()`.
        identity: `LatencyModel.identity`; only its fingerprint travels.
    """
    encoded: dict[str, float | int] = {
        _COEFFICIENT_PREFIX + name: finite(name, value) for name, value in values.items()
    }
    encoded[_MODEL_KEY] = model_fingerprint(identity)
    return encoded


def decode_update(server_args: Mapping[str, float | int]) -> SettingsUpdate | None:
    """Reads an update inside the engine.

    Returns:
        None where none of the keys is ours.

    Raises:
        ContractError: A key of ours is unknown, a value is not finite, or keys of ours
            are mixed with SGLang's.
    """
    ours = {key for key in server_args if key.startswith(_KEY_PREFIX)}
    if not ours:
        return None
    if len(ours) != len(server_args):
        others = sorted(set(server_args) - ours)
        raise ContractError(f"keys {others} are SGLang's: send them in a call of their own")
    kinds = {f.name: f.type for f in fields(Budgets)}
    budgets: dict[str, float | int | bool] = {}
    coefficients: dict[str, float] = {}
    fingerprint: int | None = None
    for key, value in server_args.items():
        number = finite(key, value)
        if key == _MODEL_KEY:
            fingerprint = int(number)
        elif key.startswith(_COEFFICIENT_PREFIX):
            coefficients[key.removeprefix(_COEFFICIENT_PREFIX)] = number
        elif (name := key.removeprefix(_BUDGET_PREFIX)) in kinds and key != name:
            budgets[name] = _as_field(key, kinds[name], number)
        else:
            raise ContractError(f"{key}: no such setting; known are budgets {sorted(kinds)}")
    if (fingerprint is None) != (not coefficients):
        raise ContractError(f"{_MODEL_KEY} and coefficients go together in one call")
    return SettingsUpdate(
        budgets=budgets or None, coefficients=coefficients or None, fingerprint=fingerprint
    )


def check_budgets(budgets: Budgets) -> None:
    """Raises ContractError where a budget is not one an engine can be held to."""
    for name, value in asdict(budgets).items():
        if isinstance(value, bool):
            continue
        if not math.isfinite(value) or not 0 <= value <= LARGEST_BUDGET:
            raise ContractError(
                f"budgets.{name}: got {value}, allowed are numbers from 0 to {LARGEST_BUDGET:g}"
            )
    for name in ("kv_reserve_ratio", "kv_reserve_ceiling_ratio"):
        if (ratio := getattr(budgets, name)) >= 1:
            raise ContractError(f"budgets.{name}: got {ratio}, allowed is [0, 1)")
    if budgets.age_share > 1:
        raise ContractError(f"budgets.age_share: got {budgets.age_share}, allowed is [0, 1]")


def model_fingerprint(identity: str) -> int:
    """The number that stands for a latency model's identity."""
    digest = hashlib.sha256(identity.encode()).digest()
    return int.from_bytes(digest[: _FINGERPRINT_BITS // 8])


def _as_field(key: str, kind: Any, number: float) -> float | int | bool:
    if kind is bool:
        return number != 0
    if kind is not int:
        return number
    if number != int(number):
        raise ContractError(f"{key}: got {number}, allowed are whole numbers")
    return int(number)
