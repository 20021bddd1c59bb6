"""What parking, resuming and evicting rows adds to the passes of a simulated engine."""

from math import inf, nan

import pytest
from simulated_engines import MODEL, offline, online, run, settings

from planner.batching.state import IterationPlan


class Scripted:
    """Computes all offline prompts, and parks, evicts and resumes rows as a script says.

    Decisions are counted from the first that sees two running offline rows.
    """

    def __init__(self, script):
        self._script = script
        self._asked = 0
        self.seen_ms = []

    def __call__(self, state, *, model, budgets):
        self.seen_ms.append(state.last_pass_ms)
        changes = {}
        if self._asked or len(state.running) >= 2:
            self._asked += 1
            changes = self._script.get(self._asked, {})
        return IterationPlan(offline_chunk_tokens=1 << 30, **changes)


SCRIPT = {
    2: {"park": ("b0", "b1")},
    4: {"resume": ("b0",), "evict": ("b1",)},
    6: {"resume": ("b0",)},  # it runs already: nothing changes
}


def passes(**engine):
    """Each pass of two offline rows beside an online one, with the policy that saw them."""
    policy = Scripted(SCRIPT)
    records = []
    run(
        engine=settings(chunked_prefill_size=1024, **engine),
        policy=policy,
        scheduled=[
            online("a", output_tokens=40),
            *(offline(f"b{i}", prompt_tokens=50, output_tokens=40) for i in range(2)),
        ],
        on_pass=records.append,
    )
    return records, policy


def test_changed_rows_add_to_their_pass_and_to_no_other():
    """A pass lasts what the truth says, and `change_ms` and `change_row_ms` for its changes."""
    records, _ = passes(change_ms=3.0, change_row_ms=0.25)
    assert [r.run.changed_rows for r in records if r.run.changed_rows] == [2, 2]
    for record in records:
        changed = record.run.changed_rows
        added_ms = 3.0 + 0.25 * changed if changed else 0.0
        assert record.lasted_ms == pytest.approx(MODEL.predict_ms(record.run.shape) + added_ms)


def test_change_cost_is_in_the_measured_pass_and_not_in_the_plan():
    """The policy sees it as it sees all of a pass: once it is over."""
    free, _ = passes()
    dear, policy = passes(change_ms=3.0, change_row_ms=0.25)
    assert [r.run.plan for r in dear] == [r.run.plan for r in free]
    measured_ms = [r.lasted_ms for r in dear]
    assert policy.seen_ms == [0.0, *measured_ms[: len(policy.seen_ms) - 1]]


def test_change_before_a_pass_that_runs_nothing_is_paid_by_the_next():
    """Rows parked while nothing else runs cost time all the same."""
    records = []
    run(
        engine=settings(change_ms=3.0, change_row_ms=0.25),
        policy=Scripted({2: {"park": ("b0", "b1")}, 4: {"resume": ("b0", "b1")}}),
        scheduled=[offline(f"b{i}", prompt_tokens=50, output_tokens=20) for i in range(2)],
        on_pass=records.append,
    )
    assert [r.run.changed_rows for r in records if r.run.changed_rows] == [4]


@pytest.mark.parametrize("name", ["change_ms", "change_row_ms"])
@pytest.mark.parametrize("value", [-0.1, inf, nan])
def test_change_cost_that_is_no_duration_is_refused(name, value):
    """Finite and >= 0."""
    with pytest.raises(ValueError, match=f"{name} is .* finite and >= 0"):
        settings(**{name: value})
