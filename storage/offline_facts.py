"""The fleet's state as batches ask for it.

Owns reading what gates offline work inside the transaction that leases items. Refuses
to decide: `planner.dispatch.admission` does. Invariant: the fleet's row, which every
write of fleet state takes first, is share-locked until the transaction ends; so a node
cannot become LOST between the check and the lease.
"""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from planner.dispatch.admission import OfflineFacts
from planner.model import Desired, ReplicaState, Stage
from storage.tables.deployments import allocations, deployments
from storage.tables.fleet import fleet
from storage.tables.nodes import nodes


class StoredFleet:
    """`FleetLookup` over the fleet's own tables."""

    def has_deployment(self, connection: Connection, deployment: str) -> bool:
        """Whether a deployment of this id exists and is not deleted."""
        found = connection.execute(
            sa.select(deployments.c.id).where(
                deployments.c.id == deployment, ~deployments.c.is_deleted
            )
        )
        return found.first() is not None

    def offline_facts(
        self, connection: Connection, *, node: str, replica: str
    ) -> OfflineFacts | None:
        """State that gates offline work of a replica; None if the node has no such one."""
        whole = connection.execute(
            sa.select(fleet.c.epoch, fleet.c.kill_switch).with_for_update(read=True)
        ).one()
        row = connection.execute(
            sa.select(
                nodes.c.is_ready,
                nodes.c.is_cordoned,
                nodes.c.drain_deadline_s,
                allocations.c.deployment,
                allocations.c.desired,
                allocations.c.state,
                deployments.c.spec,
            )
            .join(allocations, allocations.c.node == nodes.c.id)
            .join(deployments, deployments.c.id == allocations.c.deployment)
            .where(nodes.c.id == node, allocations.c.replica == replica)
        ).first()
        if row is None:
            return None
        return OfflineFacts(
            epoch=whole.epoch,
            is_killed=whole.kill_switch,
            is_node_ready=row.is_ready,
            is_node_closed=row.is_cordoned or row.drain_deadline_s is not None,
            deployment=row.deployment,
            stage=Stage(row.spec.get("stage", Stage.OBSERVE.value)),
            desired=Desired(row.desired),
            state=ReplicaState(row.state),
        )
