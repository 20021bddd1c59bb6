"""The agent's command line.

Owns flags, their defaults and what is refused of them. Invariant: a `Settings` that
exists is usable: names are well-formed, folders are absolute, addresses have ports.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slacktide.wire.names import resource_id, resource_name
from slacktide.wire.version import build_version

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB|TiB)?")
_UNITS = {None: 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_LOG_LEVELS = ("debug", "info", "warning", "error")


class SettingsError(ValueError):
    """A flag that cannot be used: which, observed, allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One agent's settings."""

    node: str
    listen: str
    advertise: str
    control_planes: tuple[str, ...]
    devices: str
    device_memory_bytes: int | None
    host_memory_bytes: int | None  # None: a part of what the host says
    host_memory_parts: int  # agents that divide the host's memory, of which this is one
    state_dir: Path
    models_dir: Path
    failure_domain: str
    labels: tuple[tuple[str, str], ...]
    engine_python: str
    engine_ready_timeout_s: float
    stop_grace_s: float
    offline_window: int
    log_level: str


def parse_settings(argv: Sequence[str]) -> Settings:
    """Reads the command line.

    Raises:
        SettingsError: a value is refused.
        SystemExit: --help, --version, or a flag that is unknown or missing.
    """
    flags = _parser().parse_args(argv)
    try:
        resource_id("nodes", resource_name("nodes", flags.node) or "nodes/")
    except ValueError as error:
        raise SettingsError(f"--node: {error}") from error
    listen = _address("--listen", flags.listen)
    if flags.offline_window < 1:
        raise SettingsError(f"--offline-window {flags.offline_window}: allowed are integers >= 1")
    for flag, seconds in (
        ("--engine-ready-timeout", flags.engine_ready_timeout),
        ("--stop-grace", flags.stop_grace),
    ):
        if not 0 < seconds < 86_400:
            raise SettingsError(f"{flag} {seconds:g}: allowed are seconds in (0, 86400)")
    host_memory, parts = _host_memory(flags.host_memory)
    return Settings(
        node=flags.node,
        listen=listen,
        advertise=_address("--advertise", flags.advertise) if flags.advertise else listen,
        control_planes=tuple(
            _address("--control-plane", part) for part in flags.control_plane.split(",") if part
        ),
        devices=flags.devices,
        device_memory_bytes=(
            parse_bytes("--device-memory", flags.device_memory) if flags.device_memory else None
        ),
        host_memory_bytes=host_memory,
        host_memory_parts=parts,
        state_dir=Path(flags.state_dir).absolute(),
        models_dir=Path(flags.models_dir).absolute(),
        failure_domain=flags.failure_domain or flags.node,
        labels=tuple(_label(label) for label in flags.label),
        engine_python=flags.engine_python,
        engine_ready_timeout_s=flags.engine_ready_timeout,
        stop_grace_s=flags.stop_grace,
        offline_window=flags.offline_window,
        log_level=flags.log_level,
    )


def parse_bytes(flag: str, text: str) -> int:
    """Reads a size such as "4GiB" or "1536 MiB".

    Raises:
        SettingsError: not a size, or zero.
    """
    match = _SIZE.fullmatch(text.strip())
    size = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if size <= 0:
        raise SettingsError(f"{flag} {text!r}: allowed are sizes > 0 such as 4GiB or 512MiB")
    return size


def _host_memory(text: str) -> tuple[int | None, int]:
    """(size, 1) of a size, (None, N) of one of N parts of what the host has."""
    numerator, _, parts = text.partition("/")
    if numerator.strip() == "1" and parts.strip().isdecimal() and int(parts) > 0:
        return None, int(parts)
    if not text:
        return None, 1
    try:
        return parse_bytes("--host-memory", text), 1
    except SettingsError as error:
        raise SettingsError(f"{error}, or 1/N for one of N agents on this machine") from None


def _address(flag: str, text: str) -> str:
    host, _, port = text.strip().rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise SettingsError(f"{flag} {text!r}: allowed is HOST:PORT with a port of 1 to 65535")
    return text.strip()


def _label(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise SettingsError(f"--label {text!r}: allowed is KEY=VALUE")
    return key, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nodeagent",
        description="Runs a node: starts the engines the control plane assigns, serves their"
        " requests, and fills their slack with batch items.",
    )
    add = parser.add_argument
    add("--version", action="version", version=build_version())
    add("--node", required=True, metavar="NAME", help="name of this node, e.g. n1")
    add("--listen", default="127.0.0.1:7411", metavar="HOST:PORT", help="where requests come in")
    add("--advertise", default="", metavar="HOST:PORT", help="address others reach --listen at")
    add(
        "--control-plane",
        default="",
        metavar="HOST:PORT[,...]",
        help="control planes; without any the agent serves what its state folder says",
    )
    add(
        "--devices",
        default="auto",
        metavar="cpu:N|auto",
        help="N engine slots on the CPU, or the CUDA devices nvidia-smi finds",
    )
    add(
        "--device-memory",
        default="",
        metavar="SIZE",
        help="memory an engine may use per device, e.g. 4GiB; required with cpu:N",
    )
    add(
        "--host-memory",
        default="",
        metavar="SIZE|1/N",
        help="host memory replicas may take together, e.g. 480GiB; without a size the machine's,"
        " or that of the agent's control group; 1/N: an equal part, for N agents on a machine",
    )
    add("--state-dir", required=True, metavar="DIR", help="assignment file and engine logs")
    add("--models-dir", required=True, metavar="DIR", help="folder of model folders")
    add("--failure-domain", default="", metavar="NAME", help="what fails together; the node")
    add("--label", action="append", default=[], metavar="KEY=VALUE", help="repeatable")
    add(
        "--engine-python",
        default=sys.executable,
        metavar="PATH",
        help="interpreter SGLang and the plugin are installed for (default: the agent's own)",
    )
    add(
        "--engine-ready-timeout",
        type=float,
        default=300.0,
        metavar="S",
        help="seconds an engine may take to become ready (default 300)",
    )
    add(
        "--stop-grace",
        type=float,
        default=30.0,
        metavar="S",
        help="seconds running streams may take after SIGTERM (default 30)",
    )
    add(
        "--offline-window",
        type=int,
        default=16,
        metavar="N",
        help="offline items held in one engine (default 16)",
    )
    add("--log-level", choices=_LOG_LEVELS, default="info")
    return parser
