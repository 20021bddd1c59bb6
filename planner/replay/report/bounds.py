"""What any scheduler could have done, beside what policies did.

Owns the row of a bound in the table and the words under it. Refuses to call a policy's share
of its bound a share of what can be done: how loose a bound is is not known.
"""

from collections.abc import Sequence

from planner.replay.document import ClairvoyantBound, ReplayDocument
from planner.replay.report import wording
from planner.replay.report.markup import element, text


def bound_row(bound: ClairvoyantBound, *, heads: Sequence[str]) -> list[str]:
    """A bound in the table of all policies: it has one figure."""
    known = {
        heads[0]: f"bound beside {bound.title}",
        "offline tokens/s": f"≤ {wording.number(bound.offline_tokens_per_s)}",
    }
    return [known.get(head, "–") for head in heads]


def bounds_words(document: ReplayDocument) -> str:
    """Which share of its bound each policy did."""
    if not document.bounds:
        return ""
    shares = [f"{b.title} {wording.percent(b.done_ratio)}" for b in document.bounds]
    words = (
        "A bound is what no scheduler passes that serves online requests as timely as the policy"
        f" it is listed beside. Replayed without noise, policies did of theirs:"
        f" {wording.listed(shares)}. How much of the rest can be had is not known."
    )
    return element("p", text(words))
