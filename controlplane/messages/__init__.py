"""Between `slacktide.v1` messages and the domain's values.

Owns parsing and writing of fleet messages; protobuf goes no further than here and the
services. Refuses decisions.

Map:
    scalars      durations, timestamps
    nodes        Node
    deployments  Deployment and its specification, with every check of client input
    replicas     Replica, ReplicaReport, what a session says of a node's replicas
    slo          Slo
    placing      fields of a specification about where replicas go and what survives
    plans        Plan, and what a client hands back of one
    holds        Pin, Freeze, Tenant
    labels       labels an operator sets on a node
    supposed     what a what-if supposes
    totals       PlacementTotals, explanations
    assignment   the desired state of one node
    routes       the route table
"""
