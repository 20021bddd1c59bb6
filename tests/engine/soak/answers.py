"""What is equal, and what a near-tie of stock's logits excuses.

fp32 sums of one and the same request differ in their last bits with the batch around it,
so a token may differ where stock's two best logits are closer than that. A mismatch is
excused there and only there: the gap at the first differing token is below 1e-4 and both
tokens are stock's two best.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness import Engine

from soak.client import Answer
from soak.workload import Abort, SoakRequest

AskGap = Callable[[SoakRequest, tuple[int, ...]], tuple[float, tuple[int, int]]]
"""Gap of stock's two best logits after a prompt and some output, and the two tokens."""

EXCUSED_GAP = 1e-4  # logits; the acceptance's figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """The first token at which an answer leaves the stock one."""

    rid: str
    position: int
    expected: int | None  # None: one of them ended here
    found: int | None
    gap: float | None  # of stock's two best logits there
    is_excused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All answers of a pass against the reference."""

    equal: int  # full answers, equal
    equal_prefixes: int  # aborted ones whose tokens so far are equal
    empty: int  # aborted before a first token
    mismatches: tuple[Mismatch, ...]
    failures: tuple[str, ...]  # requests not aborted that gave no full answer


def compare(
    requests: Mapping[str, SoakRequest],
    *,
    reference: Mapping[str, Answer],
    found: Mapping[str, Answer],
    ask_gap: AskGap,
) -> Comparison:
    """Compares token for token; asks stock about each first difference."""
    equal = equal_prefixes = empty = 0
    mismatches: list[Mismatch] = []
    failures: list[str] = []
    for rid, request in requests.items():
        answer, expected = found[rid], reference[rid].ids
        is_cut = answer.was_aborted and len(answer.ids) < len(expected)
        if _is_failure(request, answer):
            failures.append(f"{rid}: {answer.error or 'aborted, and nobody asked'}")
            continue
        position = first_difference(expected, answer.ids, is_cut=is_cut)
        if position is None:
            equal += not is_cut
            equal_prefixes += is_cut and bool(answer.ids)
            empty += is_cut and not answer.ids
            continue
        mismatches.append(
            _judge(request, expected=expected, found=answer.ids, at=position, ask_gap=ask_gap)
        )
    return Comparison(
        equal=equal,
        equal_prefixes=equal_prefixes,
        empty=empty,
        mismatches=tuple(mismatches),
        failures=tuple(failures),
    )


def first_difference(
    expected: tuple[int, ...], found: tuple[int, ...], *, is_cut: bool
) -> int | None:
    """Index of the first differing token, or of the end of the shorter answer; None if equal.

    Args:
        expected: The reference.
        found: The answer.
        is_cut: The answer was aborted and may end early.
    """
    for position, (ours, theirs) in enumerate(zip(found, expected, strict=False)):
        if ours != theirs:
            return position
    if len(found) == len(expected) or (is_cut and len(found) < len(expected)):
        return None
    return min(len(found), len(expected))


def gap_of(
    engine: Engine,
) -> AskGap:
    """Asks a stock engine for the gap of its two best logits after a prompt and output."""

    def ask(request: SoakRequest, common: tuple[int, ...]) -> tuple[float, tuple[int, int]]:
        answer: Any = engine.call(
            "/generate",
            {
                "input_ids": [*request.ids, *common],
                "return_logprob": True,
                "top_logprobs_num": 2,
                "sampling_params": {
                    "temperature": 0.0,
                    "max_new_tokens": 1,
                    "ignore_eos": True,
                },
            },
        )
        best, second = answer["meta_info"]["output_top_logprobs"][0]
        # Both carry the same normaliser, so the gap of logprobs is that of logits.
        return best[0] - second[0], (best[1], second[1])

    return ask


def _is_failure(request: SoakRequest, answer: Answer) -> bool:
    """An error or an abort, but for an abort that was asked for."""
    if request.abort is not Abort.NONE and answer.was_aborted:
        return False
    return bool(answer.error) or answer.was_aborted


def _judge(
    request: SoakRequest,
    *,
    expected: tuple[int, ...],
    found: tuple[int, ...],
    at: int,
    ask_gap: AskGap,
) -> Mismatch:
    if at >= min(len(expected), len(found)):
        return Mismatch(
            rid=request.rid,
            position=at,
            expected=expected[at] if at < len(expected) else None,
            found=found[at] if at < len(found) else None,
            gap=None,
            is_excused=False,
        )
    gap, best = ask_gap(request, expected[:at])
    return Mismatch(
        rid=request.rid,
        position=at,
        expected=expected[at],
        found=found[at],
        gap=gap,
        is_excused=gap < EXCUSED_GAP and {expected[at], found[at]} == set(best),
    )
