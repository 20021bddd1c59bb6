"""What agents report that is no state: loads, latencies, engine versions.

Owns the last report of every replica, and the online work of deployments: smoothed, for
rounds, and as reported, for forecasts.
Refuses to store any of it. Invariant: a report older than `FRESH_S` counts as none.
`now_s` is a monotonic clock everywhere.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from slacktide.v1 import replica_pb2

from controlplane.messages.replicas import class_work

FRESH_S = 10.0
MOST_WORK = 1e6
"""Engine-ms per second: a thousand engines' worth; no replica bears more."""
LEAST_WORK = 1.0
"""Engine-ms per second: a class that reports name no more is forgotten once less is left."""
SMOOTHING_S = 30.0
"""Time constant: half a minute's burst moves the demand by about two thirds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    report: replica_pb2.ReplicaReport
    at_s: float
    works: Mapping[str, float]  # smoothed; "" of all requests, else of an SLO class


class Telemetry:
    """The newest reports by replica id."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def record(self, reports: Mapping[str, replica_pb2.ReplicaReport], *, now_s: float) -> None:
        """Takes in reports by replica id."""
        for replica, report in reports.items():
            before = self._seen.get(replica)
            works = _works(report)
            if before is not None and now_s - before.at_s <= FRESH_S:
                kept = math.exp(-(now_s - before.at_s) / SMOOTHING_S)
                smooth = {
                    key: kept * before.works.get(key, 0.0) + (1 - kept) * works.get(key, 0.0)
                    for key in before.works.keys() | works.keys()
                }
                works = {
                    key: work for key, work in smooth.items() if key in works or work >= LEAST_WORK
                }
            self._seen[replica] = _Seen(report=report, at_s=now_s, works=works)

    def forget(self, replicas: Iterable[str]) -> None:
        """Drops what is known of replicas that are gone."""
        for replica in replicas:
            self._seen.pop(replica, None)

    def prune(self, *, now_s: float) -> None:
        """Drops everything stale, so that memory is bounded by what is alive."""
        self.forget([id_ for id_, seen in self._seen.items() if now_s - seen.at_s > FRESH_S])

    def report(self, replica: str, *, now_s: float) -> replica_pb2.ReplicaReport | None:
        """The last report, None if stale."""
        seen = self._seen.get(replica)
        return seen.report if seen is not None and now_s - seen.at_s <= FRESH_S else None

    def loads(self, *, now_s: float) -> dict[str, replica_pb2.ReplicaLoad]:
        """Fresh loads by replica id."""
        return {
            id_: seen.report.load
            for id_, seen in self._seen.items()
            if now_s - seen.at_s <= FRESH_S
        }

    def online_work(self, replicas: Iterable[str], *, now_s: float) -> float:
        """Smoothed online work of those replicas together, engine-ms per second."""
        return self.online_works(replicas, now_s=now_s).get("", 0.0)

    def online_works(self, replicas: Iterable[str], *, now_s: float) -> dict[str, float]:
        """The same by SLO class, where agents tell it, and under "" of all requests."""
        found = (self._seen.get(id_) for id_ in replicas)
        return _summed(
            seen.works for seen in found if seen is not None and now_s - seen.at_s <= FRESH_S
        )

    def reported_works(self, replicas: Iterable[str], *, now_s: float) -> dict[str, float] | None:
        """As `online_works`, but as reported last, unsmoothed.

        None where one of them was not heard of lately: what it serves is not known.
        """
        heard = [self._seen.get(id_) for id_ in replicas]
        fresh = [one for one in heard if one is not None and now_s - one.at_s <= FRESH_S]
        return _summed(_works(one.report) for one in fresh) if len(fresh) == len(heard) else None


def _works(report: replica_pb2.ReplicaReport) -> dict[str, float]:
    """What a report says, within what is possible."""
    load = report.load
    return {
        **{slo_class: min(work, MOST_WORK) for slo_class, work in class_work(load).items()},
        "": _sane(load.online_work),
    }


def _sane(work: float) -> float:
    return min(max(0.0, work), MOST_WORK) if math.isfinite(work) else 0.0


def _summed(works: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for one in works:
        for key, work in one.items():
            total[key] = total.get(key, 0.0) + work
    return total
