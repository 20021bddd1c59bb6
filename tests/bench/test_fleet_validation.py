"""The aggregated mode against the exact one, on engines of real shapes."""

import pytest

from bench.fleet.figures import validation_figures
from bench.fleet.validation import compare, small_fleets


@pytest.fixture(scope="module")
def fleets():
    return small_fleets(probe_s=40.0, duration_s=180.0)


@pytest.mark.parametrize("name", ["a node fails and returns", "two models, two types"])
def test_aggregated_mode_holds_its_tolerance(fleets, name):
    """Within 10 % of the exact throughput and 2 points of attainment; so the figures say."""
    one = compare(name, fleets[name])
    assert one.exact.total("requests") > 1000
    assert one.throughput_ratio == pytest.approx(1.0, abs=0.1)
    assert abs(one.attainment_points) <= 2.0
    found = {figure.name: figure for figure in validation_figures([one])}
    assert found["aggregated against exact, throughput: furthest"].met is True
    assert found["aggregated against exact, attainment: furthest"].met is True
