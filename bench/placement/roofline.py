"""Predicted time of one engine iteration, and the loads that fit into it.

Owns the analytic predictor that stands in for measured profiles. Refuses SLO margins and
queueing: those are `frontiers`'. With s_p prompt tokens and s_d decode rows in a pass of
T seconds, on g devices of one type at TP efficiency e:

    T >= a + b s_p + c_on s_d,on + c_off s_d,off + d s_p^2
    a = overhead + weights / (g bandwidth 0.8 e)      weights are read once a pass
    b = 2 active parameters / (g flops 0.5 e)         compute of one token
    c = b + context kv_bytes / (g bandwidth 0.8 e)    a row reads its context
    d = b / 40,000                                    attention among the prompt's tokens

Online load of x requests/s with prompts p and outputs l, offline load of y with p', l':
s_p = (x p + y p') T, s_d,on = x l T, s_d,off = y l' T; rows hold their contexts in KV:
(x l context + y l' context') T <= KV tokens. Invariant: `most_offline` falls with x.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.placement.catalogue import ServedModel
from bench.placement.hardware import Gpu

Floats = npt.NDArray[np.float64]

# Claimed, usual of serving engines: launch and scheduling of a pass; what of the sheet's
# bandwidth and FLOPS is reached.
_OVERHEAD_S = 0.004
_BANDWIDTH_RATIO = 0.8
_FLOPS_RATIO = 0.5
_ATTENTION_TOKENS = 40_000.0

# Pass lengths tried: where KV binds, a pass shorter than the SLO's bears more.
PASSES_S = np.array([0.015, 0.02, 0.03, 0.045, 0.06, 0.08, 0.11, 0.142, 0.2, 0.3, 0.45, 0.6])


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Mean request of a deployment, in tokens."""

    prompt: float
    output: float
    offline_prompt: float
    offline_output: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """One replica: a model over `devices` devices of one type."""

    a: float
    b: float
    c_online: float
    c_offline: float
    d: float
    kv_tokens: float
    tokens: Tokens

    @classmethod
    def of(
        cls, model: ServedModel, gpu: Gpu, *, devices: int, kv_cache_bytes: float, tokens: Tokens
    ) -> "Roofline":
        """The replica's coefficients; seconds, tokens."""
        bandwidth = (
            devices * gpu.memory_bytes_per_s * _BANDWIDTH_RATIO * gpu.split_efficiency[devices]
        )
        flops = devices * gpu.flops_per_s * _FLOPS_RATIO * gpu.split_efficiency[devices]
        b = 2.0 * model.active_parameters / flops
        online = (tokens.prompt + tokens.output / 2) * model.kv_bytes_per_token
        offline = (tokens.offline_prompt + tokens.offline_output / 2) * model.kv_bytes_per_token
        return cls(
            a=_OVERHEAD_S + model.weights_bytes / bandwidth,
            b=b,
            c_online=b + online / bandwidth,
            c_offline=b + offline / bandwidth,
            d=b / _ATTENTION_TOKENS,
            kv_tokens=kv_cache_bytes / model.kv_bytes_per_token,
            tokens=tokens,
        )

    def solo_ms(self, *, is_online: bool) -> float:
        """Work of one mean request: one prefill, then decodes of one row, in milliseconds."""
        if is_online:
            prompt, output, c = self.tokens.prompt, self.tokens.output, self.c_online
        else:
            prompt, output, c = (
                self.tokens.offline_prompt,
                self.tokens.offline_output,
                self.c_offline,
            )
        prefill = self.a + self.b * prompt + self.d * prompt**2
        return 1000.0 * (prefill + (output - 1.0) * (self.a + c))

    def most_online(self, *, pass_s: float) -> float:
        """Online requests/s with passes of at most `pass_s` and no offline work."""
        t = PASSES_S[pass_s >= PASSES_S]
        work = self.tokens
        quadratic = self.d * (t * work.prompt) ** 2
        linear = t * (self.b * work.prompt + self.c_online * work.output)
        by_time = _root(quadratic, linear, self.a - t)
        by_kv = self.kv_tokens / (t * work.output * (work.prompt + work.output / 2))
        return float(np.max(np.minimum(by_time, by_kv), initial=0.0))

    def most_offline(self, online: Floats, *, pass_s: float) -> Floats:
        """Offline requests/s beside `online` requests/s (any shape); -1 where x does not fit."""
        t = PASSES_S[pass_s >= PASSES_S]
        if not len(t):
            return np.full(online.shape, -1.0)
        x = online[..., None]
        work = self.tokens
        prompts = t * x * work.prompt
        constant = (
            self.a + self.b * prompts + self.c_online * t * x * work.output + self.d * prompts**2
        )
        quadratic = self.d * (t * work.offline_prompt) ** 2
        linear = (
            t * (self.b * work.offline_prompt + self.c_offline * work.offline_output)
            + 2.0 * self.d * prompts * t * work.offline_prompt
        )
        by_time = _root(quadratic, linear, constant - t)
        held = t * x * work.output * (work.prompt + work.output / 2)
        room = t * work.offline_output * (work.offline_prompt + work.offline_output / 2)
        by_kv = (self.kv_tokens - held) / room
        least = np.minimum(by_time, by_kv)
        most: Floats = np.max(np.where(least >= 0.0, least, -1.0), axis=-1)
        return most


def _root(a: Floats, b: Floats, c: Floats) -> Floats:
    """The non-negative root of a z^2 + b z + c with a, b > 0; -1 where c > 0."""
    root: Floats = np.where(
        c <= 0.0,
        2.0 * -c / (b + np.sqrt(np.maximum(0.0, b * b - 4.0 * a * c))),
        -1.0,
    )
    return root
