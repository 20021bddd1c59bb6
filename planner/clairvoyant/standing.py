"""Where a run's batch stands when a window begins, and when it ends.

Owns what `no_worse_bound` asks of a run beside its online traces. Refuses judgement. The
window begins in the state that the run left: passes that began before it are as they were,
and what of them comes in the window is free. At its end counts what is settled, as
`Replayed` counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.clairvoyant.prices import Floats
from planner.simulation.live import LiveRequest
from planner.simulation.passes import Settled
from planner.simulation.request import SimulatedRequest
from planner.simulation.watch import EndedRequest, PassRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Arrays have an entry a request of the batch, in the order they are sent.

    Attributes:
        prompt_before: Prompt tokens that passes begun before the window computed or found.
        output_before: Output tokens that those passes bring.
        prompt_after: Prompt tokens done at the window's end, at least `prompt_before` less
            what was on its way.
        output_after: Output tokens emitted by then.
        free_tokens: Of `prompt_before` and `output_before`: those not counted before the
            window.
        busy_until_s: When the last pass begun before the window ended.
        offline_repeats: Output tokens of offline requests that came with a prompt computed
            again, in passes begun in the window.
        online_repeats: Likewise of online requests.
    """

    prompt_before: Floats
    output_before: Floats
    prompt_after: Floats
    output_after: Floats
    free_tokens: float
    busy_until_s: float
    offline_repeats: int
    online_repeats: int


class StandingWatch:
    """A watch that notes the standing of a batch."""

    def __init__(self, *, offline: Sequence[SimulatedRequest], from_s: float, to_s: float) -> None:
        """Watches a run with that batch."""
        self._offline, self._from_s, self._to_s = offline, from_s, to_s
        self._places = {request.rid: place for place, request in enumerate(offline)}
        self._before: dict[int, tuple[int, int]] = {}
        self._after: dict[int, tuple[int, int]] = {}  # of those that ended
        self._unended: list[tuple[int, int, int]] = []
        self._live: dict[str, LiveRequest] = {}
        self._counted_before = 0
        self._busy_until_s = from_s
        self._repeats = {True: 0, False: 0}

    def passed(self, record: PassRecord) -> None:
        """Notes what a pass will bring."""
        run, is_before = record.run, record.start_s < self._from_s
        if is_before:
            self._busy_until_s = max(self._busy_until_s, record.start_s + record.lasted_ms / 1e3)
        elif record.start_s < self._to_s:
            for live in run.finished_prompts:
                self._repeats[live.is_offline] += live.launched > 1
        computed = [live for live, _ in run.prompts]
        for live in (*computed, *run.decodes):
            if not live.is_offline:
                continue
            self._live[live.rid] = live
            if is_before:
                place, prompt = self._places[live.rid], live.request.prompt_tokens
                done, emitted = self._before.get(place, (0, 0))
                done = max(done, min(live.kv_tokens, prompt))
                self._before[place] = done, max(emitted, live.launched)

    def settled(self, settled: Settled, *, at_s: float) -> None:
        """Notes what counts."""
        if at_s < self._from_s:
            self._counted_before += settled.offline_prompt_tokens + settled.offline_output_tokens
        for live in settled.ended:
            if self._live.pop(live.rid, None) is not None and at_s < self._to_s:
                request = live.request
                place = self._places[live.rid]
                self._after[place] = request.prompt_tokens, request.output_tokens
        if at_s < self._to_s:
            self._unended = [
                (self._places[rid], live.credited_tokens, live.generated)
                for rid, live in self._live.items()
            ]

    def ended(self, ended: EndedRequest) -> None:
        """Nothing: results say who ended."""

    def standing(self) -> Standing:
        """Of the run that was watched."""
        count = len(self._offline)
        before, after = np.zeros((count, 2)), np.zeros((count, 2))
        for place, done in self._before.items():
            before[place] = done
        for place, prompt, output in self._unended:
            after[place] = prompt, output
        for place, done in self._after.items():
            after[place] = done
        return Standing(
            prompt_before=before[:, 0],
            output_before=before[:, 1],
            prompt_after=after[:, 0],
            output_after=after[:, 1],
            free_tokens=float(before.sum()) - self._counted_before,
            busy_until_s=self._busy_until_s,
            offline_repeats=self._repeats[True],
            online_repeats=self._repeats[False],
        )
