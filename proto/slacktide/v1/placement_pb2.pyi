import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PlanStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PLAN_STATUS_UNSPECIFIED: _ClassVar[PlanStatus]
    PLAN_STATUS_OPTIMAL: _ClassVar[PlanStatus]
    PLAN_STATUS_FEASIBLE: _ClassVar[PlanStatus]
    PLAN_STATUS_KEPT_INCUMBENT: _ClassVar[PlanStatus]
    PLAN_STATUS_INFEASIBLE: _ClassVar[PlanStatus]

class RoundOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROUND_OUTCOME_UNSPECIFIED: _ClassVar[RoundOutcome]
    ROUND_OUTCOME_APPLIED: _ClassVar[RoundOutcome]
    ROUND_OUTCOME_PARTLY_APPLIED: _ClassVar[RoundOutcome]
    ROUND_OUTCOME_UNCHANGED: _ClassVar[RoundOutcome]
    ROUND_OUTCOME_REFUSED: _ClassVar[RoundOutcome]
    ROUND_OUTCOME_FROZEN: _ClassVar[RoundOutcome]
    ROUND_OUTCOME_FAILED: _ClassVar[RoundOutcome]

class MoveKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MOVE_KIND_UNSPECIFIED: _ClassVar[MoveKind]
    MOVE_KIND_ADD: _ClassVar[MoveKind]
    MOVE_KIND_REMOVE: _ClassVar[MoveKind]
    MOVE_KIND_ADJUST: _ClassVar[MoveKind]
PLAN_STATUS_UNSPECIFIED: PlanStatus
PLAN_STATUS_OPTIMAL: PlanStatus
PLAN_STATUS_FEASIBLE: PlanStatus
PLAN_STATUS_KEPT_INCUMBENT: PlanStatus
PLAN_STATUS_INFEASIBLE: PlanStatus
ROUND_OUTCOME_UNSPECIFIED: RoundOutcome
ROUND_OUTCOME_APPLIED: RoundOutcome
ROUND_OUTCOME_PARTLY_APPLIED: RoundOutcome
ROUND_OUTCOME_UNCHANGED: RoundOutcome
ROUND_OUTCOME_REFUSED: RoundOutcome
ROUND_OUTCOME_FROZEN: RoundOutcome
ROUND_OUTCOME_FAILED: RoundOutcome
MOVE_KIND_UNSPECIFIED: MoveKind
MOVE_KIND_ADD: MoveKind
MOVE_KIND_REMOVE: MoveKind
MOVE_KIND_ADJUST: MoveKind

class Plan(_message.Message):
    __slots__ = ("name", "base_revision", "epoch", "status", "solver", "objective", "bound", "gap", "terms", "placements", "moves", "misfits", "trigger", "solve_duration", "create_time", "inputs_hash", "outcome", "failure", "refused_groups", "waiting", "placements_from")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BASE_REVISION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SOLVER_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    BOUND_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    PLACEMENTS_FIELD_NUMBER: _ClassVar[int]
    MOVES_FIELD_NUMBER: _ClassVar[int]
    MISFITS_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_FIELD_NUMBER: _ClassVar[int]
    SOLVE_DURATION_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    INPUTS_HASH_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    REFUSED_GROUPS_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    PLACEMENTS_FROM_FIELD_NUMBER: _ClassVar[int]
    name: str
    base_revision: int
    epoch: int
    status: PlanStatus
    solver: str
    objective: float
    bound: float
    gap: float
    terms: _containers.RepeatedCompositeFieldContainer[ObjectiveTerm]
    placements: _containers.RepeatedCompositeFieldContainer[Placement]
    moves: _containers.RepeatedCompositeFieldContainer[Move]
    misfits: _containers.RepeatedCompositeFieldContainer[Misfit]
    trigger: str
    solve_duration: _duration_pb2.Duration
    create_time: _timestamp_pb2.Timestamp
    inputs_hash: str
    outcome: RoundOutcome
    failure: str
    refused_groups: _containers.RepeatedScalarFieldContainer[int]
    waiting: _containers.RepeatedCompositeFieldContainer[Placement]
    placements_from: str
    def __init__(self, name: _Optional[str] = ..., base_revision: _Optional[int] = ..., epoch: _Optional[int] = ..., status: _Optional[_Union[PlanStatus, str]] = ..., solver: _Optional[str] = ..., objective: _Optional[float] = ..., bound: _Optional[float] = ..., gap: _Optional[float] = ..., terms: _Optional[_Iterable[_Union[ObjectiveTerm, _Mapping]]] = ..., placements: _Optional[_Iterable[_Union[Placement, _Mapping]]] = ..., moves: _Optional[_Iterable[_Union[Move, _Mapping]]] = ..., misfits: _Optional[_Iterable[_Union[Misfit, _Mapping]]] = ..., trigger: _Optional[str] = ..., solve_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., inputs_hash: _Optional[str] = ..., outcome: _Optional[_Union[RoundOutcome, str]] = ..., failure: _Optional[str] = ..., refused_groups: _Optional[_Iterable[int]] = ..., waiting: _Optional[_Iterable[_Union[Placement, _Mapping]]] = ..., placements_from: _Optional[str] = ...) -> None: ...

class ObjectiveTerm(_message.Message):
    __slots__ = ("name", "weight", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    weight: float
    value: float
    def __init__(self, name: _Optional[str] = ..., weight: _Optional[float] = ..., value: _Optional[float] = ...) -> None: ...

class Placement(_message.Message):
    __slots__ = ("replica", "deployment", "node", "device_indices", "online_share", "offline_share", "latency_budget_ms", "slo_class")
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_INDICES_FIELD_NUMBER: _ClassVar[int]
    ONLINE_SHARE_FIELD_NUMBER: _ClassVar[int]
    OFFLINE_SHARE_FIELD_NUMBER: _ClassVar[int]
    LATENCY_BUDGET_MS_FIELD_NUMBER: _ClassVar[int]
    SLO_CLASS_FIELD_NUMBER: _ClassVar[int]
    replica: str
    deployment: str
    node: str
    device_indices: _containers.RepeatedScalarFieldContainer[int]
    online_share: float
    offline_share: float
    latency_budget_ms: float
    slo_class: str
    def __init__(self, replica: _Optional[str] = ..., deployment: _Optional[str] = ..., node: _Optional[str] = ..., device_indices: _Optional[_Iterable[int]] = ..., online_share: _Optional[float] = ..., offline_share: _Optional[float] = ..., latency_budget_ms: _Optional[float] = ..., slo_class: _Optional[str] = ...) -> None: ...

class Move(_message.Message):
    __slots__ = ("group", "kind", "replica", "deployment", "node", "after", "reason")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    group: int
    kind: MoveKind
    replica: str
    deployment: str
    node: str
    after: _containers.RepeatedScalarFieldContainer[str]
    reason: str
    def __init__(self, group: _Optional[int] = ..., kind: _Optional[_Union[MoveKind, str]] = ..., replica: _Optional[str] = ..., deployment: _Optional[str] = ..., node: _Optional[str] = ..., after: _Optional[_Iterable[str]] = ..., reason: _Optional[str] = ...) -> None: ...

class Misfit(_message.Message):
    __slots__ = ("deployment", "node", "dimension", "needed", "available", "message")
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    NEEDED_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    deployment: str
    node: str
    dimension: str
    needed: float
    available: float
    message: str
    def __init__(self, deployment: _Optional[str] = ..., node: _Optional[str] = ..., dimension: _Optional[str] = ..., needed: _Optional[float] = ..., available: _Optional[float] = ..., message: _Optional[str] = ...) -> None: ...

class Pin(_message.Message):
    __slots__ = ("deployment", "node", "replicas", "reason", "create_time")
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    deployment: str
    node: str
    replicas: int
    reason: str
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, deployment: _Optional[str] = ..., node: _Optional[str] = ..., replicas: _Optional[int] = ..., reason: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Freeze(_message.Message):
    __slots__ = ("target", "reason", "create_time")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    target: str
    reason: str
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, target: _Optional[str] = ..., reason: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class PlacementTotals(_message.Message):
    __slots__ = ("online_work_wanted", "online_work_served", "offline_work_wanted", "offline_work_served", "deadline_work_wanted", "deadline_work_served", "replicas", "missing_replicas", "nodes_used", "nodes_ready", "devices_used", "devices_ready", "price_per_hour")
    ONLINE_WORK_WANTED_FIELD_NUMBER: _ClassVar[int]
    ONLINE_WORK_SERVED_FIELD_NUMBER: _ClassVar[int]
    OFFLINE_WORK_WANTED_FIELD_NUMBER: _ClassVar[int]
    OFFLINE_WORK_SERVED_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_WORK_WANTED_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_WORK_SERVED_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    MISSING_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    NODES_USED_FIELD_NUMBER: _ClassVar[int]
    NODES_READY_FIELD_NUMBER: _ClassVar[int]
    DEVICES_USED_FIELD_NUMBER: _ClassVar[int]
    DEVICES_READY_FIELD_NUMBER: _ClassVar[int]
    PRICE_PER_HOUR_FIELD_NUMBER: _ClassVar[int]
    online_work_wanted: float
    online_work_served: float
    offline_work_wanted: float
    offline_work_served: float
    deadline_work_wanted: float
    deadline_work_served: float
    replicas: int
    missing_replicas: int
    nodes_used: int
    nodes_ready: int
    devices_used: int
    devices_ready: int
    price_per_hour: float
    def __init__(self, online_work_wanted: _Optional[float] = ..., online_work_served: _Optional[float] = ..., offline_work_wanted: _Optional[float] = ..., offline_work_served: _Optional[float] = ..., deadline_work_wanted: _Optional[float] = ..., deadline_work_served: _Optional[float] = ..., replicas: _Optional[int] = ..., missing_replicas: _Optional[int] = ..., nodes_used: _Optional[int] = ..., nodes_ready: _Optional[int] = ..., devices_used: _Optional[int] = ..., devices_ready: _Optional[int] = ..., price_per_hour: _Optional[float] = ...) -> None: ...

class DeploymentTotals(_message.Message):
    __slots__ = ("deployment", "totals")
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    deployment: str
    totals: PlacementTotals
    def __init__(self, deployment: _Optional[str] = ..., totals: _Optional[_Union[PlacementTotals, _Mapping]] = ...) -> None: ...
