"""What a run is asked to do.

Owns the flags and what they come to: sizes by device, and the short form. Refuses
contradictions before an engine is started.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.colocate.slices import TRACES, TraceSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """A run.

    Args:
        rounds: by trace.
        requests: online requests of an arm, or as many as last `least_s`.
        rates: online requests a second by trace; 0: calibrated to half-busy.
        window: offline requests in the engine at the most, in all arms but C.
        kv_tokens: of an engine on a GPU; 0 leaves SGLang its share of the memory.
        engine_flags: of SGLang, in all arms.
        last_round_s: no round but the first begins so long after the run did; 0: all do.
        settle_s: how long a batch runs before the judged time.
        mixed_chunk: B runs with SGLang's mixed chunk (on a CPU a third engine).
    """

    device: str
    model_path: Path | None
    traces: tuple[str, ...]
    rounds: dict[str, int]
    requests: int
    least_s: float
    rates: dict[str, float]
    caps: tuple[int, ...]
    tolerances: tuple[float, ...]
    only: tuple[str, ...]
    window: int
    kv_tokens: int
    engine_flags: tuple[str, ...]
    last_round_s: float
    offline_prompt_tokens: int
    offline_output_tokens: int
    settle_s: float
    tuning_s: float
    max_probes: int
    mixed_chunk: bool
    with_prefix: bool
    is_quick: bool
    seed: int
    output: Path

    @property
    def is_cpu(self) -> bool:
        """Whether the engine runs on a CPU."""
        return self.device == "cpu"

    def length_divisor(self, spec: TraceSpec) -> float:
        """Of a trace's lengths; a GPU bears Azure's whole, and Mooncake's an eighth."""
        return spec.length_divisor if self.is_cpu else spec.length_divisor / 8.0


def read_options(arguments: Sequence[str]) -> Options:
    """Reads the flags; a wrong one ends the process with a usage line, as argparse does."""
    parser = _parser()
    flags = parser.parse_args(arguments)
    is_cpu = flags.device == "cpu"
    if flags.rounds < 1 or min(flags.requests, flags.window, flags.kv_tokens, flags.probes) < 0:
        parser.error("--rounds must be >= 1, --window, --requests, --kv-tokens, --probes >= 0")
    if flags.seconds < 0 or flags.tuning_seconds < 0:
        parser.error("--seconds and --tuning-seconds must be >= 0")
    if any(cap < 1 for cap in flags.caps) or any(t <= 0 for t in flags.tolerances):
        parser.error("--caps must be >= 1 and --tolerances > 0")
    quick = flags.quick
    offline_tokens = flags.offline_tokens or ([256, 32] if is_cpu else [1024, 128])
    traces = tuple(flags.traces or (["azure"] if quick else ["azure", "mooncake"]))
    rounds = 1 if quick else flags.rounds
    return Options(
        device=flags.device,
        model_path=flags.model,
        traces=traces,
        rounds={name: rounds if name == traces[0] else 1 for name in traces},
        requests=flags.requests or (18 if quick else 54),
        least_s=flags.seconds or (8.0 if quick else 30.0),
        rates=dict.fromkeys(traces, flags.rate),
        caps=tuple(flags.caps),
        tolerances=tuple(flags.tolerances),
        only=tuple(flags.arms or ()),
        window=flags.window or (32 if is_cpu else 256),
        kv_tokens=flags.kv_tokens,
        engine_flags=tuple(flags.engine_flag),
        last_round_s=flags.last_round_s,
        offline_prompt_tokens=offline_tokens[0],
        offline_output_tokens=offline_tokens[1],
        settle_s=1.0 if quick else 3.0,
        tuning_s=flags.tuning_seconds or (16.0 if quick else 60.0),
        max_probes=flags.probes or (20 if quick else 40),
        mixed_chunk=flags.mixed_chunk,
        with_prefix=not flags.no_prefix,
        is_quick=quick,
        seed=flags.seed,
        output=flags.output,
    )


def add_engine_flags(parser: argparse.ArgumentParser) -> None:
    """The engine's flags and its load's, which other benches on one engine have too."""
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--model", type=Path, help="model folder; none: a random one is made")
    parser.add_argument("--kv-tokens", type=int, default=0, help="of an engine's KV cache on a GPU;"
                        " 0: what 0.4 of the memory holds")  # fmt: skip
    parser.add_argument("--engine-flag", action="append", default=[], metavar="=--FLAG=VALUE",
                        help="of SGLang, in all arms; may be given again")  # fmt: skip
    parser.add_argument("--rate", type=float, default=0.0, help="online requests a second;"
                        " 0: so that online alone keeps the engine half busy")  # fmt: skip
    parser.add_argument("--window", type=int, default=0, help="offline requests in flight; 0: 32"
                        " on a CPU, 256 on a GPU")  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make bench-colocate ARGS=…",
        description="Stock SGLang and Slacktide on one engine, arm by arm, paired.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_engine_flags(parser)
    parser.add_argument("--traces", nargs="+", choices=sorted(TRACES), help="the first one gets"
                        " all rounds, each other a single one")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3, help="of the first trace")
    parser.add_argument("--requests", type=int, default=0, help="online, of an arm; 0: 54, 18"
                        " with --quick; more where they would not last 30 s, 8 s")  # fmt: skip
    parser.add_argument("--seconds", type=float, default=0.0, help="of an arm, at the least; 0:"
                        " 30, 8 with --quick")  # fmt: skip
    parser.add_argument("--caps", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--tolerances", type=float, nargs="*", default=[0.1, 0.5])
    parser.add_argument("--arms", nargs="+", help="only these and what they need, e.g. D@10%% E")
    parser.add_argument("--offline-tokens", type=int, nargs=2, metavar=("PROMPT", "OUTPUT"),
                        help="means of the batch; 256 32 on a CPU, 1024 128 on a GPU")  # fmt: skip
    parser.add_argument("--tuning-seconds", type=float, default=0.0, help="iterations are measured"
                        " for so long; 0: 60, 16 with --quick")  # fmt: skip
    parser.add_argument("--probes", type=int, default=0, help="simulated runs of an arm's first"
                        " search; 0: 40, 20 with --quick")  # fmt: skip
    parser.add_argument("--last-round-s", type=float, default=0.0, help="no round but the first"
                        " begins so long after the run did; 0: all do")  # fmt: skip
    parser.add_argument("--mixed-chunk", action="store_true", help="B with mixed chunk on a CPU")
    parser.add_argument("--no-prefix", action="store_true", help="leave the prefix part out")
    parser.add_argument("--quick", action="store_true", help="minutes, and too short to tell")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("build/bench/colocate"))
    return parser
