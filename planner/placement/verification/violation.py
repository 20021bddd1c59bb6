"""What a verifier finds.

Owns one violation's value and the rounding all rules allow.
"""

from dataclasses import dataclass

_SLACK_RATIO = 1e-5
_LEAST_WORK = 1000.0  # engine-ms per second: about what a replica without batching does

SHARE_SLACK = 0.02
"""Of a deployment's online work, for each of its placements: committed shares stay as they
are while demand changes by noise."""

MOST_SHARE_SLACK = 0.1
"""Likewise, for all of them together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A rule that a plan breaks, and where."""

    rule: str
    subject: str
    message: str


def slack(work: float) -> float:
    """What a sum may be off by rounding and a solver's tolerance, in engine-ms per second.

    Far below any load that matters: a hundred-thousandth of it, and no less than that of one
    replica, since solvers count work in replicas.
    """
    return _SLACK_RATIO * max(_LEAST_WORK, abs(work))


def broken(rule: str, subject: str, message: str) -> Violation:
    """A violation."""
    return Violation(rule=rule, subject=subject, message=message)
