"""What the plugin takes is told apart: of all passes, and of those without offline work."""

from nodeagent.plugin_contract import Counters
from nodeagent.sglang_plugin.cost import PassCost


def test_time_is_online_only_when_pass_launched_and_held_no_offline() -> None:
    """The quotient that online work pays rests on launched passes without offline work."""
    cost = PassCost()
    for spent_us, elapsed_ms, launches, online_only in (
        (20, 10.0, True, True),
        (30, 12.0, True, False),
        (5, 500.0, False, True),  # idle polling dilutes nothing
        (40, 8.0, True, True),
    ):
        cost.spent_ns += spent_us * 1000
        if launches:
            cost.launched()
        cost.end_pass(elapsed_ms, online_only=online_only)
    cost.spent_ns += 7000  # of the pass that runs now
    assert Counters(**cost.counters()) == Counters(
        scheduling_us=102, online_only_scheduling_us=60, online_only_pass_us=18_000
    )
