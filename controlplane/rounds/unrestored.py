"""Why a replica of an earlier plan cannot be restored, with what to do first."""

from planner.model import Deployment, Misfit, Node, Placement


def closed(placement: Placement, deployment: Deployment, node: Node) -> Misfit | None:
    """Why the node, or the deployment, takes nothing new."""
    size = len(placement.devices)
    if deployment.is_frozen or node.is_frozen:
        what = "the deployment" if deployment.is_frozen else f"node {node.id}"
        return unrestored(placement, "frozen", size, 0, f"{what} is frozen; thaw it first")
    if not node.takes_new:
        how = (
            "is not ready; start its agent"
            if not node.is_ready
            else f"is {'draining' if node.is_draining else 'cordoned'}; uncordon it first"
        )
        return unrestored(placement, "cordoned", size, 0, f"node {node.id} {how}")
    return None


def misshapen(placement: Placement, deployment: Deployment, node: Node) -> Misfit | None:
    """Why the seat's devices do not suit the deployment any more."""
    size = len(placement.devices)
    if size not in deployment.tensor_parallel_sizes:
        return unrestored(
            placement,
            "tensor_parallel",
            deployment.tensor_parallel_size,
            size,
            f"had {size} devices on node {node.id}, its spec now says"
            f" {deployment.tensor_parallel_size}; apply the earlier spec first",
        )
    devices = [one for one in node.devices if one.index in placement.devices]
    if len(devices) < size:
        return unrestored(
            placement,
            "devices",
            size,
            len(devices),
            f"had devices {list(placement.devices)} of node {node.id}, which has"
            f" {len(node.devices)} now",
        )
    kinds = sorted({one.device_type for one in devices})
    if len(kinds) > 1 or (deployment.device_types and kinds[0] not in deployment.device_types):
        return unrestored(
            placement,
            "device_type",
            size,
            0,
            f"may not run on {', '.join(kinds)} of node {node.id}; apply the earlier spec first",
        )
    needed = deployment.bytes_per_device_of(size)
    least = min(one.memory_bytes for one in devices)
    if least < needed:
        return unrestored(
            placement,
            "memory",
            needed,
            least,
            f"needs {needed} bytes a device, node {node.id} has {least}; apply the earlier"
            " spec first",
        )
    return None


def unrestored(
    placement: Placement, dimension: str, needed: float, available: float, message: str
) -> Misfit:
    """One such reason; `message` goes on from "is not restored"."""
    was = f"deployment {placement.deployment}: replica {placement.replica or '(new)'}"
    return Misfit(
        deployment=placement.deployment,
        node=placement.node,
        dimension=dimension,
        needed=float(needed),
        available=float(available),
        message=f"{was} is not restored: {message}",
    )
