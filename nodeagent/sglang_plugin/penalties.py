"""Sampling penalties of rows whose batch was rebuilt, or whose passes were interrupted.

SGLang counts the tokens that penalties look at along the way, one at each decode, in the
batch a row sits in. A row that leaves its batch and joins another loses its counts. And
with overlap SGLang counts the token before the newest, which is in flight as a rule; after
a pass that held other work it is not, and one token is skipped and the next counted twice.

Owns putting the counts right before a launch: from the request's own tokens, to what they
would be had the request run alone. So offline work between two decodes changes no output,
and a penalised row may be parked and evicted like any other.
"""

from collections.abc import Sequence
from typing import Any

import torch
from sglang.srt.sampling.penaltylib import (
    BatchedFrequencyPenalizer,
    BatchedMinNewTokensPenalizer,
    BatchedPresencePenalizer,
    BatchedRepetitionPenalizer,
)

from nodeagent.sglang_plugin.rows import record_of


def restore_penalties(batch: Any, *, in_flight: frozenset[int], overlaps: bool) -> None:
    """Corrects the counts of a batch that is about to be launched.

    Args:
        batch: The SGLang batch, prepared; a row of it has penalties.
        in_flight: `id()` of requests whose last result is not processed yet.
        overlaps: Whether the engine plans a pass before it has the result of the last.
    """
    penalizers = batch.sampling_info.penalizer_orchestrator
    prefills = 0
    if batch.forward_mode.is_extend():
        prefills = len(batch.reqs) - len(batch.decoding_reqs or ())
    for row, req in enumerate(batch.reqs):
        record = record_of(req)
        if not record.is_penalised or not req.output_ids:
            continue
        is_interrupted = overlaps and id(req) not in in_flight
        if row < prefills or is_interrupted or record.lost_penalties:
            tokens = _counted_tokens(req, overlaps=overlaps)
            _write(penalizers.penalizers, row, tokens=tokens, device=batch.device)
            record.lost_penalties = False


def _counted_tokens(req: Any, *, overlaps: bool) -> Sequence[int]:
    """What SGLang has counted when the next token of an undisturbed request is sampled.

    With overlap the newest token is missing, and the first decode, which knows no output
    yet, counts the prompt's last token.
    """
    if not overlaps:
        return list(req.output_ids)
    return [req.origin_input_ids[-1], *req.output_ids[:-1]]


def _write(penalizers: Any, row: int, *, tokens: Sequence[int], device: Any) -> None:
    """Replaces one row's counts in every penalizer that is in use."""
    index = torch.tensor(tokens, dtype=torch.int64, device=device)
    for kind, penalizer in penalizers.items():
        if not penalizer.is_prepared():
            continue
        if kind is BatchedFrequencyPenalizer:
            counts = penalizer.cumulated_frequency_penalties[row].zero_()
            each = penalizer.frequency_penalties[row].expand(len(tokens))
            counts.scatter_add_(0, index, each)
        elif kind is BatchedPresencePenalizer:
            counts = penalizer.cumulated_presence_penalties[row].zero_()
            counts[index] = penalizer.presence_penalties[row]
        elif kind is BatchedRepetitionPenalizer:
            counts = penalizer.cumulated_repetition_penalties[row].fill_(1.0)
            counts[index] = penalizer.repetition_penalties[row]
        elif kind is BatchedMinNewTokensPenalizer:
            penalizer.len_output_tokens[row] = len(tokens)
        else:
            raise RuntimeError(f"{kind.__name__}: SGLang has a penalty this plugin cannot restore")
