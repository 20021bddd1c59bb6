"""What binds, in fleets that are not plain: said as it is."""

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.model import Allocation, BatchDemand, Pin, ReplicaState, Stage, Tenant
from planner.placement.explaining import binding
from planner.placement.explaining.binding import binding_of
from planner.placement.explaining.differences import ChangeKind
from planner.placement.explaining.nodefit import DIMENSIONS
from planner.placement.fairness import FAIR_SHARE
from planner.placement.quotas import QUOTA
from tests.planner.placement.fleets import deployment, fleet, node
from tests.planner.placement.rich_fleets import rich_fleets

_PROTO = Path(__file__).parents[3] / "proto/slacktide/v1"


def listed(file, field):
    """Words in quotes of the comment above a field of the wire contract."""
    lines = (_PROTO / file).read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if re.match(rf"  string {field} = ", line))
    first = next(i for i in range(at, 0, -1) if not lines[i - 1].startswith("  //"))
    return set(re.findall(r'"(\w+)"', " ".join(lines[first:at])))


def runs(name, where, *devices, of="chat", **fields):
    fields.setdefault("state", ReplicaState.RUNNING)
    return Allocation(replica=name, deployment=of, node=where, devices=devices, **fields)


def said(snapshot, *, is_served=False, is_short_online=False, **fields):
    return binding_of(
        snapshot, "chat", is_served=is_served, is_short_online=is_short_online, **fields
    )


def of_kind(found, kind):
    return [one for one in found.differences if one.kind is kind]


def test_quota_is_named_when_a_tenant_is_at_it():
    """More replicas would serve no more of this tenant."""
    wanted = deployment("chat", stage=Stage.ACTIVE)
    snapshot = fleet(
        [node("n1")],
        [wanted],
        [runs("a", "n1", 0)],
        tenants=(Tenant(id="red", max_offline_work=200.0),),
        batches=(BatchDemand(deployment="chat", tenant="red", offline_work=800.0),),
    )
    found = said(snapshot)
    assert found.word == "quota"
    assert "tenant red" in found.what
    (more,) = of_kind(found, ChangeKind.ONE_MORE_REPLICA)
    assert more.fits and "offline_work" not in {one.name for one in more.terms}


def test_quota_couples_deployments_when_a_tenant_has_batches_of_both():
    """The other one eats what this one would gain: a part without it would tell otherwise."""
    both = [deployment(name, stage=Stage.ACTIVE, max_replicas=4) for name in ("chat", "code")]
    snapshot = fleet(
        [node("n1"), node("n2")],
        both,
        [runs("a", "n1", 0), runs("b", "n1", 1, of="code")],
        tenants=(Tenant(id="red", max_offline_work=900.0),),
        batches=tuple(
            BatchDemand(deployment=one.id, tenant="red", offline_work=2000.0) for one in both
        ),
    )
    (more,) = of_kind(said(snapshot), ChangeKind.ONE_MORE_REPLICA)
    assert more.fits and "offline_work" not in {one.name for one in more.terms}


def test_lack_is_told_when_work_would_not_survive_a_domain():
    """All is served, and half of it would be lost: that is not nothing."""
    wanted = deployment("chat", online_work=600.0, failover_ratio=1.0)
    snapshot = fleet([node("n1"), node("n2", devices=0)], [wanted], [runs("a", "n1", 0)])
    found = said(snapshot, is_served=True)
    assert "600 engine-ms/s that are to survive the loss of a failure domain do not" in found.what
    assert found.word != "none"
    added = of_kind(found, ChangeKind.NODE_ADDED)
    gains = {one.name: one.value for one in added[0].terms}
    assert gains["failover_shortfall"] == pytest.approx(-0.6)


def test_pin_is_named_when_its_node_has_too_few():
    """Though all work is served elsewhere."""
    wanted = deployment("chat", min_replicas=0)
    snapshot = fleet(
        [node("n1", devices=1), node("n2", devices=1)],
        [wanted, deployment("code")],
        [runs("a", "n1", 0, of="code"), runs("b", "n2", 0)],
        pins=(Pin(deployment="chat", node="n1"),),
    )
    found = said(snapshot, is_served=True)
    assert found.word == "pin"
    assert "node n1 has 0" in found.what


def test_frozen_replica_is_not_offered_when_one_less_is_asked():
    """A freeze keeps it; what cannot go has no difference."""
    wanted = deployment("chat", min_replicas=0)
    snapshot = fleet(
        [node("n1", is_frozen=True), node("n2")],
        [wanted],
        [runs("a", "n1", 0), runs("b", "n2", 0)],
    )
    (less,) = of_kind(said(snapshot, is_served=True), ChangeKind.ONE_LESS_REPLICA)
    assert less.change == "without replica b"


def test_any_node_group_is_asked_about_when_its_own_is_full():
    """What the bound costs, and what would fit if it stays."""
    wanted = deployment("chat", node_groups=("left",), online_work=1200.0)
    snapshot = fleet(
        [node("n1", devices=1, group="left"), node("n2")], [wanted], [runs("a", "n1", 0)]
    )
    found = said(snapshot, is_short_online=True)
    assert found.word == "devices"
    (more,) = of_kind(found, ChangeKind.ONE_MORE_REPLICA)
    assert more.would_fit_if.startswith("node n1 had 1 more free device(s): add a node of group")
    (relaxed,) = of_kind(found, ChangeKind.BOUND_RELAXED)
    assert relaxed.change.startswith("any node group") and relaxed.objective < 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rich_fleets(), st.booleans(), st.booleans())
def test_word_is_listed_in_the_wire_contract_whatever_binds(snapshot, is_served, is_fleet_frozen):
    """So that a client knows all there are; misfits' dimensions likewise."""
    for one in snapshot.deployments:
        found = binding_of(
            snapshot,
            one.id,
            is_served=is_served,
            is_short_online=not is_served,
            is_fleet_frozen=is_fleet_frozen,
        )
        assert found.word in listed("placement_service.proto", "binding")
        for misfit in found.misfits:
            assert misfit.dimension in listed("placement.proto", "dimension")


def test_words_of_the_wire_contract_are_those_of_the_code():
    """None is left over: each word that the contract lists is said somewhere."""
    source = Path(binding.__file__).read_text()
    said_here = set(re.findall(r'return "(\w+)"', source))
    assert listed("placement_service.proto", "binding") == said_here | set(DIMENSIONS)
    assert {*DIMENSIONS, FAIR_SHARE, QUOTA, "pin", "max_replicas"} <= listed(
        "placement.proto", "dimension"
    )
