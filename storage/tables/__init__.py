"""The schema, one file a subject; importing this package registers every table.

Map:
    base         the one MetaData
    fleet        the one row about the fleet, answered requests, gateways
    nodes        nodes, devices
    deployments  deployments, allocations
    plans        the ledger: plans, moves, placements
    placement    pins, freezes, tenants
    batches      batches, segments, items
    forecasts    what rounds learned: forecasts, frontiers
"""

from storage.tables import batches, deployments, fleet, forecasts, nodes, placement, plans
from storage.tables.base import metadata

__all__ = [
    "batches",
    "deployments",
    "fleet",
    "forecasts",
    "metadata",
    "nodes",
    "placement",
    "plans",
]
