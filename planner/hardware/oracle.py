"""The time model that knows the truth but for noise.

Owns the bridge from a machine to what policies plan by. It bounds what prediction is worth:
a policy with it errs by noise alone. Refuses to travel: an agent sends coefficients, and
this has none.
"""

from dataclasses import dataclass

from planner.hardware.duration import Duration
from planner.hardware.effects import Effects
from planner.hardware.machine import Machine
from planner.latency.coefficients import Coefficients
from planner.latency.predictor import LatencyModel

# No margin, and trusted as if calibrated; a Coefficients may not promise every iteration.
_TRUSTED = Coefficients(coverage_ratio=0.999)


@dataclass(frozen=True, slots=True, kw_only=True)
class OracleModel(LatencyModel):
    """Mean and bound are the noiseless truth; `decode` and `prefill` say only the margins."""

    duration: Duration

    def mean_ms(
        self,
        prefill_rows: int,
        prefill_tokens: int,
        prefill_attention: float,
        prefill_padded_sq: float,
        decode_rows: int,
        decode_context_tokens: int,
        decode_max_context_tokens: int,
        prefill_context_tokens: int = 0,
    ) -> float:
        """As `LatencyModel.mean_ms`."""
        return self.duration.mean_ms(
            prefill_rows,
            prefill_tokens,
            prefill_attention,
            prefill_padded_sq,
            decode_rows,
            decode_context_tokens,
            decode_max_context_tokens,
            prefill_context_tokens,
        )

    def to_values(self) -> dict[str, float]:
        """Refused.

        Raises:
            TypeError: Always: its tables are no coefficients.
        """
        raise TypeError(f"latency model {self.identity}: an oracle has no flat form")


def oracle_model(machine: Machine, *, effects: Effects | None = None) -> OracleModel:
    """The oracle of a machine with these effects; None: all of them."""
    return OracleModel(
        identity=f"oracle|{machine.name}",
        decode=_TRUSTED,
        prefill=_TRUSTED,
        duration=Duration(machine, effects or Effects()),
    )
