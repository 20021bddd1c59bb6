"""The policies that can be replayed, by name, each under the scheduler it runs on.

Owns names, one knob each, and what drives it: this project's plugin or stock SGLang.
Refuses decisions: those are `planner.batching`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isfinite

from planner.batching.baselines.blind_hybrid import BlindHybrid
from planner.batching.baselines.hygen import Hygen
from planner.batching.baselines.offline_only import OfflineOnly, OfflineOrder
from planner.batching.baselines.online_only import OnlineOnly
from planner.batching.baselines.qoserve import QoServe
from planner.batching.baselines.rate_cap import OfflineRateCap
from planner.batching.baselines.sglang_priority import ConcurrencyCap, SglangPriority
from planner.batching.decide import plan_iteration
from planner.batching.policy import Policy
from planner.batching.state import Budgets
from planner.simulation.settings import Scheduler


class UnknownPolicyError(ValueError):
    """A policy nobody knows, or a knob out of range; says what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChoice:
    """A policy ready to run.

    Attributes:
        name: As `policy_named` takes it, its knob included.
        title: For tables.
        policy: Plans the passes.
        scheduler: Who carries the plans out.
        budgets: What it is held to.
        serves_online: False: a ceiling, with no online request in the run.
        runs_offline: False: the floor, with no offline request in it.
    """

    name: str
    title: str
    policy: Policy
    scheduler: Scheduler
    budgets: Budgets
    serves_online: bool = True
    runs_offline: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    title: str
    description: str
    make: Callable[[float | None], Policy]
    knob: str = ""  # what the number after the colon is; empty: none is taken
    default: float | None = None
    scheduler: Scheduler = Scheduler.PLUGIN
    serves_online: bool = True
    runs_offline: bool = True


def _slacktide(_: float | None) -> Policy:
    return plan_iteration


def _rate_cap(rate: float | None) -> Policy:
    assert rate is not None  # it has a default
    return OfflineRateCap(requests_per_s=rate)


def _cap(requests: float | None) -> Policy:
    assert requests is not None
    return ConcurrencyCap(max_in_flight=_whole(requests))


def _offline_only(chunk: float | None) -> Policy:
    order = OfflineOrder.PREFIX  # no ceiling is below what an order of prompts can do
    if chunk is None:
        return OfflineOnly(order=order)
    return OfflineOnly(chunk_tokens=_whole(chunk), order=order)


def _blind_hybrid(tokens: float | None) -> Policy:
    return BlindHybrid() if tokens is None else BlindHybrid(token_budget=_whole(tokens))


def _whole(number: float) -> int:
    if not number.is_integer():
        raise ValueError(f"{number:g} is not allowed, must be a whole number")
    return int(number)


def _qoserve(tbt_ms: float | None) -> Policy:
    return QoServe() if tbt_ms is None else QoServe(online_tbt_ms=tbt_ms)


_KINDS: dict[str, _Kind] = {
    "online-only": _Kind(
        title="online only",
        description="Sarathi-Serve on online requests alone: the floor",
        make=lambda _: OnlineOnly(),
        runs_offline=False,
    ),
    "offline-only": _Kind(
        title="offline only",
        description="the batch alone: the ceiling",
        make=_offline_only,
        knob="prompt tokens of a pass",
        serves_online=False,
    ),
    "blind-hybrid": _Kind(
        title="Sarathi++",
        description="online first with preemption, blind to SLOs",
        make=_blind_hybrid,
        knob="tokens of a pass",
    ),
    "rate-cap": _Kind(
        title="HyGen*",
        description="Sarathi++ with a profiled cap on offline requests per second",
        make=_rate_cap,
        knob="requests per second",
        default=0.5,
    ),
    "hygen": _Kind(
        title="HyGen",
        description="one latency budget for every pass; a reconstruction from the paper",
        make=lambda _: Hygen(),
    ),
    "sglang-priority": _Kind(
        title="SGLang priority",
        description="SGLang's own priority scheduling, a saturating batch behind it",
        make=lambda _: SglangPriority(),
        scheduler=Scheduler.STOCK,
    ),
    "cap": _Kind(
        title="concurrency cap",
        description="SGLang's priority scheduling with at most N offline requests in flight",
        make=_cap,
        knob="offline requests in flight",
        default=4.0,
        scheduler=Scheduler.STOCK,
    ),
    "qoserve": _Kind(
        title="QoServe",
        description="slack of online decodes sizes the chunk (Niyama)",
        make=_qoserve,
        knob="online TBT target in ms",
    ),
    "slacktide": _Kind(
        title="Slacktide",
        description="predictor-based batching within budgets and slack",
        make=_slacktide,
    ),
}

POLICIES: dict[str, str] = {
    f"{name}[:{kind.knob}]" if kind.knob else name: kind.description
    for name, kind in _KINDS.items()
}
"""What each name stands for; after a colon, the knob it takes."""


def policy_named(name: str, *, budgets: Budgets) -> PolicyChoice:
    """A policy by its name, such as `hygen` or `cap:4`.

    Args:
        name: One of `POLICIES`, with its knob's number after a colon where it takes one.
        budgets: What it is held to, as far as it looks at budgets.

    Raises:
        UnknownPolicyError: No such name, a knob that is none, or one out of range.
    """
    bare, colon, text = name.strip().partition(":")
    kind = _KINDS.get(bare)
    if kind is None:
        raise UnknownPolicyError(f"policy {name!r}: not known; allowed are {', '.join(POLICIES)}")
    knob = kind.default
    if colon:
        if not kind.knob:
            raise UnknownPolicyError(f"policy {name!r}: {bare} takes no number; write {bare!r}")
        try:
            knob = float(text)
        except ValueError:
            raise UnknownPolicyError(
                f"policy {name!r}: {text!r} is no number; give {kind.knob}, such as {bare}:4"
            ) from None
        if not isfinite(knob):
            raise UnknownPolicyError(f"policy {name!r}: {kind.knob}: {text}, must be finite")
    try:
        policy = kind.make(knob)
    except ValueError as error:
        raise UnknownPolicyError(f"policy {name!r}: {kind.knob}: {error}") from error
    return PolicyChoice(
        name=bare if knob is None else f"{bare}:{knob:.15g}",
        title=kind.title if knob is None else f"{kind.title} {knob:g}",
        policy=policy,
        scheduler=kind.scheduler,
        budgets=budgets if kind.runs_offline else replace(budgets, enabled=False),
        serves_online=kind.serves_online,
        runs_offline=kind.runs_offline,
    )
