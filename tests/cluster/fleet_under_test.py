"""A local fleet as the cluster tests handle it: load, batches, and violence."""

import asyncio
import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from slacktide.v1.batch_pb2 import BATCH_STATE_COMPLETED, Batch
from slacktide.v1.deployment_pb2 import Deployment
from slacktide.v1.deployment_service_pb2 import ApplyDeploymentRequest, DeleteDeploymentRequest
from slacktide.v1.replica_pb2 import REPLICA_STATE_RUNNING, Replica

from bench.demo import batch as demo_batch
from bench.demo.session import MANIFEST
from controlplane.cli.manifest import read_deployments
from controlplane.client import CALL_DEADLINE_S, Fleet, new_request_id
from controlplane.load.openloop import LoadSettings, replay
from controlplane.load.record import RequestRecord
from controlplane.localfleet import lifecycle
from controlplane.localfleet.readiness import list_replicas, wait_settled, wait_until
from controlplane.localfleet.record import ClusterRecord, ProcessRecord
from planner.rollout.upgrade import ProcessKind
from planner.slo import Outcome
from planner.workload.generate import generate
from planner.workload.request import WorkloadRequest
from planner.workload.shape import shape
from planner.workload.traces import read_trace

TRACES = "SLACKTIDE_TRACES"
"""Environment variable: a folder with the Azure conversation trace, to replay a slice of."""
SETTLE_S = 300.0
_WINDOW_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetUnderTest:
    """A running fleet; `record` is read anew each time, since tests change it."""

    state_dir: Path

    @property
    def record(self) -> ClusterRecord:
        return lifecycle.require_fleet(self.state_dir)

    def process(self, kind: ProcessKind, id_: str = "") -> ProcessRecord:
        return next(p for p in self.record.of_kind(kind) if id_ in ("", p.id))

    @contextlib.contextmanager
    def client(self) -> Iterator[Fleet]:
        with Fleet(self.record.control_plane.address) as fleet:
            yield fleet

    def apply(
        self, *, name: str = "chat", node_groups: Sequence[str] = (), **changes: object
    ) -> Deployment:
        """Applies the demo's deployment under a name, with some fields changed."""
        deployment = read_deployments(MANIFEST)[0]
        deployment.name = f"deployments/{name}"
        deployment.spec.node_groups.extend(node_groups)
        for key, value in changes.items():
            setattr(deployment.spec, key, value)
        request = ApplyDeploymentRequest(deployment=deployment, request_id=new_request_id())
        with self.client() as fleet:
            return fleet.deployments.ApplyDeployment(request, timeout=CALL_DEADLINE_S).deployment

    def delete(self, name: str) -> None:
        request = DeleteDeploymentRequest(name=f"deployments/{name}", request_id=new_request_id())
        with self.client() as fleet:
            fleet.deployments.DeleteDeployment(request, timeout=CALL_DEADLINE_S)

    def settle(self) -> None:
        with self.client() as fleet:
            wait_settled(fleet, timeout_s=SETTLE_S, tell=print)

    def replicas(self, deployment: str = "") -> list[Replica]:
        with self.client() as fleet:
            return [r for r in list_replicas(fleet) if r.deployment.endswith(deployment)]

    def running(self, deployment: str) -> list[Replica]:
        return [r for r in self.replicas(deployment) if r.state == REPLICA_STATE_RUNNING]

    def kill(self, process: ProcessRecord) -> list[psutil.Process]:
        """SIGKILL, without a word; returns the descendants it had."""
        target = psutil.Process(process.pid)
        descendants = target.children(recursive=True)
        target.kill()
        with contextlib.suppress(psutil.NoSuchProcess):
            target.wait(10)
        return descendants

    def revive(self) -> None:
        lifecycle.revive(self.state_dir, tell=print)

    def submit(self, folder: Path, *, count: int, seed: int = 1) -> "RunningBatch":
        """Submits a batch of `count` lines for the deployment chat."""
        path = folder / "input.jsonl"
        demo_batch.write_input(path, seed=seed, count=count, deployment="chat")
        with self.client() as fleet:
            batch = demo_batch.submit(fleet, path, deployment="chat")
        return RunningBatch(fleet=self, name=batch.name, input=path)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningBatch:
    """A submitted batch, and the proof of its end."""

    fleet: FleetUnderTest
    name: str
    input: Path

    def look(self) -> Batch:
        with self.fleet.client() as fleet:
            return demo_batch.look(fleet, self.name)

    def wait(self, condition: Callable[[Batch], bool], *, timeout_s: float = 240.0) -> Batch:
        """Waits until the batch is so."""
        seen = self.look()

        def observe() -> str:
            nonlocal seen
            seen = self.look()
            counts = " ".join(str(seen.counts).split())
            return "" if condition(seen) else f"state {seen.state}, {counts}"

        wait_until(self.name, observe, timeout_s=timeout_s)
        return seen

    def require_exact(self, *, timeout_s: float = 240.0) -> Batch:
        """Completed, with exactly one line an input line."""
        done = self.wait(lambda b: b.state in demo_batch.FINISHED, timeout_s=timeout_s)
        assert done.state == BATCH_STATE_COMPLETED, done.message
        output, errors = (self.input.with_name(n) for n in ("output.jsonl", "errors.jsonl"))
        with self.fleet.client() as fleet:
            demo_batch.fetch(fleet, self.name, output=output, errors=errors)
        verdict = demo_batch.compare_files(self.input, output=output, errors=errors)
        assert verdict.is_exact, verdict.problems[:5]
        assert verdict.errors == 0, errors.read_text()[:500]
        return done


Draw = Callable[[int, float], Sequence[WorkloadRequest]]
"""A window of load by its number and requests per second."""


@dataclass(slots=True)
class Load:
    """Online requests from a thread of their own until stopped; never retried.

    `requests_per_s` may be set anew: it holds from the next window on.
    """

    gateway: str
    requests_per_s: float
    deployment: str = "chat"
    draw: Draw | None = None  # None: as the Azure trace
    records: list[RequestRecord] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        seed = 0
        while not self._stop.is_set():
            settings = LoadSettings(gateway=self.gateway, deployment=self.deployment, seed=seed)
            window = (self.draw or _window)(seed, self.requests_per_s)
            self.records += asyncio.run(replay(window, settings))
            seed += 1

    def stop(self) -> None:
        self._stop.set()

    @property
    def failures(self) -> Counter[str]:
        """Why requests did not complete, counted."""
        return Counter(r.error for r in self.records if r.trace.outcome is not Outcome.COMPLETED)


@contextlib.contextmanager
def under_load(
    fleet: FleetUnderTest,
    *,
    requests_per_s: float = 2.0,
    deployment: str = "chat",
    draw: Draw | None = None,
) -> Iterator[Load]:
    """Online load around a block; waits for the last answer at its end."""
    load = Load(fleet.record.gateway.address, requests_per_s, deployment, draw)
    thread = threading.Thread(target=load.run, name="load")
    thread.start()
    try:
        time.sleep(2.0)  # so that requests are on the way when the block begins
        yield load
    finally:
        load.stop()
        thread.join()


def steady_decodes(seed: int, requests_per_s: float) -> Sequence[WorkloadRequest]:
    """Ten seconds of short prompts and a hundred tokens each, evenly spaced.

    Decodes of many rows cost an engine little more than those of one, so this is much work
    as demand counts it (each request alone) and little time on the cores tests share.
    """
    del seed
    count = int(_WINDOW_S * requests_per_s)
    return [
        WorkloadRequest(at_s=index / requests_per_s, prompt_tokens=16, output_tokens=100)
        for index in range(count)
    ]


def _window(seed: int, requests_per_s: float) -> Sequence[WorkloadRequest]:
    """Ten seconds of the Azure trace where it is at hand, else of a workload like it."""
    beside = Path(__file__).parents[3] / "shared" / "traces"
    path = Path(os.environ.get(TRACES, beside)) / "azure_llm_2023_conv.csv"
    if path.exists():
        with path.open() as lines:
            trace = read_trace(lines)
        return shape(
            trace, start_s=60.0 * seed, duration_s=_WINDOW_S, length_scale=1 / 8,
            rate_scale=requests_per_s / 5.53, max_context_tokens=2048,
        )  # fmt: skip
    drawn = generate(seed=seed, duration_s=_WINDOW_S, requests_per_s=requests_per_s)
    return shape(drawn, length_scale=1 / 8, max_context_tokens=2048)
