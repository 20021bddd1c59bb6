"""What a batch can gain, against every end it may come to."""

from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest import approx

from planner.batching.state import WorkClass
from planner.clairvoyant.backlog import (
    ATTENTION,
    FIRST_CLASS,
    IN_PART,
    KV,
    PROMPT,
    Backlog,
    Classes,
)
from planner.clairvoyant.envelope import Envelope
from planner.clairvoyant.needs import NOTHING_SHARED, needs_of
from planner.clairvoyant.standing import Standing
from planner.simulation.request import SimulatedRequest

ONE = np.ones(1)
ENVELOPE = Envelope(
    least_prompt=ONE,
    prompt=ONE,
    least_rows=ONE,
    rows=ONE,
    floor_ms=ONE,
    pair_ms=0.03,
    context_ms=0.02,
    most_attention_ms=1.0,
)


def drawn_backlog(draw):
    """Up to three requests, some begun before the window, some done further in it."""
    requests, before, after = [], [], []
    for place in range(draw(1, 3)):
        prompt, output = draw(1, 3), draw(1, 3)
        requests.append(
            SimulatedRequest(
                rid=str(place),
                work_class=WorkClass.OFFLINE,
                prompt_tokens=prompt,
                output_tokens=output,
            )
        )
        ends = [*((done, 0) for done in range(prompt)), *((prompt, o + 1) for o in range(output))]
        first = draw(0, len(ends) - 1)
        before.append(ends[first])
        after.append(ends[draw(first, len(ends) - 1)])
    before, after = np.array(before, dtype=float), np.array(after, dtype=float)
    needs = needs_of(requests, envelope=ENVELOPE, sharing=NOTHING_SHARED)
    standing = Standing(
        prompt_before=before[:, 0],
        output_before=before[:, 1],
        prompt_after=after[:, 0],
        output_after=after[:, 1],
        free_tokens=float(draw(0, 2)),
        busy_until_s=0.0,
        offline_repeats=0,
        online_repeats=0,
    )
    classes = Classes.by_prompt(needs, envelope=ENVELOPE)
    return needs, standing, classes


def ends_of(needs, standing):
    """Every end that is no worse than where the run stood."""
    requests = []
    for place, (prompt, output) in enumerate(zip(needs.prompt, needs.output, strict=True)):
        ends = [*((done, 0.0) for done in np.arange(prompt))]
        ends += [(prompt, emitted + 1.0) for emitted in np.arange(output)]
        least = standing.prompt_after[place], standing.output_after[place]
        requests.append([end for end in ends if end[0] >= least[0] and end[1] >= least[1]])

    def loads(ends):
        whole = [i for i, (done, _) in enumerate(ends) if done == needs.prompt[i]]
        in_part = sum(sum(end) for i, end in enumerate(ends) if end[1] < needs.output[i])
        return in_part, whole[-1] + 1 - len(whole) if whole else 0

    allowed = loads(list(zip(standing.prompt_after, standing.output_after, strict=True)))
    for ends in product(*requests):
        found = loads(ends)
        if found[0] <= allowed[0] and found[1] <= allowed[1]:
            yield ends


def gained(needs, standing, classes, ends, prices):
    """Tokens in the window less what each of them costs, one by one."""
    value = standing.free_tokens
    for place, (prompt, output) in enumerate(ends):
        class_ = classes.of[place]
        for position in np.arange(standing.prompt_before[place], prompt):
            value += 1.0 - prices[PROMPT]
            value -= prices[ATTENTION] * ENVELOPE.pair_ms * (position + 0.5)
        for ordinal in np.arange(standing.output_before[place], output):
            value += 1.0
            if ordinal:  # the first comes with the prompt
                context = needs.prompt[place] + ordinal
                value -= prices[FIRST_CLASS + class_] + prices[KV] * context
                beside = ENVELOPE.context_ms * context - classes.row_ms[class_]
                value -= prices[ATTENTION] * beside
    return value


@hypothesis_settings(max_examples=150, deadline=None)
@given(source=st.data(), seed=st.integers(0, 1 << 30))
def test_no_end_that_is_no_worse_gains_more(source, seed):
    """Whatever the prices, that of what is left in part too."""
    needs, standing, classes = drawn_backlog(lambda a, b: source.draw(st.integers(a, b)))
    backlog = Backlog(needs, standing=standing, envelope=ENVELOPE, classes=classes)
    prices = np.random.default_rng(seed).uniform(0.0, 1.2, backlog.columns)
    prices[KV] /= 5.0
    value, gradient = backlog.best(prices)
    for ends in ends_of(needs, standing):
        assert value >= gained(needs, standing, classes, ends, prices) - 1e-9
    # A subgradient: no value lies below its plane.
    other = prices + np.random.default_rng(seed + 1).normal(size=len(prices)) / 4.0
    other = np.maximum(other, 0.0)
    assert backlog.best(other)[0] >= value + gradient @ (other - prices) - 1e-9


def test_nothing_costs_nothing_when_the_run_did_all():
    """Then what is gained is what it gained."""
    requests = [
        SimulatedRequest(rid="a", work_class=WorkClass.OFFLINE, prompt_tokens=5, output_tokens=3)
    ]
    needs = needs_of(requests, envelope=ENVELOPE, sharing=NOTHING_SHARED)
    standing = Standing(
        prompt_before=np.zeros(1),
        output_before=np.zeros(1),
        prompt_after=np.full(1, 5.0),
        output_after=np.full(1, 3.0),
        free_tokens=0.0,
        busy_until_s=0.0,
        offline_repeats=0,
        online_repeats=0,
    )
    classes = Classes.by_prompt(needs, envelope=ENVELOPE)
    backlog = Backlog(needs, standing=standing, envelope=ENVELOPE, classes=classes)
    prices = np.zeros(backlog.columns)
    assert backlog.best(prices)[0] == 8.0
    prices[PROMPT], prices[FIRST_CLASS], prices[IN_PART] = 0.5, 1.0, 0.7
    assert backlog.best(prices)[0] == approx(8.0 - 2.5 - 2.0)
