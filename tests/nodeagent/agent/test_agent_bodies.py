"""Items that cannot be posted to an engine end with an error of their own."""

import json
import math

import pytest

from nodeagent.offline.bodies import Item, Result, request_body
from nodeagent.plugin_contract import read_labels
from planner.batching.state import WorkClass


def item(body: dict[str, object], *, deadline_unix_s: float = 0.0) -> Item:
    return Item(
        name="batches/b1/items/7",
        attempt=1,
        url="/v1/completions",
        body=json.dumps(body).encode(),
        deadline_unix_s=deadline_unix_s,
    )


@pytest.mark.parametrize(
    "field",
    [
        "custom_logit_processor",
        "lora_path",
        "return_hidden_states",
        "return_routed_experts",
        "return_sampling_mask",
        "session_id",
        "session_params",
    ],
)
def test_item_fails_with_the_field_named_when_a_parked_row_would_lose_it(field: str) -> None:
    """The plugin never parks such a request, so it could not give way to online ones."""
    refused = request_body(item({"prompt": "a", field: "x"}), rid="r", now_unix_s=0.0)
    assert isinstance(refused, Result)
    assert (refused.status_code, refused.is_retryable) == (400, False)
    assert field.encode() in refused.body
    for nothing in (None, False, "", {}):
        posted = request_body(item({"prompt": "a", field: nothing}), rid="r", now_unix_s=0.0)
        assert isinstance(posted, dict)


@pytest.mark.parametrize(
    "asked",
    [
        {"frequency_penalty": 1.0, "presence_penalty": 1.0, "repetition_penalty": 1.2},
        {"logprobs": 3, "echo": True},
        {"n": 2, "seed": 5, "min_tokens": 4, "stop": ["a"]},
        {"regex": "[0-9]+"},
    ],
)
def test_item_is_posted_as_written_when_the_engine_can_take_it_up_again(
    asked: dict[str, object],
) -> None:
    """Penalties, logprobs, grammars and several samples are the engine's to handle."""
    posted = request_body(item({"prompt": "a", **asked}), rid="r", now_unix_s=0.0)
    assert isinstance(posted, dict)
    assert posted.items() >= asked.items()


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "video_url"])
def test_item_fails_when_a_message_brings_what_is_not_text(kind: str) -> None:
    """Its row could not leave its batch; text parts, and odd bodies, are the engine's."""
    parts = [{"type": "text", "text": "a"}, {"type": kind, kind: {"url": "data:"}}]
    refused = request_body(
        item({"messages": [{"role": "user", "content": parts}]}), rid="r", now_unix_s=0.0
    )
    assert isinstance(refused, Result) and refused.status_code == 400
    assert kind.encode() in refused.body
    for messages in ([{"role": "user", "content": parts[:1]}], [{"content": "a"}, 7], "a", None):
        posted = request_body(item({"messages": messages}), rid="r", now_unix_s=0.0)
        assert isinstance(posted, dict)


def test_custom_parameters_of_an_item_are_carried_under_our_labels() -> None:
    """Ours win where names meet; what is no object is an error of the item."""
    own = {"mine": 1, "slacktide_class": "online"}
    posted = request_body(item({"prompt": "a", "custom_params": own}), rid="r", now_unix_s=0.0)
    assert isinstance(posted, dict)
    assert posted["custom_params"]["mine"] == 1
    assert read_labels(posted["custom_params"]).work_class is WorkClass.OFFLINE
    refused = request_body(item({"prompt": "a", "custom_params": [1]}), rid="r", now_unix_s=0.0)
    assert isinstance(refused, Result) and b"custom_params" in refused.body


@pytest.mark.parametrize("deadline", [math.nan, math.inf, -math.inf])
def test_item_fails_alone_when_its_deadline_is_no_time(deadline: float) -> None:
    """A worded error of the item, not of the puller."""
    refused = request_body(item({"prompt": "a"}, deadline_unix_s=deadline), rid="r", now_unix_s=0.0)
    assert isinstance(refused, Result)
    assert b"slacktide_deadline_in_s" in refused.body


@pytest.mark.parametrize("deadline", [1e308, -1e308, 1e-300])
def test_item_is_posted_when_its_deadline_is_absurd(deadline: float) -> None:
    """Long past or never: the engine orders by it all the same."""
    posted = request_body(
        item({"prompt": "a"}, deadline_unix_s=deadline), rid="r", now_unix_s=1.7e9
    )
    assert isinstance(posted, dict)
    labels = read_labels(posted["custom_params"])
    assert labels.deadline_in_s == deadline - 1.7e9
