"""Short constructors of engine states, for tests of the iteration decision."""

import random
from dataclasses import replace

from planner.batching.state import DecodeRow, EngineState, PrefillWork, WorkClass
from planner.latency.coefficients import Coefficients
from planner.latency.predictor import LatencyModel

NOW_S = 1000.0

# Round numbers: a decode takes 2 ms + 1 ms a row, a prefill 5 ms + 0.1 ms a token. Its
# bound is the truth, so it counts as calibrated.
MODEL = LatencyModel(
    identity="round",
    decode=Coefficients(constant=2.0, decode_rows=1.0, coverage_ratio=0.9),
    prefill=Coefficients(constant=5.0, prefill_tokens=0.1, decode_rows=1.0, coverage_ratio=0.9),
)


def online_row(rid="on0", **fields):
    """A running online decode whose last token came just now."""
    return DecodeRow(
        **{
            "rid": rid,
            "work_class": WorkClass.ONLINE,
            "context_tokens": 100,
            "generated_tokens": 10,
            "last_token_s": NOW_S,
            "passes_in_state": 10,
        }
        | fields
    )


def offline_row(rid="off0", **fields):
    """An offline decode that may be parked, long in its state."""
    return DecodeRow(
        **{
            "rid": rid,
            "work_class": WorkClass.OFFLINE,
            "context_tokens": 100,
            "generated_tokens": 10,
            "passes_in_state": 10,
            "recompute_tokens": 100,
        }
        | fields
    )


def online_prompt(rid="won0", **fields):
    """A waiting online request of 100 tokens."""
    return PrefillWork(
        **{
            "rid": rid,
            "work_class": WorkClass.ONLINE,
            "remaining_tokens": 100,
            "cached_tokens": 0,
            "arrival_s": NOW_S,
        }
        | fields
    )


def offline_prompt(rid="woff0", **fields):
    """A waiting offline request of 100 tokens."""
    return PrefillWork(
        **{
            "rid": rid,
            "work_class": WorkClass.OFFLINE,
            "remaining_tokens": 100,
            "cached_tokens": 0,
            "arrival_s": NOW_S,
        }
        | fields
    )


def engine_state(**fields):
    """An engine that takes turns, with KV to spare."""
    return EngineState(
        **{
            "now_s": NOW_S,
            "pass_number": 1,
            "running": (),
            "parked": (),
            "started": None,
            "waiting_online": (),
            "waiting_offline": (),
            "kv_free_tokens": 50_000,
            "kv_total_tokens": 100_000,
            "page_size": 1,
            "chunk_limit_tokens": 512,
            "mixes_prefill_and_decode": False,
        }
        | fields
    )


def laid_out_otherwise(state, *, seed):
    """The same engine, its rows and queues in another order."""
    draw = random.Random(seed)
    names = ("running", "parked", "waiting_online", "waiting_offline")
    queues = {name: getattr(state, name) for name in names}
    return replace(
        state, **{name: tuple(draw.sample(queue, len(queue))) for name, queue in queues.items()}
    )
