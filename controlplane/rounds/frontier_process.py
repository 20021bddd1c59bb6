"""The child that derives frontiers: questions in, frontiers out, one JSON document a line.

    out   {"ready": true} once
    in    a `frontiers.Question`
    out   {"frontier": {...}} or {"error": "..."}

Refuses to store or to choose. Started by `controlplane.rounds.deriving`, at the lowest
priority: a derivation takes 4 to 30 s of a core.
"""

import json
import sys
from dataclasses import replace

from controlplane.rounds.childprocess import begin, write
from controlplane.rounds.frontiers import Question
from planner.hardware.device import device_named
from planner.hardware.machine import Machine, build_machine
from planner.hardware.model import model_named
from planner.interference.derive import Probing, derive_frontier, derive_offline_only
from planner.interference.derive_mix import RequestMix
from planner.interference.derive_replica import Engine
from planner.model import Frontier
from storage.codecs import from_json, to_json


def main() -> int:
    """Answers questions until the input ends."""
    out, questions = begin()
    write(out, {"ready": True})
    while True:
        line = questions.get()
        try:
            frontier = derived(from_json(Question, json.loads(line)))
        except Exception as error:  # noqa: BLE001 - reported to the parent, which decides
            write(out, {"error": f"{type(error).__name__}: {error}"})
        else:
            write(out, {"frontier": to_json(frontier)})


def derived(question: Question) -> Frontier:
    """The frontier, whose source says what it was derived from.

    Raises:
        ValueError: Requests that do not fit the machine, or a model that does not divide.
    """
    machine = _machine(question, question.device, question.tensor_parallel_size)
    reference = _machine(
        question, question.reference_device, question.reference_tensor_parallel_size
    )
    mix = RequestMix.around(
        prompt_tokens=question.prompt_tokens,
        output_tokens=question.output_tokens,
        context_tokens=min(question.context_tokens, question.kv_cache_tokens, machine.kv_tokens),
    )
    engine = Engine(
        kv_cache_tokens=question.kv_cache_tokens,
        max_running_requests=question.max_running_requests,
        chunked_prefill_size=question.chunked_prefill_size,
    )
    probing = Probing(requests=question.requests, levels=question.levels)
    if question.slo is None:
        found = derive_offline_only(
            machine, offline=mix, reference=reference, engine=engine, probing=probing
        )
    else:
        found = derive_frontier(
            machine,
            slo=question.slo,
            online=mix,
            offline=mix,
            reference=reference,
            engine=engine,
            latency_budget_ms=question.latency_budget_ms,
            probing=probing,
        )
    requests = f"{question.prompt_tokens}+{question.output_tokens}"
    return replace(
        found.frontier,
        source=f"derived: {machine.name}, requests of {requests} tokens assumed",
    )


def _machine(question: Question, device: str, size: int) -> Machine:
    shape = replace(model_named(question.model), context_tokens=question.context_tokens)
    return build_machine(device_named(device), shape, tensor_parallel_size=size)


if __name__ == "__main__":
    sys.exit(main())
