"""Every schedule of a tiny engine: the most offline tokens that any of them has done."""

from dataclasses import dataclass
from functools import cache
from itertools import product

from planner.batching.state import WorkClass
from planner.latency.features import BatchShape

IMPOSSIBLE = -(10**9)


@dataclass(frozen=True)
class TinyEngine:
    """What a schedule is held to.

    Decodes and chunks of any prompts in any pass, together within the chunk, in any order,
    idling at will; KV is held from
    the first chunk to the end, but for a shared prefix, which stays cached once computed.
    """

    pass_ms: object
    chunk: int
    rows: int
    kv: int
    mixes: bool
    in_flight: int | None
    from_ms: float
    to_ms: float
    ttft_mean_ms: float | None
    itl_mean_ms: float | None


def most_offline_tokens(engine, requests):
    """The optimum, by search over all schedules; IMPOSSIBLE where none keeps the targets."""
    is_online = [r.work_class is WorkClass.ONLINE for r in requests]
    at_ms = [r.at_s * 1e3 for r in requests]
    measured = [
        i for i, on in enumerate(is_online) if on and engine.from_ms <= at_ms[i] < engine.to_ms
    ]
    has_targets = engine.ttft_mean_ms is not None or engine.itl_mean_ms is not None
    gaps = sum(requests[i].output_tokens - 1 for i in measured)

    def is_ended(request, state):
        return state[1] == request.output_tokens

    def keeps_targets(waited, gapped):
        ttft = engine.ttft_mean_ms
        itl = engine.itl_mean_ms
        if measured and ttft is not None and waited > ttft * len(measured) + 1e-9:
            return False
        return not (gaps and itl is not None and gapped > itl * gaps + 1e-9)

    def cached(request, states):
        """What the cache holds of a prompt that begins now."""
        if not request.blocks:
            return 0
        length = request.block_tokens
        has = any(
            other.blocks == request.blocks and state[0] >= length
            for other, state in zip(requests, states, strict=True)
        )
        return min(length, request.prompt_tokens - 1) if has else 0

    def choices(index, states, now):
        """What a request may do in the next pass: tokens before, chunk, decodes."""
        request, (done, _) = requests[index], states[index]
        if at_ms[index] > now or is_ended(request, states[index]):
            return [(done, 0, 0)]
        if not is_online[index]:
            if now >= engine.to_ms:
                return [(done, 0, 0)]
            if engine.in_flight is not None:
                batch = [i for i, on in enumerate(is_online) if not on]
                ended = sum(is_ended(requests[i], states[i]) for i in batch)
                if batch.index(index) >= ended + engine.in_flight:
                    return [(done, 0, 0)]
        if done == request.prompt_tokens:
            return [(done, 0, 0), (done, 0, 1)]
        before = done or cached(request, states)
        most = min(engine.chunk, request.prompt_tokens - before)
        return [(done, 0, 0), *((before, chunk, 0) for chunk in range(1, most + 1))]

    @cache
    def search(now, states, waited, gapped):
        if not keeps_targets(waited, gapped):
            return IMPOSSIBLE
        all_served = all(is_ended(requests[i], states[i]) for i in measured)
        may_stop = all_served or not has_targets
        if now >= engine.to_ms and may_stop:
            return 0
        best = 0 if may_stop else IMPOSSIBLE
        later = [at for at in at_ms if at > now]
        if later:
            best = search(min(later), states, *waits(now, min(later), states, waited, gapped))
        for combination in product(*(choices(i, states, now) for i in range(len(requests)))):
            best = max(best, run(now, states, waited, gapped, combination))
        return best

    def waits(now, end, states, waited, gapped):
        for i in measured:
            if is_ended(requests[i], states[i]) or at_ms[i] >= end:
                continue
            lasted = end - max(now, at_ms[i])
            if states[i][1]:
                gapped += lasted
            else:
                waited += lasted
        return round(waited, 6), round(gapped, 6)

    def run(now, states, waited, gapped, combination):
        tokens = sum(chunk for _, chunk, _ in combination)
        decodes = sum(decode for _, _, decode in combination)
        if not (tokens or decodes) or (tokens and tokens + decodes > engine.chunk):
            return IMPOSSIBLE
        if tokens and decodes and not engine.mixes:
            return IMPOSSIBLE
        shape, after, gained, held, rows = BatchShape(), [], 0, 0, 0
        for index, (before, chunk, decode) in enumerate(combination):
            request, (done, emitted) = requests[index], states[index]
            if chunk:
                shape = shape.with_prefill(new_tokens=chunk, cached_tokens=before)
                done, old = before + chunk, done
                first = done == request.prompt_tokens
                emitted += first
                gained += 0 if is_online[index] else done - old + first
            if decode:
                shape = shape.with_decode(context_tokens=done + emitted)
                emitted += 1
                gained += not is_online[index]
            after.append((done, emitted))
            if done and (chunk or decode or not is_ended(request, (done, emitted))):
                shared = request.block_tokens if request.blocks else 0
                # Its newest token has no KV before it is read.
                held += max(0, done - shared) + max(0, emitted - 1)
                rows += 1
        if held > engine.kv or rows > engine.rows:
            return IMPOSSIBLE
        end = round(now + engine.pass_ms(shape), 6)
        counted = gained if engine.from_ms <= end < engine.to_ms else 0
        rest = search(end, tuple(after), *waits(now, end, states, waited, gapped))
        return counted + rest if rest > IMPOSSIBLE else IMPOSSIBLE

    return search(0.0, tuple((0, 0) for _ in requests), 0.0, 0.0)
