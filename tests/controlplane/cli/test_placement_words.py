"""Plans, moves, terms, totals and explanations as people read them."""

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from slacktide.v1 import placement_pb2
from slacktide.v1.placement_pb2 import (
    Freeze,
    Misfit,
    Move,
    ObjectiveTerm,
    Placement,
    PlacementTotals,
    Plan,
)
from slacktide.v1.placement_service_pb2 import (
    DIFFERENCE_KIND_ONE_MORE_REPLICA,
    Difference,
    ExplainPlacementResponse,
    FreezePlacementResponse,
    GetPlacementResponse,
)

from controlplane.cli.placement_explain import difference_lines, explained_lines
from controlplane.cli.placement_hold import frozen_lines
from controlplane.cli.placement_show import standing_lines
from controlplane.cli.placement_words import (
    diff_lines,
    folded,
    freeze_line,
    held_lines,
    move_counts,
    outcome_line,
    placement_headers,
    placement_rows,
    summary_lines,
    term_words,
    totals_rows,
    totals_words,
)
from tests.controlplane.cli.program import slacktide

ADD, REMOVE, ADJUST = (
    placement_pb2.MOVE_KIND_ADD,
    placement_pb2.MOVE_KIND_REMOVE,
    placement_pb2.MOVE_KIND_ADJUST,
)


def move(kind: "placement_pb2.MoveKind", *, group: int = 0, **fields: object) -> Move:
    return Move(
        kind=kind, group=group, replica="replicas/r-1", deployment="deployments/chat",
        node="nodes/n1", **fields,  # type: ignore[arg-type]
    )  # fmt: skip


def test_moves_are_signed_lines_with_reason_and_condition() -> None:
    """What is done, to what, where, after what, and why."""
    plan = Plan(moves=[move(REMOVE, after=["replicas/r-7"], reason="drained")])
    assert diff_lines(plan) == ["- remove chat on n1 (r-1) after r-7 run: drained"]
    assert diff_lines(Plan()) == ["no change"]


def test_moves_stand_by_group_and_say_which_were_left_out() -> None:
    """A group that no longer fitted was not applied, and its line says so."""
    plan = Plan(moves=[move(ADD, group=2), move(ADJUST, group=1)], refused_groups=[2])
    assert diff_lines(plan) == [
        "group 1: applied whole or not at all",
        "~ adjust chat on n1 (r-1)",
        "group 2: applied whole or not at all: left out",
        "+ add chat on n1 (r-1)",
    ]


@given(st.lists(st.sampled_from([ADD, REMOVE, ADJUST]), max_size=12))
def test_move_counts_sum_to_the_moves(kinds: "list[placement_pb2.MoveKind]") -> None:
    """Every move is counted under one sign."""
    words = move_counts([move(kind) for kind in kinds])
    counted = {part[0]: int(part[1:]) for part in words.split()} if words != "none" else {}
    assert sum(counted.values()) == len(kinds)
    assert counted.get("+", 0) == kinds.count(ADD)


def test_summary_has_status_bound_gap_and_terms_that_count() -> None:
    """A term of 0 is left out."""
    plan = Plan(
        status=placement_pb2.PLAN_STATUS_FEASIBLE, solver="HIGHS", objective=-10.0, bound=-12.5,
        gap=0.25, solve_duration=Duration(nanos=250_000_000),
        terms=[
            ObjectiveTerm(name="moves", weight=2.0, value=0.0),
            ObjectiveTerm(name="offline_work", weight=-10.0, value=1.0),
        ],
    )  # fmt: skip
    assert summary_lines(plan) == [
        "feasible by HIGHS in 250 ms: objective -10, bound -12.5, gap 25.00%",
        "terms: offline_work -10 x 1",
    ]


def test_summary_has_no_negative_zero() -> None:
    """A bound of nothing is 0."""
    (line,) = summary_lines(Plan(solver="GSCIP", objective=-0.0, bound=-0.0))
    assert line.endswith("objective 0, bound 0, gap 0.00%")


def test_outcome_names_round_time_and_what_went_wrong() -> None:
    """A dry run has no outcome."""
    plan = Plan(
        name="plans/12", outcome=placement_pb2.ROUND_OUTCOME_FAILED, failure="solver killed",
        create_time=Timestamp(seconds=0, nanos=1),
    )  # fmt: skip
    assert outcome_line(plan) == "round 12, failed at 1970-01-01T00:00:00Z: solver killed"
    assert outcome_line(Plan()) == ""


def test_freezes_name_their_target_and_reason() -> None:
    """Fleet, node and deployment read as such."""
    assert freeze_line(Freeze(reason="exam week")) == "frozen: the whole fleet: exam week"
    assert freeze_line(Freeze(target="nodes/n1")) == "frozen: node n1"
    answer = FreezePlacementResponse(
        frozen=True, freezes=[Freeze(target="nodes/n1"), Freeze(target="deployments/chat")]
    )
    assert frozen_lines("nodes/n1", answer) == ["node n1: frozen", "frozen: deployment chat"]
    thawed = FreezePlacementResponse(frozen=False)
    assert frozen_lines("", thawed) == ["the whole fleet: not frozen"]


def test_plan_says_that_nothing_is_applied_when_the_whole_fleet_is_frozen() -> None:
    """A node's or a deployment's freeze is what the plan itself keeps to."""
    freezes = [Freeze(target="nodes/n1"), Freeze(reason="exam week")]
    assert held_lines(freezes) == [
        "frozen: the whole fleet: exam week; nothing of this plan is applied until"
        " `slacktide placement unfreeze`"
    ]
    assert held_lines(freezes[:1]) == []


def test_standing_says_what_a_freeze_holds_back() -> None:
    """Freezes, a rollback under way, the last round where it is another one, totals."""
    held = Plan(
        name="plans/14", outcome=placement_pb2.ROUND_OUTCOME_FROZEN, moves=[move(ADD), move(REMOVE)]
    )
    answer = GetPlacementResponse(
        plan=Plan(name="plans/12"), freezes=[Freeze()], last_round=held, rollback_to="plans/3",
        totals=PlacementTotals(replicas=2),
    )  # fmt: skip
    assert standing_lines(answer) == [
        "frozen: the whole fleet",
        "rolling back to plan 3",
        "last round: round 14, frozen; it would do +1 -1",
        "online 0 of 0 ms/s, offline 0 of 0 ms/s, replicas 2",
    ]
    assert "  + add chat on n1 (r-1)" in standing_lines(answer, wide=True)
    same = GetPlacementResponse(plan=Plan(name="plans/12"), last_round=Plan(name="plans/12"))
    assert standing_lines(same) == []


def test_terms_say_gains_before_costs_with_weight_and_value() -> None:
    """Minimised: a negative product is a gain."""
    terms = [
        ObjectiveTerm(name="moves", weight=2.0, value=1.0),
        ObjectiveTerm(name="offline_work", weight=-10.0, value=0.3),
        ObjectiveTerm(name="drops", weight=0.5, value=0.0),
    ]
    assert term_words(terms) == "gains 3 offline_work (-10 x +0.3); costs 2 moves (2 x +1)"


def test_totals_stand_beside_each_other_with_their_change() -> None:
    """Figures that are 0 in both are left out; equal ones have no change."""
    now = PlacementTotals(online_work_wanted=400, online_work_served=400, replicas=2)
    then = PlacementTotals(online_work_wanted=600, online_work_served=500, replicas=2)
    assert totals_rows(now, then) == [
        ["online work wanted, ms/s", "400", "600", "+200"],
        ["online work served, ms/s", "400", "500", "+100"],
        ["replicas", "2", "2", ""],
    ]


def test_totals_say_what_is_missing_in_one_line() -> None:
    """Deadlines and price appear where there are any."""
    totals = PlacementTotals(
        online_work_wanted=400, online_work_served=300, deadline_work_wanted=50,
        offline_work_wanted=90, offline_work_served=10, replicas=2, missing_replicas=1,
        nodes_used=1, nodes_ready=2, devices_used=2, devices_ready=4, price_per_hour=7.5,
    )  # fmt: skip
    assert totals_words(totals) == (
        "online 300 of 400 ms/s, deadlines 0 of 50 ms/s, offline 10 of 90 ms/s,"
        " replicas 2 (1 missing), nodes 1 of 2, devices 2 of 4, price 7.50 an hour"
    )


@pytest.mark.parametrize("wide", [False, True])
def test_placements_have_a_cell_for_every_header(wide: bool) -> None:
    """The wide table adds the SLO class; a new replica has no id yet."""
    rows = placement_rows([Placement(node="nodes/n1", device_indices=[0, 1])], wide=wide)
    assert len(rows[0]) == len(placement_headers(wide=wide))
    assert rows[0][3] == "(new)"


def test_folding_says_how_many_lines_are_not_shown() -> None:
    """Nothing is dropped in silence."""
    assert folded(["a", "b"], most=2, what="nodes") == ["a", "b"]
    assert folded(["a", "b", "c"], most=1, what="nodes") == [
        "a",
        "… and 2 more nodes; -o wide shows them",
    ]


def test_explanation_names_what_binds_and_each_change_term_by_term() -> None:
    """Binding, summary, changes with gain or refusal and what would help, then the nodes."""
    answer = ExplainPlacementResponse(
        binding="memory", summary="deployment chat: memory binds", revision=41,
        totals=PlacementTotals(online_work_wanted=100, online_work_served=100, replicas=1),
        differences=[
            Difference(
                kind=DIFFERENCE_KIND_ONE_MORE_REPLICA, change="one more replica", fits=True,
                objective_difference=-1.0,
                terms=[
                    ObjectiveTerm(name="offline_work", weight=-10.0, value=0.3),
                    ObjectiveTerm(name="moves", weight=2.0, value=1.0),
                ],
            ),
            Difference(
                change="one more replica on node n1", node="nodes/n1",
                misfit=Misfit(message="node n1: needs 18.2 GiB, has 11.0 GiB free"),
                would_fit_if="node n1 had 7.2 GiB more a device",
            ),
        ],
        misfits=[Misfit(message=f"node n{n} is short") for n in range(7)],
    )  # fmt: skip
    assert explained_lines("chat", answer) == [
        "deployment chat at revision 41",
        "binding: memory",
        "deployment chat: memory binds",
        "small changes, each evaluated and not solved: what it does to the objective"
        " (negative is better):",
        "  one more replica: -1: gains 3 offline_work (-10 x +0.3); costs 2 moves (2 x +1)",
        "  one more replica on node n1: does not fit: node n1: needs 18.2 GiB, has 11.0 GiB free",
        "    would fit if: node n1 had 7.2 GiB more a device",
        "why one more replica fits no node, the nearest miss first:",
        *(f"  node n{n} is short" for n in range(5)),
        "… and 2 more nodes; -o wide shows them",
    ]
    wide = explained_lines("chat", answer, wide=True)
    assert wide[-1] == "  node n6 is short"
    assert "online 100 of 100 ms/s, offline 0 of 0 ms/s, replicas 1" in wide


def test_change_without_effect_says_so() -> None:
    """A difference of 0 is an answer, too."""
    assert difference_lines(Difference(change="max_replicas 3 instead of 2", fits=True)) == [
        "max_replicas 3 instead of 2: +0: nothing changes"
    ]


def test_help_of_apply_says_that_what_a_plan_leaves_out_is_removed() -> None:
    """A plan of one deployment alone would remove all others."""
    assert (
        "a replica that it leaves out is removed" in slacktide("placement", "apply", "--help").out
    )
