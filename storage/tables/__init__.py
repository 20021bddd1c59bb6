"""The schema, one file a subject; importing this package registers every table.

Map:
    base         the one MetaData
    fleet        the one row about the fleet, answered requests, gateways
    nodes        nodes, devices
    deployments  deployments, allocations
    plans        the ledger: plans, moves, placements
    placement    pins, freezes, tenants
    batches      batches, segments, items
"""

from storage.tables import batches, deployments, fleet, nodes, placement, plans
from storage.tables.base import metadata

__all__ = ["batches", "deployments", "fleet", "metadata", "nodes", "placement", "plans"]
