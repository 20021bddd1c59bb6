"""A forecaster as plain values, and back.

Owns the layout: nested dicts and lists of numbers, strings and None, as JSON takes them,
under a version. Refuses another version, and values that are none of a forecaster's.
Invariant: what is read back forecasts and learns exactly as what was written.
"""

from planner.forecast.bins import ForecastSettings, Prior, ValuesError
from planner.forecast.forecast import MEASURES, Awaited, DemandForecaster
from planner.forecast.mixing import EXPERTS
from planner.forecast.values import Values, floats, mapping, number, part, refuse, rows, whole

VERSION = 1
_LENGTHS = ("bin_s", "round_s", "slot_s", "rounds")
_PRIOR = ("arrivals_per_s", "prompt_tokens", "output_tokens", "worth_s")


def to_values(forecaster: DemandForecaster) -> dict[str, object]:
    """The state of a forecaster as plain values."""
    settings, prior = forecaster.settings, forecaster.prior
    return {
        "version": VERSION,
        "deployment": forecaster.deployment,
        "slo_class": forecaster.slo_class,
        "settings": {name: getattr(settings, name) for name in (*_LENGTHS, "quantile")},
        "prior": {name: getattr(prior, name) for name in _PRIOR},
        "last_bin": forecaster.last_bin,
        "seen_bins": forecaster.seen_bins,
        "quiet_bins": forecaster.quiet_bins,
        "history": forecaster.history.to_values(),
        "levels": forecaster.terms.levels.to_values(),
        "seasonal": forecaster.terms.seasonal.to_values(),
        "mixing": forecaster.terms.mixing.to_values(),
        "tokens": forecaster.tokens.to_values(),
        "tally": forecaster.tally.to_values(),
        "spreads": [
            [spread.to_values() for spread in forecaster.spreads[measure]] for measure in MEASURES
        ],
        "awaited": [
            [target, [_awaited_values(one) for one in awaited]]
            for target, awaited in forecaster.awaited.items()
        ],
    }


def from_values(values: Values) -> DemandForecaster:
    """The forecaster that wrote those values.

    Args:
        values: Of `to_values`, lists and tuples alike.

    Raises:
        ValuesError: Another version, or values that are none of a forecaster's.
    """
    version = part(values, "version")
    if version != VERSION:
        refuse("version", f"{version!r}, this one reads {VERSION}")
    forecaster = DemandForecaster(
        deployment=_text(values, "deployment"),
        slo_class=_text(values, "slo_class"),
        settings=_settings(mapping(part(values, "settings"), "settings")),
        prior=_prior(mapping(part(values, "prior"), "prior")),
    )
    last_bin = part(values, "last_bin")
    forecaster.last_bin = None if last_bin is None else whole(last_bin, "last_bin")
    forecaster.seen_bins = whole(part(values, "seen_bins"), "seen_bins")
    forecaster.quiet_bins = whole(part(values, "quiet_bins"), "quiet_bins")
    forecaster.history.restore(mapping(part(values, "history"), "history"))
    forecaster.terms.levels.restore(part(values, "levels"))
    forecaster.terms.seasonal.restore(part(values, "seasonal"))
    forecaster.terms.mixing.restore(part(values, "mixing"))
    forecaster.tokens.restore(*rows(part(values, "tokens"), "tokens", count=2))
    forecaster.tally.restore(part(values, "tally"))
    _restore_spreads(forecaster, part(values, "spreads"))
    for entry in rows(part(values, "awaited"), "awaited"):
        target, awaited = rows(entry, "awaited", count=2)
        forecaster.awaited[whole(target, "awaited round")] = [
            _awaited(one, rounds=forecaster.settings.rounds) for one in rows(awaited, "awaited")
        ]
    return forecaster


def _settings(values: Values) -> ForecastSettings:
    bin_s, round_s, slot_s, rounds = (whole(part(values, name), name) for name in _LENGTHS)
    quantile = number(part(values, "quantile"), "quantile")
    try:
        return ForecastSettings(
            bin_s=bin_s, round_s=round_s, slot_s=slot_s, rounds=rounds, quantile=quantile
        )
    except ValueError as error:
        raise ValuesError(f"stored forecast, settings: {error}") from error


def _prior(values: Values) -> Prior:
    arrivals, prompt, output, worth = (number(part(values, name), name) for name in _PRIOR)
    try:
        return Prior(
            arrivals_per_s=arrivals, prompt_tokens=prompt, output_tokens=output, worth_s=worth
        )
    except ValueError as error:
        raise ValuesError(f"stored forecast, prior: {error}") from error


def _restore_spreads(forecaster: DemandForecaster, value: object) -> None:
    measures = rows(value, "spreads", count=len(MEASURES))
    for measure, stored in zip(MEASURES, measures, strict=True):
        spreads = forecaster.spreads[measure]
        for spread, one in zip(spreads, rows(stored, "spreads", count=len(spreads)), strict=True):
            spread.restore(mapping(one, "spreads"))


def _awaited_values(awaited: Awaited) -> dict[str, object]:
    return {
        "horizon": awaited.horizon,
        "mean": awaited.mean,
        "mixed": awaited.mixed,
        "said": dict(awaited.said),
        "per_request": list(awaited.per_request),
        "uppers": list(awaited.uppers),
    }


def _awaited(value: object, *, rounds: int) -> Awaited:
    values = mapping(value, "awaited")
    said = mapping(part(values, "said"), "awaited said")
    horizon = whole(part(values, "horizon"), "awaited horizon")
    if not 1 <= horizon <= rounds:
        refuse("awaited horizon", f"{horizon}, expected 1..{rounds}")
    if unknown := set(said) - set(EXPERTS):
        refuse("awaited said", f"{sorted(unknown)}, none of the terms")
    return Awaited(
        horizon=horizon,
        mean=number(part(values, "mean"), "awaited mean"),
        mixed=number(part(values, "mixed"), "awaited mixed"),
        said={name: number(one, "awaited said") for name, one in said.items()},
        per_request=tuple(floats(part(values, "per_request"), "awaited mix", count=len(MEASURES))),
        uppers=tuple(floats(part(values, "uppers"), "awaited uppers", count=len(MEASURES))),
    )


def _text(values: Values, name: str) -> str:
    value = part(values, name)
    if not isinstance(value, str):
        refuse(name, f"{value!r}, expected a string")
    return value
