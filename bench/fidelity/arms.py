"""Which loads are judged.

Owns their names, budgets and order. All run on the engine with the plugin: what is judged is
the simulation of one engine, not one engine against another. Budgets are fixed in multiples
of what a decode of two rows is bounded by, so that they ask the same of a faster machine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from planner.batching.state import Budgets
from planner.latency.features import BatchShape
from planner.latency.predictor import LatencyModel

UNHURRIED = Budgets(idle_budget_ms=1000.0)
"""Of the batch alone: nothing waits."""

_TWO_ROWS = BatchShape(
    decode_rows=2, decode_context_tokens=300, decode_max_context_tokens=200
)  # what online alone decodes most of the time

_MULTIPLES: Mapping[str, Mapping[str, float]] = {
    # Offline work hardly beside online, as D@10% of bench-colocate is tuned.
    "tight": {"latency": 1.2, "stall": 1.5, "idle": 2.0, "calm": 0.0},
    # Two kinds of gaps, as D@50%.
    "middle": {"latency": 2.0, "stall": 3.0, "idle": 5.0, "calm": 1.3},
    # As D at the latencies of cap 8.
    "loose": {"latency": 4.0, "stall": 10.0, "idle": 10.0, "calm": 0.0},
}
BUDGETS = tuple(_MULTIPLES)
"""Names of fixed budgets, the tightest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One load; without budgets there is no batch."""

    name: str
    budgets: Budgets | None
    has_online: bool = True

    @property
    def has_offline(self) -> bool:
        """Whether the batch runs."""
        return self.budgets is not None


def arms_of(model: LatencyModel, *, budgets: Sequence[str]) -> list[Arm]:
    """Online alone, online beside the batch at fixed budgets, the batch alone.

    Args:
        model: of the engine.
        budgets: of BUDGETS.
    """
    return [
        Arm(name="A", budgets=None),
        *(Arm(name=f"D@{name}", budgets=fixed_budgets(model, name=name)) for name in budgets),
        Arm(name="E", budgets=UNHURRIED, has_online=False),
    ]


def fixed_budgets(model: LatencyModel, *, name: str) -> Budgets:
    """The budgets of a name of BUDGETS on an engine of this model."""
    unit_ms, times = model.bound_ms(_TWO_ROWS), _MULTIPLES[name]
    return Budgets(
        latency_budget_ms=times["latency"] * unit_ms,
        max_stall_ms=times["stall"] * unit_ms,
        idle_budget_ms=times["idle"] * unit_ms,
        calm_budget_ms=times["calm"] * unit_ms,
    )


def round_order(arms: Sequence[Arm], *, number: int) -> list[Arm]:
    """The arms of a round, rotated so that none always comes at the same time."""
    shift = number % len(arms)
    return [*arms[shift:], *arms[:shift]]
