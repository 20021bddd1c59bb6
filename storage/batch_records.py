"""What the batch tables hold, as values.

Owns the states of batches and items and the rows' shape outside of SQL. Refuses wire
types. Times are Unix seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from sqlalchemy.engine import Connection

from planner.dispatch.admission import OfflineFacts


class BatchState(Enum):
    """How a batch stands."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing changes any more."""
        return self in (BatchState.COMPLETED, BatchState.FAILED, BatchState.CANCELLED)


class ItemState(Enum):
    """How an item stands."""

    PENDING = "pending"
    LEASED = "leased"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def is_terminal(self) -> bool:
        """Whether its one line is decided."""
        return self in (ItemState.SUCCEEDED, ItemState.FAILED)


class FleetLookup(Protocol):
    """What batches ask of the fleet's state, inside the caller's transaction.

    Reading in the same transaction that leases is what keeps a lease from being granted
    to a node that is being marked LOST.
    """

    def has_deployment(self, connection: Connection, deployment: str) -> bool:
        """Whether a deployment of this id exists."""
        ...

    def offline_facts(
        self, connection: Connection, *, node: str, replica: str
    ) -> OfflineFacts | None:
        """State that gates offline work of a replica; None if the node has no such one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBatch:
    """A batch as it is submitted."""

    id: str
    request_id: str
    deployment: str
    input_uri: str
    create_s: float
    deadline_after_s: float | None = None  # from create_s
    tenant: str = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRecord:
    """A row of `batches`."""

    id: str
    deployment: str
    tenant: str
    input_uri: str
    state: BatchState
    message: str
    deadline_s: float | None
    create_s: float
    start_s: float | None
    end_s: float | None
    intake_offset: int
    intake_line: int
    is_intake_done: bool
    pending: int
    leased: int
    succeeded: int
    failed: int
    valid_items: int
    estimated_prompt_tokens: int
    estimated_output_tokens: int
    prompt_tokens: int
    output_tokens: int
    output_uri: str | None
    error_uri: str | None

    @property
    def total(self) -> int:
        """Lines seen so far."""
        return self.pending + self.leased + self.succeeded + self.failed

    @property
    def is_settled(self) -> bool:
        """Whether every line is decided."""
        return self.is_intake_done and self.pending == 0 and self.leased == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NewItem:
    """An input line that can run."""

    line: int
    custom_id: str
    url: str
    body_offset: int
    body_length: int
    estimated_prompt_tokens: int
    estimated_output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedLine:
    """An input line that cannot run; `custom_id` is None where it has no usable one."""

    line: int
    custom_id: str | None
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeChunk:
    """Consecutive lines of a batch's input, and where they begin and end."""

    from_offset: int
    to_offset: int
    to_line: int  # last line of the chunk
    items: Sequence[NewItem] = ()
    refused: Sequence[RefusedLine] = ()
    is_last: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class LeaseKey:
    """One execution of one item."""

    batch: str
    line: int
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedItem:
    """An item leased to a replica, and where its body lies."""

    key: LeaseKey
    custom_id: str
    url: str
    input_uri: str
    body_offset: int
    body_length: int
    deadline_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lessee:
    """Who holds leases."""

    node: str
    replica: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one execution ended, and where its line lies in the segment."""

    key: LeaseKey
    is_success: bool
    is_retryable: bool
    offset: int
    length: int
    prompt_tokens: int = 0
    output_tokens: int = 0


class LeaseEnd(Enum):
    """How a lease ended that no result ended."""

    RETURNED = "returned"  # handed back, or undone: says nothing of the item
    LOST = "lost"  # its replica or node ended under it: may be the item's doing


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryLimits:
    """When an item stops being tried.

    Args:
        max_failures: results that said retryable; the last one becomes the error line.
        max_losses: executions lost with their replica or node. Stops an item that kills
            what runs it, so that no failure is ever reported.
        alone_after: failures and losses together after which an item runs with no other
            item beside it on its replica: what fails with a poison item is not its
            neighbour's fault. Less than both limits.
    """

    max_failures: int = 3
    max_losses: int = 5
    alone_after: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSegment:
    """An object of results that is already durable."""

    id: str
    uri: str
    size_bytes: int
    create_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedItem:
    """A decided item, as the finaliser needs it."""

    line: int
    custom_id: str | None
    is_success: bool
    error_code: str | None
    error_message: str | None
    segment_uri: str | None
    segment_offset: int
    segment_length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """Offline work a deployment still has, leased items included.

    `due` holds (deadline in Unix seconds, tokens left) of each batch with a deadline,
    soonest first. Tokens are intake's estimate, corrected by what finished items took.
    """

    items: int
    prompt_tokens: int
    output_tokens: int
    due: tuple[tuple[float, int], ...] = ()
