"""How long an iteration of one engine takes.

Owns the time model: mean, upper bound, the largest prefill chunk within a budget, the
flat form in which a model travels, and which model an engine starts from. Refuses
fitting (see `fit`) and the terms themselves (see `coefficients`).

Invariants: decode-only iterations and those with prefill have coefficients of their own;
mean and bound never fall as a batch grows.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

from planner.latency.coefficients import CURVE_NUMBERS, NUMBERS, TOKEN_KNOTS, Coefficients
from planner.latency.defaults import DEFAULT_COEFFICIENTS, scaled
from planner.latency.features import BatchShape

VALUES_VERSION = 2
"""Version of the flat form; `LatencyModel.from_values` refuses any other."""

_FIRST_KNOT = TOKEN_KNOTS[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyModel:
    """How long an iteration of one engine takes.

    `identity` names what the model was fitted for (see `identity_of`), or the default
    it is.
    """

    identity: str
    decode: Coefficients
    prefill: Coefficients

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
        """Mean duration from running sums, in milliseconds; positional for the hot path.

        Args:
            prefill_rows: N_p.
            prefill_tokens: S_p.
            prefill_attention: Sum of p(c + p/2).
            prefill_padded_sq: Sum of (c + p)^2.
            decode_rows: N_d.
            decode_context_tokens: Sum of the KV lengths read.
            decode_max_context_tokens: Largest of them.
            prefill_context_tokens: Sum of the cached prefixes c.

        Returns:
            Milliseconds, >= 0; 0 for an empty iteration.
        """
        if prefill_rows:
            c = self.prefill
            tokens = prefill_tokens + decode_rows
            mean = (
                c.constant
                + c.prefill_rows * prefill_rows
                + (c.prefill_tokens + c.prefill_tokens_sq * prefill_tokens) * prefill_tokens
                + c.prefill_context * prefill_context_tokens
                + c.prefill_attention * prefill_attention
                + c.prefill_padded_sq * prefill_padded_sq
            )
        elif decode_rows:
            c = self.decode
            tokens = decode_rows
            mean = c.constant
        else:
            return 0.0
        if decode_rows:
            mean += (
                c.decode_rows + c.decode_padded_context * decode_max_context_tokens
            ) * decode_rows + c.decode_context * decode_context_tokens
        if tokens > c.knee_tokens:
            mean += c.tokens_over_knee * (tokens - c.knee_tokens)
        if tokens > _FIRST_KNOT:
            # The token curve: spelt out, as this is asked several times a pass.
            curve = c.token_curve_ms
            if curve[-1] > 0.0:
                after = bisect_right(TOKEN_KNOTS, tokens)
                low = curve[after - 1]
                if after == len(curve) or curve[after] == low:
                    return mean + low
                start = TOKEN_KNOTS[after - 1]
                rise = curve[after] - low
                mean += low + rise * (tokens - start) / (TOKEN_KNOTS[after] - start)
        return mean

    def predict_ms(self, shape: BatchShape) -> float:
        """Mean duration of an iteration of `shape`, in milliseconds."""
        return self.mean_ms(
            shape.prefill_rows,
            shape.prefill_tokens,
            shape.prefill_attention,
            shape.prefill_padded_sq,
            shape.decode_rows,
            shape.decode_context_tokens,
            shape.decode_max_context_tokens,
            shape.prefill_context_tokens,
        )

    def bound_ms(self, shape: BatchShape) -> float:
        """Upper bound of the duration at the stated coverage, in milliseconds."""
        return self.bound_of(self.predict_ms(shape), has_prefill=shape.prefill_rows > 0)

    def bound_of(self, mean_ms: float, *, has_prefill: bool) -> float:
        """Upper bound that goes with a mean from `mean_ms`, in milliseconds."""
        if mean_ms <= 0.0:
            return 0.0
        c = self.prefill if has_prefill else self.decode
        return mean_ms * (1.0 + c.margin_ratio) + c.margin_ms

    def max_prefill_tokens(
        self,
        shape: BatchShape,
        *,
        cached_tokens: int,
        budget_ms: float,
        limit_tokens: int,
        page_size: int,
    ) -> int:
        """Largest chunk that may join `shape` as one more prefill row.

        HyGen's get_max_tokens, exact to one page by bisection on the monotone bound.

        Args:
            shape: What runs beside the chunk.
            cached_tokens: Tokens of the row's prefix that are in KV already.
            budget_ms: What the bound of the whole iteration may reach.
            limit_tokens: Largest answer wanted.
            page_size: Tokens a KV page holds, >= 1.

        Returns:
            Tokens, the largest multiple of `page_size` up to `limit_tokens` whose bound
            is within `budget_ms`; 0 when not even one page is.
        """
        low, high = 0, max(0, limit_tokens) // page_size
        rows, tokens = shape.prefill_rows + 1, shape.prefill_tokens
        attention, padded = shape.prefill_attention, shape.prefill_padded_sq
        decodes, context = shape.decode_rows, shape.decode_context_tokens
        longest = shape.decode_max_context_tokens
        prefix = shape.prefill_context_tokens + cached_tokens
        middle = high  # first, since often the limit in tokens is what binds
        while low < high:
            chunk = middle * page_size
            mean = self.mean_ms(
                rows,
                tokens + chunk,
                attention + chunk * (cached_tokens + chunk / 2.0),
                padded + float((cached_tokens + chunk) ** 2),
                decodes,
                context,
                longest,
                prefix,
            )
            if self.bound_of(mean, has_prefill=True) <= budget_ms:
                low = middle
            else:
                high = middle - 1
            middle = (low + high + 1) // 2
        return low * page_size

    def to_values(self) -> dict[str, float]:
        """Flat numeric form, without the identity, which is text and travels beside it."""
        values = {"version": float(VALUES_VERSION)}
        for kind, coefficients in (("decode", self.decode), ("prefill", self.prefill)):
            for name, value in coefficients.numbers():
                values[f"{kind}_{name}"] = value
        return values

    @classmethod
    def from_values(cls, values: Mapping[str, float], *, identity: str) -> "LatencyModel":
        """Reads what `to_values` wrote.

        Args:
            values: Flat form; every key present, none unknown.
            identity: What the model was fitted for.

        Returns:
            The model.

        Raises:
            ValueError: Unknown version, missing or unknown key, a value that is not a
                number, or one that is NaN, infinite or negative.
        """
        version = values.get("version")
        if version != VALUES_VERSION:
            raise ValueError(
                f"latency model {identity}: version {version!r} is not readable, "
                f"allowed {VALUES_VERSION}; run agent and plugin of one release"
            )
        expected = {
            f"{kind}_{name}" for kind in ("decode", "prefill") for name in NUMBERS + CURVE_NUMBERS
        }
        missing = sorted(expected - set(values))
        unknown = sorted(set(values) - expected - {"version"})
        if missing or unknown:
            raise ValueError(
                f"latency model {identity}: missing values {missing}, unknown values "
                f"{unknown}; send exactly what to_values() gives"
            )
        for key in sorted(expected):
            if isinstance(values[key], bool) or not isinstance(values[key], int | float):
                raise ValueError(
                    f"latency model {identity}: {key} is {values[key]!r}, must be a number"
                )
        try:
            decode, prefill = (
                Coefficients.from_numbers(
                    {name: values[f"{kind}_{name}"] for name in NUMBERS + CURVE_NUMBERS}
                )
                for kind in ("decode", "prefill")
            )
        except ValueError as error:
            raise ValueError(f"latency model {identity}: {error}") from error
        return cls(identity=identity, decode=decode, prefill=prefill)


def identity_of(
    *, model: str, device_type: str, tensor_parallel_size: int, engine_build: str
) -> str:
    """Names what a model is fitted for: one engine build, model, device type and TP."""
    return f"{model}|{device_type}|tp{tensor_parallel_size}|{engine_build}"


DEFAULT_MODELS: dict[str, LatencyModel] = {
    family: LatencyModel(
        identity=f"default|{family}", decode=default.decode, prefill=default.prefill
    )
    for family, default in DEFAULT_COEFFICIENTS.items()
}
"""Defaults by device family, for the weights their sources name."""


def default_model(device_type: str, *, weights_bytes: int | None = None) -> LatencyModel:
    """A cautious model for an engine nothing is known of yet.

    Args:
        device_type: As the node reports it; a family is found by its name in it
            (`NVIDIA A100-SXM4-40GB` is an a100). An unknown one counts as the slowest GPU.
        weights_bytes: Size of the model's weights. Larger than the source's slows every
            term in proportion; smaller speeds up nothing.

    Returns:
        A model whose identity begins with `default|` and whose coverage is 0.
    """
    named = device_type.lower()
    family = next((name for name in DEFAULT_MODELS if name in named), "a40")
    model = DEFAULT_MODELS[family]
    ratio = max(1.0, (weights_bytes or 0) / DEFAULT_COEFFICIENTS[family].weights_bytes)
    if ratio == 1.0:
        return model
    return LatencyModel(
        identity=f"{model.identity}|x{ratio:.3g}",
        decode=scaled(model.decode, ratio=ratio),
        prefill=scaled(model.prefill, ratio=ratio),
    )
