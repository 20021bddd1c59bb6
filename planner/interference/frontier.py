"""The curve of (online work, offline work) a replica bears within its SLO.

Owns the look-up: a profile's frontier where one was measured, else the stated default.
Refuses to fit or to widen curves. Invariants: work is in predicted solo
engine-milliseconds per second, so a replica that never idles carries about 1000; every
curve is concave and falls, so the chords of its segments never promise more than was
measured.
"""

from planner.model import Frontier, Segment, Snapshot

# Claimed, not measured; replaced by the first profile. Online work is held to 0.70 of the
# engine's time, the queueing margin of a tight TTFT target (facts of the placement probe);
# one tenth of the time is left to the passes' own overhead; from half load on, each
# millisecond of online work costs 1.6 of offline work, since a burst must find room.
DEFAULT_FRONTIER = Frontier(
    max_online_work=700.0,
    segments=(
        Segment(alpha=1.0, beta=1.0, gamma=900.0),
        Segment(alpha=1.6, beta=1.0, gamma=1200.0),
    ),
    source="default",
)


def frontier_for(
    snapshot: Snapshot,
    deployment: str,
    device_type: str,
    *,
    tensor_parallel_size: int | None = None,
    slo_class: str = "",
) -> Frontier:
    """The frontier of one replica of `deployment` on devices of `device_type`.

    Args:
        snapshot: Holds the frontiers that were measured or derived.
        deployment: Bare id.
        device_type: As agents report it.
        tensor_parallel_size: Devices of the replica; None: as many as the deployment says.
        slo_class: The tightest class it serves, or OFFLINE_ONLY; "": the deployment's
            tightest.

    Returns:
        The one that is known, or `DEFAULT_FRONTIER`, whose source says "default".
    """
    owner = next((one for one in snapshot.deployments if one.id == deployment), None)
    own = owner.tensor_parallel_size if owner is not None else None
    tightest = owner.classes[0].id if owner is not None else ""
    for known in snapshot.frontiers:
        if (known.deployment, known.device_type) != (deployment, device_type):
            continue
        if (known.tensor_parallel_size or own) == (tensor_parallel_size or own) and (
            known.slo_class == (slo_class or tightest)
        ):
            return known.frontier
    return DEFAULT_FRONTIER


def online_limit(frontier: Frontier) -> float:
    """Online work one replica carries with no offline work, in engine-ms per second."""
    limits = [segment.gamma / segment.alpha for segment in frontier.segments if segment.alpha > 0]
    return max(0.0, min([frontier.max_online_work, *limits]))


def offline_limit(frontier: Frontier, online_work: float) -> float:
    """Offline work one replica carries beside `online_work`, in engine-ms per second."""
    limits = [
        (segment.gamma - segment.alpha * online_work) / segment.beta
        for segment in frontier.segments
        if segment.beta > 0
    ]
    return max(0.0, min(limits, default=0.0))
