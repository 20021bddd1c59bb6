"""The best pass of a stretch, against every pass."""

from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest import approx
from scipy.optimize import linprog

from planner.clairvoyant.backlog import FIRST_CLASS, KV, PROMPT, Classes
from planner.clairvoyant.envelope import Envelope
from planner.clairvoyant.stays import Stays
from planner.clairvoyant.turns import Turns, _mixtures

KV_TOKENS = 20


def envelope_of(source):
    """Boxes of up to 6 prompt tokens and 4 rows, with durations that never fall."""
    tokens, rows = np.meshgrid(np.arange(7.0), np.arange(5.0))
    tokens, rows = tokens.ravel()[1:], rows.ravel()[1:]
    steps = np.cumsum(np.cumsum(source.uniform(0.0, 1.0, (5, 7)), axis=0), axis=1)
    return Envelope(
        least_prompt=tokens,
        prompt=tokens,
        least_rows=rows,
        rows=rows,
        floor_ms=3.0 + steps.ravel()[1:],
        pair_ms=0.01,
        context_ms=0.02,
        most_attention_ms=1.0,
    )


def stays_of_one_stretch(source, *, decoding, prompting):
    """Three requests, of which some can decode and some have a prompt."""
    nothing = np.zeros(3)
    return Stays(
        lengths_ms=np.ones(1),
        decodes_in=np.array([decoding]),
        prompts_in=np.array([prompting]),
        group=np.arange(3),
        prompt=nothing,
        decodes=nothing,
        row_ms=source.uniform(0.0, 2.0, 3),
        rest_ms=nothing,
        other_prompt=0.0,
        prompt_ms=0.0,
        kv=0.0,
        last_kv=nothing,
        last_rest_ms=nothing,
    )


def drawn_classes(source, count):
    return Classes(
        of=np.arange(count),
        row_ms=source.uniform(0.0, 2.0, count),
        row_kv=source.integers(1, 12, count).astype(float),
    )


@hypothesis_settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    decoding=st.tuples(*[st.booleans()] * 3),
    prompting=st.tuples(*[st.booleans()] * 3),
    count=st.integers(1, 3),
)
def test_no_pass_of_a_stretch_earns_more_a_millisecond(seed, decoding, prompting, count):
    """And the one that is named earns what is said."""
    source = np.random.default_rng(seed)
    envelope, classes = envelope_of(source), drawn_classes(source, count)
    stays = stays_of_one_stretch(source, decoding=decoding, prompting=prompting)
    turns = Turns(envelope, kv_tokens=KV_TOKENS, stays=stays, classes=classes)
    prices = np.zeros(FIRST_CLASS + count)
    prices[PROMPT], prices[KV] = source.uniform(0.0, 1.0), source.uniform(0.0, 0.05)
    prices[FIRST_CLASS:] = source.uniform(0.0, 3.0, count)
    decode, prompt = source.uniform(0.0, 6.0, 3), source.uniform(0.0, 1.5, 3)
    (turn,) = turns.best(prices, decode=decode, prompt=prompt)
    a_token = max([prices[PROMPT], *prompt[np.array(prompting)]])
    best = 0.0
    for box in range(len(envelope.prompt)):
        for rows in product((0, 1), repeat=3):
            if any(row and not can for row, can in zip(rows, decoding, strict=True)):
                continue
            for beside in product(range(5), repeat=count):
                if sum(rows) + sum(beside) > envelope.rows[box]:
                    continue
                if np.dot(beside, classes.row_kv) > KV_TOKENS:
                    continue
                earned = a_token * envelope.prompt[box] + prices[KV] * KV_TOKENS
                earned += np.dot(rows, decode) + np.dot(beside, prices[FIRST_CLASS:])
                lasting = envelope.floor_ms[box]
                lasting += np.dot(rows, stays.row_ms) + np.dot(beside, classes.row_ms)
                best = max(best, earned / lasting)
    assert turn.per_ms >= best * (1.0 - 1e-9)
    price = prices[PROMPT] if turn.prompt_request is None else prompt[turn.prompt_request]
    named = price * turn.prompt + prices[KV] * KV_TOKENS * turn.passes
    named += decode[turn.rows].sum() * turn.passes + turn.offline_rows @ prices[FIRST_CLASS:]
    assert turn.per_ms == approx(named)


@hypothesis_settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1 << 30), count=st.integers(1, 4))
def test_mixtures_hold_the_best_offline_rows(seed, count):
    """As the linear programme over rows and KV has it, for any gains."""
    source = np.random.default_rng(seed)
    classes, gains = drawn_classes(source, count), source.normal(size=count)
    found = (_mixtures(classes, kv_tokens=KV_TOKENS, most_rows=8) @ gains).max(axis=0)
    for rows in range(9):
        exact = linprog(
            -gains, A_ub=np.stack([np.ones(count), classes.row_kv]), b_ub=[rows, KV_TOKENS]
        )
        assert found[rows] == approx(-exact.fun, abs=1e-7)
