"""Live settings of an engine: budgets and the latency model.

Owns the values in force and how an update replaces them: checked whole, then applied
whole, between two passes and on every rank.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace

from nodeagent.models.facts import ModelFolderError, read_model_facts
from nodeagent.plugin_contract import (
    ContractError,
    check_budgets,
    decode_update,
    model_fingerprint,
)
from planner.batching.state import Budgets
from planner.latency.features import BatchShape
from planner.latency.predictor import LatencyModel, default_model

logger = logging.getLogger(__name__)

# Far beyond one engine's batch; a model in use stays within a day for it.
_LARGE_DECODE = BatchShape(
    decode_rows=1024, decode_context_tokens=1024 * 8192, decode_max_context_tokens=8192
)
_LARGE_PREFILL = _LARGE_DECODE.with_prefill(new_tokens=16_384, cached_tokens=131_072)
_LONGEST_MS = 86_400_000.0


class Settings:
    """What offline work is held to, until the next update."""

    def __init__(self, *, model: LatencyModel, budgets: Budgets | None = None) -> None:
        self.model = model
        self.budgets = budgets or Budgets()
        self.fingerprint = model_fingerprint(model.identity)

    def update(self, server_args: Mapping[str, float | int]) -> bool:
        """Applies one `set_internal_state` call.

        Returns:
            False where none of its keys is ours.

        Raises:
            ValueError: The update is refused; nothing has changed.
        """
        update = decode_update(server_args)
        if update is None:
            return False
        budgets, model, fingerprint = self.budgets, self.model, self.fingerprint
        if update.budgets is not None:
            budgets = replace(budgets, **update.budgets)  # type: ignore[arg-type]
            check_budgets(budgets)
        if update.coefficients is not None and update.fingerprint is not None:
            fingerprint = update.fingerprint
            model = LatencyModel.from_values(
                update.coefficients, identity=f"fingerprint:{fingerprint:012x}"
            )
            check_model(model)
        self.budgets, self.model, self.fingerprint = budgets, model, fingerprint
        logger.info(
            "slacktide_settings_updated budget_ms=%s idle_budget_ms=%s enabled=%s model=%s",
            budgets.latency_budget_ms,
            budgets.idle_budget_ms,
            budgets.enabled,
            model.identity,
        )
        return True


def check_model(model: LatencyModel) -> None:
    """Raises ContractError where a model's times are beyond what can be told and compared."""
    for shape in (_LARGE_DECODE, _LARGE_PREFILL):
        bound_ms = model.bound_ms(shape)
        if not 0.0 < bound_ms <= _LONGEST_MS:
            raise ContractError(
                f"latency model {model.identity}: bounds an iteration of {shape} at "
                f"{bound_ms:g} ms, allowed are more than 0 and up to {_LONGEST_MS:g}"
            )


def starting_model(*, device_type: str, model_path: str) -> LatencyModel:
    """The default an engine starts from until the agent sends coefficients.

    Args:
        device_type: Name of the device, e.g. "cpu" or "NVIDIA A100-SXM4-80GB".
        model_path: The model's folder, or a hub name, which has no facts yet.
    """
    try:
        weights_bytes = read_model_facts(model_path).weights_bytes
    except (ModelFolderError, OSError):
        return default_model(device_type)
    return default_model(device_type, weights_bytes=weights_bytes)
