"""`slacktide tenant`: list, describe, set, delete: who batches belong to.

Owns what `set` leaves as it is: options not given. Refuses to invent tenants that nobody
described: they have weight 1 and no quota, and are not listed.
"""

from datetime import UTC, datetime
from typing import Annotated

import grpc
import typer
from slacktide.v1.tenant_pb2 import Tenant
from slacktide.v1.tenant_service_pb2 import (
    ApplyTenantRequest,
    DeleteTenantRequest,
    GetTenantRequest,
    ListTenantsRequest,
    ListTenantsResponse,
)

from controlplane.cli.connection import connect
from controlplane.cli.failures import CommandError
from controlplane.cli.lookup import complete_tenant, find_tenant
from controlplane.cli.output import Column, show_list, show_one
from controlplane.cli.placement_formats import WideFormat, WideOption, plain
from controlplane.cli.wording import age_words, bare, time_words
from controlplane.client import CALL_DEADLINE_S, Fleet, new_request_id, pages

app = typer.Typer(
    no_args_is_help=True, help="Who batches belong to, with fair-share weights and quotas."
)
_Known = Annotated[
    str, typer.Argument(help="Tenant id or unique prefix.", autocompletion=complete_tenant)
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Check and answer, change nothing.")]


@app.command("list")
def list_tenants(output: WideOption = WideFormat.TABLE) -> None:
    """Lists tenants with their weight and quota; wide adds when they were made and changed."""
    answer = ListTenantsResponse()
    with connect() as fleet:
        for page in pages(
            lambda token: fleet.tenants.ListTenants(
                ListTenantsRequest(page_token=token), timeout=CALL_DEADLINE_S
            )
        ):
            answer.tenants.extend(page.tenants)
    now = datetime.now(UTC)
    columns = [
        Column[Tenant](header="tenant", cell=lambda t: bare(t.name)),
        Column[Tenant](header="weight", cell=lambda t: f"{t.weight:g}", right=True),
        Column[Tenant](header="quota", cell=_quota, right=True),
    ]
    if output is WideFormat.WIDE:
        columns += [
            Column[Tenant](header="age", cell=lambda t: age_words(t.create_time, now=now)),
            Column[Tenant](header="changed", cell=lambda t: age_words(t.update_time, now=now)),
        ]
    show_list(answer, answer.tenants, columns, plain(output))


@app.command()
def describe(tenant: _Known, output: WideOption = WideFormat.TABLE) -> None:
    """Shows one tenant in full."""
    with connect() as fleet:
        found = _get(fleet, find_tenant(fleet, tenant))
    facts = [
        ("tenant", bare(found.name)),
        ("weight", f"{found.weight:g}"),
        ("quota", _quota(found)),
        ("created", time_words(found.create_time)),
        ("updated", time_words(found.update_time)),
    ]
    show_one(found, facts, plain(output))


@app.command("set")
def set_tenant(
    tenant: Annotated[str, typer.Argument(help="Tenant id.", autocompletion=complete_tenant)],
    weight: Annotated[
        float | None,
        typer.Option(help="Of its fair share of offline work, more than 0.", show_default=False),
    ] = None,
    quota: Annotated[
        float | None,
        typer.Option(
            help="Offline work at the most, in engine-milliseconds per second; 1000 is one"
            " replica that does nothing else.",
            show_default=False,
        ),
    ] = None,
    no_quota: Annotated[bool, typer.Option("--no-quota", help="Take its quota back.")] = False,
    dry_run: _DryRun = False,
    output: WideOption = WideFormat.TABLE,
) -> None:
    """Makes or changes a tenant; what is not given stays, a new one has weight 1 and no quota.

    Its id is what batches name as their tenant, in full: no prefix is taken here.

    Example:  slacktide tenant set research --weight 2 --quota 1500
    """
    if quota is not None and no_quota:
        raise CommandError(f"tenant {tenant[:80]}: --quota and --no-quota exclude each other")
    if weight == 0:  # which the contract takes as 1: never what was meant here
        raise CommandError(
            f"tenant {tenant[:80]}: weight 0: must be more than 0; --quota 0 lets it run nothing"
        )
    name = tenant if tenant.startswith("tenants/") else f"tenants/{tenant}"
    with connect() as fleet:
        before = _described(fleet, name)
        wanted = Tenant(name=name, weight=1.0)
        if before is not None:
            wanted.CopyFrom(before)
        if weight is not None:
            wanted.weight = weight
        if quota is not None:
            wanted.max_offline_work = quota
        if no_quota:
            wanted.ClearField("max_offline_work")
        request = ApplyTenantRequest(
            tenant=wanted, validate_only=dry_run, request_id=new_request_id()
        )
        after = fleet.tenants.ApplyTenant(request, timeout=CALL_DEADLINE_S).tenant
    facts = [(f"tenant {bare(after.name)}", "\n".join(_changes(before, after)))]
    show_one(after, facts, plain(output))


@app.command()
def delete(tenant: _Known, dry_run: _DryRun = False, output: WideOption = WideFormat.TABLE) -> None:
    """Deletes a tenant: its batches go on, with weight 1 and no quota.

    Example:  slacktide tenant delete research
    """
    with connect() as fleet:
        name = find_tenant(fleet, tenant)
        request = DeleteTenantRequest(name=name, validate_only=dry_run, request_id=new_request_id())
        answer = fleet.tenants.DeleteTenant(request, timeout=CALL_DEADLINE_S)
    done = "would be deleted" if dry_run else "deleted"
    facts = [(f"tenant {bare(name)}", f"{done}; its batches go on, with weight 1 and no quota")]
    show_one(answer, facts, plain(output))


def _get(fleet: Fleet, name: str) -> Tenant:
    return fleet.tenants.GetTenant(GetTenantRequest(name=name), timeout=CALL_DEADLINE_S).tenant


def _described(fleet: Fleet, name: str) -> Tenant | None:
    """The tenant as it is; None where nobody described it."""
    try:
        return _get(fleet, name)
    except grpc.RpcError as error:
        if isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.NOT_FOUND:
            return None
        raise


def _changes(before: Tenant | None, after: Tenant) -> list[str]:
    if before is None:
        return [f"+ weight {after.weight:g}", f"+ quota {_quota(after)}"]
    told = [
        f"~ {name} {is_} (was {was})"
        for name, was, is_ in (
            ("weight", f"{before.weight:g}", f"{after.weight:g}"),
            ("quota", _quota(before), _quota(after)),
        )
        if was != is_
    ]
    return told or ["no change"]


def _quota(tenant: Tenant) -> str:
    return f"{tenant.max_offline_work:g} ms/s" if tenant.HasField("max_offline_work") else "none"
