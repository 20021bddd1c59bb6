"""SGLang's real penalty counters, through parking, eviction and interrupted passes."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

VOCABULARY = 12
STOP = 11
PARAMS = {
    "frequency_penalty": 0.3,
    "presence_penalty": 0.7,
    "repetition_penalty": 1.3,
    "min_new_tokens": 5,
}


class Batch:
    """As much of a batch as penalties see; SGLang keeps a weak reference to it."""

    def __init__(self, *reqs: Any, is_extend: bool) -> None:
        from sglang.srt.sampling import penaltylib

        self.reqs = list(reqs)
        self.device = "cpu"
        self.decoding_reqs = None
        self.forward_mode = SimpleNamespace(is_extend=lambda: is_extend)
        self.penalizers = penaltylib.BatchedPenalizerOrchestrator(
            VOCABULARY,
            self,
            {
                penaltylib.BatchedFrequencyPenalizer,
                penaltylib.BatchedMinNewTokensPenalizer,
                penaltylib.BatchedPresencePenalizer,
                penaltylib.BatchedRepetitionPenalizer,
            },
        )
        self.sampling_info = SimpleNamespace(penalizer_orchestrator=self.penalizers)

    def become_decode(self) -> None:
        self.forward_mode = SimpleNamespace(is_extend=lambda: False)


class Loop:
    """SGLang's order of planning, launching and results, for one request."""

    def __init__(self, req: Any, tokens: Sequence[int], *, overlaps: bool) -> None:
        self.req, self.tokens, self.overlaps = req, tokens, overlaps
        self.pending: int | None = None
        self.seen: dict[int, Any] = {}  # outputs known when sampled -> what penalties did
        self.prefill()

    def prefill(self) -> None:
        self.batch = Batch(self.req, is_extend=True)
        self.launch(decoded=len(self.req.output_ids))
        self.batch.become_decode()

    def decode(self) -> None:
        from sglang.srt.managers.schedule_batch import ScheduleBatch

        ScheduleBatch.cumulate_penalty_output_tokens(self.batch)
        self.launch(decoded=len(self.req.output_ids) + (self.pending is not None))

    def launch(self, *, decoded: int) -> None:
        import torch

        from nodeagent.sglang_plugin.penalties import restore_penalties

        in_flight = frozenset() if self.pending is None else frozenset({id(self.req)})
        restore_penalties(self.batch, in_flight=in_flight, overlaps=self.overlaps)
        logits = torch.linspace(-1.0, 1.0, VOCABULARY).unsqueeze(0)
        self.batch.penalizers.apply(logits)
        self.seen.setdefault(decoded, []).append(logits[0].tolist())
        self.take_result()
        self.pending = self.tokens[decoded]
        if not self.overlaps:
            self.take_result()

    def take_result(self) -> None:
        if self.pending is not None:
            self.req.output_ids.append(self.pending)
            self.pending = None

    def park_and_resume(self) -> None:
        from nodeagent.sglang_plugin.rows import record_of

        self.take_result()  # a row is resumed once its last result is known
        self.batch = Batch(self.req, is_extend=False)
        record_of(self.req).lost_penalties = True

    def evict(self) -> None:
        self.pending = None  # dropped with the KV, sampled again
        self.prefill()


@pytest.mark.parametrize("overlaps", [False, True])
@given(
    events=st.lists(st.sampled_from(["decode", "other", "park", "evict"]), max_size=24),
    tokens=st.lists(st.integers(0, VOCABULARY - 1), min_size=60, max_size=60),
)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_penalties_are_those_of_a_request_alone_when_it_is_disturbed(
    make_request: Any, overlaps: bool, events: list[str], tokens: list[int]
) -> None:
    """Whatever happens between its decodes, each token is sampled under the same penalties."""

    def request() -> Any:
        made = make_request("pen", 3, offline=True, start=4, **PARAMS)
        made.tokenizer = SimpleNamespace(eos_token_id=STOP, additional_stop_token_ids=None)
        return made

    alone = Loop(request(), tokens, overlaps=overlaps)
    for _ in range(56):
        alone.decode()
    disturbed = Loop(request(), tokens, overlaps=overlaps)
    for event in events:
        match event:
            case "decode":
                disturbed.decode()
            case "other":
                disturbed.take_result()
            case "park":
                disturbed.park_and_resume()
            case "evict":
                disturbed.take_result() if not disturbed.req.output_ids else disturbed.evict()
        disturbed.decode()
    for decoded, readings in disturbed.seen.items():
        for reading in readings:
            assert reading == alone.seen[decoded][0], f"token {decoded}"


@pytest.mark.parametrize("overlaps", [False, True])
def test_penalties_of_neighbours_stay_when_one_row_is_restored(
    make_request: Any, overlaps: bool
) -> None:
    """Only the row that lost its counts is written."""
    import torch

    from nodeagent.sglang_plugin.penalties import restore_penalties
    from nodeagent.sglang_plugin.rows import record_of

    rows = [make_request(f"r{i}", 3, start=4, frequency_penalty=0.5) for i in range(2)]
    rows.append(make_request("plain", 3, start=4))
    batch = Batch(*rows, is_extend=False)
    for token in (1, 1, 2):
        for row in rows:
            row.output_ids.append(token)
        batch.penalizers.cumulate_output_tokens(torch.tensor([token] * 3))
    counts = next(
        p.cumulated_frequency_penalties
        for p in batch.penalizers.penalizers.values()
        if hasattr(p, "cumulated_frequency_penalties")
    )
    before = counts.clone()
    counts[1].zero_()
    record_of(rows[1]).lost_penalties = True
    in_flight = frozenset({id(rows[0]), id(rows[2])})
    restore_penalties(batch, in_flight=in_flight, overlaps=overlaps)
    assert torch.equal(counts[0], before[0])
    assert torch.equal(counts[2], before[2])
    expected = torch.zeros(VOCABULARY)
    for token in [6, 1, 1] if overlaps else [1, 1, 2]:
        expected[token] += 0.5
    assert torch.equal(counts[1], expected)
    assert not record_of(rows[1]).lost_penalties
