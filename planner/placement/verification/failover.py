"""What is served though a failure domain is lost.

Owns the check that, where a class asks for it, killing any one domain leaves enough online
capacity with all offline work shed, or that the plan says it does not. Capacity of what
serves or is on its way counts; of what failed, drains by itself or sits on a lost node,
none. A replica's class is a latency budget and a routing rule, so once a domain is lost the
others may be held to other classes than before: they are divided anew, a replica's time
between two classes too.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from planner.model import Placement, Plan, ReplicaState
from planner.placement.verification.facts import Facts
from planner.placement.verification.serving import Serving
from planner.placement.verification.violation import Violation, broken, slack

_SERVES_NOT = (ReplicaState.FAILED, ReplicaState.DRAINING, ReplicaState.STOPPED)


def failover(facts: Facts, plan: Plan, serving: Serving) -> Iterator[Violation]:
    """A deployment's classes survive any one domain, or a misfit says that they do not."""
    deployment = serving.deployment
    classes = deployment.classes
    needs = [one.failover_ratio * work for one, work in zip(classes, serving.served, strict=True)]
    if not sum(needs) > 0.0 or any(
        m.deployment == deployment.id and m.dimension == "failover" for m in plan.misfits
    ):
        return
    room = _room(facts, serving)
    whole = sum(room.values(), Counter[_Rates]())
    for domain in sorted(room) or [""]:
        lacking = _lacking(needs, whole - room.get(domain, Counter()))
        if lacking > slack(sum(needs)):
            yield broken(
                "failover",
                deployment.id,
                f"without domain {domain!r} what is left lacks {lacking:.4f} of "
                f"{sum(needs):.4f} engine-ms/s that are to survive, and no misfit says so",
            )


_Rates = tuple[float, ...]  # what a replica bears held to each class, tightest first


def _room(facts: Facts, serving: Serving) -> dict[str, Counter[_Rates]]:
    """Replicas that serve, by failure domain and by what they bear: alike ones are counted."""
    known: dict[tuple[str, int], _Rates] = {}
    room: dict[str, Counter[_Rates]] = defaultdict(Counter)
    for placement in serving.own:
        if not _serves(facts, placement):
            continue
        kind = (facts.device_type(placement), len(placement.devices))
        if kind not in known:
            known[kind] = tuple(
                _bears(facts, placement, one.id) for one in serving.deployment.classes
            )
        room[facts.domain(placement)][known[kind]] += 1
    return room


def _bears(facts: Facts, placement: Placement, slo_class: str) -> float:
    """Online work it carries held to that class, without offline work."""
    return facts.bears_online(replace(placement, slo_class=slo_class))


def _lacking(needs: Sequence[float], left: Mapping[_Rates, int]) -> float:
    """What replicas cannot serve of each class's need, divided among the classes at best.

    The tightest class takes the replicas that lose least by it, until it is served; the
    last one by a part of its time. What is left goes to the next. With two classes that is
    the best there is; with more, a replica counts for the tightest two it bears, in turn.
    """
    rest = [(float(count), rates) for rates, count in left.items()]
    lacking = 0.0
    for k, need in enumerate(needs):
        looser = range(k + 1, len(needs))
        rest.sort(
            key=lambda one: (
                max((one[1][j] for j in looser), default=0.0) / one[1][k]
                if one[1][k] > 0.0
                else float("inf")
            )
        )
        after: list[tuple[float, _Rates]] = []
        for time, rates in rest:
            taken = min(time, need / rates[k]) if rates[k] > 0.0 else 0.0
            need -= taken * rates[k]  # noqa: PLW2901 - what is still to be served
            if time > taken:
                after.append((time - taken, rates))
        rest = after
        lacking += max(0.0, need)
    return lacking


def _serves(facts: Facts, placement: Placement) -> bool:
    """Whether it is new, or serves, or is on its way."""
    if placement.replica is None:
        return True
    is_up = facts.nodes[placement.node].is_ready
    return is_up and facts.allocations[placement.replica].state not in _SERVES_NOT
