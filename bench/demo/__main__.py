"""`make demo`: the product's main job, end to end, with a report.

Owns the run: model, fleet, deployment, online load and batch together, report, and a
machine with nothing left running. Exit code 0 only if no online request failed and the
batch has exactly one line per input line; 1 otherwise.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import grpc

from bench.demo import batch as demo_batch
from bench.demo.load import OnlineLoad, run_load
from bench.demo.report import Findings, as_values, print_report
from bench.demo.session import Session, progress_since_start, serving
from bench.harness import write_json
from controlplane.cli.failures import CommandError, explain
from controlplane.load.openloop import LoadProgress
from controlplane.localfleet.readiness import Tell, list_replicas
from controlplane.localfleet.record import LocalFleetError

_BATCH_TIMEOUT_S = 300.0


def main(arguments: Sequence[str]) -> int:
    """Runs the demo; returns its exit code."""
    flags = _parser().parse_args(arguments)
    tell = progress_since_start()
    output: Path = flags.output.absolute()
    load = OnlineLoad(seed=flags.seed, duration_s=flags.duration, requests_per_s=flags.rate)
    try:
        _clear(output)
        with serving(output / "fleet", models_dir=flags.models_dir.absolute(), tell=tell) as fleet:
            found = _run(fleet, load, items=flags.items, output=output, tell=tell)
    except (LocalFleetError, CommandError, grpc.RpcError) as error:
        print(explain(error)[0], file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing is left running", file=sys.stderr)
        return 130
    values = as_values(found)
    write_json(output / "report.json", values)
    print_report(values, found.plan)
    print(f"report {output / 'report.json'}")
    return 0 if found.is_success else 1


def _run(session: Session, load: OnlineLoad, *, items: int, output: Path, tell: Tell) -> Findings:
    input_, results, errors = (output / f"{n}.jsonl" for n in ("input", "output", "errors"))
    demo_batch.write_input(input_, seed=load.seed, count=items, deployment=session.deployment)
    submitted = demo_batch.submit(session.fleet, input_, deployment=session.deployment)
    tell(f"batch {submitted.name}: {items} lines submitted")
    began = time.monotonic()
    with demo_batch.Watcher(session.fleet, submitted) as watcher:

        def show(progress: LoadProgress) -> None:
            tell(
                f"online {progress.due}/{progress.total} sent, {progress.completed} done,"
                f" {progress.failed} failed; {watcher.words}"
            )

        tell(f"online load: {load.duration_s:.0f} s at {load.requests_per_s:g} requests/s")
        online = run_load(
            load,
            gateway=session.record.gateway.address,
            deployment=session.deployment,
            slo=session.slo,
            rows=output / "requests.jsonl",
            on_progress=show,
        )
        loaded = time.monotonic()
        tell(f"online load done; {watcher.words}")
        if not watcher.wait_finished(timeout_s=_BATCH_TIMEOUT_S):
            raise LocalFleetError(
                f"{submitted.name}: not finished {_BATCH_TIMEOUT_S:.0f} s after the load:"
                f" {watcher.words}; logs: {session.record.state_dir / 'logs'}"
            )
        finished = watcher.latest
    if finished.output_uri:
        demo_batch.fetch(session.fleet, finished.name, output=results, errors=errors)
    else:
        raise LocalFleetError(f"{finished.name}: ended without results: {finished.message}")
    if watcher.plan is None:
        raise LocalFleetError(f"{finished.name}: ended before its plan could be looked at")
    return Findings(
        seed=load.seed,
        online=online,
        batch=finished,
        verdict=demo_batch.compare_files(input_, output=results, errors=errors),
        output=results,
        errors=errors,
        plan=watcher.plan,
        replicas=tuple(list_replicas(session.fleet)),
        phases_s={"online": loaded - began, "batch_after_online": time.monotonic() - loaded},
    )


def _clear(output: Path) -> None:
    """Removes an earlier demo's results; its fleet is refused by `up` if it still runs."""
    output.mkdir(parents=True, exist_ok=True)
    for name in ("report.json", "input.jsonl", "output.jsonl", "errors.jsonl", "requests.jsonl"):
        (output / name).unlink(missing_ok=True)
    if not (output / "fleet" / "cluster.json").exists():
        shutil.rmtree(output / "fleet", ignore_errors=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make demo ARGS=…",
        description="Online load and a batch on one small fleet, with a report.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--duration", type=float, default=120.0, help="online load, seconds")
    parser.add_argument("--rate", type=float, default=3.0, help="online requests a second")
    parser.add_argument("--items", type=int, default=400, help="lines of the batch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models-dir", type=Path, default=Path("models"))
    parser.add_argument("--output", type=Path, default=Path("build/demo"))
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
