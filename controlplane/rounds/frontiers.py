"""The frontiers of a fleet's replicas: measured, else derived, else assumed.

Pure. Owns which frontiers a fleet has need of, the question each is derived from, and which
of several counts. Refuses to derive (`deriving`). Invariants: a measured one always counts; a
derived one only while its inputs are those it was derived from; where facts are missing the
default stays, and `sources` says so with the reason.

What a derived frontier rests on beside the facts: requests of `REQUESTS` in the mean, since
no agent reports lengths; the planner's stated shape of an engine's iterations
(`planner.hardware.effects`). One that bears no online work at all is not believed: it would
leave a deployment unserved on the word of a simulation.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

from controlplane.rounds.hardwarefacts import device_of, shape_of
from planner.model import OFFLINE_ONLY, Frontier, ReplicaFrontier, Slo
from storage.codecs import to_json
from storage.records import DeploymentRecord, FleetView

REQUESTS = (1000, 200)
"""Prompt and output tokens of a request in the mean, stated: near those of the Azure LLM
inference trace 2023, conversations."""
VERSION = 1
"""Of the derivation: one more makes every frontier anew."""


class Source(Enum):
    """Where the frontier of a replica is from."""

    MEASURED = "measured"
    DERIVED = "derived"
    ASSUMED = "assumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """All that a derived frontier depends on; names are those of `planner.hardware`."""

    device: str
    model: str
    context_tokens: int
    tensor_parallel_size: int
    reference_device: str
    reference_tensor_parallel_size: int
    slo: Slo | None  # None: serves no online requests
    latency_budget_ms: float
    kv_cache_tokens: int
    max_running_requests: int
    chunked_prefill_size: int
    prompt_tokens: int = REQUESTS[0]
    output_tokens: int = REQUESTS[1]
    requests: int = 400
    levels: int = 5
    version: int = VERSION

    @property
    def key(self) -> str:
        """SHA-256 of all of it, as hex."""
        return _key(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One frontier a fleet has need of, and what it could be derived from, or why not."""

    deployment: str
    device_type: str
    tensor_parallel_size: int
    slo_class: str
    question: Question | str

    @property
    def measured_key(self) -> str:
        """What a profile of it is stored under."""
        return "|".join(
            (self.deployment, self.device_type, str(self.tensor_parallel_size), self.slo_class)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierBook:
    """What is known.

    Attributes:
        measured: By `Wanted.measured_key`.
        derived: By `Question.key`.
        requests: Of a derivation, as `Question`.
        levels: Likewise.
    """

    measured: Mapping[str, Frontier] = field(default_factory=dict)
    derived: Mapping[str, Frontier] = field(default_factory=dict)
    requests: int = 400
    levels: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where one frontier is from, and why it is no better known."""

    wanted: Wanted
    source: Source
    why: str


def wanted_frontiers(view: FleetView, book: FrontierBook) -> Iterator[Wanted]:
    """Every frontier that rounds of this fleet ask for, in a fixed order."""
    memory: dict[str, int] = {}
    for node in view.nodes:
        for device in node.devices:
            least = memory.get(device.device_type, device.memory_bytes)
            memory[device.device_type] = min(least, device.memory_bytes)
    for record in view.deployments:
        if record.is_deleted or not record.engine.is_sized:
            continue
        types = record.spec.device_types or tuple(sorted(memory))
        for kind in types:
            if kind not in memory:
                continue
            for size in record.spec.tensor_parallel_sizes:
                for slo_class, slo in _slos(record):
                    yield Wanted(
                        deployment=record.id,
                        device_type=kind,
                        tensor_parallel_size=size,
                        slo_class=slo_class,
                        question=_question(
                            record,
                            book,
                            kind=kind,
                            reference=types[0],
                            memory=memory,
                            size=size,
                            slo=slo,
                        ),
                    )


def replica_frontiers(view: FleetView, book: FrontierBook) -> tuple[ReplicaFrontier, ...]:
    """The frontiers a round decides with: those that are measured or derived."""
    found = []
    for wanted in wanted_frontiers(view, book):
        frontier = _known(wanted, book)[0]
        if frontier is not None:
            found.append(
                ReplicaFrontier(
                    deployment=wanted.deployment,
                    device_type=wanted.device_type,
                    tensor_parallel_size=wanted.tensor_parallel_size,
                    slo_class=wanted.slo_class,
                    frontier=frontier,
                )
            )
    return tuple(found)


def origins(view: FleetView, book: FrontierBook) -> tuple[Origin, ...]:
    """Where the frontier of each kind of replica is from."""
    return tuple(
        Origin(wanted=one, source=source, why=why)
        for one in wanted_frontiers(view, book)
        for _, source, why in (_known(one, book),)
    )


def needed(view: FleetView, book: FrontierBook) -> frozenset[str]:
    """Keys of the derived frontiers that some deployment needs, or would without a profile."""
    return frozenset(
        one.question.key
        for one in wanted_frontiers(view, book)
        if isinstance(one.question, Question)
    )


def missing(view: FleetView, book: FrontierBook) -> tuple[Question, ...]:
    """What could be derived and is not yet, each once."""
    found = {
        one.question.key: one.question
        for one in wanted_frontiers(view, book)
        if isinstance(one.question, Question)
        and one.measured_key not in book.measured
        and one.question.key not in book.derived
    }
    return tuple(found.values())


def _known(wanted: Wanted, book: FrontierBook) -> tuple[Frontier | None, Source, str]:
    measured = book.measured.get(wanted.measured_key)
    if measured is not None:
        return measured, Source.MEASURED, measured.source
    if isinstance(wanted.question, str):
        return None, Source.ASSUMED, wanted.question
    derived = book.derived.get(wanted.question.key)
    if derived is None:
        return None, Source.ASSUMED, "not derived yet"
    if wanted.slo_class != OFFLINE_ONLY and derived.max_online_work <= 0.0:
        return None, Source.ASSUMED, "derived, no online work keeps the SLO; not believed"
    return derived, Source.DERIVED, derived.source


def _slos(record: DeploymentRecord) -> tuple[tuple[str, Slo | None], ...]:
    """By class; a deployment without classes has no replicas that serve offline work alone."""
    if not record.spec.slo_classes:
        return (("", record.spec.slo),)
    return (*((one.id, one.slo) for one in record.spec.slo_classes), (OFFLINE_ONLY, None))


def _question(
    record: DeploymentRecord,
    book: FrontierBook,
    *,
    kind: str,
    reference: str,
    memory: Mapping[str, int],
    size: int,
    slo: Slo | None,
) -> Question | str:
    engine = record.engine
    device = device_of(kind, memory_bytes=memory[kind])
    if isinstance(device, str):
        return device
    base = device_of(reference, memory_bytes=memory.get(reference, 0))
    if isinstance(base, str):
        return base
    shape = shape_of(engine)
    if isinstance(shape, str):
        return shape
    if shape.heads % size or shape.heads % engine.tensor_parallel_size:
        return f"{shape.name} does not divide over {size} devices"
    context = engine.max_context_tokens or shape.context_tokens
    if min(context, engine.kv_cache_tokens) < sum(REQUESTS):
        return f"context and KV hold no request of {sum(REQUESTS)} tokens, which is assumed"
    return Question(
        device=device.name,
        model=shape.name,
        context_tokens=context,
        tensor_parallel_size=size,
        reference_device=base.name,
        reference_tensor_parallel_size=engine.tensor_parallel_size,
        slo=slo,
        latency_budget_ms=record.spec.latency_budget_ms,
        kv_cache_tokens=engine.kv_cache_tokens,
        max_running_requests=engine.max_running_requests,
        chunked_prefill_size=engine.chunked_prefill_size,
        requests=book.requests,
        levels=book.levels,
    )


@lru_cache(maxsize=4096)
def _key(question: Question) -> str:
    text = json.dumps(to_json(question), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
