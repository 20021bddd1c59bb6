import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from slacktide.v1 import slo_pb2 as _slo_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Stage(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STAGE_UNSPECIFIED: _ClassVar[Stage]
    STAGE_OBSERVE: _ClassVar[Stage]
    STAGE_SHADOW: _ClassVar[Stage]
    STAGE_CANARY: _ClassVar[Stage]
    STAGE_ACTIVE: _ClassVar[Stage]
STAGE_UNSPECIFIED: Stage
STAGE_OBSERVE: Stage
STAGE_SHADOW: Stage
STAGE_CANARY: Stage
STAGE_ACTIVE: Stage

class Deployment(_message.Message):
    __slots__ = ("name", "spec", "generation", "status", "create_time", "update_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    spec: DeploymentSpec
    generation: int
    status: DeploymentStatus
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., spec: _Optional[_Union[DeploymentSpec, _Mapping]] = ..., generation: _Optional[int] = ..., status: _Optional[_Union[DeploymentStatus, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DeploymentSpec(_message.Message):
    __slots__ = ("model", "slo", "min_replicas", "max_replicas", "tensor_parallel_size", "device_types", "stage", "weights_bytes", "kv_cache_tokens", "kv_bytes_per_token", "max_context_tokens", "max_running_requests", "chunked_prefill_size", "dtype", "expected_online_work", "spread", "latency_budget_ms", "offline_weight", "slo_classes", "failover_ratio", "other_tensor_parallel_sizes", "host_memory_bytes", "node_groups", "anti_affinity", "load_duration", "warm_load_duration")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SLO_FIELD_NUMBER: _ClassVar[int]
    MIN_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    MAX_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    TENSOR_PARALLEL_SIZE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_TYPES_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_BYTES_FIELD_NUMBER: _ClassVar[int]
    KV_CACHE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    KV_BYTES_PER_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MAX_CONTEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_RUNNING_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    CHUNKED_PREFILL_SIZE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_ONLINE_WORK_FIELD_NUMBER: _ClassVar[int]
    SPREAD_FIELD_NUMBER: _ClassVar[int]
    LATENCY_BUDGET_MS_FIELD_NUMBER: _ClassVar[int]
    OFFLINE_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    SLO_CLASSES_FIELD_NUMBER: _ClassVar[int]
    FAILOVER_RATIO_FIELD_NUMBER: _ClassVar[int]
    OTHER_TENSOR_PARALLEL_SIZES_FIELD_NUMBER: _ClassVar[int]
    HOST_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    NODE_GROUPS_FIELD_NUMBER: _ClassVar[int]
    ANTI_AFFINITY_FIELD_NUMBER: _ClassVar[int]
    LOAD_DURATION_FIELD_NUMBER: _ClassVar[int]
    WARM_LOAD_DURATION_FIELD_NUMBER: _ClassVar[int]
    model: str
    slo: _slo_pb2.Slo
    min_replicas: int
    max_replicas: int
    tensor_parallel_size: int
    device_types: _containers.RepeatedScalarFieldContainer[str]
    stage: Stage
    weights_bytes: int
    kv_cache_tokens: int
    kv_bytes_per_token: int
    max_context_tokens: int
    max_running_requests: int
    chunked_prefill_size: int
    dtype: str
    expected_online_work: float
    spread: bool
    latency_budget_ms: float
    offline_weight: float
    slo_classes: _containers.RepeatedCompositeFieldContainer[SloClass]
    failover_ratio: float
    other_tensor_parallel_sizes: _containers.RepeatedScalarFieldContainer[int]
    host_memory_bytes: int
    node_groups: _containers.RepeatedScalarFieldContainer[str]
    anti_affinity: _containers.RepeatedScalarFieldContainer[str]
    load_duration: _duration_pb2.Duration
    warm_load_duration: _duration_pb2.Duration
    def __init__(self, model: _Optional[str] = ..., slo: _Optional[_Union[_slo_pb2.Slo, _Mapping]] = ..., min_replicas: _Optional[int] = ..., max_replicas: _Optional[int] = ..., tensor_parallel_size: _Optional[int] = ..., device_types: _Optional[_Iterable[str]] = ..., stage: _Optional[_Union[Stage, str]] = ..., weights_bytes: _Optional[int] = ..., kv_cache_tokens: _Optional[int] = ..., kv_bytes_per_token: _Optional[int] = ..., max_context_tokens: _Optional[int] = ..., max_running_requests: _Optional[int] = ..., chunked_prefill_size: _Optional[int] = ..., dtype: _Optional[str] = ..., expected_online_work: _Optional[float] = ..., spread: _Optional[bool] = ..., latency_budget_ms: _Optional[float] = ..., offline_weight: _Optional[float] = ..., slo_classes: _Optional[_Iterable[_Union[SloClass, _Mapping]]] = ..., failover_ratio: _Optional[float] = ..., other_tensor_parallel_sizes: _Optional[_Iterable[int]] = ..., host_memory_bytes: _Optional[int] = ..., node_groups: _Optional[_Iterable[str]] = ..., anti_affinity: _Optional[_Iterable[str]] = ..., load_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., warm_load_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class SloClass(_message.Message):
    __slots__ = ("id", "slo", "expected_online_work", "failover_ratio")
    ID_FIELD_NUMBER: _ClassVar[int]
    SLO_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_ONLINE_WORK_FIELD_NUMBER: _ClassVar[int]
    FAILOVER_RATIO_FIELD_NUMBER: _ClassVar[int]
    id: str
    slo: _slo_pb2.Slo
    expected_online_work: float
    failover_ratio: float
    def __init__(self, id: _Optional[str] = ..., slo: _Optional[_Union[_slo_pb2.Slo, _Mapping]] = ..., expected_online_work: _Optional[float] = ..., failover_ratio: _Optional[float] = ...) -> None: ...

class DeploymentStatus(_message.Message):
    __slots__ = ("running_replicas", "placed_replicas", "misfits")
    RUNNING_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    PLACED_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    MISFITS_FIELD_NUMBER: _ClassVar[int]
    running_replicas: int
    placed_replicas: int
    misfits: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, running_replicas: _Optional[int] = ..., placed_replicas: _Optional[int] = ..., misfits: _Optional[_Iterable[str]] = ...) -> None: ...
