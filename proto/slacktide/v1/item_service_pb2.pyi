from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ItemLease(_message.Message):
    __slots__ = ("item", "attempt")
    ITEM_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    item: str
    attempt: int
    def __init__(self, item: _Optional[str] = ..., attempt: _Optional[int] = ...) -> None: ...

class PullItemsRequest(_message.Message):
    __slots__ = ("node", "replica", "held", "max_items", "epoch")
    NODE_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    MAX_ITEMS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    node: str
    replica: str
    held: _containers.RepeatedCompositeFieldContainer[ItemLease]
    max_items: int
    epoch: int
    def __init__(self, node: _Optional[str] = ..., replica: _Optional[str] = ..., held: _Optional[_Iterable[_Union[ItemLease, _Mapping]]] = ..., max_items: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...

class PullItemsResponse(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Item]
    def __init__(self, items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ...) -> None: ...

class Item(_message.Message):
    __slots__ = ("lease", "custom_id", "url", "body", "deadline_unix_s")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_ID_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_UNIX_S_FIELD_NUMBER: _ClassVar[int]
    lease: ItemLease
    custom_id: str
    url: str
    body: bytes
    deadline_unix_s: float
    def __init__(self, lease: _Optional[_Union[ItemLease, _Mapping]] = ..., custom_id: _Optional[str] = ..., url: _Optional[str] = ..., body: _Optional[bytes] = ..., deadline_unix_s: _Optional[float] = ...) -> None: ...

class CommitResultsRequest(_message.Message):
    __slots__ = ("node", "replica", "results")
    NODE_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    node: str
    replica: str
    results: _containers.RepeatedCompositeFieldContainer[ItemResult]
    def __init__(self, node: _Optional[str] = ..., replica: _Optional[str] = ..., results: _Optional[_Iterable[_Union[ItemResult, _Mapping]]] = ...) -> None: ...

class ItemResult(_message.Message):
    __slots__ = ("lease", "status_code", "body", "retryable", "prompt_tokens", "output_tokens")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    STATUS_CODE_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    lease: ItemLease
    status_code: int
    body: bytes
    retryable: bool
    prompt_tokens: int
    output_tokens: int
    def __init__(self, lease: _Optional[_Union[ItemLease, _Mapping]] = ..., status_code: _Optional[int] = ..., body: _Optional[bytes] = ..., retryable: _Optional[bool] = ..., prompt_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ...) -> None: ...

class CommitResultsResponse(_message.Message):
    __slots__ = ("superseded",)
    SUPERSEDED_FIELD_NUMBER: _ClassVar[int]
    superseded: _containers.RepeatedCompositeFieldContainer[ItemLease]
    def __init__(self, superseded: _Optional[_Iterable[_Union[ItemLease, _Mapping]]] = ...) -> None: ...

class ReturnItemsRequest(_message.Message):
    __slots__ = ("node", "replica", "leases", "reason")
    NODE_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    node: str
    replica: str
    leases: _containers.RepeatedCompositeFieldContainer[ItemLease]
    reason: str
    def __init__(self, node: _Optional[str] = ..., replica: _Optional[str] = ..., leases: _Optional[_Iterable[_Union[ItemLease, _Mapping]]] = ..., reason: _Optional[str] = ...) -> None: ...

class ReturnItemsResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
