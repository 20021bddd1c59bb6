"""Manifests of deployments with classes, failover, anti-affinity and load times."""

from pathlib import Path

import pytest
from slacktide.v1.deployment_pb2 import DeploymentSpec

from controlplane.cli.deployments import class_words, load_words
from controlplane.cli.failures import CommandError
from controlplane.cli.manifest import read_deployments

GOOD = """
name: chat
model: tiny
tensor_parallel_size: 2
other_tensor_parallel_sizes: [4, 8]
host_memory_bytes: 16GiB
node_groups: [pool-a]
anti_affinity: [chat, deployments/search]
load_duration: 90s
warm_load_duration: 1500ms
slo_classes:
  - id: fast
    slo: {ttft: 500ms, itl: 50ms}
    expected_online_work: 200
    failover_ratio: 1.0
  - id: slow
    slo: {ttft: 5s, tpot: 200ms}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "chat.yaml"
    path.write_text(text)
    return path


def test_manifest_takes_what_placement_needs(tmp_path: Path) -> None:
    """Classes in order, sizes, durations, and other deployments by their id."""
    spec = read_deployments(write(tmp_path, GOOD))[0].spec
    assert [one.id for one in spec.slo_classes] == ["fast", "slow"]
    assert spec.slo_classes[0].slo.itl.ToMilliseconds() == 50
    assert spec.slo_classes[0].failover_ratio == 1.0
    assert spec.slo_classes[1].slo.tpot.ToMilliseconds() == 200
    assert list(spec.other_tensor_parallel_sizes) == [4, 8]
    assert spec.host_memory_bytes == 16 * 2**30
    assert list(spec.anti_affinity) == ["deployments/chat", "deployments/search"]
    assert spec.warm_load_duration.ToMilliseconds() == 1500
    assert class_words(spec.slo_classes[0]) == (
        "fast: ttft 500 ms, itl 50 ms, 200 ms/s expected, failover 100%"
    )
    assert load_words(spec) == "90 s, 1.5 s warm"
    assert load_words(DeploymentSpec()) == ""


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("slo_classes: [fast]", "slo_classes: item 1: 'fast' is not a mapping"),
        ("slo_classes: {id: fast}", "slo_classes: {'id': 'fast'} is not a list"),
        ("slo_classes: [{id: a}, {idd: b}]", "slo_classes[2].idd: no such field; did you mean id?"),
        ("slo_classes: [{slo: {ttft: x}}]", "slo_classes[1].slo.ttft: 'x' is not a duration"),
        ("anti_affinity: ['Chat!']", "anti_affinity: "),
        ("anti_affinity: [3]", "anti_affinity: 3 is not text"),
        ("other_tensor_parallel_sizes: [two]", "'two' is not a whole number"),
    ],
)
def test_manifest_says_where_a_value_does_not_fit(tmp_path: Path, line: str, says: str) -> None:
    """By path, counted from 1 within lists."""
    with pytest.raises(CommandError) as refused:
        read_deployments(write(tmp_path, f"name: chat\nmodel: tiny\n{line}\n"))
    assert says in str(refused.value)
