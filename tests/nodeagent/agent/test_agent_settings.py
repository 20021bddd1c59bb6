"""The command line and the devices it names."""

from pathlib import Path

import pytest

from nodeagent.devices import find_devices, parse_query
from nodeagent.settings import SettingsError, parse_bytes, parse_settings

REQUIRED = ["--node", "n1", "--state-dir", "s", "--models-dir", "m"]


def test_settings_have_stated_defaults() -> None:
    """What is not said: no control plane, listen is advertised, the node is its own domain."""
    settings = parse_settings(REQUIRED)
    assert settings.control_planes == ()
    assert settings.advertise == settings.listen == "127.0.0.1:7411"
    assert settings.failure_domain == "n1"
    assert settings.state_dir == Path("s").absolute()


def test_settings_take_several_control_planes_and_labels() -> None:
    """Addresses by comma, labels repeatable."""
    settings = parse_settings(
        [*REQUIRED, "--control-plane", "a:1,b:2", "--label", "zone=z1", "--label", "rack=7"]
    )
    assert settings.control_planes == ("a:1", "b:2")
    assert settings.labels == (("zone", "z1"), ("rack", "7"))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--node", "N1"], ["--node", "N1"]),
        (["--listen", "7411"], ["--listen", "HOST:PORT"]),
        (["--listen", "h:99999"], ["--listen", "65535"]),
        (["--listen", "127.0.0.1:0"], ["--listen", "1 to 65535"]),
        (["--device-memory", "0GiB"], ["--device-memory", "0GiB"]),
        (["--device-memory", "4GB"], ["--device-memory", "4GB", "GiB"]),
        (["--host-memory", "1/0"], ["--host-memory", "1/0", "1/N"]),
        (["--host-memory", "2/3"], ["--host-memory", "2/3", "1/N"]),
        (["--label", "zone"], ["--label", "KEY=VALUE"]),
        (["--offline-window", "0"], ["--offline-window", ">= 1"]),
        (["--stop-grace", "-1"], ["--stop-grace", "-1"]),
    ],
)
def test_settings_refuse_with_flag_observed_and_allowed(flags: list[str], words: list[str]) -> None:
    """Each bad value names its flag."""
    with pytest.raises(SettingsError) as caught:
        parse_settings([*REQUIRED, *flags])
    assert all(word in str(caught.value) for word in words)


def test_sizes_are_read_in_binary_units() -> None:
    """4GiB is 2^32 bytes."""
    assert parse_bytes("--x", "4GiB") == 2**32
    assert parse_bytes("--x", "1.5 MiB") == 3 * 2**19


def test_cpu_slots_share_the_stated_memory() -> None:
    """cpu:2 gives two slots, each with the memory given."""
    devices = find_devices("cpu:2", memory_bytes=100)
    assert [(d.index, d.device_type, d.memory_bytes) for d in devices] == [
        (0, "cpu", 100),
        (1, "cpu", 100),
    ]


@pytest.mark.parametrize("spec", ["cpu:0", "cpu:x", "cpu", "gpu:2", ""])
def test_devices_refuse_a_malformed_spec(spec: str) -> None:
    """Anything but cpu:N and auto is refused with what is allowed."""
    with pytest.raises(SettingsError, match="allowed"):
        find_devices(spec, memory_bytes=1)


def test_cuda_devices_are_read_from_the_drivers_listing() -> None:
    """Index, name as the type, and what an engine may use of the memory."""
    listing = "0, NVIDIA H100 80GB HBM3, 81559\n3, NVIDIA A40, 46068\n"
    first, second = parse_query(listing, memory_bytes=None)
    assert (first.index, first.device_type) == (0, "NVIDIA H100 80GB HBM3")
    assert 0.8 < first.memory_bytes / (81559 * 2**20) < 0.95
    assert second.index == 3


@pytest.mark.parametrize("listing", ["", "No devices were found", "0, NVIDIA H100, [N/A]"])
def test_cuda_devices_refuse_a_listing_without_usable_gpus(listing: str) -> None:
    """No GPU, or one without a readable memory, is an error with the remedy."""
    with pytest.raises(SettingsError, match="--devices"):
        parse_query(listing, memory_bytes=None)
