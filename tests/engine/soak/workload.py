"""Random requests by seed: classes, shared prefixes, lengths, bursts, aborts.

Load is stated as requests in the engine at once, not as arrivals a second, so that the
same seed presses a fast machine and a slow one alike.
"""

import random
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from nodeagent.plugin_contract import offline_labels, online_labels
from soak.settings import LONGEST_REQUEST_TOKENS

_TOKENS = 250  # ids below the tokenizer's special ones
_SHARE_ABORTED = 0.12
_SHARE_WITH_PREFIX = 0.5
_PREFIXES = 8
_SHARE_WITH_LOGPROBS = 0.02


class Abort(Enum):
    """How a request is given up."""

    NONE = "none"
    ASKED = "asked"  # POST /abort_request
    DISCONNECTED = "disconnected"  # the client goes away


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakRequest:
    """One greedy request of full length."""

    rid: str  # of fixed length: SGLang aborts by prefix
    ids: tuple[int, ...]
    new_tokens: int
    is_offline: bool
    labels: dict[str, Any] = field(default_factory=dict)
    with_logprobs: bool = False
    abort: Abort = Abort.NONE
    abort_after_s: float = 0.0  # where asked
    abort_after_tokens: int = 0  # where disconnected

    def body(self, *, streams: bool) -> dict[str, Any]:
        """The `/generate` body."""
        body = {
            "rid": self.rid,
            "input_ids": list(self.ids),
            "priority": self.labels["priority"],
            "stream": streams,
            "sampling_params": {
                "temperature": 0.0,
                "max_new_tokens": self.new_tokens,
                "ignore_eos": True,
                "custom_params": self.labels["custom_params"],
            },
        }
        if self.with_logprobs:
            body |= {"return_logprob": True, "top_logprobs_num": 2}
        return body


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A stretch of load: requests sent in order, so many in the engine at once."""

    requests: tuple[SoakRequest, ...]
    at_once: int
    drains: bool  # waits until the engine is empty before the next phase


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """What a phase is drawn from."""

    size: tuple[int, int]
    offline_ratios: tuple[float, ...]
    at_once: tuple[int, ...]
    drain_ratio: float
    outgrows: bool = False  # short prompts, long outputs: together they outgrow small KV


_MIXED = _Shape(
    size=(8, 40), offline_ratios=(0.0, 0.3, 0.6, 0.9), at_once=(6, 16, 32, 48), drain_ratio=0.2
)
# Offline work fills the engine, then online work comes all at once and needs its KV and rows.
_FILL = _Shape(size=(16, 28), offline_ratios=(1.0,), at_once=(28,), drain_ratio=0.0)
_BURST = _Shape(size=(10, 20), offline_ratios=(0.0,), at_once=(64,), drain_ratio=0.5)
# Online rows that outgrow KV by themselves: with no offline row left, SGLang has to retract.
_OUTGROWING = _Shape(
    size=(12, 18), offline_ratios=(0.0,), at_once=(18,), drain_ratio=1.0, outgrows=True
)
_FIRST_LOAD = (_OUTGROWING,)
_LOADS = ((_MIXED,), (_FILL, _BURST))


def make_phases(*, seed: int, count: int) -> tuple[Phase, ...]:
    """Phases that hold `count` requests.

    None is penalised: what stock outputs then depends on whose prefill falls between two
    decodes, so it differs from itself. `test_sampling_engine` compares those one at a time.

    Args:
        seed: Same seed, same phases.
        count: Requests in all, > 0.
    """
    draw = random.Random(seed)
    prefixes = [_ids(draw, draw.randint(16, 300)) for _ in range(_PREFIXES)]
    phases: list[Phase] = []
    made = 0
    while made < count:
        for shape in draw.choice(_LOADS) if phases else _FIRST_LOAD:
            size = min(count - made, draw.randint(*shape.size))
            offline_ratio = draw.choice(shape.offline_ratios)
            requests = tuple(
                _request(
                    draw,
                    rid=f"rq{made + i:05d}",
                    prefixes=prefixes,
                    is_offline=draw.random() < offline_ratio,
                )
                if not shape.outgrows
                else _outgrowing(draw, rid=f"rq{made + i:05d}")
                for i in range(size)
            )
            phases.append(
                Phase(
                    requests=requests,
                    at_once=draw.choice(shape.at_once),
                    drains=draw.random() < shape.drain_ratio,
                )
            )
            made += size
    return tuple(phase for phase in phases if phase.requests)


def shuffled(phases: tuple[Phase, ...], *, seed: int) -> tuple[Phase, ...]:
    """The same requests in other company: another order, another load, no aborts."""
    draw = random.Random(seed)
    requests = [r for phase in phases for r in phase.requests]
    draw.shuffle(requests)
    return (Phase(requests=tuple(requests), at_once=17, drains=True),)


def _request(
    draw: random.Random,
    *,
    rid: str,
    prefixes: list[tuple[int, ...]],
    is_offline: bool,
) -> SoakRequest:
    start: tuple[int, ...] = ()
    if draw.random() < _SHARE_WITH_PREFIX:
        start = draw.choice(prefixes)
        start = start[: draw.randint(1, len(start))]
    low, high = draw.choices(((1, 16), (16, 128), (128, 300), (300, 400)), (15, 35, 30, 20))[0]
    ids = start + _ids(draw, draw.randint(low, high))
    low, high = draw.choices(((1, 8), (8, 80), (80, 240)), (15, 50, 35))[0]
    new_tokens = min(draw.randint(low, high), LONGEST_REQUEST_TOKENS - len(ids))
    is_aborted = draw.random() < _SHARE_ABORTED
    return SoakRequest(
        rid=rid,
        ids=ids,
        new_tokens=new_tokens,
        is_offline=is_offline,
        labels=_labels(draw, is_offline=is_offline),
        with_logprobs=draw.random() < _SHARE_WITH_LOGPROBS,
        abort=draw.choice((Abort.ASKED, Abort.DISCONNECTED)) if is_aborted else Abort.NONE,
        abort_after_s=draw.choice((0.5, 4.0)) * draw.random(),
        abort_after_tokens=draw.randint(0, new_tokens),
    )


def _outgrowing(draw: random.Random, *, rid: str) -> SoakRequest:
    """One of those that outgrow small KV together, none given up."""
    return SoakRequest(
        rid=rid,
        ids=_ids(draw, draw.randint(16, 64)),
        new_tokens=draw.randint(200, 240),
        is_offline=False,
        labels=_labels(draw, is_offline=False),
    )


def _labels(draw: random.Random, *, is_offline: bool) -> dict[str, Any]:
    if is_offline:
        return offline_labels(
            deadline_in_s=draw.uniform(-5.0, 60.0) if draw.random() < 0.3 else None
        )
    match draw.randrange(4):
        case 0:
            return online_labels(
                ttft_ms=draw.uniform(50.0, 3000.0), itl_ms=draw.uniform(10.0, 500.0)
            )
        case 1:
            return online_labels(tpot_ms=draw.uniform(10.0, 300.0))
        case _:
            return online_labels()


def _ids(draw: random.Random, count: int) -> tuple[int, ...]:
    return tuple(draw.randrange(_TOKENS) for _ in range(count))
