"""Finding a resource by what a person typed.

Owns unique id prefixes and what the shell completes. Refuses to guess between two.
"""

import contextlib
from collections.abc import Callable, Sequence

import grpc
from slacktide.v1.batch_service_pb2 import ListBatchesRequest
from slacktide.v1.deployment_service_pb2 import ListDeploymentsRequest, ListReplicasRequest
from slacktide.v1.node_service_pb2 import ListNodesRequest
from slacktide.v1.tenant_service_pb2 import ListTenantsRequest

from controlplane.cli.connection import connect
from controlplane.cli.failures import CommandError
from controlplane.cli.wording import bare
from controlplane.client import CALL_DEADLINE_S, Fleet, pages

_COMPLETION_DEADLINE_S = 1.0
"""A shell waits this long for names before it completes nothing."""


def node_names(fleet: Fleet, deadline_s: float = CALL_DEADLINE_S) -> list[str]:
    """All nodes, as resource names."""
    asked = pages(
        lambda t: fleet.nodes.ListNodes(ListNodesRequest(page_token=t), timeout=deadline_s)
    )
    return [node.name for page in asked for node in page.nodes]


def deployment_names(fleet: Fleet, deadline_s: float = CALL_DEADLINE_S) -> list[str]:
    """All deployments, as resource names."""
    asked = pages(
        lambda t: fleet.deployments.ListDeployments(
            ListDeploymentsRequest(page_token=t), timeout=deadline_s
        )
    )
    return [deployment.name for page in asked for deployment in page.deployments]


def replica_names(fleet: Fleet, deadline_s: float = CALL_DEADLINE_S) -> list[str]:
    """All replicas, as resource names."""
    asked = pages(
        lambda t: fleet.deployments.ListReplicas(
            ListReplicasRequest(page_token=t), timeout=deadline_s
        )
    )
    return [replica.name for page in asked for replica in page.replicas]


def batch_names(fleet: Fleet, deadline_s: float = CALL_DEADLINE_S) -> list[str]:
    """All batches, as resource names."""
    asked = pages(
        lambda t: fleet.batches.ListBatches(ListBatchesRequest(page_token=t), timeout=deadline_s)
    )
    return [batch.name for page in asked for batch in page.batches]


def tenant_names(fleet: Fleet, deadline_s: float = CALL_DEADLINE_S) -> list[str]:
    """All tenants that were described, as resource names."""
    asked = pages(
        lambda t: fleet.tenants.ListTenants(ListTenantsRequest(page_token=t), timeout=deadline_s)
    )
    return [tenant.name for page in asked for tenant in page.tenants]


def find_node(fleet: Fleet, given: str) -> str:
    """nodes/{node} for an id, a name or a unique prefix."""
    return pick("nodes", given, node_names(fleet))


def find_deployment(fleet: Fleet, given: str) -> str:
    """deployments/{deployment} for an id, a name or a unique prefix."""
    return pick("deployments", given, deployment_names(fleet))


def find_replica(fleet: Fleet, given: str) -> str:
    """replicas/{replica} for an id, a name or a unique prefix."""
    return pick("replicas", given, replica_names(fleet))


def find_batch(fleet: Fleet, given: str) -> str:
    """batches/{batch} for an id, a name or a unique prefix."""
    return pick("batches", given, batch_names(fleet))


def find_tenant(fleet: Fleet, given: str) -> str:
    """tenants/{tenant} for an id, a name or a unique prefix."""
    return pick("tenants", given, tenant_names(fleet))


_SINGULAR = {
    "nodes": "node",
    "deployments": "deployment",
    "replicas": "replica",
    "batches": "batch",
    "tenants": "tenant",
}


def pick(collection: str, given: str, names: Sequence[str]) -> str:
    """The one name that `given` is, or is a prefix of.

    Raises:
        CommandError: none is, or several are.
    """
    wanted = given.removeprefix(collection + "/")
    noun = _SINGULAR[collection]
    ids = sorted(bare(name) for name in names)
    if wanted in ids:
        return f"{collection}/{wanted}"
    found = [id_ for id_ in ids if wanted and id_.startswith(wanted)]
    match found:
        case [only]:
            return f"{collection}/{only}"
        case []:
            there = f"there are {_some(ids)}" if ids else "there are none"
            raise CommandError(f"{noun} {given!r}: not found; {there}; next: slacktide {noun} list")
        case _:
            raise CommandError(f"{noun} {given!r}: fits {_some(found)}; type more of the id")


def _some(ids: Sequence[str]) -> str:
    shown = ", ".join(ids[:5])
    return shown if len(ids) <= 5 else f"{shown} and {len(ids) - 5} more"


def _completer(names: Callable[[Fleet, float], list[str]]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        # A shell must never show an error for a key press: no fleet, no suggestions.
        with contextlib.suppress(grpc.RpcError, CommandError, OSError), connect() as fleet:
            ids = [bare(name) for name in names(fleet, _COMPLETION_DEADLINE_S)]
            return [id_ for id_ in ids if id_.startswith(incomplete)]
        return []

    return complete


complete_node = _completer(node_names)
complete_deployment = _completer(deployment_names)
complete_replica = _completer(replica_names)
complete_batch = _completer(batch_names)
complete_tenant = _completer(tenant_names)
