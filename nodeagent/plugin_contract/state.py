"""What the plugin says of itself under `/server_info` -> `internal_states[].slacktide`.

Refuses a state of another version or shape: the reader never guesses. Invariant:
`parse_plugin_state` inverts `PluginState.to_values`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from operator import attrgetter
from typing import Any

from nodeagent.plugin_contract.names import PLUGIN_VERSION, REFUSAL_KEY, STATE_KEY
from nodeagent.plugin_contract.numbers import ContractError
from planner.batching.state import Budgets
from planner.latency.features import BatchShape


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
    scheduling_us: int = 0  # time of the plugin's own in all passes
    online_only_scheduling_us: int = 0  # likewise in passes without any offline work
    online_only_pass_us: int = 0  # how long those passes lasted
    faults: int = 0  # exceptions of the plugin's own, see `PluginState.fault`


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
    fault: str = ""  # why the plugin stopped all offline work until its engine restarts

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
            "fault": self.fault,
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


_SHAPE_FIELDS = tuple(f.name for f in fields(BatchShape))
_shape_values = attrgetter(*_SHAPE_FIELDS)


def _sample_row(sample: MeasuredIteration) -> list[float]:
    return [
        sample.sequence,
        round(sample.measured_ms, 3),
        round(sample.predicted_ms, 3),
        round(sample.bound_ms, 3),
        round(sample.budget_ms, 3),
        sample.offline_rows,
        int(sample.ran_online),
        *_shape_values(sample.shape),
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
            fault=str(values["fault"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ContractError(f"plugin state of version {version} is malformed: {error!r}") from error
