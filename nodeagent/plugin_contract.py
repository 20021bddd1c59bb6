"""What the agent and the scheduler plugin say to each other through SGLang's own doors.

Owns the labels that ride on a request (`priority`, `custom_params`), the keys of
`POST /set_internal_state`, and the shape of `/server_info` →
`internal_states[].slacktide`. Pure: imports neither sglang nor any transport, so the
agent, the plugin and tests share one encoder and one parser.

Refuses values it cannot carry: SGLang's door takes numbers only, so a model's identity
travels as a fingerprint (`model_fingerprint`). Durations travel, never absolute times:
the engine adds a relative deadline to its own stamp, so clocks are never compared.

Invariants: a request without our labels is online; `parse_plugin_state` inverts
`PluginState.to_values`; an update is applied whole or refused whole.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from planner.batching.state import Budgets, WorkClass
from planner.latency.features import BatchShape

PLUGIN_VERSION = "1"
"""Version of this contract. The agent admits offline work only where the plugin says it."""

PLUGIN_NAME = "slacktide"
"""Entry point name, for the environment variable `SGLANG_PLUGINS`."""

CPU_PLATFORM_NAME = "slacktide_cpu"
"""Entry point name, for the environment variable `SGLANG_PLATFORM` on CPU nodes."""

DISABLE_VARIABLE = "SLACKTIDE_PLUGIN"
"""Environment variable: `off` leaves the engine stock."""

SGLANG_VERSION = "0.5.23"
"""The one SGLang version whose names the plugin's manifest describes."""

STATE_KEY = "slacktide"
"""Key under `/server_info` → `internal_states[]`; absent where the plugin does not run."""

REFUSAL_KEY = "slacktide_refusal"
"""Key beside it that says why the plugin refused to run, where it could say so."""

ONLINE_PRIORITY = 0
OFFLINE_PRIORITY = -1
"""SGLang priorities: higher runs first. They also drive retraction and cache eviction."""

_CLASS = "slacktide_class"
_TTFT = "slacktide_ttft_ms"
_ITL = "slacktide_itl_ms"
_TPOT = "slacktide_tpot_ms"
_MAX_GAP = "slacktide_max_gap_ms"
_DEADLINE = "slacktide_deadline_in_s"

_BUDGET_PREFIX = "slacktide_budget_"
_COEFFICIENT_PREFIX = "slacktide_coefficient_"
_MODEL_KEY = "slacktide_model_fingerprint"
_KEY_PREFIX = "slacktide_"
_FINGERPRINT_BITS = 48  # exact in JSON numbers


class ContractError(ValueError):
    """A value that agent and plugin cannot exchange: which, what it was, what is allowed."""


# ---------------------------------------------------------------- labels of a request


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
            params[key] = _positive(key, value)
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
            work_class=WorkClass.OFFLINE, deadline_in_s=_finite_or_none(custom_params, _DEADLINE)
        )
    return RequestLabels(
        ttft_target_ms=_positive_or_none(custom_params, _TTFT),
        itl_target_ms=_positive_or_none(custom_params, _ITL),
        tpot_target_ms=_positive_or_none(custom_params, _TPOT),
        max_gap_ms=_positive_or_none(custom_params, _MAX_GAP),
    )


# ---------------------------------------------------------------- live settings


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
        _COEFFICIENT_PREFIX + name: _finite(name, value) for name, value in values.items()
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
        number = _finite(key, value)
        if key == _MODEL_KEY:
            fingerprint = int(number)
        elif key.startswith(_COEFFICIENT_PREFIX):
            coefficients[key.removeprefix(_COEFFICIENT_PREFIX)] = number
        elif (name := key.removeprefix(_BUDGET_PREFIX)) in kinds and key != name:
            budgets[name] = _as_field(kinds[name], number)
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
        if not math.isfinite(value) or value < 0:
            raise ContractError(f"budgets.{name}: got {value}, allowed are numbers >= 0")
    if budgets.kv_reserve_ratio >= 1:
        raise ContractError(
            f"budgets.kv_reserve_ratio: got {budgets.kv_reserve_ratio}, allowed is [0, 1)"
        )


def model_fingerprint(identity: str) -> int:
    """The number that stands for a latency model's identity."""
    digest = hashlib.sha256(identity.encode()).digest()
    return int.from_bytes(digest[: _FINGERPRINT_BITS // 8])


# ---------------------------------------------------------------- what the plugin reports


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What the plugin did since the engine started. Every field only grows."""

    passes: int = 0  # scheduling passes that launched a batch
    parked: int = 0  # offline rows set aside, KV held
    resumed: int = 0  # parked rows brought back
    evicted: int = 0  # offline requests whose KV was given up
    chunks_capped: int = 0  # offline prefill chunks cut below what the engine allows
    chunks_parked: int = 0  # passes an offline mid-prefill request sat out
    chunks_requeued: int = 0  # offline mid-prefill requests that gave their slot up
    prefills_deferred: int = 0  # passes whose offline queue was held back
    online_prompt_tokens: int = 0  # computed, cached prefixes not counted
    online_output_tokens: int = 0
    offline_prompt_tokens: int = 0
    offline_output_tokens: int = 0
    scheduling_us: int = 0  # CPU time of the plugin's own decisions


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassLoad:
    """Requests of one class in the engine now."""

    running: int = 0  # decoding, or in prefill
    parked: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredIteration:
    """One iteration as planned and as measured. `sequence` grows by one an iteration."""

    sequence: int
    shape: BatchShape
    measured_ms: float
    predicted_ms: float  # of `shape`, by the model in force then
    bound_ms: float
    budget_ms: float  # what offline work was held to; 0 where there was none
    offline_rows: int = 0
    ran_online: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginState:
    """What an engine with the plugin says of itself under `/server_info`."""

    version: str = PLUGIN_VERSION
    fingerprint: int = 0  # of the latency model in force
    budgets: Budgets = field(default_factory=Budgets)
    counters: Counters = field(default_factory=Counters)
    online: ClassLoad = field(default_factory=ClassLoad)
    offline: ClassLoad = field(default_factory=ClassLoad)
    kv_free_tokens: int = 0
    kv_total_tokens: int = 0
    samples: tuple[MeasuredIteration, ...] = ()  # the newest, oldest first; a bounded ring

    @property
    def kv_used_ratio(self) -> float:
        """Share of the KV cache that is neither free nor evictable, in [0, 1]."""
        if self.kv_total_tokens <= 0:
            return 0.0
        return 1.0 - self.kv_free_tokens / self.kv_total_tokens

    def samples_after(self, sequence: int) -> tuple[MeasuredIteration, ...]:
        """Iterations newer than the last one a reader has seen."""
        return tuple(s for s in self.samples if s.sequence > sequence)

    def to_values(self) -> dict[str, Any]:
        """The JSON that `parse_plugin_state` reads; samples are rows, to stay small."""
        return {
            "version": self.version,
            "fingerprint": self.fingerprint,
            "budgets": asdict(self.budgets),
            "counters": asdict(self.counters),
            "online": asdict(self.online),
            "offline": asdict(self.offline),
            "kv_free_tokens": self.kv_free_tokens,
            "kv_total_tokens": self.kv_total_tokens,
            "samples": [_sample_row(s) for s in self.samples],
        }


def parse_plugin_state(server_info: Mapping[str, Any]) -> PluginState | None:
    """Reads the plugin's state out of a `/server_info` answer.

    Returns:
        None where the engine runs without the plugin (absent, off, or refused).

    Raises:
        ContractError: There is a state, but of another version or shape. The reader must
            treat the engine as one without plugin.
    """
    for internal in server_info.get("internal_states") or ():
        values = internal.get(STATE_KEY) if isinstance(internal, Mapping) else None
        if values is not None:
            return _state_from_values(values)
    return None


def parse_refusal(server_info: Mapping[str, Any]) -> str:
    """Why the plugin refused to run, or an empty string."""
    for internal in server_info.get("internal_states") or ():
        if isinstance(internal, Mapping) and internal.get(REFUSAL_KEY):
            return str(internal[REFUSAL_KEY])
    return ""


# ---------------------------------------------------------------- encoding details

_SHAPE_FIELDS = tuple(f.name for f in fields(BatchShape))


def _sample_row(sample: MeasuredIteration) -> list[float]:
    return [
        sample.sequence,
        round(sample.measured_ms, 3),
        round(sample.predicted_ms, 3),
        round(sample.bound_ms, 3),
        round(sample.budget_ms, 3),
        sample.offline_rows,
        int(sample.ran_online),
        *(getattr(sample.shape, name) for name in _SHAPE_FIELDS),
    ]


def _sample_from_row(row: Sequence[float]) -> MeasuredIteration:
    sequence, measured, predicted, bound, budget, offline_rows, ran_online, *shape = row
    return MeasuredIteration(
        sequence=int(sequence),
        measured_ms=float(measured),
        predicted_ms=float(predicted),
        bound_ms=float(bound),
        budget_ms=float(budget),
        offline_rows=int(offline_rows),
        ran_online=bool(ran_online),
        shape=BatchShape(**dict(zip(_SHAPE_FIELDS, shape, strict=True))),  # type: ignore[arg-type]
    )


def _state_from_values(values: Mapping[str, Any]) -> PluginState:
    version = values.get("version")
    if version != PLUGIN_VERSION:
        raise ContractError(
            f"plugin version: got {version!r}, allowed is {PLUGIN_VERSION!r}; "
            "restart the engine with the agent's own installation"
        )
    try:
        return PluginState(
            version=version,
            fingerprint=int(values["fingerprint"]),
            budgets=Budgets(**values["budgets"]),
            counters=Counters(**values["counters"]),
            online=ClassLoad(**values["online"]),
            offline=ClassLoad(**values["offline"]),
            kv_free_tokens=int(values["kv_free_tokens"]),
            kv_total_tokens=int(values["kv_total_tokens"]),
            samples=tuple(_sample_from_row(row) for row in values["samples"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ContractError(f"plugin state of version {version} is malformed: {error!r}") from error


def _as_field(kind: Any, number: float) -> float | int | bool:
    if kind is bool:
        return number != 0
    return int(number) if kind is int else number


def _finite(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ContractError(f"{name}: got {value!r}, allowed are finite numbers")
    return float(value)


def _positive(name: str, value: float) -> float:
    if not math.isfinite(value) or value <= 0:
        raise ContractError(f"{name}: got {value}, allowed are finite numbers > 0")
    return float(value)


def _finite_or_none(params: Mapping[str, Any], key: str) -> float | None:
    value = params.get(key)
    usable = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if usable and math.isfinite(value) else None  # type: ignore[arg-type]


def _positive_or_none(params: Mapping[str, Any], key: str) -> float | None:
    value = _finite_or_none(params, key)
    return value if value is not None and value > 0 else None
