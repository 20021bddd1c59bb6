"""Deployments written in YAML."""

from pathlib import Path

import pytest
from slacktide.v1.deployment_pb2 import STAGE_ACTIVE

from controlplane.cli.failures import CommandError
from controlplane.cli.manifest import read_deployments

GOOD = """
name: chat
model: tiny
stage: active
min_replicas: 2
spread: true
weights_bytes: 4GiB
device_types: [cpu]
slo: {ttft: 1s, itl: 150ms, attainment_ratio: 0.95}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "chat.yaml"
    path.write_text(text)
    return path


def test_manifest_becomes_a_deployment_when_every_key_is_known(tmp_path: Path) -> None:
    """Durations, sizes, enums and lists are read as people write them."""
    deployment = read_deployments(write(tmp_path, GOOD))[0]
    assert deployment.name == "deployments/chat"
    assert deployment.spec.stage == STAGE_ACTIVE
    assert deployment.spec.weights_bytes == 4 * 2**30
    assert list(deployment.spec.device_types) == ["cpu"]
    assert deployment.spec.slo.itl.ToMilliseconds() == 150
    assert deployment.spec.slo.attainment_ratio == 0.95


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model: tiny", "name: required"),
        ("name: Chat!", "lower-case"),
        ("name: chat\nmin_replica: 2", "min_replica: no such field; did you mean min_replicas?"),
        ("name: chat\nmin_replicas: two", "min_replicas: 'two' is not a whole number"),
        ("name: chat\nmin_replicas: true", "min_replicas: True is not a whole number"),
        ("name: chat\nmin_replicas: 99999999999", "min_replicas: 99999999999 is out of range"),
        ("name: chat\nspread: 'yes'", "spread: 'yes' is not true or false"),
        ("name: chat\nstage: on", "stage: True is not one of observe, shadow, canary, active"),
        ("name: chat\nslo: {ttft: fast}", "slo.ttft: 'fast' is not a duration"),
        ("name: chat\nslo: 3", "slo: 3 is not a mapping"),
        ("name: chat\ndevice_types: cpu", "device_types: 'cpu' is not a list"),
        ("name: chat\nslo: {tftt: 1s}", "slo.tftt: no such field; did you mean ttft?"),
        ("- 1", "expected a mapping"),
        ("a: [", "is not YAML"),
        ("", "holds no deployment"),
        ("name: a\n---\nname: a", "appears more than once"),
        ("name: a\n---\nname: b\nmodel: 1", "document 2: model: 1 is not text"),
    ],
)
def test_manifest_is_refused_by_path_when_something_does_not_fit(
    tmp_path: Path, text: str, says: str
) -> None:
    """Every mistake is one sentence with file, path, value and remedy."""
    path = write(tmp_path, text)
    with pytest.raises(CommandError) as refused:
        read_deployments(path)
    assert str(path) in str(refused.value)
    assert says in str(refused.value)


def test_manifest_of_the_demo_is_read_when_shipped() -> None:
    """The demo's own manifest fits the contract and says its stage."""
    path = Path(__file__).parents[3] / "deploy" / "demo" / "chat.yaml"
    assert read_deployments(path)[0].spec.stage == STAGE_ACTIVE
