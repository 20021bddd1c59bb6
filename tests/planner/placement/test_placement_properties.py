"""What holds of every fleet: hypothesis draws them, the verifier and brute force judge."""

import itertools
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.model import (
    Allocation,
    Deployment,
    Desired,
    PlanStatus,
    ReplicaState,
    Snapshot,
    Stage,
)
from planner.placement.fleet import Draft, Fleet, Seat, suits, survey
from planner.placement.greedy import coming_devices, greedy, keep_all
from planner.placement.objective import evaluate, tallies, total
from planner.placement.solve import solve
from planner.placement.verify import verify
from tests.planner.placement.fleets import deployment, fleet, node, rounds, solved

_STATES = st.sampled_from(
    [ReplicaState.RUNNING] * 4
    + [ReplicaState.PENDING, ReplicaState.STARTING, ReplicaState.FAILED, ReplicaState.DRAINING]
)
_QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def deployments(draw, name: str, *, widths=(1,)) -> Deployment:
    least = draw(st.integers(0, 2))
    return deployment(
        name,
        min_replicas=least,
        max_replicas=max(1, least + draw(st.integers(0, 2))),
        tensor_parallel_size=draw(st.sampled_from(widths)),
        device_types=draw(st.sampled_from([(), ("a",), ("a", "b")])),
        stage=draw(st.sampled_from([Stage.OBSERVE, Stage.ACTIVE])),
        spread=draw(st.booleans()),
        offline_weight=draw(st.sampled_from([0.5, 1.0, 3.0])),
        online_work=draw(st.sampled_from([0.0, 100.0, 600.0, 1500.0])),
        offline_work=draw(st.sampled_from([0.0, 300.0, 5000.0])),
        min_offline_work=draw(st.sampled_from([0.0, 0.0, 200.0])),
        generation=draw(st.sampled_from([1, 1, 1, 2])),
    )


@st.composite
def snapshots(draw, *, nodes=4, devices=3, wanted=3, widths=(1, 2)) -> Snapshot:
    fleet_nodes = [
        node(
            f"n{i}",
            devices=draw(st.integers(1, devices)),
            kind=draw(st.sampled_from(["a", "a", "b"])),
            gib=draw(st.sampled_from([1, 4, 4])),
            failure_domain=draw(st.sampled_from(["x", "y", "z"])),
            **draw(
                st.sampled_from(
                    [
                        {},
                        {},
                        {},
                        {"is_cordoned": True},
                        {"is_cordoned": True, "is_draining": True},
                        {"is_ready": False},
                    ]
                )
            ),
        )
        for i in range(draw(st.integers(0, nodes)))
    ]
    specs = [draw(deployments(f"d{i}", widths=widths)) for i in range(draw(st.integers(0, wanted)))]
    allocations: list[Allocation] = []
    for place in fleet_nodes:
        free = list(place.devices)
        for spec in specs:
            fits = [d.index for d in free if suits(d, spec)][: spec.tensor_parallel_size]
            if len(fits) == spec.tensor_parallel_size and draw(st.booleans()):
                free = [d for d in free if d.index not in fits]
                is_leaving = draw(st.sampled_from([False, False, False, True]))
                state = draw(_STATES) if place.is_ready else ReplicaState.LOST
                allocations.append(
                    Allocation(
                        replica=f"r-{place.id}-{spec.id}",
                        deployment=spec.id,
                        node=place.id,
                        devices=tuple(fits),
                        state=state,
                        desired=Desired.STOPPED if is_leaving else Desired.RUNNING,
                    )
                )
    return fleet(
        fleet_nodes,
        specs,
        allocations,
        max_moves=draw(st.sampled_from([None, None, None, 1, 3])),
    )


@_QUICK
@given(snapshots())
def test_every_incumbent_is_verified_and_no_worse_than_greedy_and_what_runs(snapshot):
    """Style 22: the ILP is never worse than greedy or the incumbent, and is verified."""
    as_is = total(evaluate(survey(snapshot), keep_all(survey(snapshot))))
    baseline = greedy(snapshot)
    plan = solved(snapshot)

    assert verify(snapshot, baseline) == ()
    assert plan.objective <= baseline.objective + 1e-6
    assert baseline.objective <= as_is + 1e-6
    assert plan.bound <= plan.objective


@_QUICK
@given(snapshots())
def test_closed_nodes_gain_nothing_and_devices_are_held_once(snapshot):
    """No device is overcommitted; cordoned, draining and lost nodes gain nothing."""
    plan = solved(snapshot)
    open_nodes = {n.id for n in snapshot.nodes if n.takes_new}
    held = [
        (a.node, device)
        for a in snapshot.allocations
        if a.desired is Desired.RUNNING or a.holds_devices
        for device in a.devices
    ]
    for placement in plan.placements:
        if placement.replica is None:
            assert placement.node in open_nodes
            held += [(placement.node, device) for device in placement.devices]
    assert len(held) == len(set(held))


@_QUICK
@given(snapshots())
def test_plan_is_the_same_when_solved_again(snapshot):
    """Same snapshot, same plans, whatever the order of its parts."""
    shuffled = replace(
        snapshot,
        nodes=snapshot.nodes[::-1],
        deployments=snapshot.deployments[::-1],
        allocations=snapshot.allocations[::-1],
    )

    first = list(solve(snapshot, work_left=lambda: 1.0))
    assert first == list(solve(snapshot, work_left=lambda: 1.0))
    assert first == list(solve(shuffled, work_left=lambda: 1.0))


@settings(parent=_QUICK, max_examples=40)
@given(snapshots(nodes=3))
def test_rounds_come_to_rest_when_nothing_else_changes(snapshot):
    """Solve, commit, settle: a fixed point within few rounds, devices never held twice."""
    rounds(snapshot)


@settings(parent=_QUICK, max_examples=80)
@given(snapshots(nodes=2, devices=2, wanted=2, widths=(1,)))
def test_plan_equals_brute_force_when_the_fleet_is_tiny(snapshot):
    """On tiny fleets a proved plan costs what the best of all drafts costs."""
    plan = solved(snapshot)
    best = _brute_force(survey(snapshot))

    assert plan.bound <= best + 1e-6
    assert plan.objective <= best + 0.25 + 1e-6
    assert plan.objective >= best - 1e-6
    assert plan.status in (PlanStatus.OPTIMAL, PlanStatus.INFEASIBLE)


def _brute_force(of: Fleet) -> float:
    keepable = [r for r in of.allocations if of.standing[r].is_keepable]
    best = float("inf")
    for size in range(len(keepable) + 1):
        for kept in itertools.combinations(keepable, size):
            for new in _assignments(of, dict(of.free)):
                base = Draft(kept=frozenset(kept), new=new)
                for waiting in _assignments(of, coming_devices(of, base)):
                    draft = replace(base, waiting=waiting)
                    if _is_allowed(of, draft):
                        best = min(best, total(evaluate(of, draft)))
    return best


def _assignments(of: Fleet, free: dict[str, frozenset[int]]):
    """All ways to give single devices to deployments or leave them."""
    devices = [(n, d) for n in sorted(free) for d in of.nodes[n].devices if d.index in free[n]]
    choices = [
        [None]
        + [
            Seat(deployment=spec.id, node=name, devices=(device.index,))
            for spec in of.deployments.values()
            if suits(device, spec) and (spec.id, name) not in of.avoided
        ]
        for name, device in devices
    ]
    for chosen in itertools.product(*choices):
        yield tuple(seat for seat in chosen if seat is not None)


def _is_allowed(of: Fleet, draft: Draft) -> bool:
    moves = of.snapshot.max_moves
    if moves is not None and len(draft.new) + len(draft.waiting) > moves:
        return False
    return all(
        max(tally.now, tally.later) <= of.deployments[name].max_replicas
        for name, tally in tallies(of, draft).items()
    )
