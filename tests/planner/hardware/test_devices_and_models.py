"""What sheets and configurations say, and what follows from them."""

from dataclasses import replace

import pytest

from planner.hardware.device import DEVICES, device_named
from planner.hardware.model import MODELS, model_named


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("llama2-7b", 6_738_415_616),
        ("llama2-13b", 13_015_864_320),
        ("llama2-70b", 68_976_648_192),
        ("llama3-8b", 8_030_261_248),
        ("llama3-70b", 70_553_706_496),
        ("mistral-7b", 7_241_732_096),
    ],
)
def test_weights_are_those_published(name, parameters):
    """The parameters of the published checkpoints, two bytes each."""
    assert model_named(name).weights_bytes == 2 * parameters


def test_kv_of_a_token_is_keys_and_values_of_all_layers():
    """Llama-2-7B keeps 524,288 B a token (the traces' notes); grouped heads keep less."""
    assert model_named("llama2-7b").kv_bytes == 2 * 32 * 32 * 128 * 2 == 524_288
    assert model_named("llama2-70b").kv_bytes == 2 * 80 * 8 * 128 * 2


def test_devices_of_a_family_share_their_arithmetic():
    """What shares measured tables has the same peak."""
    for one in DEVICES:
        for other in DEVICES:
            if one.family == other.family:
                assert one.flops_per_s == other.flops_per_s
    assert device_named("A100-40GB").family == "a100"


@pytest.mark.parametrize(("named", "values"), [(device_named, DEVICES), (model_named, MODELS)])
def test_unknown_names_are_refused_with_what_is_known(named, values):
    """An unknown name is an error that lists every known one."""
    for value in values:
        assert named(value.name) == value
    with pytest.raises(ValueError, match="'tpu'") as said:
        named("tpu")
    assert all(value.name in str(said.value) for value in values)


def test_nonsense_sizes_are_refused():
    """A device without bandwidth and a model without layers."""
    with pytest.raises(ValueError, match="memory_bytes_per_s is 0"):
        replace(device_named("h100"), memory_bytes_per_s=0.0)
    with pytest.raises(ValueError, match="layers is 0"):
        replace(model_named("llama2-7b"), layers=0)


def test_context_may_be_said_to_be_longer():
    """Another context changes nothing else."""
    longer = replace(model_named("llama3-8b"), context_tokens=65_536)
    assert longer.weights_bytes == model_named("llama3-8b").weights_bytes
