"""All of a kind, page by page.

Owns the paging of lists that several commands read whole. Refuses to choose or word them.
"""

from slacktide.v1.deployment_pb2 import Deployment
from slacktide.v1.deployment_service_pb2 import ListDeploymentsRequest
from slacktide.v1.node_pb2 import Node
from slacktide.v1.node_service_pb2 import ListNodesRequest
from slacktide.v1.tenant_pb2 import Tenant
from slacktide.v1.tenant_service_pb2 import ListTenantsRequest

from controlplane.client import CALL_DEADLINE_S, Fleet, pages

_PAGE = 1000


def listed_nodes(fleet: Fleet) -> list[Node]:
    """Every node.

    Raises:
        grpc.RpcError: As the control plane answers.
    """
    answers = pages(
        lambda t: fleet.nodes.ListNodes(
            ListNodesRequest(page_size=_PAGE, page_token=t), timeout=CALL_DEADLINE_S
        )
    )
    return [node for page in answers for node in page.nodes]


def listed_deployments(fleet: Fleet) -> list[Deployment]:
    """Every deployment.

    Raises:
        grpc.RpcError: As the control plane answers.
    """
    answers = pages(
        lambda t: fleet.deployments.ListDeployments(
            ListDeploymentsRequest(page_size=_PAGE, page_token=t), timeout=CALL_DEADLINE_S
        )
    )
    return [deployment for page in answers for deployment in page.deployments]


def listed_tenants(fleet: Fleet) -> list[Tenant]:
    """Every tenant that was described.

    Raises:
        grpc.RpcError: As the control plane answers.
    """
    answers = pages(
        lambda t: fleet.tenants.ListTenants(
            ListTenantsRequest(page_size=_PAGE, page_token=t), timeout=CALL_DEADLINE_S
        )
    )
    return [tenant for page in answers for tenant in page.tenants]
