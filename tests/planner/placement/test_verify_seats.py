"""Ways to seat replicas that a rule names, and the rule that refuses them."""

from dataclasses import replace

import pytest
from hypothesis import given

from planner.model import Desired, Device, Misfit, Pin, Placement, ReplicaState
from planner.placement.verify import verify
from tests.planner.placement.fleets import GIB, running
from tests.planner.placement.test_verify_cases import QUICK, Spoilers
from tests.planner.placement.test_verify_valid import plans

SPOILERS = Spoilers()


def _new_chat(case, **fields):
    return case.with_placement(case.placement("chat", is_new=True), **fields)


def _kept_chat(case, **fields):
    return case.with_placement(case.placement("chat", is_new=False), **fields)


def _more(case, placement):
    return case.with_placements([*case.plan.placements, placement])


# ------------------------------------------------------------------ what exists


@SPOILERS.by("exists")
def keeps_a_replica_that_is_not_there(case):
    return _kept_chat(case, replica="ghost")


@SPOILERS.by("exists")
def keeps_a_replica_whose_removal_is_committed(case):
    return case.with_allocation("r-chat", desired=Desired.STOPPED)


@SPOILERS.by("stays")
def moves_a_kept_replica_to_another_node(case):
    return _kept_chat(case, node="n2", devices=(3,))


@SPOILERS.by("stays")
def moves_a_kept_replica_to_another_device(case):
    return _kept_chat(case, devices=(1,))


@SPOILERS.by("stays")
def turns_a_kept_replica_into_another_deployments(case):
    return _kept_chat(case, deployment="other", slo_class="")


@SPOILERS.by("deployment")
def places_a_deployment_nobody_wants(case):
    wanted = tuple(d for d in case.snapshot.deployments if d.id != "chat")
    return replace(case, snapshot=replace(case.snapshot, deployments=wanted))


@SPOILERS.by("node")
def places_on_a_node_that_is_gone(case):
    return case.without_node("n1")


# ------------------------------------------------------------------ where it may go


@SPOILERS.by("cordon")
def adds_to_a_cordoned_node(case):
    return case.with_node("n1", is_cordoned=True)


@SPOILERS.by("cordon")
def adds_to_a_draining_node(case):
    return case.with_node("n1", is_draining=True)


@SPOILERS.by("cordon")
def adds_to_a_lost_node(case):
    return case.with_node("n1", is_ready=False)


@SPOILERS.by("frozen")
def adds_to_a_frozen_node(case):
    return case.with_node("n1", is_frozen=True)


@SPOILERS.by("frozen")
def adds_to_a_frozen_deployment(case):
    return case.with_deployment("chat", is_frozen=True)


@SPOILERS.by("frozen")
def drops_from_a_frozen_node(case):
    frozen = case.with_node("n0", is_frozen=True)
    left = [p for p in case.plan.placements if p.node != "n0"]
    return frozen.with_placements(left)


@SPOILERS.by("frozen")
def drops_from_a_frozen_deployment(case):
    frozen = case.with_deployment("chat", is_frozen=True)
    return frozen.with_placements([p for p in case.plan.placements if p.deployment != "chat"])


@SPOILERS.by("node_group")
def adds_outside_the_node_groups(case):
    return case.with_deployment("chat", node_groups=("north", "west"))


@SPOILERS.by("slo_class")
def adds_for_a_class_that_is_not_known(case):
    return _new_chat(case, slo_class="gold")


@SPOILERS.by("slo_class")
def keeps_for_a_class_that_is_not_known(case):
    return _kept_chat(case, slo_class="gold")


# ------------------------------------------------------------------ what fits


@SPOILERS.by("devices")
def names_a_device_the_node_lacks(case):
    return _new_chat(case, devices=(0, 7))


@SPOILERS.by("devices")
def names_a_device_twice(case):
    return _new_chat(case, devices=(0, 0))


@SPOILERS.by("tensor_parallel")
def has_a_size_that_is_not_allowed(case):
    return _new_chat(case, devices=(0, 1, 2))


@SPOILERS.by("tensor_parallel")
def has_no_devices(case):
    return _new_chat(case, devices=())


@SPOILERS.by("device_type")
def mixes_device_types(case):
    n1 = next(n for n in case.snapshot.nodes if n.id == "n1")
    other = Device(index=1, device_type="c", memory_bytes=8 * GIB)
    return case.with_node("n1", devices=(n1.devices[0], other, *n1.devices[2:]))


@SPOILERS.by("device_type")
def takes_a_device_type_that_is_not_allowed(case):
    return case.with_deployment("chat", device_types=("a",))


@SPOILERS.by("memory")
def does_not_fit_its_devices(case):
    return case.with_deployment("chat", weights_bytes=17 * GIB)


# ------------------------------------------------------------------ who shares a node


@SPOILERS.by("exclusive")
def adds_onto_a_device_of_a_kept_replica(case):
    return _more(
        case, Placement(replica=None, deployment="chat", node="n0", devices=(0,), slo_class="tight")
    )


@SPOILERS.by("exclusive")
def adds_twice_onto_one_device(case):
    return _more(
        case, Placement(replica=None, deployment="chat", node="n1", devices=(1,), slo_class="tight")
    )


@SPOILERS.by("exclusive")
def adds_onto_a_device_that_is_being_freed(case):
    going = running("going", "other", "n1", 0, desired=Desired.STOPPED, state=ReplicaState.DRAINING)
    return case.beside(going)


@SPOILERS.by("exclusive")
def places_a_replica_twice(case):
    return _more(case, case.plan.placements[case.placement("chat", is_new=False)])


@SPOILERS.by("host_memory")
def takes_more_host_memory_than_is_left(case):
    return case.with_deployment("batch", host_memory_bytes=GIB + 1)


@SPOILERS.by("host_memory")
def takes_host_memory_that_what_leaves_still_holds(case):
    going = running("going", "batch", "n0", 1, desired=Desired.STOPPED)
    return case.beside(going)


@SPOILERS.by("anti_affinity")
def joins_a_node_with_a_forbidden_replica(case):
    return case.beside(running("r-other", "other", "n1", 2))


@SPOILERS.by("anti_affinity")
def joins_a_node_with_one_that_forbids_it(case):
    apart = case.with_deployment("chat", anti_affinity=())
    apart = apart.with_deployment("other", anti_affinity=("chat",))
    return apart.beside(running("r-other", "other", "n1", 2))


@SPOILERS.by("anti_affinity")
def has_two_of_a_deployment_that_is_apart_from_itself(case):
    return _more(case, Placement(replica=None, deployment="solo", node="n0", devices=(1,)))


# ------------------------------------------------------------------ how many


@SPOILERS.by("max_replicas")
def has_more_than_max_replicas(case):
    return case.with_deployment("chat", max_replicas=2)


@SPOILERS.by("max_moves")
def adds_more_than_a_round_may(case):
    most = case.snapshot.max_moves
    return replace(case, snapshot=replace(case.snapshot, max_moves=most - 1))


@SPOILERS.by("pin")
def falls_short_of_a_pin_in_silence(case):
    pins = (Pin(deployment="batch", node="n0", replicas=2),)
    return replace(case, snapshot=replace(case.snapshot, pins=pins))


@SPOILERS.by("pin")
def falls_short_of_a_pin_and_speaks_of_another_node(case):
    return _told(falls_short_of_a_pin_in_silence(case), node="n1")


@pytest.mark.parametrize("name", SPOILERS.names)
def test_verify_names_the_rule_when_a_replica_is_seated_badly(name):
    """Style 22: whatever fleet is drawn, the one change is refused by the rule it breaks."""
    SPOILERS.refuse(name, plans())


def _told(case, *, node):
    found = Misfit(
        deployment="batch", node=node, dimension="pin", needed=2.0, available=1.0, message="short"
    )
    return replace(case, plan=replace(case.plan, misfits=(found,)))


@QUICK
@given(plans())
def test_verify_passes_a_plan_short_of_a_pin_when_it_says_so(case):
    """A misfit of that deployment and node with dimension pin."""
    assert _told(falls_short_of_a_pin_in_silence(case), node="n0").rules() == set()


@QUICK
@given(plans())
def test_verify_passes_a_drop_from_what_is_frozen_when_nothing_could_stay(case):
    """A removal committed before, a node that is gone, a broken replica on a draining node."""
    others = [p for p in case.plan.placements if p.node != "n0" and p.deployment != "chat"]
    frozen = case.with_node("n0", is_frozen=True).with_placements(others)
    assert "frozen" in frozen.rules()

    for row in case.snapshot.allocations:
        frozen = frozen.with_allocation(row.replica, desired=Desired.STOPPED)
    frozen = frozen.with_placements([])
    assert "frozen" not in frozen.rules()
    broken = case.with_node("n0", is_frozen=True, is_draining=True, is_ready=False)
    assert "frozen" not in {v.rule for v in verify(broken.snapshot, frozen.plan)}
    gone = case.with_deployment("chat", is_frozen=True).without_node("n0").with_placements([])
    found = verify(gone.snapshot, gone.plan)
    assert "r-chat" not in {v.subject for v in found if v.rule == "frozen"}


@QUICK
@given(plans())
def test_verify_passes_more_than_max_replicas_when_a_freeze_keeps_them(case):
    """A freeze goes before a bound that was lowered since; nothing is added beside it."""
    kept = [p for p in case.plan.placements if p.replica is not None]
    frozen = case.with_placements(kept).with_deployment("solo", is_frozen=True, max_replicas=0)
    assert "max_replicas" not in frozen.rules()
    assert "max_replicas" in frozen.with_deployment("solo", is_frozen=False).rules()
