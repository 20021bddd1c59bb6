import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DesiredState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DESIRED_STATE_UNSPECIFIED: _ClassVar[DesiredState]
    DESIRED_STATE_RUNNING: _ClassVar[DesiredState]
    DESIRED_STATE_STOPPED: _ClassVar[DesiredState]

class ReplicaState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REPLICA_STATE_UNSPECIFIED: _ClassVar[ReplicaState]
    REPLICA_STATE_PENDING: _ClassVar[ReplicaState]
    REPLICA_STATE_STARTING: _ClassVar[ReplicaState]
    REPLICA_STATE_RUNNING: _ClassVar[ReplicaState]
    REPLICA_STATE_DRAINING: _ClassVar[ReplicaState]
    REPLICA_STATE_STOPPED: _ClassVar[ReplicaState]
    REPLICA_STATE_FAILED: _ClassVar[ReplicaState]
    REPLICA_STATE_LOST: _ClassVar[ReplicaState]
DESIRED_STATE_UNSPECIFIED: DesiredState
DESIRED_STATE_RUNNING: DesiredState
DESIRED_STATE_STOPPED: DesiredState
REPLICA_STATE_UNSPECIFIED: ReplicaState
REPLICA_STATE_PENDING: ReplicaState
REPLICA_STATE_STARTING: ReplicaState
REPLICA_STATE_RUNNING: ReplicaState
REPLICA_STATE_DRAINING: ReplicaState
REPLICA_STATE_STOPPED: ReplicaState
REPLICA_STATE_FAILED: ReplicaState
REPLICA_STATE_LOST: ReplicaState

class Replica(_message.Message):
    __slots__ = ("name", "deployment", "node", "device_indices", "desired", "state", "online_share", "offline_share", "latency_budget_ms", "after", "round", "report", "create_time", "slo_class")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_INDICES_FIELD_NUMBER: _ClassVar[int]
    DESIRED_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ONLINE_SHARE_FIELD_NUMBER: _ClassVar[int]
    OFFLINE_SHARE_FIELD_NUMBER: _ClassVar[int]
    LATENCY_BUDGET_MS_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    SLO_CLASS_FIELD_NUMBER: _ClassVar[int]
    name: str
    deployment: str
    node: str
    device_indices: _containers.RepeatedScalarFieldContainer[int]
    desired: DesiredState
    state: ReplicaState
    online_share: float
    offline_share: float
    latency_budget_ms: float
    after: _containers.RepeatedScalarFieldContainer[str]
    round: int
    report: ReplicaReport
    create_time: _timestamp_pb2.Timestamp
    slo_class: str
    def __init__(self, name: _Optional[str] = ..., deployment: _Optional[str] = ..., node: _Optional[str] = ..., device_indices: _Optional[_Iterable[int]] = ..., desired: _Optional[_Union[DesiredState, str]] = ..., state: _Optional[_Union[ReplicaState, str]] = ..., online_share: _Optional[float] = ..., offline_share: _Optional[float] = ..., latency_budget_ms: _Optional[float] = ..., after: _Optional[_Iterable[str]] = ..., round: _Optional[int] = ..., report: _Optional[_Union[ReplicaReport, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., slo_class: _Optional[str] = ...) -> None: ...

class ReplicaReport(_message.Message):
    __slots__ = ("replica", "state", "message", "engine_version", "plugin_version", "offline_admitted", "offline_refusal", "starts", "load", "latency", "iterations")
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ENGINE_VERSION_FIELD_NUMBER: _ClassVar[int]
    PLUGIN_VERSION_FIELD_NUMBER: _ClassVar[int]
    OFFLINE_ADMITTED_FIELD_NUMBER: _ClassVar[int]
    OFFLINE_REFUSAL_FIELD_NUMBER: _ClassVar[int]
    STARTS_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    ITERATIONS_FIELD_NUMBER: _ClassVar[int]
    replica: str
    state: ReplicaState
    message: str
    engine_version: str
    plugin_version: str
    offline_admitted: bool
    offline_refusal: str
    starts: int
    load: ReplicaLoad
    latency: LatencyWindow
    iterations: IterationWindow
    def __init__(self, replica: _Optional[str] = ..., state: _Optional[_Union[ReplicaState, str]] = ..., message: _Optional[str] = ..., engine_version: _Optional[str] = ..., plugin_version: _Optional[str] = ..., offline_admitted: _Optional[bool] = ..., offline_refusal: _Optional[str] = ..., starts: _Optional[int] = ..., load: _Optional[_Union[ReplicaLoad, _Mapping]] = ..., latency: _Optional[_Union[LatencyWindow, _Mapping]] = ..., iterations: _Optional[_Union[IterationWindow, _Mapping]] = ...) -> None: ...

class ReplicaLoad(_message.Message):
    __slots__ = ("online_running", "online_waiting", "offline_running", "offline_parked", "offline_waiting", "online_work", "offline_work", "kv_used_ratio", "offline_tokens_total", "online_tokens_total", "online_work_by_class")
    ONLINE_RUNNING_FIELD_NUMBER: _ClassVar[int]
    ONLINE_WAITING_FIELD_NUMBER: _ClassVar[int]
    OFFLINE_RUNNING_FIELD_NUMBER: _ClassVar[int]
    OFFLINE_PARKED_FIELD_NUMBER: _ClassVar[int]
    OFFLINE_WAITING_FIELD_NUMBER: _ClassVar[int]
    ONLINE_WORK_FIELD_NUMBER: _ClassVar[int]
    OFFLINE_WORK_FIELD_NUMBER: _ClassVar[int]
    KV_USED_RATIO_FIELD_NUMBER: _ClassVar[int]
    OFFLINE_TOKENS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    ONLINE_TOKENS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    ONLINE_WORK_BY_CLASS_FIELD_NUMBER: _ClassVar[int]
    online_running: int
    online_waiting: int
    offline_running: int
    offline_parked: int
    offline_waiting: int
    online_work: float
    offline_work: float
    kv_used_ratio: float
    offline_tokens_total: int
    online_tokens_total: int
    online_work_by_class: _containers.RepeatedCompositeFieldContainer[ClassWork]
    def __init__(self, online_running: _Optional[int] = ..., online_waiting: _Optional[int] = ..., offline_running: _Optional[int] = ..., offline_parked: _Optional[int] = ..., offline_waiting: _Optional[int] = ..., online_work: _Optional[float] = ..., offline_work: _Optional[float] = ..., kv_used_ratio: _Optional[float] = ..., offline_tokens_total: _Optional[int] = ..., online_tokens_total: _Optional[int] = ..., online_work_by_class: _Optional[_Iterable[_Union[ClassWork, _Mapping]]] = ...) -> None: ...

class ClassWork(_message.Message):
    __slots__ = ("slo_class", "online_work")
    SLO_CLASS_FIELD_NUMBER: _ClassVar[int]
    ONLINE_WORK_FIELD_NUMBER: _ClassVar[int]
    slo_class: str
    online_work: float
    def __init__(self, slo_class: _Optional[str] = ..., online_work: _Optional[float] = ...) -> None: ...

class LatencyWindow(_message.Message):
    __slots__ = ("requests", "attained", "ttft_p50_ms", "ttft_p99_ms", "itl_p50_ms", "itl_p99_ms", "ttft_mean_ms", "itl_mean_ms")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    ATTAINED_FIELD_NUMBER: _ClassVar[int]
    TTFT_P50_MS_FIELD_NUMBER: _ClassVar[int]
    TTFT_P99_MS_FIELD_NUMBER: _ClassVar[int]
    ITL_P50_MS_FIELD_NUMBER: _ClassVar[int]
    ITL_P99_MS_FIELD_NUMBER: _ClassVar[int]
    TTFT_MEAN_MS_FIELD_NUMBER: _ClassVar[int]
    ITL_MEAN_MS_FIELD_NUMBER: _ClassVar[int]
    requests: int
    attained: int
    ttft_p50_ms: float
    ttft_p99_ms: float
    itl_p50_ms: float
    itl_p99_ms: float
    ttft_mean_ms: float
    itl_mean_ms: float
    def __init__(self, requests: _Optional[int] = ..., attained: _Optional[int] = ..., ttft_p50_ms: _Optional[float] = ..., ttft_p99_ms: _Optional[float] = ..., itl_p50_ms: _Optional[float] = ..., itl_p99_ms: _Optional[float] = ..., ttft_mean_ms: _Optional[float] = ..., itl_mean_ms: _Optional[float] = ...) -> None: ...

class IterationWindow(_message.Message):
    __slots__ = ("count", "measured_p50_ms", "measured_p99_ms", "error_ratio", "coverage_ratio", "model_identity")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    MEASURED_P50_MS_FIELD_NUMBER: _ClassVar[int]
    MEASURED_P99_MS_FIELD_NUMBER: _ClassVar[int]
    ERROR_RATIO_FIELD_NUMBER: _ClassVar[int]
    COVERAGE_RATIO_FIELD_NUMBER: _ClassVar[int]
    MODEL_IDENTITY_FIELD_NUMBER: _ClassVar[int]
    count: int
    measured_p50_ms: float
    measured_p99_ms: float
    error_ratio: float
    coverage_ratio: float
    model_identity: str
    def __init__(self, count: _Optional[int] = ..., measured_p50_ms: _Optional[float] = ..., measured_p99_ms: _Optional[float] = ..., error_ratio: _Optional[float] = ..., coverage_ratio: _Optional[float] = ..., model_identity: _Optional[str] = ...) -> None: ...
