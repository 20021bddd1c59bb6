"""The path of how many online requests are present."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from planner.clairvoyant.presence import Presence


def best_by_search(released, staying, ended, window, rates, left_value):
    """Over every number present in every stretch between releases."""
    starts = sorted(at for at in released if at < window)
    bounds = [0.0, *starts, window]
    unreleased = sum(at >= window for at in released)
    ends = [at + stay for at, stay in zip(released, staying, strict=True) if at < window]
    best = -np.inf
    for path in product(*(range(k + 1) for k in range(len(bounds) - 1))):
        earned, is_path, before = 0.0, True, 0
        for k, number in enumerate(path):
            low, high = bounds[k], bounds[k + 1]
            certain = k - sum(end < high for end in ends)
            is_path &= number <= before + (k > 0) and number >= certain
            if ended is not None:
                is_path &= number <= max(certain, k - sum(end <= low for end in ended))
            earned += (high - low) * rates[number]
            before = number
        if not is_path:
            continue
        last = len(bounds) - 2
        may_end = range(certain, before + 1)
        if ended is not None:
            in_time = last - sum(end < window for end in ended)
            may_end = range(certain, min(before, max(certain, in_time)) + 1)
        for number in may_end:
            best = max(best, earned + left_value[number + unreleased])
    return best


@hypothesis_settings(max_examples=150, deadline=None)
@given(
    requests=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 8)), max_size=5),
    rates=st.lists(st.integers(-5, 9), min_size=6, max_size=6),
    left=st.lists(st.integers(0, 9), min_size=5, max_size=5),
    most=st.integers(1, 8),
    lags=st.none() | st.lists(st.integers(0, 5), min_size=5, max_size=5),
)
def test_best_path_is_the_best_of_all_paths(requests, rates, left, most, lags):
    """And a cut at fewer states than requests earns no less."""
    released = np.array([at for at, _ in requests], dtype=float)
    staying = np.array([stay for _, stay in requests], dtype=float)
    left_value = np.concatenate([[0.0], np.cumsum(sorted(left, reverse=True))])[: len(requests) + 1]
    ended = None if lags is None else released + staying + np.array(lags[: len(requests)])
    presence = Presence(
        released_ms=released, staying_ms=staying, ended_ms=ended, window_ms=10.0, most=most
    )
    used = np.array(rates[: presence.most + 1], dtype=float)
    used[-1] = max(rates[presence.most :])  # what the last one stands for
    path = presence.best(used, left_value=left_value)
    expected = best_by_search(released, staying, ended, 10.0, rates, left_value)
    assert path.held_ms.sum() == pytest.approx(10.0)
    assert path.value == pytest.approx(path.held_ms @ used + left_value[path.left])
    if presence.most == sum(at < 10.0 for at in released):
        used_expected = best_by_search(released, staying, ended, 10.0, used, left_value)
        assert path.value == pytest.approx(used_expected)
    assert path.value >= expected - 1e-9
