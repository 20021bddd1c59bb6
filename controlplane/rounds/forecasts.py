"""What rounds expect of online demand: a forecast of each deployment, bounded and steadied.

Owns the forecasters (`planner.forecast.work`), what of their bound is believed, and their
stored form. Refuses clocks, stores and loads: whoever watches the fleet brings them. A
deployment's SLO classes have forecasts of their own, under `demand.key_of`; all below said of
deployments goes for them, too. The bounds of classes sum to more than the bound of the whole.

What a round places for is the greatest of what the spec expects, what is observed now, and
this bound. The bound covers `QUANTILE` of intervals as far ahead as a new replica takes to
serve. It is not believed beyond all measure, since work kept free for a forecast is taken
from batches:

- never more than `MOST_OVER_PEAK` times the highest mean of an interval, remembered for about
  a day: a forecaster that knows little, or saw a burst, may say several times that. So
  where no load was ever seen, nothing is expected but what the spec says;
- never more than `MOST_OVER_MEAN` times the greater of the mean that is forecast and what the
  last interval had: after load has gone, that it might come back stays possible for minutes
  (`series`: the rule of three), and would keep room from those whom load has gone to. A burst
  beyond it is observed, so placed for, and offline work yields to it within an iteration;
- less than `LEAST_WORK` is nothing: it would be rounded up to a step for minutes;
- it falls only once it is a fifth below what was said last, and rises at once: a bound that
  trembles moves nothing.

Invariants: an interval is taken in once, whatever clocks, restarts and leaders do; stored
values that cannot be read are told of and begun anew.
"""

import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from planner.forecast.settings import ForecastError, ForecastSettings
from planner.forecast.work import WorkForecaster

INTERVAL_S = 15.0
"""Of an observation; indices count it from the Unix epoch."""
QUANTILE = 0.95
ROUNDS = 20
"""Intervals ahead at the most: five minutes, a large model's load."""
SETTINGS = ForecastSettings(round_s=INTERVAL_S, rounds=ROUNDS, quantile=QUANTILE)
MOST_OVER_PEAK = 1.5
MOST_OVER_MEAN = 2.0
LEAST_WORK = 10.0
"""Engine-ms per second: a hundredth of one engine."""
PEAK_KEPT_S = 24 * 3600.0
"""Time constant: a peak a day ago still counts 1/e, so that a daily one is let come back."""
FALLS_AT_RATIO = 0.8
VERSION = 1
"""Of the stored form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a deployment's forecast depends on beside its past.

    Attributes:
        expected_work: What its spec says, engine-ms per second; 0: nothing.
        ahead_s: How long a new replica takes to serve, rounds included.
    """

    expected_work: float
    ahead_s: float

    @property
    def rounds(self) -> int:
        """Intervals to look ahead."""
        return max(1, min(ROUNDS, math.ceil(self.ahead_s / INTERVAL_S)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is expected of one deployment, engine-ms per second.

    Attributes:
        bound: What is believed of the upper bound; 0: nothing is known.
        mean: The highest of the intervals ahead.
        upper: The forecaster's own bound.
        peak: The highest interval that counts.
    """

    bound: float
    mean: float
    upper: float
    peak: float


@dataclass(slots=True)
class _Known:
    forecaster: WorkForecaster
    expected_work: float
    peak: float = 0.0
    last: float = 0.0
    bound: float = 0.0


class Forecasts:
    """The forecasts of all deployments. Not for two threads at once."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    @property
    def deployments(self) -> frozenset[str]:
        """Those anything is known of."""
        return frozenset(self._known)

    def last_index(self, deployment: str) -> int | None:
        """The last interval taken in; None before the first."""
        known = self._known.get(deployment)
        return known.forecaster.last_index if known else None

    def restore(self, bodies: Iterable[tuple[str, str]], asked: Mapping[str, Asked]) -> list[str]:
        """Takes on stored forecasts.

        Args:
            bodies: (deployment, stored form) pairs.
            asked: By deployment; those that lack here are not taken on.

        Returns:
            What could not be read and why, a line each; such a forecast begins anew.
        """
        problems = []
        for deployment, body in bodies:
            if deployment not in asked:
                continue
            try:
                self._known[deployment] = _read(deployment, body, asked[deployment])
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                problems.append(f"deployment {deployment}: {type(error).__name__}: {error}")
        return problems

    def observe(self, index: int, work: Mapping[str, float], asked: Mapping[str, Asked]) -> None:
        """Takes in one interval.

        Args:
            index: Of the interval; one that a deployment has seen, or a later one, is skipped.
            work: Mean by deployment; those that lack here were not observed.
            asked: By deployment; all others are forgotten.
        """
        for gone in self._known.keys() - asked.keys():
            del self._known[gone]
        kept = math.exp(-INTERVAL_S / PEAK_KEPT_S)
        for deployment, one in asked.items():
            known = self._of(deployment, one)
            seen = work.get(deployment)
            last = known.forecaster.last_index
            if seen is None or (last is not None and index <= last):
                continue
            gap = 1 if last is None else index - last
            known.forecaster.observe(index, seen)
            known.last = seen
            known.peak = max(seen, known.peak * kept**gap)

    def outlooks(self, first: int, asked: Mapping[str, Asked]) -> dict[str, Outlook]:
        """What is expected from an interval on, by deployment.

        Args:
            first: Index of the interval that has begun; where a clock went back, the one after
                the last that was seen.
            asked: By deployment.
        """
        found = {}
        for deployment, one in asked.items():
            known = self._of(deployment, one)
            last = known.forecaster.last_index
            begin = first if last is None else max(first, last + 1)
            upper = known.forecaster.upper(begin, rounds=one.rounds)
            bands = known.forecaster.forecast(begin, rounds=one.rounds)
            mean = max(band.mean for band in bands)
            believed = min(
                upper, MOST_OVER_PEAK * known.peak, MOST_OVER_MEAN * max(mean, known.last)
            )
            if believed < LEAST_WORK:
                believed = 0.0
            if believed > known.bound or believed < FALLS_AT_RATIO * known.bound:
                known.bound = believed
            found[deployment] = Outlook(bound=known.bound, mean=mean, upper=upper, peak=known.peak)
        return found

    def stored(self, deployments: Collection[str]) -> list[tuple[str, str]]:
        """The stored form of those that are known."""
        return [
            (deployment, _written(known))
            for deployment, known in sorted(self._known.items())
            if deployment in deployments
        ]

    def _of(self, deployment: str, asked: Asked) -> _Known:
        """Its forecaster, a new one where nothing is known; with what its spec says now."""
        known = self._known.get(deployment)
        if known is None:
            known = _Known(
                forecaster=_forecaster(deployment, asked), expected_work=asked.expected_work
            )
            self._known[deployment] = known
        elif known.expected_work != asked.expected_work:
            known.forecaster = WorkForecaster.from_values(
                known.forecaster.to_values(),
                deployment=deployment,
                settings=SETTINGS,
                expected_work=asked.expected_work or None,
            )
            known.expected_work = asked.expected_work
        return known


def _forecaster(deployment: str, asked: Asked) -> WorkForecaster:
    return WorkForecaster(deployment, settings=SETTINGS, expected_work=asked.expected_work or None)


def _written(known: _Known) -> str:
    return json.dumps(
        {
            "version": VERSION,
            "peak": known.peak,
            "last": known.last,
            "bound": known.bound,
            "forecast": known.forecaster.to_values(),
        },
        separators=(",", ":"),
        allow_nan=False,
    )


def _read(deployment: str, body: str, asked: Asked) -> _Known:
    """What was stored.

    Raises:
        ValueError: It is none of this version.
    """
    document = json.loads(body)
    if not isinstance(document, dict) or document.get("version") != VERSION:
        said = document.get("version") if isinstance(document, dict) else type(document).__name__
        raise ForecastError(f"stored forecast of version {said}, this one reads {VERSION}")
    peak, last, bound = (float(document[name]) for name in ("peak", "last", "bound"))
    if not all(0.0 <= one < math.inf for one in (peak, last, bound)):
        raise ForecastError(f"stored forecast: one of {peak}, {last}, {bound} is out of range")
    return _Known(
        forecaster=WorkForecaster.from_values(
            document["forecast"],
            deployment=deployment,
            settings=SETTINGS,
            expected_work=asked.expected_work or None,
        ),
        expected_work=asked.expected_work,
        peak=peak,
        last=last,
        bound=bound,
    )
