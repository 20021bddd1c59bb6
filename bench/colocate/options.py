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
    if flags.rounds < 1 or flags.requests < 0 or flags.window < 0:
        parser.error("--rounds must be >= 1, --window and --requests >= 0")
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
        least_s=8.0 if quick else 30.0,
        rates=dict.fromkeys(traces, flags.rate),
        caps=tuple(flags.caps),
        tolerances=tuple(flags.tolerances),
        only=tuple(flags.arms or ()),
        window=flags.window or (32 if is_cpu else 256),
        offline_prompt_tokens=offline_tokens[0],
        offline_output_tokens=offline_tokens[1],
        settle_s=1.0 if quick else 3.0,
        tuning_s=16.0 if quick else 60.0,
        max_probes=18 if quick else 32,
        mixed_chunk=flags.mixed_chunk,
        with_prefix=not flags.no_prefix,
        is_quick=quick,
        seed=flags.seed,
        output=flags.output,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make bench-colocate ARGS=…",
        description="Stock SGLang and Slacktide on one engine, arm by arm, paired.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--model", type=Path, help="model folder; none: a random one is made")
    parser.add_argument("--traces", nargs="+", choices=sorted(TRACES), help="the first one gets"
                        " all rounds, each other a single one")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3, help="of the first trace")
    parser.add_argument("--requests", type=int, default=0, help="online, of an arm; 0: 54, 18"
                        " with --quick; more where they would not last 30 s, 8 s")  # fmt: skip
    parser.add_argument("--rate", type=float, default=0.0, help="online requests a second;"
                        " 0: so that online alone keeps the engine half busy")  # fmt: skip
    parser.add_argument("--caps", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--tolerances", type=float, nargs="*", default=[0.1, 0.5])
    parser.add_argument("--arms", nargs="+", help="only these and what they need, e.g. D@10%% E")
    parser.add_argument("--window", type=int, default=0, help="offline requests in flight; 0: 32"
                        " on a CPU, 256 on a GPU")  # fmt: skip
    parser.add_argument("--offline-tokens", type=int, nargs=2, metavar=("PROMPT", "OUTPUT"),
                        help="means of the batch; 256 32 on a CPU, 1024 128 on a GPU")  # fmt: skip
    parser.add_argument("--mixed-chunk", action="store_true", help="B with mixed chunk on a CPU")
    parser.add_argument("--no-prefix", action="store_true", help="leave the prefix part out")
    parser.add_argument("--quick", action="store_true", help="minutes, and too short to tell")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("build/bench/colocate"))
    return parser
