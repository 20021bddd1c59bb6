"""Requests of one deployment: arrival rates and token mixes of the next rounds.

Owns the forecast of arrivals and of the tokens they bring, each with its own bound, and the
work that follows by a latency model. Refuses the latency model: the caller hands it in.
Invariants: those of `series`; bounds are finite and never below their means.
"""

from collections.abc import Callable
from dataclasses import dataclass

from planner.forecast.series import Band, Series, Term
from planner.forecast.settings import ForecastSettings, Prior
from planner.forecast.stored import part

RequestWork = Callable[[float, float], float]
"""Engine-ms of a request by its prompt and output tokens, rising in both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandSeen:
    """What arrived in a round.

    Args:
        arrivals_per_s: Requests per second, >= 0.
        prompt_tokens: Mean of a request, >= 0; of no meaning without arrivals.
        output_tokens: Mean of a request, >= 0; of no meaning without arrivals.
    """

    arrivals_per_s: float
    prompt_tokens: float = 0.0
    output_tokens: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundDemand:
    """The demand of one round to come.

    Args:
        index: Of the round.
        arrivals: Requests per second.
        prompt_tokens: Tokens per second.
        output_tokens: Tokens per second.
        prompt_tokens_per_request: The mix that the means rest on.
        output_tokens_per_request: As above.
    """

    index: int
    arrivals: Band
    prompt_tokens: Band
    output_tokens: Band
    prompt_tokens_per_request: float
    output_tokens_per_request: float

    def work(self, request_work_ms: RequestWork) -> Band:
        """The work of it, engine-ms per second.

        The mean is that of requests of the mean length. The bound is of arrivals at their
        bound whose prompts and outputs come to theirs: right where the three peak together,
        too wide else. Where work itself is observed, `WorkForecaster` is closer.

        Args:
            request_work_ms: Of a request, by its prompt and output tokens.
        """
        mean = self.arrivals.mean * request_work_ms(
            self.prompt_tokens_per_request, self.output_tokens_per_request
        )
        rate = self.arrivals.upper
        if rate <= 0.0:
            return Band(mean=mean, upper=mean)
        upper = rate * request_work_ms(
            self.prompt_tokens.upper / rate, self.output_tokens.upper / rate
        )
        return Band(mean=mean, upper=max(mean, upper))


class DemandForecaster:
    """Arrivals and tokens of one deployment over the next rounds.

    A round's index is the moment it begins, in Unix seconds, over `settings.round_s`,
    rounded down.

    Args:
        deployment: Its id, for errors.
        settings: Lengths and the quantile.
        prior: What the deployment's spec says; None: nothing is known.
    """

    def __init__(
        self, deployment: str, *, settings: ForecastSettings, prior: Prior | None = None
    ) -> None:
        self._series = Series(
            f"deployment {deployment}", settings=settings, prior=prior, companions=2
        )

    @classmethod
    def from_values(
        cls,
        values: object,
        *,
        deployment: str,
        settings: ForecastSettings,
        prior: Prior | None = None,
    ) -> "DemandForecaster":
        """The forecaster that wrote those values.

        Args:
            values: Of `to_values`, as they came back from JSON or a database.
            deployment: As in the constructor.
            settings: The ones it was stored with.
            prior: As in the constructor; may have changed since.

        Raises:
            StateError: Other settings, or values that are none of such a forecaster: begin
                anew from the constructor.
        """
        made = cls(deployment, settings=settings, prior=prior)
        made._series.restore(part(values, "demand"))
        return made

    @property
    def last_index(self) -> int | None:
        """The last round observed; None before the first."""
        return self._series.last_index

    def observe(self, index: int, seen: DemandSeen) -> None:
        """Takes a round in; rounds left out were not observed, which is not the same as 0.

        Args:
            index: Later than the last one.
            seen: What arrived.

        Raises:
            RoundError: The round is not later than the last one, or a value out of range.
        """
        rate = seen.arrivals_per_s
        tokens = (seen.prompt_tokens, seen.output_tokens) if rate else (0.0, 0.0)
        self._series.observe(index, [rate, *(rate * one for one in tokens)])

    def forecast(self, first: int, *, rounds: int | None = None) -> tuple[RoundDemand, ...]:
        """The demand of the next rounds.

        Args:
            first: Index of the first of them, after the last round observed.
            rounds: How many, 1..`settings.rounds`; None: all of these.

        Raises:
            RoundError: The first round was observed already, or too many are asked for.
        """
        rounds = self._series.settings.checked(rounds)
        prompt_tokens, output_tokens = self._series.mix.per_unit()
        return tuple(
            RoundDemand(
                index=first + at,
                arrivals=arrivals,
                prompt_tokens=prompt,
                output_tokens=output,
                prompt_tokens_per_request=prompt_tokens,
                output_tokens_per_request=output_tokens,
            )
            for at, (arrivals, prompt, output) in enumerate(
                self._series.bands(first, horizons=range(1, rounds + 1))
            )
        )

    def terms(self, first: int) -> tuple[Term, ...]:
        """What the mean arrival rate of a round is made of, the heaviest first.

        Raises:
            RoundError: The round was observed already.
        """
        return self._series.terms(first)

    def to_values(self) -> dict[str, object]:
        """The state as plain values, ready for JSON; the one thing to be stored."""
        return {"demand": self._series.to_values()}
