"""The gRPC services of the fleet's state.

Owns what a client, an operator, a gateway or an agent may ask, and every check of it.
Refuses SQL (storage) and placement (planner, through rounds).

Map:
    mutations    request ids: a repeat answers the same
    paging       page tokens
    lookups      resource names to stored records, NOT_FOUND
    agents       AgentService: sessions, leases, reports
    nodes        NodeService: cordon, drain, uncordon
    deployments  DeploymentService
    placement    PlacementService
    routing      RoutingService
    rollout      RolloutService: the kill switch
    fleet        FleetService
"""
