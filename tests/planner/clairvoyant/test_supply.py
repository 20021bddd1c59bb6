"""The choice among offline requests."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from planner.batching.state import WorkClass
from planner.clairvoyant.envelope import Envelope
from planner.clairvoyant.needs import NOTHING_SHARED, Sharing, needs_of
from planner.clairvoyant.prices import Prices
from planner.clairvoyant.supply import ClosedLoop, Supply
from planner.simulation.request import SimulatedRequest

ENVELOPE = Envelope(
    least_prompt=np.array([0.0]),
    prompt=np.array([8.0]),
    least_rows=np.array([0.0]),
    rows=np.array([8.0]),
    floor_ms=np.array([1.0]),
    pair_ms=0.02,
    context_ms=0.03,
    most_attention_ms=10.0,
)


def offline(rid, prompt, output, **fields):
    return SimulatedRequest(
        rid=rid,
        work_class=WorkClass.OFFLINE,
        prompt_tokens=prompt,
        output_tokens=output,
        **fields,
    )


def worth(request, prices, *, prompt, decodes):
    """Of computing so many of its prompt tokens and so many decodes."""
    value = prompt - prices.prompt * prompt - prices.attention * 0.02 * prompt**2 / 2.0
    for ordinal in range(1, decodes + 1):
        context = request.prompt_tokens + ordinal
        value += 1.0 - prices.offline_decode - prices.kv * context
        value -= prices.attention * 0.03 * context
    return value


def loop(in_flight, *, begins_late, **fields):
    """A loop long enough before the end that all may have been sent."""
    return ClosedLoop(
        **{
            "in_flight": in_flight,
            "from_ms": 1000.0 if begins_late else 0.0,
            "to_ms": 2000.0,
            "kv_tokens": 1000,
            "given_up": None,
            "spread": None,
            **fields,
        }
    )


def best_by_search(requests, prices, *, in_flight, begins_late, spread, given_up):
    """Over what is found, sent and left, each done in any part that it may be done in."""
    sizes = [(r.prompt_tokens, r.output_tokens - 1) for r in requests]
    full, part, rest = [], [], []
    for r, (prompt, decodes) in zip(requests, sizes, strict=True):
        full.append(1.0 + worth(r, prices, prompt=prompt, decodes=decodes))
        some = [worth(r, prices, prompt=p, decodes=0) for p in range(prompt + 1)]
        whole = [1.0 + worth(r, prices, prompt=prompt, decodes=d) for d in range(decodes + 1)]
        part.append(max(some + whole))
        outputs = 1.0 + worth(r, prices, prompt=0, decodes=decodes)
        rest.append(max(0.0, outputs, full[-1]))
    count, best = len(requests), -np.inf
    for first in range(count + 1) if begins_late else [0]:
        among = range(max(0, first - spread) if spread else 0, first)
        before = sum(sorted((rest[i] for i in among), reverse=True)[:in_flight])
        for last in range(first, count + 1):
            may_be_left = range(max(first, last - spread) if spread else first, last)
            for left in combinations(may_be_left, min(in_flight, len(may_be_left))):
                value = before + sum(full[i] for i in range(first, last) if i not in left)
                # Half done without KV: so many of them; the others not begun at all.
                halves = sorted((part[i] for i in left), reverse=True)
                best = max(best, value + sum(halves if given_up is None else halves[:given_up]))
    return best


PRICES = st.builds(
    Prices,
    prompt=st.sampled_from([0.0, 0.5, 0.9, 1.2]),
    online_decode=st.just(0.0),
    offline_decode=st.sampled_from([0.0, 0.5, 3.0]),
    kv=st.sampled_from([0.0, 0.05]),
    attention=st.sampled_from([0.0, 0.3, 2.0]),
    presence=st.just(0.0),
    waiting=st.just(0.0),
    in_part=st.just(0.0),
)
SIZES = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5)), min_size=1, max_size=5)


@hypothesis_settings(max_examples=200, deadline=None)
@given(
    sizes=SIZES,
    prices=PRICES,
    in_flight=st.integers(1, 3),
    begins_late=st.booleans(),
    spread=st.sampled_from([None, 3, 4]),
    given_up=st.sampled_from([None, 0, 1]),
)
def test_supply_is_worth_no_less_than_any_choice(
    sizes, prices, in_flight, begins_late, spread, given_up
):
    """And its amounts say how it falls with the prices, where it is convex in them."""
    requests = [offline(f"o{i}", *size) for i, size in enumerate(sizes)]
    supply = Supply(
        needs_of(requests, envelope=ENVELOPE, sharing=NOTHING_SHARED),
        envelope=ENVELOPE,
        loop=loop(in_flight, begins_late=begins_late, spread=spread, given_up=given_up),
    )
    found = supply.best(prices)
    searched = best_by_search(
        requests,
        prices,
        in_flight=in_flight,
        begins_late=begins_late,
        spread=spread,
        given_up=given_up,
    )
    assert found.value >= searched - 1e-9
    for column in range(len(prices.values())):
        step = np.zeros(len(prices.values()))
        step[column] = 1e-6
        dearer = supply.best(Prices.of(prices.values() + step))
        assert dearer.value >= found.value - found.amounts @ step - 1e-9


def test_unlimited_supply_takes_the_best_part_of_each():
    """With nothing to say what must be ended, outputs that cost too much are left."""
    prices = Prices(
        prompt=0.5,
        online_decode=0.0,
        offline_decode=3.0,
        kv=0.0,
        attention=0.0,
        presence=0.0,
        waiting=0.0,
        in_part=0.0,
    )
    requests = [offline("o0", 8, 5), offline("o1", 4, 3)]
    needs = needs_of(requests, envelope=ENVELOPE, sharing=NOTHING_SHARED)
    free = Supply(needs, envelope=ENVELOPE, loop=loop(None, begins_late=False)).best(prices)
    assert free.value == pytest.approx(8 * 0.5 + 1 + 4 * 0.5 + 1)


def test_shared_block_is_charged_to_the_first_who_needs_it():
    """And to nobody where requests of the other class share it too."""
    requests = [offline(f"o{i}", 10, 2, blocks=(1, 2 + i), block_tokens=4) for i in range(3)]
    sharing = Sharing.of(online=[], offline=requests, from_s=0.0)
    needs = needs_of(requests, envelope=ENVELOPE, sharing=sharing)
    assert list(needs.computed) == [10, 6, 6]
    assert list(needs.alone) == [6, 6, 6]
    chat = SimulatedRequest(
        rid="a",
        work_class=WorkClass.ONLINE,
        prompt_tokens=6,
        output_tokens=1,
        blocks=(1,),
        block_tokens=4,
    )
    both = Sharing.of(online=[chat], offline=requests, from_s=0.0)
    assert list(needs_of(requests, envelope=ENVELOPE, sharing=both).computed) == [6, 6, 6]
