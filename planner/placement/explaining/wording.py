"""Phrases that several explanations share."""

MORE_MOVES = "raise max_moves above 0, which lets no round add a replica"
"""Remedy where a bound on moves holds in every round."""


def counted(count: int, what: str) -> str:
    """E.g. "1 replica", "2 replicas"."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def spent(moves: int) -> str:
    """That a round has no move left, which a coming one has."""
    return f"this round's {counted(moves, 'move')} {'is' if moves == 1 else 'are'} spent"
