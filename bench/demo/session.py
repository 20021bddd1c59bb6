"""A local fleet that serves the demo's deployment, and is gone afterwards.

Owns the way in (model, fleet, deployment) and the way out, which is taken whatever
happens in between, also at Ctrl-C and SIGTERM.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from slacktide.v1.deployment_pb2 import Deployment
from slacktide.v1.deployment_service_pb2 import ApplyDeploymentRequest

from controlplane.cli.manifest import read_deployments
from controlplane.cli.wording import bare
from controlplane.client import CALL_DEADLINE_S, Fleet, new_request_id
from controlplane.localfleet import lifecycle
from controlplane.localfleet.lifecycle import Ports
from controlplane.localfleet.readiness import Tell, wait_settled
from controlplane.localfleet.record import ClusterRecord, FleetOptions, LocalFleetError
from controlplane.localfleet.release import current_release
from planner.model import Slo

MANIFEST = Path(__file__).parents[2] / "deploy" / "demo" / "chat.yaml"
_ENGINES_TIMEOUT_S = 300.0  # two engines at once on two busy cores
_MODEL_TIMEOUT_S = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A running fleet with the demo's deployment on it."""

    record: ClusterRecord
    fleet: Fleet
    deployment: str
    slo: Slo


def progress_since_start() -> Tell:
    """A line on stderr with the seconds since this call."""
    began = time.monotonic()

    def tell(text: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {text}", file=sys.stderr, flush=True)

    return tell


@contextmanager
def serving(
    state_dir: Path, *, models_dir: Path, manifest: Path = MANIFEST, tell: Tell
) -> Iterator[Session]:
    """Two nodes with room for two engines each, serving the manifest's deployment.

    Raises:
        LocalFleetError: something did not become ready.
    """
    deployment = read_deployments(manifest)[0]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    make_model(deployment.spec.model, models_dir=models_dir, tell=tell)
    try:
        record = lifecycle.up(
            state_dir,
            FleetOptions(nodes=2, devices=2, models_dir=str(models_dir)),
            release=current_release(),
            ports=Ports(),
            tell=tell,
        )
        with Fleet(record.control_plane.address) as fleet:
            apply(fleet, deployment, tell=tell)
            yield Session(
                record=record,
                fleet=fleet,
                deployment=bare(deployment.name),
                slo=_slo(deployment),
            )
    finally:
        # A second Ctrl-C must not leave engines behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        lifecycle.down(state_dir, tell=tell)
        signal.signal(signal.SIGINT, signal.default_int_handler)


def make_model(model: str, *, models_dir: Path, tell: Tell) -> None:
    """Makes the model if it is not there.

    Raises:
        LocalFleetError: it could not be made.
    """
    tell(f"model {model} in {models_dir}")
    made = subprocess.run(
        [sys.executable, "-m", "nodeagent.models", "make", model, "--models-dir", str(models_dir)],
        capture_output=True,
        text=True,
        timeout=_MODEL_TIMEOUT_S,
        check=False,
    )
    if made.returncode:
        raise LocalFleetError(f"model {model}: could not be made:\n{made.stderr.strip()[-1000:]}")


def apply(fleet: Fleet, deployment: Deployment, *, tell: Tell) -> None:
    """Applies a deployment and waits until its least replicas run."""
    name = bare(deployment.name)
    tell(f"deployment {name}: {deployment.spec.min_replicas} replicas of {deployment.spec.model}")
    request = ApplyDeploymentRequest(deployment=deployment, request_id=new_request_id())
    fleet.deployments.ApplyDeployment(request, timeout=CALL_DEADLINE_S)
    wait_settled(fleet, timeout_s=_ENGINES_TIMEOUT_S, tell=tell)


def _slo(deployment: Deployment) -> Slo:
    slo = deployment.spec.slo
    return Slo(
        ttft_ms=slo.ttft.ToNanoseconds() / 1e6,
        itl_ms=slo.itl.ToNanoseconds() / 1e6 if slo.HasField("itl") else None,
        tpot_ms=slo.tpot.ToNanoseconds() / 1e6 if slo.HasField("tpot") else None,
        max_gap_ms=slo.max_gap.ToNanoseconds() / 1e6 if slo.HasField("max_gap") else None,
        attainment_ratio=slo.attainment_ratio or 0.99,
    )
