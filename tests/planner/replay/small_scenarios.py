"""Small scenarios on a machine derived from its sheet, without any file."""

import itertools
from functools import partial

from planner.hardware.device import device_named
from planner.hardware.machine import build_machine
from planner.hardware.model import model_named
from planner.hardware.oracle import oracle_model
from planner.hardware.truth import ground_truth
from planner.replay.scenario import Scenario, engine_settings
from planner.workload.generate import generate
from planner.workload.request import WorkloadRequest

MACHINE = build_machine(device_named("a100-40gb"), model_named("llama2-7b"))


def chat(*, seed=1, duration_s=6.0, requests_per_s=2.0):
    """Short conversations, some of them after a block that others share."""
    return tuple(
        WorkloadRequest(
            at_s=request.at_s,
            prompt_tokens=64 + request.prompt_tokens // 4,
            output_tokens=1 + request.output_tokens // 8,
            blocks=(number % 3,) if number % 2 else (),
            block_tokens=64 if number % 2 else 0,
        )
        for number, request in enumerate(
            generate(seed=seed, duration_s=duration_s, requests_per_s=requests_per_s)
        )
    )


def batch(count=None, *, prompt_tokens=200, output_tokens=12):
    """Offline requests, endless without a count; each shares a block with every fourth."""
    numbers = itertools.count() if count is None else range(count)
    return (
        WorkloadRequest(
            at_s=0.0,
            prompt_tokens=prompt_tokens + number % 7,
            output_tokens=output_tokens,
            blocks=(number % 4,),
            block_tokens=64,
        )
        for number in numbers
    )


def scenario(*, online=None, offline=batch, duration_s=6.0, noise_ratio=0.03, **fields):
    """A replica that serves both."""
    arrivals = chat(duration_s=6.0) if online is None else online
    return Scenario(
        **{
            "machine": MACHINE,
            "settings": engine_settings(MACHINE),
            "online": lambda: arrivals,
            "offline": offline,
            "duration_s": duration_s,
            "truth": partial(ground_truth, MACHINE, noise_ratio=noise_ratio, seed=1),
            "model": oracle_model(MACHINE),
            "offline_in_flight": 8,
            "settle_s": 1.0,
        }
        | fields
    )


class Telling:
    """Keeps all that a run tells."""

    def __init__(self):
        self.passes, self.results, self.ends = [], [], []

    def passed(self, record):
        self.passes.append(record)

    def settled(self, settled, *, at_s):
        self.results.append((settled, at_s))

    def ended(self, ended):
        self.ends.append(ended)
