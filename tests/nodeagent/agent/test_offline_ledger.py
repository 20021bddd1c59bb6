"""Items a replica holds: in exactly one place each."""

import json

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nodeagent.engine.client import EngineAnswer
from nodeagent.offline.bodies import LARGEST_RESULT_BYTES, Item, Result, request_body, result_of
from nodeagent.offline.ledger import Lease, Ledger

WINDOW = 4
ITEM = Item(name="batches/b/items/1", attempt=1, url="/v1/completions", body=b'{"prompt": "p"}')


class LedgerMachine(RuleBasedStateMachine):
    """Every lease taken in is held or returning until it is answered, dropped or returned."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(window=WINDOW)
        self.open: set[Lease] = set()
        self.next = 0

    @precondition(lambda self: self.ledger.room > 0)
    @rule()
    def pull(self) -> None:
        self.next += 1
        item = Item(name=f"i{self.next}", attempt=1, url="", body=b"")
        assert self.ledger.add(item)
        assert not self.ledger.add(item)
        self.open.add((item.name, item.attempt))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        name, attempt = data.draw(st.sampled_from(sorted(self.open)))
        was_running = (name, attempt) in self.ledger.held()
        took = self.ledger.finish(
            Result(name=name, attempt=attempt, status_code=200, body=b"x" * 10)
        )
        assert took <= was_running

    @rule(most=st.integers(1, 3))
    def commit(self, most: int) -> None:
        results = self.ledger.results(most=most, most_bytes=15)
        assert len(results) <= 2, "ten bytes each: the second passes fifteen"
        self.ledger.committed(results)
        self.open -= {(result.name, result.attempt) for result in results}

    @rule()
    def hand_back(self) -> None:
        self.ledger.hand_back()
        assert self.ledger.running == 0

    @rule()
    def give_back(self) -> None:
        leases = self.ledger.returning()
        self.ledger.returned(leases)
        self.open -= set(leases)

    @rule()
    def drop(self) -> None:
        self.ledger.drop()
        self.open.clear()

    @invariant()
    def every_lease_is_in_one_place(self) -> None:
        held, returning = self.ledger.held(), self.ledger.returning()
        assert len(set(held)) == len(held)
        assert not set(held) & set(returning)
        assert {*held, *returning} == self.open
        assert len(held) + self.ledger.room == WINDOW


LedgerMachine.TestCase.settings = hypothesis_settings(max_examples=60, deadline=None)
TestLedger = LedgerMachine.TestCase


def test_request_body_labels_offline_whatever_the_user_set() -> None:
    """Priority, rid and stream are ours; the rest is the user's; a deadline is relative."""
    body = request_body(
        Item(
            name="i",
            attempt=1,
            url="/v1/completions",
            body=b'{"prompt": "p", "rid": "mine", "priority": 5, "stream": true, "n": 2}',
            deadline_unix_s=160.0,
        ),
        rid="f" * 32,
        now_unix_s=100.0,
    )
    assert isinstance(body, dict)
    assert (body["rid"], body["stream"], body["n"]) == ("f" * 32, False, 2)
    assert body["priority"] < 0
    assert body["custom_params"]["slacktide_deadline_in_s"] == 60.0


def test_request_body_is_an_error_of_the_item_when_it_cannot_be_posted() -> None:
    """Another url, or a body that is no object, fails that item for good."""
    for item in (
        Item(name="i", attempt=1, url="/flush_cache", body=b"{}"),
        Item(name="i", attempt=1, url="/v1/completions", body=b"[1]"),
        Item(name="i", attempt=1, url="/v1/completions", body=b"\xff"),
        Item(name="i", attempt=1, url="/v1/completions", body=b"[" * 100_000),
    ):
        result = request_body(item, rid="f" * 32, now_unix_s=0.0)
        assert isinstance(result, Result)
        assert (result.status_code, result.is_retryable) == (400, False)


def test_result_is_retryable_only_when_another_run_could_differ() -> None:
    """Engine faults, aborts and broken answers are; refusals and oversized results are not."""

    def outcome(status: int, body: bytes) -> tuple[int, bool]:
        result = result_of(ITEM, EngineAnswer(status=status, body=body))
        assert status == result.status_code == 200 or "error" in json.loads(result.body)
        return result.status_code, result.is_retryable

    aborted = json.dumps({"choices": [{"finish_reason": "abort"}]}).encode()
    assert outcome(200, b'{"choices": []}') == (200, False)
    assert outcome(400, b'{"object": "error", "message": "too long"}') == (400, False)
    assert outcome(500, b"") == (500, True)
    assert outcome(429, b"{}") == (429, True)
    assert outcome(200, aborted) == (503, True)
    assert outcome(200, b"[]") == (502, True)
    assert outcome(200, b"") == (502, True)
    large = b'{"text": "' + b"x" * LARGEST_RESULT_BYTES + b'"}'
    assert outcome(200, large) == (413, False)
