"""The gRPC services of the fleet's state.

Owns what a client, an operator, a gateway or an agent may ask, and every check of it.
Refuses SQL (storage) and placement (planner, through rounds).

Map:
    mutations    request ids: a repeat answers the same
    paging       page tokens
    lookups      resource names to stored records, NOT_FOUND
    agents       AgentService: sessions, leases, reports
    nodes        NodeService: cordon, drain, uncordon, label
    deployments  DeploymentService
    placement    PlacementService: the ledger, dry runs, explanations, what-ifs
    placement_changes, placement_holds
                 its mutations: apply and roll back; freeze and pin
    frontier_shares
                 how much of its frontier each replica's planned work takes
    tenants      TenantService
    routing      RoutingService
    rollout      RolloutService: the kill switch
    fleet        FleetService
"""
