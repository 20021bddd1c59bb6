"""Work and tokens of finished requests."""

import pytest

from nodeagent.work import WorkMeter
from planner.batching.state import WorkClass
from planner.latency.predictor import default_model
from planner.latency.work import request_work_ms


def test_work_meter_gives_the_rate_of_the_last_seconds_by_class() -> None:
    """Work leaves the rate after ten seconds; tokens stay; classes do not mix."""
    now_s = [100.0]
    model = default_model("cpu")
    meter = WorkMeter(model=lambda: model, clock=lambda: now_s[0])
    meter.add(WorkClass.ONLINE, prompt_tokens=100, cached_tokens=40, output_tokens=10)
    now_s[0] = 105.0
    meter.add(WorkClass.OFFLINE, prompt_tokens=50, output_tokens=5)
    expected = request_work_ms(model, prompt_tokens=100, cached_tokens=40, output_tokens=10)
    assert meter.rate(WorkClass.ONLINE) == pytest.approx(expected / 10.0)
    now_s[0] = 111.0
    assert meter.rate(WorkClass.ONLINE) == 0.0
    assert meter.rate(WorkClass.OFFLINE) > 0.0
    assert meter.tokens(WorkClass.ONLINE) == 110
