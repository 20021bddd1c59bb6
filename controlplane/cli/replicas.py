"""`slacktide replica`: list and describe running copies of deployments."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from slacktide.v1.deployment_service_pb2 import (
    GetReplicaRequest,
    ListReplicasRequest,
    ListReplicasResponse,
)
from slacktide.v1.replica_pb2 import (
    REPLICA_STATE_LOST,
    REPLICA_STATE_STOPPED,
    DesiredState,
    Replica,
    ReplicaState,
)

from controlplane.cli.connection import connect
from controlplane.cli.lookup import (
    complete_deployment,
    complete_replica,
    find_deployment,
    find_replica,
)
from controlplane.cli.output import Column, Format, FormatOption, say, show_list, show_one
from controlplane.cli.wording import age_words, bare, enum_word, time_words
from controlplane.client import CALL_DEADLINE_S, pages

app = typer.Typer(no_args_is_help=True, help="Running copies of deployments.")
_GONE = (REPLICA_STATE_STOPPED, REPLICA_STATE_LOST)


@app.command("list")
def list_replicas(
    deployment: Annotated[
        str, typer.Option(help="Only this one's.", autocompletion=complete_deployment)
    ] = "",
    everything: Annotated[
        bool, typer.Option("--all", help="Also stopped and lost ones that nobody wants.")
    ] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Lists replicas: where they run, their shares, and whether offline work is admitted."""
    answer = ListReplicasResponse()
    with connect() as fleet:
        wanted = find_deployment(fleet, deployment) if deployment else ""
        for page in pages(
            lambda token: fleet.deployments.ListReplicas(
                ListReplicasRequest(deployment=wanted, page_token=token), timeout=CALL_DEADLINE_S
            )
        ):
            answer.replicas.extend(page.replicas)
    rows = list(answer.replicas) if everything else [r for r in answer.replicas if not _gone(r)]
    now = datetime.now(UTC)
    columns = (
        Column[Replica](header="replica", cell=lambda r: bare(r.name)),
        Column[Replica](header="deployment", cell=lambda r: bare(r.deployment)),
        Column[Replica](header="node", cell=lambda r: bare(r.node)),
        Column[Replica](header="devices", cell=_devices),
        Column[Replica](header="state", cell=state_words),
        Column[Replica](header="online", cell=lambda r: f"{r.online_share:.2f}", right=True),
        Column[Replica](header="offline", cell=lambda r: f"{r.offline_share:.2f}", right=True),
        Column[Replica](header="admits", cell=_admits),
        Column[Replica](header="age", cell=lambda r: age_words(r.create_time, now=now)),
    )
    show_list(answer, rows, columns, output)
    if (hidden := len(answer.replicas) - len(rows)) and output is Format.TABLE:
        say(f"{hidden} stopped or lost not shown; --all shows them")


@app.command()
def describe(
    replica: Annotated[
        str, typer.Argument(help="Replica id or prefix.", autocompletion=complete_replica)
    ],
    output: FormatOption = Format.TABLE,
) -> None:
    """Shows one replica: what the plan wants, what its agent reports."""
    with connect() as fleet:
        request = GetReplicaRequest(name=find_replica(fleet, replica))
        found = fleet.deployments.GetReplica(request, timeout=CALL_DEADLINE_S).replica
    report, load, latency = found.report, found.report.load, found.report.latency
    facts = [
        ("replica", bare(found.name)),
        ("deployment", bare(found.deployment)),
        ("node", f"{bare(found.node)}, devices {_devices(found)}"),
        ("state", state_words(found)),
        ("message", report.message),
        ("stops after", ", ".join(bare(name) for name in found.after)),
        ("online share", f"{found.online_share:.3f}"),
        ("offline share", f"{found.offline_share:.3f}"),
        ("latency budget", f"{found.latency_budget_ms:.1f} ms"),
        ("engine", f"{report.engine_version or '-'}, plugin {report.plugin_version or 'none'}"),
        ("starts", str(report.starts)),
        ("offline work", _admits(found)),
        ("online now", f"{load.online_running} running, {load.online_waiting} waiting"),
        (
            "offline now",
            f"{load.offline_running} running, {load.offline_parked} parked,"
            f" {load.offline_waiting} waiting",
        ),
        ("kv used", f"{load.kv_used_ratio:.0%}"),
        ("online work", f"{load.online_work:.1f} ms/s"),
        (
            "latency",
            f"ttft p99 {latency.ttft_p99_ms:.0f} ms, itl p99 {latency.itl_p99_ms:.0f} ms,"
            f" {latency.attained}/{latency.requests} attained"
            if latency.requests
            else "",
        ),
        ("round", str(found.round)),
        ("created", time_words(found.create_time)),
    ]
    show_one(found, facts, output)


def state_words(replica: Replica) -> str:
    """Observed state, and the desired one where they differ in kind."""
    state = enum_word(ReplicaState, replica.state)
    desired = enum_word(DesiredState, replica.desired)
    settled = state == desired or (desired == "running" and state in ("pending", "starting"))
    return state if settled else f"{state} (wanted {desired})"


def _gone(replica: Replica) -> bool:
    return replica.state in _GONE and enum_word(DesiredState, replica.desired) == "stopped"


def _devices(replica: Replica) -> str:
    return ",".join(str(index) for index in replica.device_indices)


def _admits(replica: Replica) -> str:
    if replica.report.offline_admitted:
        return "yes"
    refusal = replica.report.offline_refusal
    return f"no: {refusal}" if refusal else "no"
