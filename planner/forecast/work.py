"""Online work of one deployment: observed per round in, an upper bound for the next out.

Owns the forecast that placement plans for: work in engine-milliseconds per second, as the
fleet's engines report it. Refuses tokens and arrivals; `demand` knows them. Invariants:
those of `series`; a bound is finite and never below its mean.
"""

from planner.forecast.series import Band, Series, Term
from planner.forecast.settings import ForecastSettings, Prior
from planner.forecast.stored import part


class WorkForecaster:
    """Online work of one deployment over the next rounds.

    A round's index is the moment it begins, in Unix seconds, over `settings.round_s`,
    rounded down.

    Args:
        deployment: Its id, for errors.
        settings: Lengths and the quantile.
        expected_work: What the deployment's spec says of it, engine-ms per second, >= 0;
            counts as four rounds. None: nothing is known.
    """

    def __init__(
        self,
        deployment: str,
        *,
        settings: ForecastSettings,
        expected_work: float | None = None,
    ) -> None:
        prior = None if expected_work is None else Prior(rate=expected_work)
        self._series = Series(f"deployment {deployment}", settings=settings, prior=prior)

    @classmethod
    def from_values(
        cls,
        values: object,
        *,
        deployment: str,
        settings: ForecastSettings,
        expected_work: float | None = None,
    ) -> "WorkForecaster":
        """The forecaster that wrote those values.

        Args:
            values: Of `to_values`, as they came back from JSON or a database.
            deployment: As in the constructor.
            settings: The ones it was stored with.
            expected_work: As in the constructor; may have changed since.

        Raises:
            StateError: Other settings, or values that are none of such a forecaster: begin
                anew from the constructor.
        """
        made = cls(deployment, settings=settings, expected_work=expected_work)
        made._series.restore(part(values, "work"))
        return made

    @property
    def last_index(self) -> int | None:
        """The last round observed; None before the first."""
        return self._series.last_index

    def observe(self, index: int, work: float) -> None:
        """Takes a round in; rounds left out were not observed, which is not the same as 0.

        Args:
            index: Later than the last one.
            work: Mean over the round, engine-ms per second, >= 0.

        Raises:
            RoundError: The round is not later than the last one, or the work out of range.
        """
        self._series.observe(index, work)

    def forecast(self, first: int, *, rounds: int | None = None) -> tuple[Band, ...]:
        """Work of the next rounds, engine-ms per second.

        Args:
            first: Index of the first of them, after the last round observed.
            rounds: How many, 1..`settings.rounds`; None: all of these.

        Raises:
            RoundError: The first round was observed already, or too many are asked for.
        """
        rounds = self._series.settings.checked(rounds)
        return tuple(self._series.bands(first, horizons=range(1, rounds + 1)))

    def upper(self, first: int, *, rounds: int | None = None) -> float:
        """Work that each of the next rounds stays within at the quantile, engine-ms per second.

        The greatest of the bounds at the tracked horizons. Each round on its own is within
        it at least so often as asked; all of them together less often.

        Args:
            first: As in `forecast`.
            rounds: As in `forecast`.

        Raises:
            RoundError: As in `forecast`.
        """
        settings = self._series.settings
        rounds = settings.checked(rounds)
        horizons = sorted({*(h for h in settings.tracked if h < rounds), rounds})
        return max(band.upper for band in self._series.bands(first, horizons=horizons))

    def terms(self, first: int) -> tuple[Term, ...]:
        """What the mean of a round is made of, the heaviest first; they sum to it.

        Raises:
            RoundError: The round was observed already.
        """
        return self._series.terms(first)

    def to_values(self) -> dict[str, object]:
        """The state as plain values, ready for JSON; the one thing to be stored."""
        return {"work": self._series.to_values()}
