"""Flows of the aggregated mode, and the profiles they rest on: general claims, by property."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.interference.frontier import DEFAULT_FRONTIER, offline_limit
from planner.simulation.fleet.flows import Group, attained_ratio, offline_room, online_flow
from planner.simulation.fleet.profile import Level, ReplicaProfile, profile_of, tidied
from tests.planner.simulation.fleet_examples import PROFILE

SHARES = st.floats(min_value=0.0, max_value=1.0)


@st.composite
def profiles(draw):
    """Levels in any shape that falls."""
    count = draw(st.integers(1, 5))
    works = sorted({0.0, *draw(st.lists(st.floats(1.0, 900.0), min_size=count, max_size=count))})
    levels = tidied(
        [
            Level(
                online_work=x,
                offline_work=draw(st.floats(0.0, 2000.0)),
                alone_ratio=draw(SHARES),
                beside_ratio=draw(SHARES),
            )
            for x in works
        ]
    )
    return ReplicaProfile(
        levels=levels,
        capacity_work=works[-1] + draw(st.floats(0.0, 500.0)) + 1.0,
        saturated_ratio=draw(SHARES),
        wait_s=draw(st.floats(0.0, 5.0)),
        queue_work=draw(st.floats(0.0, 1e4)),
    )


@st.composite
def groups(draw):
    return [
        Group(
            profile=draw(profiles()),
            weight=draw(st.floats(0.0, 1.0)),
            count=draw(st.integers(1, 4)),
            device_type="gpu",
            devices=1,
        )
        for _ in range(draw(st.integers(0, 3)))
    ]


@given(groups(), st.floats(0.0, 5000.0), st.floats(0.0, 1e5), st.floats(0.1, 900.0))
def test_online_work_is_conserved(found, offered, queue_ms, for_s):
    """What arrived and what waited is done, waits, or was shed."""
    online = online_flow(found, offered_work=offered, queue_ms=queue_ms, for_s=for_s)
    if not found:
        assert online.shed_ratio == 1.0
        return
    arrived = offered * for_s
    out = online.done_work_ms + online.queue_ms + online.shed_ratio * arrived
    assert out == pytest.approx(arrived + queue_ms, rel=1e-6, abs=1e-3)
    capacity = sum(group.count * group.profile.capacity_work for group in found)
    assert online.done_work_ms <= capacity * for_s * (1 + 1e-9)
    assert 0.0 <= online.shed_ratio <= 1.0
    assert 0.0 <= online.saturated_ratio <= 1.0
    assert 0.0 <= online.timely_ratio <= 1.0


@given(groups(), st.floats(0.0, 5000.0), st.floats(0.1, 900.0))
def test_loads_add_up_and_none_is_above_its_replicas_capacity(found, offered, for_s):
    """All that all of them can do is done, whatever the weights say."""
    online = online_flow(found, offered_work=offered, queue_ms=0.0, for_s=for_s)
    capacity = sum(group.count * group.profile.capacity_work for group in found)
    total = sum(g.count * load for g, load in zip(found, online.loads, strict=True))
    assert total == pytest.approx(min(offered, capacity), rel=1e-6, abs=1e-6)
    for group, load in zip(found, online.loads, strict=True):
        assert load <= group.profile.capacity_work * (1 + 1e-9)


@given(groups(), st.floats(0.0, 5000.0), st.floats(0.0, 1e5), SHARES)
def test_attainment_and_room_stay_in_range(found, offered, queue_ms, offline_ratio):
    """Shares stay shares; offline room is never negative nor above what runs alone."""
    online = online_flow(found, offered_work=offered, queue_ms=queue_ms, for_s=60.0)
    assert 0.0 <= attained_ratio(found, online, offline_ratio=offline_ratio) <= 1.0
    alone = sum(group.count * group.profile.levels[0].offline_work for group in found)
    assert 0.0 <= offline_room(found, online) <= alone * (1 + 1e-9)


@given(profiles(), st.floats(0.05, 1.0))
def test_frontier_lies_under_the_levels_and_the_envelope_above_them(profile, ratio):
    """A plan is promised no more than was measured; a bound no less."""
    frontier = profile.frontier(attainment_ratio=ratio)
    envelope = profile.envelope(attainment_ratio=ratio)
    assert frontier.max_online_work <= profile.capacity_work
    for level in profile.levels:
        if level.online_work <= frontier.max_online_work:
            under = offline_limit(frontier, level.online_work)
            assert under <= level.offline_work * (1 + 1e-6) + 1e-6
        if level.online_work <= envelope.max_online_work:
            over = offline_limit(envelope, level.online_work)
            assert over >= level.offline_work * (1 - 1e-6) - 1e-6


def test_queue_makes_requests_late_by_what_waits():
    """Twice the load for 10 s: a queue of 10 s' work; waits to 2 s are a fifth of the rise."""
    group = Group(profile=PROFILE, weight=1.0, count=1, device_type="gpu", devices=1)
    online = online_flow([group], offered_work=1500.0, queue_ms=0.0, for_s=8.0)
    assert online.queue_ms == pytest.approx(4000.0)
    assert online.timely_ratio == pytest.approx(0.5)  # 2 s of waiting of the 4 s at the end
    assert offline_room([group], online) == 0.0
    assert attained_ratio([group], online, offline_ratio=0.0) == pytest.approx(0.25)


def test_requests_beyond_the_gateways_limit_are_shed():
    """Past the queue a replica may hold, what arrives is refused."""
    group = Group(profile=PROFILE, weight=1.0, count=1, device_type="gpu", devices=1)
    online = online_flow([group], offered_work=2000.0, queue_ms=5000.0, for_s=10.0)
    assert online.queue_ms == pytest.approx(5000.0)
    assert online.shed_ratio == pytest.approx(0.5)


def test_profile_of_a_frontier_keeps_its_end_and_its_slo():
    """Where only a frontier is known, the SLO holds to its end, and less beyond it."""
    profile = profile_of(DEFAULT_FRONTIER, wait_s=1.0, attainment_ratio=0.99)
    assert profile.attainment(700.0, offline_ratio=1.0) == pytest.approx(0.99)
    assert profile.attainment(900.0, offline_ratio=1.0) < 0.99
    assert profile.offline_work(350.0) == pytest.approx(offline_limit(DEFAULT_FRONTIER, 350.0))
    back = profile.frontier(attainment_ratio=0.99)
    assert back.max_online_work == pytest.approx(700.0)


@pytest.mark.parametrize("works", [(), (1.0,), (0.0, 5.0, 5.0)])
def test_profile_refuses_levels_out_of_order(works):
    """Levels begin at 0 and ascend."""
    with pytest.raises(ValueError, match="levels"):
        ReplicaProfile(
            levels=tuple(Level(online_work=x, offline_work=1.0) for x in works),
            capacity_work=10.0,
            saturated_ratio=1.0,
            wait_s=1.0,
        )
