"""What agent and plugin exchange survives the trip, or is refused."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.plugin_contract import (
    OFFLINE_PRIORITY,
    ONLINE_PRIORITY,
    PLUGIN_VERSION,
    REFUSAL_KEY,
    STATE_KEY,
    ClassLoad,
    ContractError,
    Counters,
    MeasuredIteration,
    PluginState,
    RequestLabels,
    decode_update,
    encode_budgets,
    encode_model,
    model_fingerprint,
    offline_labels,
    online_labels,
    parse_plugin_state,
    parse_refusal,
    read_labels,
)
from nodeagent.sglang_plugin.controls import Settings
from planner.batching.state import Budgets, WorkClass
from planner.latency.features import BatchShape
from planner.latency.predictor import default_model

milliseconds = st.floats(min_value=0.001, max_value=1e6)
counts = st.integers(min_value=0, max_value=2**40)


@given(ttft=st.none() | milliseconds, itl=st.none() | milliseconds)
def test_online_labels_round_trip_when_targets_are_set(
    ttft: float | None, itl: float | None
) -> None:
    """The SLO of an online request arrives in the engine as it was given."""
    labels = online_labels(ttft_ms=ttft, itl_ms=itl)
    params = json.loads(json.dumps(labels["custom_params"]))
    assert read_labels(params) == RequestLabels(ttft_target_ms=ttft, itl_target_ms=itl)
    assert labels["priority"] == ONLINE_PRIORITY


@given(deadline=st.none() | st.floats(min_value=-1e6, max_value=1e9))
def test_offline_labels_round_trip_when_deadline_is_any_distance(deadline: float | None) -> None:
    """A deadline, missed ones too, arrives as seconds from submission."""
    labels = offline_labels(deadline_in_s=deadline)
    read = read_labels(json.loads(json.dumps(labels["custom_params"])))
    assert read == RequestLabels(work_class=WorkClass.OFFLINE, deadline_in_s=deadline)
    assert labels["priority"] == OFFLINE_PRIORITY < ONLINE_PRIORITY


@pytest.mark.parametrize("params", [None, {}, {"other": 1}, {"slacktide_class": "batch"}, []])
def test_labels_mean_online_when_absent_or_unknown(params: object) -> None:
    """Unlabelled work is online: it is never parked or evicted by mistake."""
    assert read_labels(params).work_class is WorkClass.ONLINE  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [True, "soon", float("nan"), float("inf"), -5.0, 0.0, 10**400])
def test_target_is_ignored_when_unusable(value: object) -> None:
    """A client cannot break the scheduler with an absurd target."""
    read = read_labels({"slacktide_class": "online", "slacktide_itl_ms": value})
    assert read.itl_target_ms is None


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_online_labels_refuse_when_target_is_not_positive(value: float) -> None:
    """The agent hears of an absurd target at once."""
    with pytest.raises(ContractError, match="slacktide_ttft_ms"):
        online_labels(ttft_ms=value)


def test_budgets_round_trip_when_sent_as_numbers() -> None:
    """Every field of Budgets survives SGLang's numbers-only door."""
    settings = Settings(model=default_model("cpu"))
    budgets = replace(Budgets(), enabled=False, latency_budget_ms=7.5, max_parked_rows=3)
    assert settings.update(json.loads(json.dumps(encode_budgets(budgets))))
    assert settings.budgets == budgets
    assert settings.budgets.enabled is False
    assert isinstance(settings.budgets.max_parked_rows, int)


def test_model_round_trips_when_sent_as_numbers() -> None:
    """Coefficients arrive exactly, the identity as its fingerprint."""
    settings = Settings(model=default_model("a100"))
    sent = default_model("cpu")
    assert settings.update(encode_model(values=sent.to_values(), identity=sent.identity))
    assert settings.model.to_values() == sent.to_values()
    assert settings.fingerprint == model_fingerprint(sent.identity)


@pytest.mark.parametrize(
    "update",
    [
        {"slacktide_budget_nope": 1},
        {"slacktide_budget_latency_budget_ms": -1.0},
        {"slacktide_budget_latency_budget_ms": float("nan")},
        {"slacktide_budget_kv_reserve_ratio": 1.0},
        {"slacktide_budget_kv_reserve_ceiling_ratio": 1.0},
        {"slacktide_budget_age_share": 1.5},
        {"slacktide_budget_max_offline_rows": 4, "pp_max_micro_batch_size": 2},
        {"slacktide_coefficient_decode_constant": 1.0},
        {"slacktide_model_fingerprint": 1.0},
        {"slacktide_coefficient_decode_constant": -1.0, "slacktide_model_fingerprint": 1.0},
        {"slacktide_budget_idle_budget_ms": float("inf")},
        {"slacktide_budget_latency_budget_ms": 1e308},
        {"slacktide_budget_max_offline_rows": 10**400},  # JSON has such integers
        {"slacktide_budget_max_offline_rows": 1e18},
        {"slacktide_budget_max_offline_rows": 2.5},
        {"slacktide_budget_max_offline_rows": True},
        {"slacktide_budget_max_parked_rows": -1},
        {"slacktide_budget_min_chunk_tokens": float("nan")},
        {"slacktide_": 1.0},
    ],
)
def test_settings_stay_whole_when_update_is_refused(update: dict[str, float]) -> None:
    """A refused update changes nothing, not even its valid keys."""
    settings = Settings(model=default_model("cpu"))
    before = (settings.budgets, settings.model, settings.fingerprint)
    with pytest.raises(ValueError, match=r"slacktide|budgets|latency model|SGLang"):
        settings.update({"slacktide_budget_max_parked_rows": 1, **update})
    assert (settings.budgets, settings.model, settings.fingerprint) == before


@pytest.mark.parametrize("key", sorted(default_model("cpu").to_values()))
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_model_is_refused_when_a_coefficient_is_no_length_of_time(key: str, value: float) -> None:
    """Each by its name; the model in force stays."""
    settings = Settings(model=default_model("cpu"))
    before = (settings.budgets, settings.model, settings.fingerprint)
    sent = encode_model(values=default_model("cpu").to_values(), identity="absurd")
    with pytest.raises(ValueError, match=r"latency|slacktide_coefficient"):
        settings.update({**sent, f"slacktide_coefficient_{key}": value})
    assert (settings.budgets, settings.model, settings.fingerprint) == before


@pytest.mark.parametrize("key", sorted(default_model("cpu").to_values()))
def test_model_never_predicts_absurd_times_when_a_coefficient_is_huge(key: str) -> None:
    """It is refused by what it would predict, or the coefficient is one nothing reads."""
    settings = Settings(model=default_model("cpu"))
    sent = encode_model(values=default_model("cpu").to_values(), identity="absurd")
    try:
        settings.update({**sent, f"slacktide_coefficient_{key}": 1e308})
    except ValueError:
        assert settings.model == default_model("cpu")
    shape = BatchShape(decode_rows=64, decode_context_tokens=64_000, decode_max_context_tokens=4000)
    assert settings.model.bound_ms(shape) < 86_400_000.0
    shape = shape.with_prefill(new_tokens=512, cached_tokens=4096)
    assert settings.model.bound_ms(shape) < 86_400_000.0


@pytest.mark.parametrize("key", sorted(default_model("cpu").to_values()))
def test_model_is_refused_when_a_coefficient_is_missing(key: str) -> None:
    """Never half a model."""
    settings = Settings(model=default_model("a100"))
    sent = encode_model(values=default_model("cpu").to_values(), identity="half")
    del sent[f"slacktide_coefficient_{key}"]
    with pytest.raises(ValueError, match="latency model"):
        settings.update(sent)


@pytest.mark.parametrize(
    "budgets",
    [
        Budgets(latency_budget_ms=0.0, idle_budget_ms=0.0),
        Budgets(max_offline_rows=0),
        Budgets(max_parked_rows=0),
        Budgets(min_chunk_tokens=10**9),
        Budgets(latency_budget_ms=1e9, idle_budget_ms=1e9, max_stall_ms=1e9),
        Budgets(uncalibrated_ratio=0.0),
    ],
)
def test_budgets_are_obeyed_when_they_leave_nothing_or_everything(budgets: Budgets) -> None:
    """Zero is a budget, and so is more than any pass takes."""
    settings = Settings(model=default_model("cpu"))
    assert settings.update(encode_budgets(budgets))
    assert settings.budgets == budgets


def test_update_is_left_to_sglang_when_no_key_is_ours() -> None:
    """SGLang's own settings pass by untouched."""
    assert decode_update({"pp_max_micro_batch_size": 8}) is None


@given(
    parked=counts,
    waiting=st.integers(min_value=0, max_value=10**6),
    tokens=counts,
    measured=st.integers(min_value=1, max_value=10**7),
)
def test_state_round_trips_when_read_from_server_info(
    parked: int, waiting: int, tokens: int, measured: int
) -> None:
    """What the plugin reports is what the agent reads."""
    state = PluginState(
        fingerprint=7,
        counters=Counters(parked=parked),
        offline=ClassLoad(waiting=waiting),
        kv_free_tokens=3,
        kv_total_tokens=12,
        fault="ValueError: forced",
        samples=(
            MeasuredIteration(
                sequence=9,
                shape=BatchShape(prefill_tokens=tokens, prefill_rows=1, prefill_attention=0.5),
                measured_ms=measured / 1000,
                predicted_ms=1.5,
                bound_ms=2.5,
                budget_ms=0.0,
                ran_online=True,
            ),
        ),
    )
    info = json.loads(json.dumps({"internal_states": [{STATE_KEY: state.to_values()}]}))
    read = parse_plugin_state(info)
    assert read == state
    assert read is not None
    assert read.kv_used_ratio == 0.75
    assert read.samples_after(8) == state.samples
    assert read.samples_after(9) == ()


def test_state_is_none_when_plugin_is_absent() -> None:
    """A stock engine has no state; a refusal has its reason beside it."""
    assert parse_plugin_state({}) is None
    info = {"internal_states": [{REFUSAL_KEY: "speculative decoding"}]}
    assert parse_plugin_state(info) is None
    assert parse_refusal(info) == "speculative decoding"


@pytest.mark.parametrize("values", [{"version": "0"}, {"version": PLUGIN_VERSION}, {}])
def test_state_is_refused_when_version_or_shape_differs(values: dict[str, object]) -> None:
    """The agent never guesses at another plugin's state."""
    with pytest.raises(ContractError):
        parse_plugin_state({"internal_states": [{STATE_KEY: values}]})
