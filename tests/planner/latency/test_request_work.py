"""Work of a request, in predicted solo engine-milliseconds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.latency.features import BatchShape
from planner.latency.predictor import default_model
from planner.latency.work import request_work_ms

MODEL = default_model("a100")


@given(prompt=st.integers(1, 500), cached=st.integers(0, 600), output=st.integers(0, 60))
def test_work_equals_the_sum_of_its_iterations(prompt, cached, output):
    """The closed form is the request run alone, iteration by iteration."""
    used = min(cached, prompt - 1)
    total = MODEL.predict_ms(
        BatchShape().with_prefill(new_tokens=prompt - used, cached_tokens=used)
    )
    for step in range(1, output):
        total += MODEL.predict_ms(BatchShape().with_decode(context_tokens=prompt + step))
    work = request_work_ms(MODEL, prompt_tokens=prompt, cached_tokens=cached, output_tokens=output)
    assert work == pytest.approx(total)


def test_work_is_zero_when_nothing_is_asked():
    """No tokens, no work."""
    assert request_work_ms(MODEL, prompt_tokens=0, cached_tokens=0, output_tokens=0) == 0.0


@pytest.mark.parametrize("name", ["prompt_tokens", "cached_tokens", "output_tokens"])
def test_work_refuses_negative_counts(name):
    """The message names the count."""
    counts = {"prompt_tokens": 1, "cached_tokens": 0, "output_tokens": 1} | {name: -1}
    with pytest.raises(ValueError, match=f"{name} is -1"):
        request_work_ms(MODEL, **counts)
