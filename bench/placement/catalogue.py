"""Models that generated deployments serve.

Owns sizes, KV bytes per token and how often each is drawn. Refuses speed. Parameters and
KV shapes are those of public model cards (layers x KV heads x head size x 2 x 2 bytes),
quantised weights where models of that size are usually served so.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model.

    Attributes:
        name: For ids.
        parameters: All of them.
        active_parameters: Used by one token; fewer in a mixture of experts.
        weights_bytes: As served.
        kv_bytes_per_token: fp16.
        frequency: Relative, with which deployments draw it (claimed: small and middle
            sizes are most of a fleet's deployments).
    """

    name: str
    parameters: float
    active_parameters: float
    weights_bytes: int
    kv_bytes_per_token: float
    frequency: float


def _model(
    name: str,
    billions: float,
    kv: int,
    frequency: float,
    *,
    active: float | None = None,
    bytes_per_parameter: float = 2.0,
) -> ServedModel:
    return ServedModel(
        name=name,
        parameters=billions * 1e9,
        active_parameters=(billions if active is None else active) * 1e9,
        weights_bytes=round(billions * bytes_per_parameter * 1e9),
        kv_bytes_per_token=float(kv),
        frequency=frequency,
    )


CATALOGUE = (
    _model("1b", 1.5, 28 * 2 * 128 * 4, 1.0),
    _model("3b", 3.2, 28 * 8 * 128 * 4, 2.0),
    _model("7b", 7.6, 28 * 4 * 128 * 4, 3.0),
    _model("8b", 8.0, 32 * 8 * 128 * 4, 3.0),
    _model("14b", 14.8, 48 * 8 * 128 * 4, 2.0),
    _model("20b-moe", 20.9, 24 * 8 * 64 * 4, 1.5, active=3.6, bytes_per_parameter=0.65),
    _model("24b", 23.6, 40 * 8 * 128 * 4, 1.5),
    _model("30b-moe", 30.5, 48 * 4 * 128 * 4, 1.5, active=3.3),
    _model("32b", 32.8, 64 * 8 * 128 * 4, 2.0),
    _model("47b-moe", 46.7, 32 * 8 * 128 * 4, 1.0, active=12.9),
    _model("70b", 70.6, 80 * 8 * 128 * 4, 2.5),
    _model("104b", 103.8, 64 * 8 * 128 * 4, 0.6, bytes_per_parameter=1.0),
    _model("117b-moe", 116.8, 36 * 8 * 64 * 4, 1.0, active=5.1, bytes_per_parameter=0.55),
    _model("123b", 122.6, 88 * 8 * 128 * 4, 0.6, bytes_per_parameter=1.0),
    _model("235b-moe", 235.1, 94 * 4 * 128 * 4, 0.5, active=22.2, bytes_per_parameter=1.0),
    _model("405b", 405.9, 126 * 8 * 128 * 4, 0.3, bytes_per_parameter=1.0),
)
"""By size."""

FEW = ("8b", "32b", "70b")
"""What three deployments serve: with so few, a draw is all chance."""
