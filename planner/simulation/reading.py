"""A simulated engine read as the decision's values, as the plugin reads a real one."""

from planner.batching.state import EngineState, Memory, PrefillWork
from planner.simulation.live import LiveRequest, decode_rows
from planner.simulation.memory import KvMemory
from planner.simulation.residents import Residents
from planner.simulation.settings import EngineSettings


def read_state(
    residents: Residents,
    *,
    settings: EngineSettings,
    memory: KvMemory,
    now_s: float,
    last_pass_ms: float,
    plan_memory: Memory,
) -> EngineState:
    """Reads an engine before its pass.

    Args:
        residents: Who is in it.
        settings: Its limits.
        memory: Its KV.
        now_s: When the pass is planned.
        last_pass_ms: How long the newest pass with a result lasted.
        plan_memory: What the plan of the pass before left to this one.
    """
    number, started = residents.pass_number, residents.started
    return EngineState(
        now_s=now_s,
        pass_number=number,
        running=tuple(decode_rows(residents.running, number=number, is_parked=False)),
        parked=tuple(decode_rows(residents.parked, number=number, is_parked=True)),
        started=None
        if started is None
        else started.as_work(memory, number=number, is_started=True),
        waiting_online=_waiting(residents.online, memory=memory, number=number),
        waiting_offline=residents.offline.read(memory, number=number),
        kv_free_tokens=memory.free_tokens,
        kv_total_tokens=memory.total_tokens,
        page_size=memory.page_size,
        chunk_limit_tokens=settings.chunked_prefill_size,
        mixes_prefill_and_decode=settings.mixes,
        last_pass_ms=last_pass_ms,
        free_rows=residents.free_rows,
        memory=plan_memory,
        offline_queue=residents.offline.standing(),
    )


def _waiting(
    requests: list[LiveRequest], *, memory: KvMemory, number: int
) -> tuple[PrefillWork, ...]:
    """As the policy sees them; a view stays as it is until its prefix is looked up again."""
    return tuple(
        [
            r.work
            if number < r.match_due and r.queued_pass is not None
            else r.as_work(memory, number=number, is_started=False)
            for r in requests
        ]
    )
