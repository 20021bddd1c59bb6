"""Generated fleets: reproducible, honest to their predictor, as full as they say."""

import gzip
import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.placement.batches import edf_rate
from bench.placement.catalogue import CATALOGUE, ServedModel
from bench.placement.drift import drifting
from bench.placement.files import InstanceFileError, read_folder, read_instance, write_instance
from bench.placement.frontiers import LATENCIES, derive
from bench.placement.generate import generate
from bench.placement.hardware import GPUS, Gpu
from bench.placement.instances import LOADS, SHAPES, SIZES, Instance, instances
from bench.placement.roofline import Roofline, Tokens
from planner.interference.frontier import offline_limit, online_limit
from planner.model import OFFLINE_ONLY

SMALL = Instance(size="10x3")

replicas = st.builds(
    lambda model, gpu, devices, kv, tokens: Roofline.of(
        model,
        gpu,
        devices=devices,
        kv_cache_bytes=kv,
        tokens=tokens,
    ),
    model=st.sampled_from(CATALOGUE),
    gpu=st.sampled_from(GPUS),
    devices=st.sampled_from((1, 2, 3, 4, 6, 8)),
    kv=st.floats(5e9, 300e9),
    tokens=st.builds(
        Tokens,
        prompt=st.floats(50, 4000),
        output=st.floats(10, 800),
        offline_prompt=st.floats(50, 4000),
        offline_output=st.floats(10, 800),
    ),
)


@given(name=st.sampled_from(sorted(SIZES)), seed=st.integers(0, 99))
def test_instance_name_parses_back(name: str, seed: int) -> None:
    """A name stands for exactly one instance."""
    for load in LOADS:
        for shape in SHAPES:
            instance = Instance(size=name, load=load, shape=shape, seed=seed)
            assert Instance.parse(instance.name) == instance


@pytest.mark.parametrize("name", ["", "10x3", "10x3-tight-dividing-0x", "7x7-tight-odd-s0"])
def test_instance_parse_refuses_when_no_instance_is_called_so(name: str) -> None:
    """Other names are refused by name."""
    with pytest.raises(ValueError, match="is no instance"):
        Instance.parse(name)


def test_instances_lists_fewer_seeds_when_size_is_largest() -> None:
    """The largest size has its own count of seeds."""
    found = instances(["10x3", "5000x100"], loads=["tight"], shapes=["odd"], seeds=3, largest=1)
    assert [one.seed for one in found] == [0, 1, 2, 0]


def test_generate_draws_the_same_when_asked_again() -> None:
    """Same instance, same snapshot; another seed, another."""
    assert generate(SMALL) == generate(SMALL)
    assert generate(SMALL) != generate(Instance(size="10x3", seed=1))


@pytest.mark.parametrize("size", ["10x3", "50x8", "50x40", "200x20"])
@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_generate_matches_its_name(size: str, shape: str) -> None:
    """Nodes, models, domains, TP sizes and host memory are those of the name."""
    snapshot = generate(Instance(size=size, shape=shape))
    assert len(snapshot.nodes) == SIZES[size].nodes
    assert len(snapshot.deployments) == SIZES[size].models
    assert len({node.failure_domain for node in snapshot.nodes}) == SIZES[size].domains
    assert {d.device_type for n in snapshot.nodes for d in n.devices} == {g.name for g in GPUS}
    sizes = {tp for one in snapshot.deployments for tp in one.tensor_parallel_sizes}
    assert sizes <= set(SHAPES[shape].tensor_parallel_sizes)
    assert (3 in sizes) == (shape == "odd")
    roomy = max(node.host_memory_bytes for node in snapshot.nodes)
    assert roomy == pytest.approx(SHAPES[shape].host_memory_ratio * 2000e9)


@pytest.mark.parametrize("load", sorted(LOADS))
def test_generate_fills_the_fleet_as_its_load_says(load: str) -> None:
    """Rates of deadlines and of all else add up to the stated shares of the devices."""
    snapshot = generate(Instance(size="50x8", load=load))
    kinds = [node.devices[0].device_type for node in snapshot.nodes]
    deadlines = elastic = 0.0
    for deployment in snapshot.deployments:
        best: dict[str, float] = {}
        for known in snapshot.frontiers:
            if known.deployment == deployment.id and known.slo_class == OFFLINE_ONLY:
                assert known.tensor_parallel_size is not None
                rate = offline_limit(known.frontier, 0.0) / known.tensor_parallel_size
                best[known.device_type] = max(best.get(known.device_type, 0.0), rate)
        share = {kind: kinds.count(kind) / len(kinds) for kind in best}
        mean = sum(share[kind] * best[kind] for kind in best) / sum(share.values())
        for batch in snapshot.batches:
            if batch.deployment == deployment.id:
                deadlines += batch.min_offline_work / mean
                elastic += (batch.offline_work - batch.min_offline_work) / mean
    devices = 8 * len(snapshot.nodes)
    assert deadlines == pytest.approx(LOADS[load].deadlines * devices, rel=1e-6)
    assert elastic == pytest.approx(LOADS[load].elastic * devices, rel=1e-6)


def test_generate_gives_a_curve_to_every_replica_that_fits() -> None:
    """No replica that has the memory is left to the default frontier."""
    snapshot = generate(Instance(size="50x8", shape="odd"))
    known = {
        (f.deployment, f.device_type, f.tensor_parallel_size, f.slo_class)
        for f in snapshot.frontiers
    }
    for one in snapshot.deployments:
        for gpu in GPUS:
            for size in one.tensor_parallel_sizes:
                if one.bytes_per_device_of(size) <= gpu.memory_bytes:
                    for slo_class in LATENCIES:
                        assert (one.id, gpu.name, size, slo_class) in known


def test_generate_keeps_quotas_above_deadlines() -> None:
    """No tenant's deadlines contradict its quota, drifting or not."""
    snapshot = generate(SMALL)
    for one in (snapshot, *islice(drifting(snapshot, seed=3), 8)):
        for tenant in one.tenants:
            least = sum(b.min_offline_work for b in one.batches if b.tenant == tenant.id)
            assert tenant.max_offline_work is not None
            assert tenant.max_offline_work >= least * (1 - 1e-12)


@given(replica=replicas, slo_class=st.sampled_from(sorted(LATENCIES)))
@settings(max_examples=200, deadline=None)
def test_frontier_promises_no_more_than_the_predictor(replica: Roofline, slo_class: str) -> None:
    """Chords lie on or under the curve at every load, and fall."""
    frontier, curve = derive(replica, slo_class=slo_class, online_ms=7.0, offline_ms=3.0)
    assert all(one.alpha >= -1e-9 and one.gamma >= 0.0 for one in frontier.segments)
    for x, y in curve:
        assert x <= online_limit(frontier) * (1 + 1e-9) + 1e-9
        assert offline_limit(frontier, x) <= y * (1 + 1e-6) + 1e-6


@given(replica=replicas, pass_s=st.sampled_from((0.0475, 0.1425, 0.6)))
@settings(max_examples=100, deadline=None)
def test_roofline_bears_what_its_own_limit_says(replica: Roofline, pass_s: float) -> None:
    """The most online load leaves room for nothing less than itself, and no more fits."""
    most = replica.most_online(pass_s=pass_s)
    if most <= 0.0:
        return
    at = replica.most_offline(np.array([0.5 * most, 0.999 * most, 1.01 * most]), pass_s=pass_s)
    assert at[0] >= at[1] >= 0.0
    assert at[2] == -1.0


def test_roofline_is_slower_when_devices_are() -> None:
    """More bandwidth and FLOPS bear more of the same model."""
    model, tokens = (
        _model("70b"),
        Tokens(prompt=800, output=200, offline_prompt=1000, offline_output=300),
    )

    def most(gpu: Gpu) -> float:
        replica = Roofline.of(model, gpu, devices=4, kv_cache_bytes=1e11, tokens=tokens)
        return replica.most_online(pass_s=0.1425)

    assert most(GPUS[0]) > most(GPUS[1]) > most(GPUS[2]) > 0.0


def _model(name: str) -> ServedModel:
    return next(model for model in CATALOGUE if model.name == name)


@given(
    batches=st.lists(
        st.tuples(st.floats(0.1, 100.0), st.floats(1.0, 1000.0)), min_size=1, max_size=6
    )
)
def test_edf_rate_is_the_least_that_keeps_every_deadline(
    batches: list[tuple[float, float]],
) -> None:
    """Earliest deadline first at that rate misses nothing; a little slower, something."""

    def misses(rate: float) -> bool:
        now = 0.0
        for work, deadline in sorted(batches, key=lambda batch: batch[1]):
            now += work / rate
            if now > deadline * (1 + 1e-9):
                return True
        return False

    rate = edf_rate(batches)
    assert not misses(rate)
    assert misses(rate * 0.999)


def test_drift_reverts_and_changes_demand_alone() -> None:
    """Factors stay around 1, and fleet, curves and weights stay as they were."""
    snapshot = generate(SMALL)
    logs = []
    for one in islice(drifting(snapshot, seed=1), 300):
        assert (one.nodes, one.frontiers) == (snapshot.nodes, snapshot.frontiers)
        assert [b.weight for b in one.batches] == [b.weight for b in snapshot.batches]
        logs.append(
            [
                np.log(now.online_work / then.online_work)
                for a, b in zip(one.deployments, snapshot.deployments, strict=True)
                for now, then in zip(a.slo_classes, b.slo_classes, strict=True)
                if then.online_work
            ]
        )
    # A walk that reverts by 0.95 at steps of 0.08 keeps a deviation of 0.256.
    assert 0.15 < float(np.std(np.array(logs[50:]))) < 0.40
    assert next(drifting(snapshot, seed=1)) == next(drifting(snapshot, seed=1))
    assert next(drifting(snapshot, seed=1)) != next(drifting(snapshot, seed=2))


def test_file_round_trips_to_the_same_bytes(tmp_path: Path) -> None:
    """What is read is what was written, and writing it again changes nothing."""
    snapshot = generate(Instance(size="10x3", shape="odd"))
    path = write_instance(tmp_path, "mine", snapshot)
    first = path.read_bytes()
    assert read_instance(path) == ("mine", snapshot)
    assert write_instance(tmp_path, "mine", snapshot).read_bytes() == first
    assert read_folder(tmp_path) == [("mine", snapshot)]


@pytest.mark.parametrize(
    "content",
    [
        b"no gzip",
        gzip.compress(b"no json"),
        gzip.compress(json.dumps({"format": 2, "name": "x", "snapshot": {}}).encode()),
        gzip.compress(json.dumps({"format": 1, "name": "x", "snapshot": {}}).encode()),
        gzip.compress(json.dumps([1]).encode()),
        gzip.compress(json.dumps({"format": 1}).encode())[:-6],
    ],
)
def test_file_is_refused_by_name_when_it_is_no_instance(tmp_path: Path, content: bytes) -> None:
    """A file of another kind says which it is and why."""
    path = tmp_path / "other.json.gz"
    path.write_bytes(content)
    with pytest.raises(InstanceFileError, match=r"other\.json\.gz"):
        read_instance(path)


def test_folder_is_refused_when_empty(tmp_path: Path) -> None:
    """A folder without instances is not a run of none."""
    with pytest.raises(InstanceFileError, match="no"):
        read_folder(tmp_path)
