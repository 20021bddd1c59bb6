"""How long a prediction and a fit take.

Owns the timing. Refuses a verdict: HyGen's numbers (about 18 microseconds a prediction,
15 ms a fit) are from another machine.
"""

import time
from collections.abc import Callable, Sequence
from itertools import cycle

from bench.harness import Figure, figure_of
from planner.latency.fit import fit
from planner.latency.hygen import fit_regression
from planner.latency.predictor import LatencyModel
from planner.latency.sample import IterationSample

_REPEATS = 7
_CALLS = 20_000
_FIT_SAMPLES = 4_000
_FIT_REPEATS = 3


def speed_figures(
    model: LatencyModel, samples: Sequence[IterationSample], *, incumbent: LatencyModel
) -> list[Figure]:
    """Microseconds a call of the hot path, milliseconds a fit.

    Args:
        model: With its token curve in use, where samples asked for one.
        samples: Shapes to predict, and to fit.
        incumbent: Of the fit.
    """
    shapes = [s.shape for s in samples[:1000]]
    sums = [
        (
            shape.prefill_rows,
            shape.prefill_tokens,
            shape.prefill_attention,
            shape.prefill_padded_sq,
            shape.decode_rows + 1,
            shape.decode_context_tokens + 500,
            max(shape.decode_max_context_tokens, 500),
            shape.prefill_context_tokens,
        )
        for shape in shapes
    ]

    def chunk(index: int) -> object:
        return model.max_prefill_tokens(
            shapes[index], cached_tokens=512, budget_ms=50.0, limit_tokens=2048, page_size=16
        )

    fitted = samples[:_FIT_SAMPLES]
    return [
        _per_call("predict", lambda index: model.predict_ms(shapes[index]), shapes=len(shapes)),
        _per_call(
            "marginal evaluation, one more decode row",
            lambda index: model.mean_ms(*sums[index]),
            shapes=len(shapes),
        ),
        _per_call("get_max_tokens, 2,048 in pages of 16", chunk, shapes=len(shapes)),
        _per_fit(
            f"fit, {len(fitted)} samples",
            lambda: fit(fitted, identity="bench", incumbent=incumbent),
        ),
        _per_fit(f"HyGen's fit, {len(fitted)} samples", lambda: fit_regression(fitted)),
    ]


def _per_call(name: str, call: Callable[[int], object], *, shapes: int) -> Figure:
    repeats = []
    for _ in range(_REPEATS):
        indices = cycle(range(shapes))
        began = time.perf_counter()
        for _, index in zip(range(_CALLS), indices, strict=False):
            call(index)
        repeats.append((time.perf_counter() - began) / _CALLS * 1e6)
    return figure_of(f"speed: {name}", repeats, "us")


def _per_fit(name: str, call: Callable[[], object]) -> Figure:
    repeats = []
    for _ in range(_FIT_REPEATS):
        began = time.perf_counter()
        call()
        repeats.append((time.perf_counter() - began) * 1e3)
    return figure_of(f"speed: {name}", repeats, "ms")
