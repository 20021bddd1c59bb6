"""Offline decode rows set aside with their KV held, brought back, or evicted.

A parked request keeps its row and KV and is in no batch: SGLang forgets it, so the
scheduler subclass shows it wherever SGLang counts who is there. Resuming builds a decode
batch from requests the way SGLang does for its own transitions.

Refuses to resume a request whose last result is in flight: its newest token is unknown.
"""

from collections.abc import Collection
from typing import Any

import torch
from sglang.srt.managers.overlap_utils import RelayPayload
from sglang.srt.managers.schedule_batch import ScheduleBatch
from sglang.srt.mem_cache.common import release_kv_cache
from sglang.srt.sampling.sampling_batch_info import SamplingBatchInfo


class ParkingLot:
    """The parked requests of one scheduler, longest parked first."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self.requests: list[Any] = []

    def drop_finished(self) -> None:
        """Forgets requests whose last result, processed while parked, ended them."""
        if self.requests:
            self.requests = [r for r in self.requests if not r.finished()]

    def park(self, batch: Any, rids: Collection[str]) -> list[Any]:
        """Takes requests out of the running batch. Returns those it took."""
        taken = [r for r in batch.reqs if r.rid in rids]
        remove(batch, taken)
        self.requests.extend(taken)
        return taken

    def resume(self, batch: Any, requests: Collection[Any]) -> Any:
        """Brings parked requests back. Returns the batch that now holds them."""
        wanted = {id(r) for r in requests}
        back = [r for r in self.requests if id(r) in wanted]
        if not back:
            return batch
        rebuilt = self._decode_batch(back)
        self.requests = [r for r in self.requests if id(r) not in wanted]
        if batch.is_empty():
            rebuilt.batch_is_full = batch.batch_is_full
            return rebuilt
        batch.merge_batch(rebuilt)
        return batch

    def _decode_batch(self, requests: list[Any]) -> Any:
        s = self._scheduler
        rows = [r.kv.req_pool_idx for r in requests]
        lengths = [r.kv.kv_committed_len for r in requests]
        for request, length in zip(requests, lengths, strict=True):
            known = len(request.origin_input_ids) + len(request.output_ids) - 1
            if length != known:
                raise RuntimeError(
                    f"request {request.rid}: parked with {length} tokens of KV, "
                    f"its prompt and output account for {known}"
                )
        batch = ScheduleBatch.init_new(
            reqs=requests,
            req_to_token_pool=s.req_to_token_pool,
            token_to_kv_pool_allocator=s.token_to_kv_pool_allocator,
            tree_cache=s.tree_cache,
            model_config=s.model_config,
            enable_overlap=s.enable_overlap,
            spec_algorithm=s.spec_algorithm,
        )
        batch.req_pool_indices = torch.tensor(rows, dtype=torch.int64, device=s.device)
        batch.req_pool_indices_cpu = torch.tensor(rows, dtype=torch.int64)
        batch.seq_lens = torch.tensor(lengths, dtype=torch.int64, device=s.device)
        batch.seq_lens_cpu = torch.tensor(lengths, dtype=torch.int64)
        batch.orig_seq_lens = torch.tensor(lengths, dtype=torch.int32, device=s.device)
        batch.multimodal_inputs = [r.multimodal_inputs for r in requests]
        if batch.return_logprob:
            batch.top_logprobs_nums = [r.logprob.top_logprobs_num for r in requests]
            batch.token_ids_logprobs = [r.logprob.token_ids_logprob for r in requests]
        newest = torch.tensor(
            [r.output_ids[-1] for r in requests], dtype=torch.int64, device=s.device
        )
        s.future_map.stash(batch.req_pool_indices, RelayPayload(bonus_tokens=newest))
        batch.sampling_info = SamplingBatchInfo.from_schedule_batch(
            batch, s.model_config.vocab_size
        )
        return batch


def remove(batch: Any, requests: Collection[Any]) -> None:
    """Takes requests out of a batch; their rows and KV stay theirs."""
    gone = {id(r) for r in requests}
    if gone:
        batch.filter_batch(keep_indices=[i for i, r in enumerate(batch.reqs) if id(r) not in gone])


def release(req: Any, tree_cache: Any, *, checkpoint: bool) -> None:
    """Gives up a request's row and KV; it starts again from its tokens.

    Args:
        req: A request in no batch that will be launched.
        tree_cache: The prefix cache.
        checkpoint: Whether its KV stays in the prefix cache while there is room.
    """
    release_kv_cache(req, tree_cache, checkpoint=checkpoint)
    req.reset_for_retract()
