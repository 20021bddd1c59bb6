"""What would have to be so for a misfit to fit.

Owns the words after "would fit if". Refuses to promise: they are the nearest miss, with the
remedy that its message names, and other rules may bind after it.
"""

from planner.model import Misfit


def condition(misfit: Misfit) -> str:
    """What would have to be so for it to fit, with the remedy its message names."""
    where = f"node {misfit.node}" if misfit.node else "some node"
    lack = misfit.needed - misfit.available
    remedy = misfit.message.rpartition("; ")[2]
    match misfit.dimension:
        case "devices":
            return f"{where} had {lack:.0f} more free device(s): {remedy}"
        case "memory" | "host_memory":
            kind = "host memory" if misfit.dimension == "host_memory" else "memory a device"
            return f"{where} had {lack / 2**30:.1f} GiB more {kind}: {remedy}"
        case "tensor_parallel":
            return f"{where} had {lack:.0f} more device(s) of one type: {remedy}"
        case "cordoned" | "frozen":
            return f"{where} took new replicas: {remedy}"
    return remedy
