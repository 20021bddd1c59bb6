"""`make bench-demo`: the demo's online load with and without a batch beside it.

Owns a paired comparison: one fleet, the same seeds in both arms, arms interleaved and
their order turned round every repeat, so that what the machine does meanwhile hits both.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
from slacktide.v1.batch_service_pb2 import CancelBatchRequest

from bench.demo import batch as demo_batch
from bench.demo.load import OnlineLoad, run_load
from bench.demo.session import Session, progress_since_start, serving
from bench.harness import Figure, Report, figure_of, publish
from controlplane.cli.failures import CommandError, explain
from controlplane.client import CALL_DEADLINE_S, new_request_id
from controlplane.localfleet.readiness import Tell
from controlplane.localfleet.record import LocalFleetError

_WITHOUT, _WITH = "without batch", "with batch"
_SETTLE_S = 5.0  # in-flight items of a cancelled batch end before the next arm begins
_CANCEL_TIMEOUT_S = 60.0


def main(arguments: Sequence[str]) -> int:
    """Runs the bench; returns its exit code."""
    flags = _parser().parse_args(arguments)
    tell = progress_since_start()
    output: Path = flags.output.absolute()
    try:
        with serving(output / "fleet", models_dir=flags.models_dir.absolute(), tell=tell) as up:
            arms = _measure(up, flags, output=output, tell=tell)
            slo = up.slo
    except (LocalFleetError, CommandError, grpc.RpcError) as error:
        print(explain(error)[0], file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing is left running", file=sys.stderr)
        return 130
    figures = _figures(arms, slo_itl_ms=slo.gap_ms, slo_attainment=slo.attainment_ratio)
    configuration = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in vars(flags).items()
        if key != "seed"
    }
    report = Report(
        name="demo", seed=flags.seed, configuration=configuration, samples=arms, figures=figures
    )
    print(f"report {publish(report)}")
    return 0


def _measure(
    session: Session, flags: argparse.Namespace, *, output: Path, tell: Tell
) -> dict[str, list[dict[str, Any]]]:
    arms: dict[str, list[dict[str, Any]]] = {_WITHOUT: [], _WITH: []}
    for repeat in range(flags.repeats):
        load = OnlineLoad(
            seed=flags.seed + repeat, duration_s=flags.duration, requests_per_s=flags.rate
        )
        names = [_WITHOUT, _WITH] if repeat % 2 == 0 else [_WITH, _WITHOUT]
        for name in names:
            tell(f"repeat {repeat + 1} of {flags.repeats}: {name}")
            items = flags.items if name == _WITH else 0
            arms[name].append(_arm(session, load, items=items, output=output))
            time.sleep(_SETTLE_S)
    return arms


def _arm(session: Session, load: OnlineLoad, *, items: int, output: Path) -> dict[str, Any]:
    """One run of the load; with items, beside a batch that is cancelled afterwards."""
    if not items:
        return {"online": _online(session, load), "offline_tokens_per_s": 0.0}
    path = output / "input.jsonl"
    demo_batch.write_input(path, seed=load.seed, count=items, deployment=session.deployment)
    batch = demo_batch.submit(session.fleet, path, deployment=session.deployment)
    began = time.monotonic()
    online = _online(session, load)
    seen = demo_batch.look(session.fleet, batch.name)
    seconds = time.monotonic() - began
    if seen.state in demo_batch.FINISHED:
        seconds = (seen.end_time.ToNanoseconds() - seen.start_time.ToNanoseconds()) / 1e9
    else:
        _cancel(session, batch.name)
    return {
        "online": online,
        "offline_tokens_per_s": (seen.prompt_tokens + seen.output_tokens) / seconds,
        "batch_lasted": seen.state not in demo_batch.FINISHED,
    }


def _online(session: Session, load: OnlineLoad) -> dict[str, Any]:
    return run_load(
        load,
        gateway=session.record.gateway.address,
        deployment=session.deployment,
        slo=session.slo,
    )


def _cancel(session: Session, name: str) -> None:
    request = CancelBatchRequest(name=name, request_id=new_request_id())
    batch = session.fleet.batches.CancelBatch(request, timeout=CALL_DEADLINE_S).batch
    with demo_batch.Watcher(session.fleet, batch) as watcher:
        if not watcher.wait_finished(timeout_s=_CANCEL_TIMEOUT_S):
            raise LocalFleetError(f"{name}: not cancelled after {_CANCEL_TIMEOUT_S:.0f} s")


def _figures(
    arms: dict[str, list[dict[str, Any]]], *, slo_itl_ms: float, slo_attainment: float
) -> list[Figure]:
    figures = []
    for arm, runs in arms.items():
        online = [run["online"] for run in runs]
        for metric, key in (("TTFT", "ttft_ms"), ("ITL", "itl_ms")):
            for share in ("p50", "p99"):
                samples = [seen[key][share] for seen in online]
                target = f"<= {slo_itl_ms:g}" if (metric, share) == ("ITL", "p99") else None
                figures.append(figure_of(f"{metric} {share}, {arm}", samples, "ms", target=target))
        attainment = [seen["attainment"] for seen in online]
        figures.append(
            figure_of(f"attainment, {arm}", attainment, "ratio", target=f">= {slo_attainment:g}")
        )
        failed = [float(seen["failed"]) for seen in online]
        figures.append(figure_of(f"failed requests, {arm}", failed, "requests", target="<= 0"))
    offline = [run["offline_tokens_per_s"] for run in arms[_WITH]]
    figures.append(figure_of("offline tokens", offline, "tokens/s", target=">= 1"))
    return figures


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make bench-demo ARGS=…",
        description="The demo's online load with and without a batch, interleaved.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--duration", type=float, default=60.0, help="of one run, seconds")
    parser.add_argument("--rate", type=float, default=3.0, help="online requests a second")
    parser.add_argument("--items", type=int, default=2000, help="enough to outlast a run")
    parser.add_argument("--seed", type=int, default=0, help="of the first repeat")
    parser.add_argument("--models-dir", type=Path, default=Path("models"))
    parser.add_argument("--output", type=Path, default=Path("build/bench/demo"))
    return parser
