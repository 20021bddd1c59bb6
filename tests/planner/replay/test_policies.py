"""Every policy by its name runs on a small scenario, and bad names say what is allowed."""

from collections import Counter
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_scenarios import Telling, batch, chat, scenario

from planner.batching.state import Budgets, WorkClass
from planner.replay.policies import POLICIES, UnknownPolicyError, policy_named
from planner.simulation.settings import Scheduler

NAMES = tuple(entry.partition("[")[0] for entry in POLICIES)
KNOBS = {
    "offline-only": "64",
    "blind-hybrid": "96",
    "rate-cap": "6",
    "cap": "3",
    "qoserve": "40",
}


def named(name, **fields):
    return policy_named(name, budgets=Budgets(**fields))


@pytest.mark.parametrize("name", [*NAMES, *(f"{name}:{knob}" for name, knob in KNOBS.items())])
def test_policy_ends_every_request_once_when_run_to_the_end(name):
    """Each with all its tokens, over a window that lasts until the last one."""
    choice = named(name)
    online, offline = chat(), tuple(batch(12))
    told = Telling()
    replayed = scenario(online=online, offline=lambda: offline, duration_s=inf).run(
        choice, watch=told
    )
    expected = Counter()
    if choice.serves_online:
        expected += Counter(
            (f"online-{i:07d}", WorkClass.ONLINE, r.output_tokens) for i, r in enumerate(online)
        )
    if choice.runs_offline:
        expected += Counter(
            (f"offline-{i:07d}", WorkClass.OFFLINE, r.output_tokens) for i, r in enumerate(offline)
        )
    seen = Counter((e.request.rid, e.request.work_class, e.trace.output_tokens) for e in told.ends)
    assert seen == expected
    assert len(replayed.online) == (len(online) if choice.serves_online else 0)
    emitted = sum(settled.emitted_tokens for settled, _ in told.results)
    assert emitted == sum(tokens for _, _, tokens in expected)


def test_floor_and_ceiling_serve_one_class_alone():
    """What they leave out is not in the run at all."""
    floor, ceiling = named("online-only"), named("offline-only")
    assert floor.serves_online and not floor.runs_offline and not floor.budgets.enabled
    assert ceiling.runs_offline and not ceiling.serves_online and ceiling.budgets.enabled
    replayed = scenario().run(floor)
    assert replayed.offline_tokens_per_s == 0.0 and replayed.online_tokens > 0
    replayed = scenario().run(ceiling)
    assert replayed.online_tokens == 0 and replayed.offline_tokens_per_s > 0.0


def test_stock_policies_run_on_stock_scheduling():
    """SGLang's own arms are carried out as SGLang does; all others by the plugin."""
    stock = {name for name in NAMES if named(name).scheduler is Scheduler.STOCK}
    assert stock == {"sglang-priority", "cap"}


@given(
    name=st.sampled_from(sorted(KNOBS)),
    whole=st.integers(1, 10**7),
    share=st.floats(0.001, 1e4),
)
def test_name_of_a_choice_makes_the_same_policy(name, whole, share):
    """So that what a report names can be run again, and a pool of replays keyed by it."""
    takes_shares = name in ("rate-cap", "qoserve")
    knob = float(f"{share:.12g}") if takes_shares else whole
    choice = named(f"{name}:{knob!r}")
    again = named(choice.name)
    assert again == choice and repr(again.policy) == repr(choice.policy)


@pytest.mark.parametrize("name", ["hygenn", "", "Slacktide", "slack tide", ":4"])
def test_unknown_name_is_refused_with_all_that_are_known(name):
    """Names as they are written, with the knob each takes."""
    with pytest.raises(UnknownPolicyError) as refused:
        named(name)
    assert repr(name) in str(refused.value)
    for allowed in POLICIES:
        assert allowed in str(refused.value)


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("hygen:4", "takes no number"),
        ("slacktide:", "takes no number"),
        ("cap:", "is no number; give offline requests in flight"),
        ("cap:many", "is no number; give offline requests in flight"),
        ("cap:-1", "must be >= 0"),
        ("cap:2.5", "must be a whole number"),
        ("cap:nan", "must be finite"),
        ("cap:inf", "must be finite"),
        ("offline-only:0", "must be >= 1"),
        ("blind-hybrid:-3", "must be >= 1"),
        ("blind-hybrid:0.5", "must be a whole number"),
        ("rate-cap:0", "must be > 0"),
        ("rate-cap:inf", "must be finite"),
        ("rate-cap:nan", "must be finite"),
        ("qoserve:0", "must be > 0"),
        ("qoserve:nan", "must be finite"),
        ("qoserve:inf", "must be finite"),
    ],
)
def test_knob_out_of_range_is_refused_with_what_is_allowed(name, allowed):
    """The message has the policy, what was given, and the rule."""
    with pytest.raises(UnknownPolicyError) as refused:
        named(name)
    assert repr(name) in str(refused.value) and allowed in str(refused.value)
