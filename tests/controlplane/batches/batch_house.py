"""A control plane's batch rooms over a real database and real files, for tests."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

from sqlalchemy.engine import Connection

from controlplane.batches.intake import take_chunk
from controlplane.batches.objects import INPUTS, ObjectStore
from planner.dispatch.admission import OfflineFacts
from planner.model import Desired, ReplicaState, Stage
from storage.batch_records import BatchRecord, NewBatch
from storage.batches import BatchStore
from storage.database import Database

OPEN = OfflineFacts(
    epoch=1,
    is_killed=False,
    is_node_ready=True,
    is_node_closed=False,
    deployment="chat",
    stage=Stage.ACTIVE,
    desired=Desired.RUNNING,
    state=ReplicaState.RUNNING,
)


@dataclass
class GivenFleet:
    """A fleet of given facts, the same for every replica."""

    facts: OfflineFacts | None = OPEN
    deployments: set[str] = field(default_factory=lambda: {"chat"})

    def has_deployment(self, connection: Connection, deployment: str) -> bool:
        return deployment in self.deployments

    def offline_facts(
        self, connection: Connection, *, node: str, replica: str
    ) -> OfflineFacts | None:
        return self.facts

    def change(self, **changes: object) -> None:
        self.facts = replace(self.facts or OPEN, **changes)  # type: ignore[arg-type]


@dataclass
class House:
    """Store, objects and fleet over one folder."""

    folder: Path
    fleet: GivenFleet = field(default_factory=GivenFleet)

    def __post_init__(self) -> None:
        self.store = BatchStore(Database.open(f"sqlite:///{self.folder}/state.db"))
        self.objects = ObjectStore(f"file://{self.folder}/objects")

    def submit(self, content: bytes, *, batch: str | None = None) -> BatchRecord:
        """A batch of that input, in VALIDATING."""
        id_ = batch or f"b-{uuid4().hex[:8]}"
        uri = self.objects.write(f"{INPUTS}/{uuid4()}.jsonl", content)
        new = NewBatch(
            id=id_, request_id=str(uuid4()), deployment="chat", input_uri=uri, create_s=1.0
        )
        created = self.store.create(new, self.fleet)
        assert created is not None
        return created

    def take_in(self, batch: str, **bounds: int) -> BatchRecord:
        """Runs intake to its end."""
        while not (record := self.found(batch)).is_intake_done:
            take_chunk(self.store, self.objects, record, now_s=2.0, **bounds)
        return record

    def found(self, batch: str) -> BatchRecord:
        record = self.store.get(batch)
        assert record is not None
        return record

    def errors_of(self, batch: str) -> dict[int, tuple[str | None, str | None]]:
        """(custom_id, code) of each error line so far, by line."""
        items = self.store.finished_items(batch, after_line=0, limit=1 << 20)
        return {one.line: (one.custom_id, one.error_code) for one in items}

    def lines(self, uri: str | None) -> list[dict[str, object]]:
        """The lines of a result file."""
        assert uri is not None
        with self.objects.open(uri) as file:
            return [json.loads(line) for line in file.read().splitlines()]


def good_line(custom_id: object = "c1", **changes: object) -> bytes:
    """A line that is accepted, unless changed; None removes a member."""
    members: dict[str, object] = {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 8},
    } | changes
    return json.dumps({k: v for k, v in members.items() if v is not None}).encode()
