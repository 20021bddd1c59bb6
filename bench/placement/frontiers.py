"""Chords under the predicted curve of (online work, offline work) one replica bears.

Owns the step from the predictor to `planner.model.Frontier`. Refuses optimism: the chords
of the points' upper concave hull are shrunk until no point between them lies above the
curve, so a frontier never promises more than the predictor does (tangents would). Work
counts on the deployment's reference.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from bench.placement.roofline import Floats, Roofline
from planner.model import OFFLINE_ONLY, Frontier, Segment

SOURCE = "roofline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """What an SLO class leaves of the predicted curve.

    Attributes:
        gap_s: Longest pass.
        queueing_ratio: Of the online load that just fits, what may be used: the rest is
            the margin that waiting for a first token needs.
        offline_ratio: Of the offline load that just fits: the tail of pass times.
    """

    gap_s: float
    queueing_ratio: float
    offline_ratio: float


TIGHT, LOOSE = "tight", "loose"

# Claimed: per-gap targets of 50 and 150 ms, passes of 0.6 s where nobody waits; 5 % of each
# for what a prediction misses.
LATENCIES = {
    TIGHT: Latency(gap_s=0.0475, queueing_ratio=0.70, offline_ratio=0.85),
    LOOSE: Latency(gap_s=0.1425, queueing_ratio=0.85, offline_ratio=0.95),
    OFFLINE_ONLY: Latency(gap_s=0.6, queueing_ratio=0.0, offline_ratio=1.0),
}

# Claimed: beside full online load, offline work loses a quarter to bursts.
_BURST_LOSS = 0.25
_POINTS = 7
_FINE = 61

NOTHING = Frontier(
    max_online_work=0.0, segments=(Segment(alpha=0.0, beta=1.0, gamma=0.0),), source=SOURCE
)
"""Of a replica that cannot keep the class's targets at any load."""


def derive(
    replica: Roofline, *, slo_class: str, online_ms: float, offline_ms: float
) -> tuple[Frontier, Floats]:
    """The frontier of one replica in one SLO class.

    Args:
        replica: Its predictor.
        slo_class: tight, loose or OFFLINE_ONLY.
        online_ms: Work of one mean online request on the reference, milliseconds.
        offline_ms: The same of an offline request.

    Returns:
        The frontier in engine-ms per second; the fine points (x, y) of the curve it lies
        under, shape (points, 2), empty where nothing fits.
    """
    latency = LATENCIES[slo_class]
    if slo_class == OFFLINE_ONLY:
        most = float(replica.most_offline(np.zeros(1), pass_s=latency.gap_s)[0])
        gamma = max(0.0, most * offline_ms * latency.offline_ratio)
        only = Frontier(
            max_online_work=0.0,
            segments=(Segment(alpha=0.0, beta=1.0, gamma=gamma),),
            source=SOURCE,
        )
        return only, np.array([[0.0, gamma]])
    end = latency.queueing_ratio * replica.most_online(pass_s=latency.gap_s)
    if end <= 0.0:
        return NOTHING, np.zeros((0, 2))
    curve = _curve(replica, latency, np.linspace(0.0, end, _FINE))
    curve[:, 0] *= online_ms
    curve[:, 1] *= offline_ms
    corners = _hull(curve[:: (_FINE - 1) // (_POINTS - 1)])
    at = np.interp(curve[:, 0], corners[:, 0], corners[:, 1])
    is_above = at > 0.0
    scale = float(np.min(curve[is_above, 1] / at[is_above], initial=1.0))
    segments = []
    for (x0, y0), (x1, y1) in itertools.pairwise(corners):
        alpha = float((y0 - y1) / (x1 - x0)) * scale
        segments.append(Segment(alpha=alpha, beta=1.0, gamma=float(y0) * scale + alpha * float(x0)))
    return (
        Frontier(max_online_work=float(curve[-1, 0]), segments=tuple(segments), source=SOURCE),
        curve,
    )


def _curve(replica: Roofline, latency: Latency, x: Floats) -> Floats:
    """Points of the curve, with what bursts and tails take, shape (len(x), 2)."""
    y = np.maximum(0.0, replica.most_offline(x, pass_s=latency.gap_s))
    y *= latency.offline_ratio * (1.0 - _BURST_LOSS * (x / x[-1]) ** 2)
    return np.stack([x, y], axis=1)


def _hull(points: Floats) -> Floats:
    """Upper concave hull of points in order of x, made to fall."""
    falling = points.copy()
    falling[:, 1] = np.minimum.accumulate(points[:, 1])
    kept: list[Floats] = []
    for point in falling:
        while len(kept) > 1 and _turn(kept[-2], kept[-1], point) >= 0.0:
            kept.pop()
        kept.append(point)
    return np.array(kept)


def _turn(a: Floats, b: Floats, c: Floats) -> float:
    """Positive where a, b, c turn left, so that b lies under the line from a to c."""
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))
