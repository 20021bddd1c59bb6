"""What a verifier finds.

Owns one violation's value and the rounding all rules allow.
"""

from dataclasses import dataclass

SLACK = 1e-6
"""Relative; rounding of sums, far below any load that matters."""

SHARE_SLACK = 0.02
"""Of a deployment's online work, for each of its placements: committed shares stay as they
are while demand changes by noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A rule that a plan breaks, and where."""

    rule: str
    subject: str
    message: str


def broken(rule: str, subject: str, message: str) -> Violation:
    """A violation."""
    return Violation(rule=rule, subject=subject, message=message)
