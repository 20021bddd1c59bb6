"""TenantService: who batches belong to, with weights and quotas."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from slacktide.v1 import tenant_service_pb2, tenant_service_pb2_grpc

from controlplane.feed import StateFeed
from controlplane.messages.holds import parse_tenant, to_tenant
from controlplane.services.lookups import found, id_of
from controlplane.services.mutations import mutate
from controlplane.services.paging import page
from storage.plan_records import TenantRecord
from storage.store import FleetStore, FleetTransaction


class TenantServicer(tenant_service_pb2_grpc.TenantServiceServicer):
    """Admin: tenants.

    Args:
        store: fleet state.
        feed: the newest view.
        request_round: asks for a round, with what triggers it.
    """

    def __init__(
        self, *, store: FleetStore, feed: StateFeed, request_round: Callable[[str], None]
    ) -> None:
        self._store = store
        self._feed = feed
        self._request_round = request_round

    async def ListTenants(  # noqa: N802
        self, request: tenant_service_pb2.ListTenantsRequest, context: Any
    ) -> tenant_service_pb2.ListTenantsResponse:
        """Lists tenants by name."""
        chosen, token = page(
            self._feed.view.tenants,
            key=lambda one: one.id,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return tenant_service_pb2.ListTenantsResponse(
            tenants=[to_tenant(one) for one in chosen], next_page_token=token
        )

    async def GetTenant(  # noqa: N802
        self, request: tenant_service_pb2.GetTenantRequest, context: Any
    ) -> tenant_service_pb2.GetTenantResponse:
        """Gets one tenant."""
        id_ = id_of("tenants", request.name)
        known = {one.id: one for one in self._feed.view.tenants}
        record = found(known.get(id_), kind="tenant", id_=id_)
        return tenant_service_pb2.GetTenantResponse(tenant=to_tenant(record))

    async def ApplyTenant(  # noqa: N802
        self, request: tenant_service_pb2.ApplyTenantRequest, context: Any
    ) -> tenant_service_pb2.ApplyTenantResponse:
        """Creates or replaces a tenant; the same again changes nothing."""
        given = parse_tenant(request.tenant, now_s=time.time())

        if request.validate_only:
            known = {one.id: one for one in self._feed.view.tenants}
            record = _applied(given, known.get(given.id))
            return tenant_service_pb2.ApplyTenantResponse(tenant=to_tenant(record))

        def work(state: FleetTransaction) -> tenant_service_pb2.ApplyTenantResponse:
            record = _applied(given, state.tenant(given.id))
            state.put_tenant(record)
            return tenant_service_pb2.ApplyTenantResponse(tenant=to_tenant(record))

        response = await mutate(
            self._store,
            self._feed,
            request,
            answer=tenant_service_pb2.ApplyTenantResponse,
            work=work,
        )
        self._request_round(f"tenant {given.id} applied")
        return response

    async def DeleteTenant(  # noqa: N802
        self, request: tenant_service_pb2.DeleteTenantRequest, context: Any
    ) -> tenant_service_pb2.DeleteTenantResponse:
        """Deletes a tenant; its batches go on, with weight 1 and no quota."""
        id_ = id_of("tenants", request.name)
        if request.validate_only:
            known = {one.id: one for one in self._feed.view.tenants}
            found(known.get(id_), kind="tenant", id_=id_)
            return tenant_service_pb2.DeleteTenantResponse()

        def work(state: FleetTransaction) -> tenant_service_pb2.DeleteTenantResponse:
            found(state.remove_tenant(id_) or None, kind="tenant", id_=id_)
            return tenant_service_pb2.DeleteTenantResponse()

        response = await mutate(
            self._store,
            self._feed,
            request,
            answer=tenant_service_pb2.DeleteTenantResponse,
            work=work,
        )
        self._request_round(f"tenant {id_} deleted")
        return response


def _applied(given: TenantRecord, before: TenantRecord | None) -> TenantRecord:
    """The tenant as given; as it was where that is the same."""
    if before is None:
        return given
    record = replace(given, create_s=before.create_s)
    return before if replace(record, update_s=before.update_s) == before else record
