"""`slacktide deployment`: list, describe, apply, delete."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from slacktide.v1.deployment_pb2 import Deployment, DeploymentSpec, SloClass, Stage
from slacktide.v1.deployment_service_pb2 import (
    ApplyDeploymentRequest,
    DeleteDeploymentRequest,
    GetDeploymentRequest,
    ListDeploymentsRequest,
    ListDeploymentsResponse,
)
from slacktide.v1.slo_pb2 import Slo

from controlplane.cli.connection import connect
from controlplane.cli.failures import CommandError, ExitCode
from controlplane.cli.lookup import complete_deployment, find_deployment
from controlplane.cli.manifest import read_deployments
from controlplane.cli.output import Column, Format, FormatOption, say, show_list, show_one
from controlplane.cli.wording import (
    age_words,
    bare,
    duration_words,
    enum_word,
    size_words,
    time_words,
)
from controlplane.client import CALL_DEADLINE_S, Fleet, new_request_id, pages

app = typer.Typer(no_args_is_help=True, help="Models that are wanted, with SLO and replica bounds.")
DeploymentArgument = Annotated[
    str, typer.Argument(help="Deployment id or unique prefix.", autocompletion=complete_deployment)
]
_POLL_S = 0.5


@app.command("list")
def list_deployments(output: FormatOption = Format.TABLE) -> None:
    """Lists deployments with replicas wanted and running."""
    answer = ListDeploymentsResponse()
    with connect() as fleet:
        for page in pages(
            lambda token: fleet.deployments.ListDeployments(
                ListDeploymentsRequest(page_token=token), timeout=CALL_DEADLINE_S
            )
        ):
            answer.deployments.extend(page.deployments)
    now = datetime.now(UTC)
    columns = (
        Column[Deployment](header="deployment", cell=lambda d: bare(d.name)),
        Column[Deployment](header="model", cell=lambda d: d.spec.model),
        Column[Deployment](header="stage", cell=lambda d: enum_word(Stage, d.spec.stage)),
        Column[Deployment](header="running", cell=_running, right=True),
        Column[Deployment](header="slo", cell=lambda d: slo_words(d.spec.slo)),
        Column[Deployment](header="age", cell=lambda d: age_words(d.create_time, now=now)),
        Column[Deployment](header="misfit", cell=lambda d: "; ".join(d.status.misfits)),
    )
    show_list(answer, answer.deployments, columns, output)


@app.command()
def describe(deployment: DeploymentArgument, output: FormatOption = Format.TABLE) -> None:
    """Shows one deployment: spec, status, and why something is not placed."""
    with connect() as fleet:
        found = get_deployment(fleet, find_deployment(fleet, deployment))
    spec = found.spec
    facts = [
        ("deployment", bare(found.name)),
        ("model", spec.model),
        ("stage", enum_word(Stage, spec.stage)),
        ("slo", slo_words(spec.slo)),
        ("replicas", f"{spec.min_replicas} to {spec.max_replicas}"),
        ("running", str(found.status.running_replicas)),
        ("placed", str(found.status.placed_replicas)),
        ("misfits", "\n".join(found.status.misfits)),
        ("slo classes", "\n".join(class_words(one) for one in spec.slo_classes)),
        ("failover", f"{spec.failover_ratio:.0%} of online demand" if spec.failover_ratio else ""),
        (
            "devices a replica",
            " or ".join(
                str(size) for size in (spec.tensor_parallel_size, *spec.other_tensor_parallel_sizes)
            ),
        ),
        ("device types", ", ".join(spec.device_types) or "any"),
        ("node groups", ", ".join(spec.node_groups)),
        ("shares no node with", ", ".join(bare(name) for name in spec.anti_affinity)),
        ("host memory", size_words(spec.host_memory_bytes) if spec.host_memory_bytes else ""),
        ("loads in", load_words(spec)),
        ("kv cache", f"{spec.kv_cache_tokens} tokens"),
        ("spread", "over failure domains" if spec.spread else ""),
        ("latency budget", f"{spec.latency_budget_ms:g} ms" if spec.latency_budget_ms else ""),
        ("generation", str(found.generation)),
        ("created", time_words(found.create_time)),
        ("updated", time_words(found.update_time)),
    ]
    show_one(found, facts, output)


@app.command()
def apply(
    file: Annotated[Path, typer.Option("-f", "--file", help="Manifest, YAML.", exists=True)],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and answer, change nothing.")
    ] = False,
    generation: Annotated[
        int, typer.Option(help="Refuse if the deployment has changed since this generation.")
    ] = 0,
    wait: Annotated[
        bool, typer.Option("--wait", help="Return once its least replicas run.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="With --wait, seconds.", min=1)] = 300,
    output: FormatOption = Format.TABLE,
) -> None:
    """Creates deployments or replaces their specs; the next round places them.

    A manifest is flat: `name`, then the fields of DeploymentSpec.

    \b
      name: chat
      model: tiny
      stage: active        # observe (default) runs no offline work
      min_replicas: 2
      max_replicas: 2
      spread: true
      slo: {ttft: 1s, itl: 150ms}

    Example:  slacktide deployment apply -f chat.yaml --wait
    """  # noqa: D301 - backslash-b is click's mark for "do not rewrap"
    wanted = read_deployments(file)
    with connect() as fleet:
        for deployment in wanted:
            request = ApplyDeploymentRequest(
                deployment=deployment,
                generation=generation,
                validate_only=dry_run,
                request_id=new_request_id(),
            )
            stored = fleet.deployments.ApplyDeployment(request, timeout=CALL_DEADLINE_S).deployment
            if wait and not dry_run:
                stored = _wait_running(fleet, stored, timeout_s=timeout)
            done = "valid" if dry_run else f"applied, generation {stored.generation}"
            show_one(stored, [(f"deployment {bare(deployment.name)}", done)], output)


@app.command()
def delete(deployment: DeploymentArgument) -> None:
    """Deletes a deployment; its replicas drain."""
    with connect() as fleet:
        name = find_deployment(fleet, deployment)
        request = DeleteDeploymentRequest(name=name, request_id=new_request_id())
        fleet.deployments.DeleteDeployment(request, timeout=CALL_DEADLINE_S)
    print(f"deployment {bare(name)}  deleted")


def get_deployment(fleet: Fleet, name: str) -> Deployment:
    """One deployment by its resource name."""
    request = GetDeploymentRequest(name=name)
    return fleet.deployments.GetDeployment(request, timeout=CALL_DEADLINE_S).deployment


def slo_words(slo: Slo) -> str:
    """E.g. "ttft 1 s, itl 150 ms"."""
    targets = [("ttft", slo.ttft), ("itl", slo.itl), ("tpot", slo.tpot)]
    return ", ".join(f"{name} {words}" for name, d in targets if (words := duration_words(d)))


def class_words(one: SloClass) -> str:
    """E.g. "fast: ttft 500 ms, itl 50 ms, 200 ms/s expected, failover 100%"."""
    parts = [slo_words(one.slo)]
    if one.expected_online_work:
        parts.append(f"{one.expected_online_work:g} ms/s expected")
    if one.failover_ratio:
        parts.append(f"failover {one.failover_ratio:.0%}")
    return f"{one.id}: {', '.join(part for part in parts if part)}"


def load_words(spec: DeploymentSpec) -> str:
    """E.g. "60 s, 20 s warm"; empty where the fleet's defaults hold."""
    cold, warm = duration_words(spec.load_duration), duration_words(spec.warm_load_duration)
    return ", ".join(part for part in (cold, f"{warm} warm" if warm else "") if part)


def _wait_running(fleet: Fleet, deployment: Deployment, *, timeout_s: float) -> Deployment:
    give_up = time.monotonic() + timeout_s
    said = ""
    while deployment.status.running_replicas < deployment.spec.min_replicas:
        why = "; ".join(deployment.status.misfits)
        if time.monotonic() > give_up:
            raise CommandError(
                f"deployment {bare(deployment.name)}: {_running(deployment)} replicas run after"
                f" {timeout_s:.0f} s{': ' + why if why else ''};"
                f" next: slacktide replica list --deployment {bare(deployment.name)}",
                ExitCode.DIFFERENT,
            )
        line = f"{_running(deployment)} running{': ' + why if why else ''}"
        if line != said:
            say(f"deployment {bare(deployment.name)}: {line}")
            said = line
        time.sleep(_POLL_S)
        deployment = get_deployment(fleet, deployment.name)
    return deployment


def _running(deployment: Deployment) -> str:
    return f"{deployment.status.running_replicas}/{max(1, deployment.spec.min_replicas)}"
