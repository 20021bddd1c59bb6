"""How much a search in counts may do.

Owns figures only. Refuses time.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a search may do; nodes and parts, never time.

    A problem of no more than `whole_integers` is solved whole. Deployments are solved at
    `prices` prices, a better choice is divided over cells up to `divisions`
    times; near the bound (`repair_below`) or now and then what is short is repaired in
    `repairs` parts; `merged_parts` free counts by device type, `parts` counts in cells. The
    gaps are relative to what a programme answers, `merged_gap` and the rest to the bound.
    """

    seed: int = 0
    parts: int = 2_000
    idle_parts: int = 150  # without gain, after which a search ends
    whole_integers: int = 150
    whole_nodes: int = 100
    last_nodes: int = 2_000  # of the whole, where parts no longer help
    first_parts: int = 8  # where something runs
    merged_parts: int = 3
    repairs: int = 8
    prices: int = 16
    divisions: int = 3
    repair_below: float = 0.02
    merged_gap: float = 1e-3
    part_nodes: int = 5
    part_gap: float = 1e-3
    part_integers: float = 150.0
    merged_integers: float = 40.0
    choose_above: float = 0.01  # gap to the bound of what there is, from which patterns are made
    close_enough: float = 1e-4  # gap to the bound at which a search ends
