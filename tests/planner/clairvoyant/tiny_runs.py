"""Runs of a tiny engine, and the most offline work of every schedule no worse than one."""

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np

from planner.batching.state import WorkClass
from planner.clairvoyant.standing import Standing
from planner.latency.features import BatchShape
from planner.slo import Chunk, Outcome, RequestTrace

IMPOSSIBLE = -(10**9)


@dataclass(frozen=True)
class TinyRun:
    """A schedule: each pass with its begin, its end and the state after it."""

    passes: tuple
    emitted_ms: tuple  # of each request, its tokens' times


class TinyEngine:
    """Any chunks and decodes in any pass, within chunk, rows and KV; never two passes at once.

    KV is held from the first chunk to the end. A state has (prompt tokens, output tokens) of
    each request.
    """

    def __init__(self, requests, *, pass_ms, chunk, rows, kv, mixes, in_flight, from_ms, to_ms):
        self.requests, self.pass_ms = requests, pass_ms
        self.chunk, self.rows, self.kv, self.mixes = chunk, rows, kv, mixes
        self.in_flight, self.from_ms, self.to_ms = in_flight, from_ms, to_ms
        self.is_online = [r.work_class is WorkClass.ONLINE for r in requests]
        self.at_ms = [r.at_s * 1e3 for r in requests]
        self.batch = [i for i, on in enumerate(self.is_online) if not on]
        self.start = tuple((0, 0) for _ in requests)

    def is_ended(self, index, states):
        return states[index][1] == self.requests[index].output_tokens

    def all_served(self, states):
        return all(on <= self.is_ended(i, states) for i, on in enumerate(self.is_online))

    def choices(self, index, states, now):
        request, (done, _) = self.requests[index], states[index]
        if self.at_ms[index] > now or self.is_ended(index, states):
            return [(0, 0)]
        if not self.is_online[index]:
            ended = sum(self.is_ended(i, states) for i in self.batch)
            if now >= self.to_ms or self.batch.index(index) >= ended + self.in_flight:
                return [(0, 0)]
        if done == request.prompt_tokens:
            return [(0, 0), (0, 1)]
        most = min(self.chunk, request.prompt_tokens - done)
        return [(chunk, 0) for chunk in range(most + 1)]

    def passes(self, states, now):
        """Every pass that can begin now: its end and the state after it."""
        for combination in product(
            *(self.choices(i, states, now) for i in range(len(self.requests)))
        ):
            tokens = sum(chunk for chunk, _ in combination)
            decodes = sum(decode for _, decode in combination)
            if not (tokens or decodes) or (tokens and tokens + decodes > self.chunk):
                continue
            if tokens and decodes and not self.mixes:
                continue
            shape, after, held, rows = BatchShape(), [], 0, 0
            for index, (chunk, decode) in enumerate(combination):
                done, emitted = states[index]
                if chunk:
                    shape = shape.with_prefill(new_tokens=chunk, cached_tokens=done)
                    done += chunk
                    emitted += done == self.requests[index].prompt_tokens
                if decode:
                    shape = shape.with_decode(context_tokens=done + emitted)
                    emitted += 1
                after.append((done, emitted))
                is_ended = emitted == self.requests[index].output_tokens
                if done and (chunk or decode or not is_ended):
                    held += done + max(0, emitted - 1)
                    rows += 1
            if held <= self.kv and rows <= self.rows:
                yield round(now + self.pass_ms(shape), 6), tuple(after)

    def next_arrival(self, now):
        return min((at for at in self.at_ms if at > now), default=None)

    def drawn_run(self, source):
        """A schedule at random, to the window's end and the last online token; None: stuck.

        It waits now and then, so that others can do better.
        """
        now, states, passes = 0.0, self.start, []
        emitted = [[] for _ in self.requests]
        while now < self.to_ms or not self.all_served(states):
            if source.random() < 0.3:
                now += source.choice([1.0, 2.0, 4.0])
            options = list(self.passes(states, now))
            if not options:
                now = self.next_arrival(now)
                if now is None:
                    return None if not self.all_served(states) else self._run(passes, emitted)
                continue
            end, after = source.choice(options)
            for i, (before, now_at) in enumerate(zip(states, after, strict=True)):
                emitted[i] += [end] * (now_at[1] - before[1])
            passes.append((now, end, after))
            now, states = end, after
        return self._run(passes, emitted)

    def _run(self, passes, emitted):
        return TinyRun(tuple(passes), tuple(tuple(times) for times in emitted))

    # ------------------------------------------------------------ of a run

    def counted(self, run):
        """Its offline tokens in the window."""
        before = after = self.start
        for _, end, states in run.passes:
            before = states if end < self.from_ms else before
            after = states if end < self.to_ms else after
        return self.tokens(after) - self.tokens(before)

    def tokens(self, states):
        return sum(sum(states[i]) for i in self.batch)

    def standing(self, run):
        launched = counted_before = after = self.start
        busy_ms = self.from_ms
        for begin, end, states in run.passes:
            if begin < self.from_ms:
                launched, busy_ms = states, max(busy_ms, end)
            counted_before = states if end < self.from_ms else counted_before
            after = states if end < self.to_ms else after
        before = np.array([launched[i] for i in self.batch], dtype=float).reshape(-1, 2)
        at_end = np.array([after[i] for i in self.batch], dtype=float).reshape(-1, 2)
        return Standing(
            prompt_before=before[:, 0],
            output_before=before[:, 1],
            prompt_after=at_end[:, 0],
            output_after=at_end[:, 1],
            free_tokens=float(self.tokens(launched) - self.tokens(counted_before)),
            busy_until_s=busy_ms / 1e3,
            offline_repeats=0,
            online_repeats=0,
        )

    def served(self, run):
        """Traces of the online requests sent in the window."""
        return [
            RequestTrace(
                scheduled_s=self.requests[i].at_s,
                chunks=tuple(Chunk(at_s=ms / 1e3, tokens=1) for ms in run.emitted_ms[i]),
                outcome=Outcome.COMPLETED,
            )
            for i, on in enumerate(self.is_online)
            if on and self.from_ms <= self.at_ms[i] < self.to_ms
        ]

    def most_no_worse(self, run):
        """The optimum, by search over all schedules that go on from where the run was."""
        now, states = self.from_ms, self.start
        free_from = self.start
        for begin, end, after in run.passes:
            if begin < self.from_ms:
                now, states = max(now, end), after
            free_from = after if end < self.from_ms else free_from
        standing = self.standing(run)
        limits = {
            i: (run.emitted_ms[i][0], run.emitted_ms[i][-1])
            for i, on in enumerate(self.is_online)
            if on and self.from_ms <= self.at_ms[i] < self.to_ms
        }
        begun = np.maximum(standing.prompt_before, standing.prompt_after)
        begun_out = np.maximum(standing.output_before, standing.output_after)

        def loads(prompts, outputs):
            in_part, whole = 0, []
            for place, index in enumerate(self.batch):
                if outputs[place] < self.requests[index].output_tokens:
                    in_part += prompts[place] + outputs[place]
                if prompts[place] == self.requests[index].prompt_tokens:
                    whole.append(place)
            return in_part, (whole[-1] + 1 - len(whole)) if whole else 0

        allowed = loads(begun, begun_out)

        def is_no_worse(states):
            """At the window's end."""
            prompts = [
                max(states[i][0], begun_at)
                for i, begun_at in zip(self.batch, standing.prompt_before, strict=True)
            ]
            outputs = [
                max(states[i][1], out_at)
                for i, out_at in zip(self.batch, standing.output_before, strict=True)
            ]
            for place, index in enumerate(self.batch):
                if states[index][0] < standing.prompt_after[place]:
                    return False
                if states[index][1] < standing.output_after[place]:
                    return False
            in_part, passed_over = loads(prompts, outputs)
            return in_part <= allowed[0] and passed_over <= allowed[1]

        def is_timely(states, after, end):
            for i, (first, last) in limits.items():
                if after[i][1] and not states[i][1] and end > first + 1e-9:
                    return False
                if self.is_ended(i, after) and not self.is_ended(i, states) and end > last + 1e-9:
                    return False
            return True

        @cache
        def search(now, states):
            if any(now > last and not self.is_ended(i, states) for i, (_, last) in limits.items()):
                return IMPOSSIBLE
            if now >= self.to_ms:
                done = all(self.is_ended(i, states) for i in limits)
                best = 0 if done else IMPOSSIBLE
            else:
                best = self.tokens(states) if is_no_worse(states) and not limits else IMPOSSIBLE
            later = self.next_arrival(now)
            if now < self.to_ms:
                # Nothing more that ends in the window.
                best = max(best, over(states, now))
            if later is not None and later < self.to_ms:
                best = max(best, search(later, states))
            if now >= self.to_ms and best == 0:
                return 0
            for end, after in self.passes(states, now):
                if not is_timely(states, after, end):
                    continue
                if now < self.to_ms <= end:
                    if is_no_worse(states) and search(end, after) > IMPOSSIBLE:
                        best = max(best, self.tokens(states))
                else:
                    best = max(best, search(end, after))
            return best

        def over(states, now):
            """Idle to the window's end."""
            if not is_no_worse(states) or search(self.to_ms, states) <= IMPOSSIBLE:
                return IMPOSSIBLE
            return self.tokens(states)

        found = search(now, states)
        if found <= IMPOSSIBLE:
            return IMPOSSIBLE
        if now >= self.to_ms:
            found = self.tokens(self._counted_state(run))
        return found - self.tokens(free_from)

    def _counted_state(self, run):
        after = self.start
        for _, end, states in run.passes:
            after = states if end < self.to_ms else after
        return after
