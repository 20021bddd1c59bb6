"""What makes a run one that proves nothing.

Owns the bounds and the sentences. A run that breaks one is published all the same, with
`invalid` in its report and exit status 1.
"""

from collections.abc import Mapping, Sequence

from bench.colocate.reading import ArmReading

LATENESS_P99_MS = 10.0  # of sends behind schedule: a third of an iteration's length
CLIENT_CPU_RATIO = 0.7  # of its core; HTTP and detokenizer need the rest
IDLE_ENGINE_CPU_S = 0.1
FOREIGN_CORES = 0.15
HARVEST_RATIO = 1.0


def disturbance(reading: ArmReading) -> str:
    """What others on the machine did to an arm's run; empty: nothing that counts."""
    for what, value, bound in (
        ("sends late by (p99, ms)", reading.lateness_p99_ms, LATENESS_P99_MS),
        ("cores taken by other processes", reading.foreign_cores, FOREIGN_CORES),
    ):
        if value > bound:
            return f"{what}: {value:.3g}, allowed {bound:g}"
    return ""


def problems(trace: str, readings: Mapping[str, Sequence[ArmReading]]) -> list[str]:
    """Why a trace's run is not valid, a sentence each; empty where it is."""
    found = []
    for arm, rounds in readings.items():
        for number, r in enumerate(rounds):
            where = f"{trace}, arm {arm}, round {number + 1}"
            for what, value, bound in (
                ("online requests failed", r.failed, 0),
                ("offline requests failed", r.offline_failed, 0),
                ("sends late by (p99, ms)", r.lateness_p99_ms, LATENESS_P99_MS),
                ("client's share of its core", r.client_cpu_ratio, CLIENT_CPU_RATIO),
                ("CPU seconds of stopped engines", r.idle_engine_cpu_s, IDLE_ENGINE_CPU_S),
                ("cores taken by other processes", r.foreign_cores, FOREIGN_CORES),
            ):
                if value > bound:
                    found.append(f"{where}: {what}: {value:.3g}, allowed {bound:g}")
    for number, batch in enumerate(readings.get("E", ())):
        for arm, rounds in readings.items():
            if arm == "E" or number >= len(rounds) or not batch.offline_tokens_per_s:
                continue
            harvest = rounds[number].offline_tokens_per_s / batch.offline_tokens_per_s
            if harvest > HARVEST_RATIO:
                found.append(
                    f"{trace}, arm {arm}, round {number + 1}: {harvest:.0%} of what the batch"
                    " alone does: the ceiling was not reached, or the run is too short"
                )
    return found
