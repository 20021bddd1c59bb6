"""Numbers, units and statistics as people read them.

Owns rounding for the eye: three digits that count, thousands apart. Refuses decisions: what
is compared is compared unrounded.
"""

from math import floor, log10


def number(value: float) -> str:
    """Three digits, more where the number is whole and large: `0.0123`, `4.56`, `12,345`."""
    if value == 0.0:
        return "0"
    magnitude = floor(log10(abs(value)))
    if magnitude >= 2:
        return f"{value:,.0f}"
    return f"{value:.{min(6, 2 - magnitude)}f}"


def milliseconds(value_ms: float) -> str:
    """A duration: `45.6 ms`, `2.35 s`."""
    if abs(value_ms) >= 1000.0:
        return f"{number(value_ms / 1e3)} s"
    return f"{number(value_ms)} ms"


def seconds(value_s: float) -> str:
    """A stretch of time: `45 s`, `10 min`, `1 h 2 min`."""
    if value_s < 120.0:
        return f"{value_s:.3g} s" if value_s < 10.0 else f"{value_s:.0f} s"
    minutes = value_s / 60.0
    if minutes < 120.0:
        return f"{minutes:.1f}".removesuffix(".0") + " min"
    return f"{int(minutes // 60)} h {minutes % 60:.0f} min"


def percent(share: float) -> str:
    """A share: `12 %`, `0.34 %`."""
    percents = share * 100.0
    return f"{percents:.3g} %" if abs(percents) < 9.95 else f"{percents:.0f} %"


def tick(value: float) -> str:
    """A round number on an axis: `0.5`, `800`, `20k`, `1.5M`."""
    for size, letter in ((1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (size if letter == 'M' else 1e3):g}{letter}"
    return f"{value:,.10g}"


def statistic_words(statistic: str) -> str:
    """`itl_p99_ms` in words, after which a limit may follow."""
    metric, figure, _ = statistic.split("_")
    what = {
        "ttft": ("the wait for the first token (TTFT)", "waits for the first token (TTFT)"),
        "itl": ("the gap between two tokens (ITL)", "gaps between two tokens (ITL)"),
    }[metric]
    match figure:
        case "mean":
            return f"on average, {what[0]} is at most"
        case "p50":
            return f"half of the {what[1]} are at most"
        case _:
            return f"{figure.removeprefix('p')} % of the {what[1]} are at most"


def count(amount: int, noun: str) -> str:
    """`1 request`, `2,000 requests`."""
    return f"{amount:,} {noun}{'' if amount == 1 else 's'}"


def listed(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
