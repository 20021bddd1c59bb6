"""Codecs: every value survives a document, and documents of another release are read."""

import json

import pytest
from hypothesis import given

from planner.model import Plan, Slo, Snapshot
from storage.codecs import from_json, to_json
from storage.records import DeploymentSpec
from tests.storage.examples import plans, snapshots, specs


@given(snapshots)
def test_snapshot_round_trips_when_sent_as_text(snapshot: Snapshot) -> None:
    """What the solver process reads equals what the parent wrote."""
    assert from_json(Snapshot, json.loads(json.dumps(to_json(snapshot)))) == snapshot


@given(plans)
def test_plan_round_trips_when_sent_as_text(plan: Plan) -> None:
    """What the parent reads equals what the solver process wrote."""
    assert from_json(Plan, json.loads(json.dumps(to_json(plan)))) == plan


@given(specs)
def test_spec_round_trips_when_stored(spec: DeploymentSpec) -> None:
    """A specification is read back as it was written."""
    assert from_json(DeploymentSpec, json.loads(json.dumps(to_json(spec)))) == spec


def test_document_is_read_when_a_newer_release_added_a_field() -> None:
    """N reads what N+1 wrote: unknown fields are ignored, missing ones take defaults."""
    slo = from_json(Slo, {"ttft_ms": 1, "itl_ms": 2.0, "from_the_future": [1, 2]})
    assert slo == Slo(ttft_ms=1.0, itl_ms=2.0)


@pytest.mark.parametrize("document", [None, [], {"ttft_ms": "fast"}, {}, 3])
def test_document_is_refused_when_its_shape_is_wrong(document: object) -> None:
    """Garbage is a ValueError that names the type, never a half-made value."""
    with pytest.raises(ValueError, match="Slo"):
        from_json(Slo, document)


def test_value_is_refused_when_it_has_no_document_form() -> None:
    """A list, a set or bytes would not come back as they went."""
    with pytest.raises(TypeError, match="list"):
        to_json([1])
