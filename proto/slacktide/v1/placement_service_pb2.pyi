from slacktide.v1 import deployment_pb2 as _deployment_pb2
from slacktide.v1 import placement_pb2 as _placement_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetPlacementRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetPlacementResponse(_message.Message):
    __slots__ = ("plan", "revision")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    plan: _placement_pb2.Plan
    revision: int
    def __init__(self, plan: _Optional[_Union[_placement_pb2.Plan, _Mapping]] = ..., revision: _Optional[int] = ...) -> None: ...

class PlanPlacementRequest(_message.Message):
    __slots__ = ("deployments",)
    DEPLOYMENTS_FIELD_NUMBER: _ClassVar[int]
    deployments: _containers.RepeatedCompositeFieldContainer[_deployment_pb2.Deployment]
    def __init__(self, deployments: _Optional[_Iterable[_Union[_deployment_pb2.Deployment, _Mapping]]] = ...) -> None: ...

class PlanPlacementResponse(_message.Message):
    __slots__ = ("plan",)
    PLAN_FIELD_NUMBER: _ClassVar[int]
    plan: _placement_pb2.Plan
    def __init__(self, plan: _Optional[_Union[_placement_pb2.Plan, _Mapping]] = ...) -> None: ...

class ApplyPlacementRequest(_message.Message):
    __slots__ = ("plan", "revision", "request_id")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    plan: _placement_pb2.Plan
    revision: int
    request_id: str
    def __init__(self, plan: _Optional[_Union[_placement_pb2.Plan, _Mapping]] = ..., revision: _Optional[int] = ..., request_id: _Optional[str] = ...) -> None: ...

class ApplyPlacementResponse(_message.Message):
    __slots__ = ("plan",)
    PLAN_FIELD_NUMBER: _ClassVar[int]
    plan: _placement_pb2.Plan
    def __init__(self, plan: _Optional[_Union[_placement_pb2.Plan, _Mapping]] = ...) -> None: ...

class ExplainPlacementRequest(_message.Message):
    __slots__ = ("deployment", "node")
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    deployment: str
    node: str
    def __init__(self, deployment: _Optional[str] = ..., node: _Optional[str] = ...) -> None: ...

class ExplainPlacementResponse(_message.Message):
    __slots__ = ("misfits",)
    MISFITS_FIELD_NUMBER: _ClassVar[int]
    misfits: _containers.RepeatedCompositeFieldContainer[_placement_pb2.Misfit]
    def __init__(self, misfits: _Optional[_Iterable[_Union[_placement_pb2.Misfit, _Mapping]]] = ...) -> None: ...

class ListPlansRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPlansResponse(_message.Message):
    __slots__ = ("plans", "next_page_token")
    PLANS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    plans: _containers.RepeatedCompositeFieldContainer[_placement_pb2.Plan]
    next_page_token: str
    def __init__(self, plans: _Optional[_Iterable[_Union[_placement_pb2.Plan, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DiffPlansRequest(_message.Message):
    __slots__ = ("to",)
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    to: str
    def __init__(self, to: _Optional[str] = ..., **kwargs) -> None: ...

class DiffPlansResponse(_message.Message):
    __slots__ = ("moves",)
    MOVES_FIELD_NUMBER: _ClassVar[int]
    moves: _containers.RepeatedCompositeFieldContainer[_placement_pb2.Move]
    def __init__(self, moves: _Optional[_Iterable[_Union[_placement_pb2.Move, _Mapping]]] = ...) -> None: ...

class RollbackPlacementRequest(_message.Message):
    __slots__ = ("plan", "request_id")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    plan: str
    request_id: str
    def __init__(self, plan: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class RollbackPlacementResponse(_message.Message):
    __slots__ = ("plan",)
    PLAN_FIELD_NUMBER: _ClassVar[int]
    plan: _placement_pb2.Plan
    def __init__(self, plan: _Optional[_Union[_placement_pb2.Plan, _Mapping]] = ...) -> None: ...

class FreezePlacementRequest(_message.Message):
    __slots__ = ("frozen", "reason", "request_id")
    FROZEN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    frozen: bool
    reason: str
    request_id: str
    def __init__(self, frozen: _Optional[bool] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class FreezePlacementResponse(_message.Message):
    __slots__ = ("frozen",)
    FROZEN_FIELD_NUMBER: _ClassVar[int]
    frozen: bool
    def __init__(self, frozen: _Optional[bool] = ...) -> None: ...

class WhatIfRequest(_message.Message):
    __slots__ = ("lost_nodes", "scaled_load")
    class ScaledLoadEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    LOST_NODES_FIELD_NUMBER: _ClassVar[int]
    SCALED_LOAD_FIELD_NUMBER: _ClassVar[int]
    lost_nodes: _containers.RepeatedScalarFieldContainer[str]
    scaled_load: _containers.ScalarMap[str, float]
    def __init__(self, lost_nodes: _Optional[_Iterable[str]] = ..., scaled_load: _Optional[_Mapping[str, float]] = ...) -> None: ...

class WhatIfResponse(_message.Message):
    __slots__ = ("plan",)
    PLAN_FIELD_NUMBER: _ClassVar[int]
    plan: _placement_pb2.Plan
    def __init__(self, plan: _Optional[_Union[_placement_pb2.Plan, _Mapping]] = ...) -> None: ...
