"""When online requests can be worked on."""

import numpy as np
import pytest

from planner.batching.state import WorkClass
from planner.clairvoyant.envelope import Envelope
from planner.clairvoyant.needs import NOTHING_SHARED, needs_of
from planner.clairvoyant.no_worse import no_worse_bound
from planner.clairvoyant.stays import stays_of
from planner.simulation.request import SimulatedRequest
from planner.simulation.settings import EngineSettings
from planner.slo import Chunk, Outcome, RequestTrace

ENVELOPE = Envelope(  # a pass of up to 4 prompt tokens lasts 10 ms, one of decodes 5
    least_prompt=np.array([1.0, 0.0]),
    prompt=np.array([4.0, 0.0]),
    least_rows=np.array([0.0, 1.0]),
    rows=np.array([0.0, 8.0]),
    floor_ms=np.array([10.0, 5.0]),
    pair_ms=0.0,
    context_ms=0.1,
    most_attention_ms=1.0,
)


def stays(*sizes, to_s, begin_s=0.0):
    """Of requests as (prompt tokens, when sent, when it had its tokens), in milliseconds."""
    requests, served = [], []
    for place, (prompt, sent_ms, *emitted_ms) in enumerate(sizes):
        requests.append(
            SimulatedRequest(
                rid=str(place),
                work_class=WorkClass.ONLINE,
                prompt_tokens=prompt,
                output_tokens=len(emitted_ms),
                at_s=sent_ms / 1e3,
            )
        )
        served.append(
            RequestTrace(
                scheduled_s=sent_ms / 1e3,
                chunks=tuple(Chunk(at_s=ms / 1e3, tokens=1) for ms in emitted_ms),
                outcome=Outcome.COMPLETED,
            )
        )
    needs = needs_of(requests, envelope=ENVELOPE, sharing=NOTHING_SHARED)
    return stays_of(needs, served, envelope=ENVELOPE, begin_s=begin_s, to_s=to_s)


def test_stretches_meet_where_requests_come_and_go():
    """Sent at 20 ms, released after a pass of 10 ms, first token at 40 ms, last at 60 ms."""
    found = stays((2, 20.0, 40.0, 60.0), to_s=0.1)
    assert found.lengths_ms.tolist() == pytest.approx([20.0, 10.0, 10.0, 20.0, 40.0])
    assert found.prompts_in[:, 0].tolist() == [False, True, True, False, False]
    assert found.decodes_in[:, 0].tolist() == [False, False, True, True, False]
    assert found.decodes.tolist() == [1.0] and found.prompt.tolist() == [2.0]


def test_decodes_after_the_window_are_left_as_far_as_they_fit_there():
    """12 ms after the end: two passes of 5 ms and more, and the one that is under way."""
    emitted_ms = [20.0, 40.0, 60.0, 80.0, 100.0, 112.0]
    assert stays((1, 0.0, *emitted_ms), to_s=0.1).decodes.tolist() == [2.0]
    assert stays((1, 0.0, *emitted_ms), to_s=0.2).decodes.tolist() == [5.0]


def test_prompt_that_the_run_left_for_later_is_not_asked_for():
    """Its first token came at the window's end, so it may be computed after it."""
    found = stays((3, 50.0, 100.0), to_s=0.1)
    assert found.prompt.tolist() == [0.0] and not found.prompts_in.any()


def test_many_requests_share_prices_and_stretches():
    """However long the window, the search stays short, and no request's time is cut."""
    sizes = [(1, 7.0 * i, 7.0 * i + 20.0, 7.0 * i + 50.0) for i in range(400)]
    found = stays(*sizes, to_s=3.0)
    assert len(found.lengths_ms) <= 400 and found.groups <= 200
    assert found.lengths_ms.sum() == pytest.approx(3000.0)
    edges_ms = np.concatenate([[0.0], np.cumsum(found.lengths_ms)])
    for place, (_, sent_ms, first_ms, last_ms) in enumerate(sizes):
        prompts = np.flatnonzero(found.prompts_in[:, place])
        decodes = np.flatnonzero(found.decodes_in[:, place])
        assert edges_ms[prompts[0]] <= sent_ms + 1e-6
        assert edges_ms[prompts[-1] + 1] >= first_ms - 1e-6
        assert edges_ms[decodes[0]] <= sent_ms + 10.0 + 1e-6
        assert edges_ms[decodes[-1] + 1] >= last_ms - 1e-6


def test_traces_of_other_requests_are_refused():
    """A bound against somebody else's latencies would be none."""
    request = SimulatedRequest(
        rid="a", work_class=WorkClass.ONLINE, prompt_tokens=1, output_tokens=1, at_s=0.5
    )
    with pytest.raises(ValueError, match="0 traces, 1 requests"):
        no_worse_bound(
            online=[request],
            served=[],
            offline=[],
            standing=None,
            settings=EngineSettings(kv_tokens=100),
            envelope=ENVELOPE,
            from_s=0.0,
            to_s=1.0,
            solve=None,
        )
