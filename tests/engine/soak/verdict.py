"""Whether a soak passed: nothing differed, nothing leaked, and every path was taken.

A soak that never parked or evicted proves nothing about parking or eviction, so each path
has a least count, stated for a thousand requests and scaled to the soak at hand.

Works on the JSON values of results, so that a soak may be run in parts.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import ceil
from typing import Any

from soak.setting import SettingResult

# Least counts for 1,000 requests, well below what a run shows.
LEAST_PER_THOUSAND = {
    "parked": 200,
    "resumed": 200,
    "chunks_capped": 50,
    "chunks_parked": 50,
    "chunks_requeued": 5,
    "prefills_deferred": 200,
    "equal_up_to_abort": 10,
}
# Of settings with small KV only.
LEAST_PER_THOUSAND_SMALL_KV = {
    "evicted": 20,
    "equal_after_eviction": 10,
    "retractions": 5,
}


def as_row(result: SettingResult) -> dict[str, Any]:
    """A result as JSON values."""
    return {"name": result.setting.name, "flags": list(result.setting.flags), **asdict(result)}


def totals(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """What happened, over all settings, by the names of the least counts and beyond."""
    total: Counter[str] = Counter()
    for row in rows:
        total.update(row["counters"])
        total["equal_up_to_abort"] += row["plugin"]["equal_prefixes"]
        for name in ("equal_after_eviction", "retractions", "stock_retractions", "requests"):
            total[name] += row[name]
    return dict(total)


def excused(comparison: Mapping[str, Any]) -> int:
    """Mismatches at a near-tie of stock's logits."""
    return sum(bool(m["is_excused"]) for m in comparison["mismatches"])


def mismatched(comparison: Mapping[str, Any]) -> int:
    """Mismatches that nothing excuses."""
    return sum(not m["is_excused"] for m in comparison["mismatches"])


def unexercised(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Paths the soak took less often than it must have."""
    missing = []
    for least, among in (
        (LEAST_PER_THOUSAND, rows),
        (LEAST_PER_THOUSAND_SMALL_KV, [r for r in rows if r["setting"]["has_small_kv"]]),
    ):
        found = totals(among)
        for name, rate in least.items():
            wanted = ceil(rate * found.get("requests", 0) / 1000)
            if found.get(name, 0) < wanted:
                missing.append(f"{name}: {found.get(name, 0)} times, at least {wanted} wanted")
    return tuple(missing)


def complaints(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Why a soak failed; empty where it passed."""
    return (*(f"not exercised: {text}" for text in unexercised(rows)), *wrongs(rows))


def wrongs(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """What an engine did wrong, however little it was asked."""
    found: list[str] = []
    for row in rows:
        name = row["name"]
        found += [f"{name}: {text}" for text in row["trouble"]]
        for answers in ("plugin", "control"):
            found += [f"{name}: {answers} failed: {text}" for text in row[answers]["failures"]]
        found += [
            f"{name}: differs from stock: {m}"
            for m in row["plugin"]["mismatches"]
            if not m["is_excused"]
        ]
    return tuple(found)
