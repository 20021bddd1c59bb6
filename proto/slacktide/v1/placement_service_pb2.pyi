from slacktide.v1 import deployment_pb2 as _deployment_pb2
from slacktide.v1 import placement_pb2 as _placement_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PlanView(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PLAN_VIEW_UNSPECIFIED: _ClassVar[PlanView]
    PLAN_VIEW_BASIC: _ClassVar[PlanView]
    PLAN_VIEW_FULL: _ClassVar[PlanView]

class DifferenceKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DIFFERENCE_KIND_UNSPECIFIED: _ClassVar[DifferenceKind]
    DIFFERENCE_KIND_ONE_MORE_REPLICA: _ClassVar[DifferenceKind]
    DIFFERENCE_KIND_ONE_LESS_REPLICA: _ClassVar[DifferenceKind]
    DIFFERENCE_KIND_BOUND_RELAXED: _ClassVar[DifferenceKind]
    DIFFERENCE_KIND_NODE_OPENED: _ClassVar[DifferenceKind]
    DIFFERENCE_KIND_NODE_ADDED: _ClassVar[DifferenceKind]
PLAN_VIEW_UNSPECIFIED: PlanView
PLAN_VIEW_BASIC: PlanView
PLAN_VIEW_FULL: PlanView
DIFFERENCE_KIND_UNSPECIFIED: DifferenceKind
DIFFERENCE_KIND_ONE_MORE_REPLICA: DifferenceKind
DIFFERENCE_KIND_ONE_LESS_REPLICA: DifferenceKind
DIFFERENCE_KIND_BOUND_RELAXED: DifferenceKind
DIFFERENCE_KIND_NODE_OPENED: DifferenceKind
DIFFERENCE_KIND_NODE_ADDED: DifferenceKind

class GetPlacementRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetPlacementResponse(_message.Message):
    __slots__ = ("plan", "revision", "freezes", "last_round", "rollback_to", "totals", "frontier_shares")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    FREEZES_FIELD_NUMBER: _ClassVar[int]
    LAST_ROUND_FIELD_NUMBER: _ClassVar[int]
    ROLLBACK_TO_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    FRONTIER_SHARES_FIELD_NUMBER: _ClassVar[int]
    plan: _placement_pb2.Plan
    revision: int
    freezes: _containers.RepeatedCompositeFieldContainer[_placement_pb2.Freeze]
    last_round: _placement_pb2.Plan
    rollback_to: str
    totals: _placement_pb2.PlacementTotals
    frontier_shares: _containers.RepeatedCompositeFieldContainer[FrontierShare]
    def __init__(self, plan: _Optional[_Union[_placement_pb2.Plan, _Mapping]] = ..., revision: _Optional[int] = ..., freezes: _Optional[_Iterable[_Union[_placement_pb2.Freeze, _Mapping]]] = ..., last_round: _Optional[_Union[_placement_pb2.Plan, _Mapping]] = ..., rollback_to: _Optional[str] = ..., totals: _Optional[_Union[_placement_pb2.PlacementTotals, _Mapping]] = ..., frontier_shares: _Optional[_Iterable[_Union[FrontierShare, _Mapping]]] = ...) -> None: ...

class FrontierShare(_message.Message):
    __slots__ = ("replica", "online_ratio", "offline_ratio", "source")
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    ONLINE_RATIO_FIELD_NUMBER: _ClassVar[int]
    OFFLINE_RATIO_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    replica: str
    online_ratio: float
    offline_ratio: float
    source: str
    def __init__(self, replica: _Optional[str] = ..., online_ratio: _Optional[float] = ..., offline_ratio: _Optional[float] = ..., source: _Optional[str] = ...) -> None: ...

class PlanPlacementRequest(_message.Message):
    __slots__ = ("deployments",)
    DEPLOYMENTS_FIELD_NUMBER: _ClassVar[int]
    deployments: _containers.RepeatedCompositeFieldContainer[_deployment_pb2.Deployment]
    def __init__(self, deployments: _Optional[_Iterable[_Union[_deployment_pb2.Deployment, _Mapping]]] = ...) -> None: ...

class PlanPlacementResponse(_message.Message):
    __slots__ = ("plan", "now", "planned", "freezes")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    PLANNED_FIELD_NUMBER: _ClassVar[int]
    FREEZES_FIELD_NUMBER: _ClassVar[int]
    plan: _placement_pb2.Plan
    now: _placement_pb2.PlacementTotals
    planned: _placement_pb2.PlacementTotals
    freezes: _containers.RepeatedCompositeFieldContainer[_placement_pb2.Freeze]
    def __init__(self, plan: _Optional[_Union[_placement_pb2.Plan, _Mapping]] = ..., now: _Optional[_Union[_placement_pb2.PlacementTotals, _Mapping]] = ..., planned: _Optional[_Union[_placement_pb2.PlacementTotals, _Mapping]] = ..., freezes: _Optional[_Iterable[_Union[_placement_pb2.Freeze, _Mapping]]] = ...) -> None: ...

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
    __slots__ = ("misfits", "binding", "summary", "differences", "totals", "revision")
    MISFITS_FIELD_NUMBER: _ClassVar[int]
    BINDING_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    misfits: _containers.RepeatedCompositeFieldContainer[_placement_pb2.Misfit]
    binding: str
    summary: str
    differences: _containers.RepeatedCompositeFieldContainer[Difference]
    totals: _placement_pb2.PlacementTotals
    revision: int
    def __init__(self, misfits: _Optional[_Iterable[_Union[_placement_pb2.Misfit, _Mapping]]] = ..., binding: _Optional[str] = ..., summary: _Optional[str] = ..., differences: _Optional[_Iterable[_Union[Difference, _Mapping]]] = ..., totals: _Optional[_Union[_placement_pb2.PlacementTotals, _Mapping]] = ..., revision: _Optional[int] = ...) -> None: ...

class Difference(_message.Message):
    __slots__ = ("kind", "change", "node", "fits", "objective_difference", "terms", "misfit", "would_fit_if")
    KIND_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    FITS_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    MISFIT_FIELD_NUMBER: _ClassVar[int]
    WOULD_FIT_IF_FIELD_NUMBER: _ClassVar[int]
    kind: DifferenceKind
    change: str
    node: str
    fits: bool
    objective_difference: float
    terms: _containers.RepeatedCompositeFieldContainer[_placement_pb2.ObjectiveTerm]
    misfit: _placement_pb2.Misfit
    would_fit_if: str
    def __init__(self, kind: _Optional[_Union[DifferenceKind, str]] = ..., change: _Optional[str] = ..., node: _Optional[str] = ..., fits: _Optional[bool] = ..., objective_difference: _Optional[float] = ..., terms: _Optional[_Iterable[_Union[_placement_pb2.ObjectiveTerm, _Mapping]]] = ..., misfit: _Optional[_Union[_placement_pb2.Misfit, _Mapping]] = ..., would_fit_if: _Optional[str] = ...) -> None: ...

class ListPlansRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "view", "notable_only")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    NOTABLE_ONLY_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    view: PlanView
    notable_only: bool
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., view: _Optional[_Union[PlanView, str]] = ..., notable_only: _Optional[bool] = ...) -> None: ...

class ListPlansResponse(_message.Message):
    __slots__ = ("plans", "next_page_token")
    PLANS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    plans: _containers.RepeatedCompositeFieldContainer[_placement_pb2.Plan]
    next_page_token: str
    def __init__(self, plans: _Optional[_Iterable[_Union[_placement_pb2.Plan, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetPlanRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetPlanResponse(_message.Message):
    __slots__ = ("plan",)
    PLAN_FIELD_NUMBER: _ClassVar[int]
    plan: _placement_pb2.Plan
    def __init__(self, plan: _Optional[_Union[_placement_pb2.Plan, _Mapping]] = ...) -> None: ...

class DiffPlansRequest(_message.Message):
    __slots__ = ("to",)
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    to: str
    def __init__(self, to: _Optional[str] = ..., **kwargs) -> None: ...

class DiffPlansResponse(_message.Message):
    __slots__ = ("moves", "objective_difference", "terms", "same_inputs")
    MOVES_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    SAME_INPUTS_FIELD_NUMBER: _ClassVar[int]
    moves: _containers.RepeatedCompositeFieldContainer[_placement_pb2.Move]
    objective_difference: float
    terms: _containers.RepeatedCompositeFieldContainer[_placement_pb2.ObjectiveTerm]
    same_inputs: bool
    def __init__(self, moves: _Optional[_Iterable[_Union[_placement_pb2.Move, _Mapping]]] = ..., objective_difference: _Optional[float] = ..., terms: _Optional[_Iterable[_Union[_placement_pb2.ObjectiveTerm, _Mapping]]] = ..., same_inputs: _Optional[bool] = ...) -> None: ...

class RollbackPlacementRequest(_message.Message):
    __slots__ = ("plan", "request_id", "freeze", "validate_only")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    FREEZE_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    plan: str
    request_id: str
    freeze: bool
    validate_only: bool
    def __init__(self, plan: _Optional[str] = ..., request_id: _Optional[str] = ..., freeze: _Optional[bool] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class RollbackPlacementResponse(_message.Message):
    __slots__ = ("plan", "unrestored")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    UNRESTORED_FIELD_NUMBER: _ClassVar[int]
    plan: _placement_pb2.Plan
    unrestored: _containers.RepeatedCompositeFieldContainer[_placement_pb2.Misfit]
    def __init__(self, plan: _Optional[_Union[_placement_pb2.Plan, _Mapping]] = ..., unrestored: _Optional[_Iterable[_Union[_placement_pb2.Misfit, _Mapping]]] = ...) -> None: ...

class FreezePlacementRequest(_message.Message):
    __slots__ = ("frozen", "reason", "request_id", "target")
    FROZEN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    frozen: bool
    reason: str
    request_id: str
    target: str
    def __init__(self, frozen: _Optional[bool] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ..., target: _Optional[str] = ...) -> None: ...

class FreezePlacementResponse(_message.Message):
    __slots__ = ("frozen", "freezes")
    FROZEN_FIELD_NUMBER: _ClassVar[int]
    FREEZES_FIELD_NUMBER: _ClassVar[int]
    frozen: bool
    freezes: _containers.RepeatedCompositeFieldContainer[_placement_pb2.Freeze]
    def __init__(self, frozen: _Optional[bool] = ..., freezes: _Optional[_Iterable[_Union[_placement_pb2.Freeze, _Mapping]]] = ...) -> None: ...

class PinPlacementRequest(_message.Message):
    __slots__ = ("deployment", "node", "replicas", "reason", "request_id")
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    deployment: str
    node: str
    replicas: int
    reason: str
    request_id: str
    def __init__(self, deployment: _Optional[str] = ..., node: _Optional[str] = ..., replicas: _Optional[int] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class PinPlacementResponse(_message.Message):
    __slots__ = ("pin",)
    PIN_FIELD_NUMBER: _ClassVar[int]
    pin: _placement_pb2.Pin
    def __init__(self, pin: _Optional[_Union[_placement_pb2.Pin, _Mapping]] = ...) -> None: ...

class UnpinPlacementRequest(_message.Message):
    __slots__ = ("deployment", "node", "request_id")
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    deployment: str
    node: str
    request_id: str
    def __init__(self, deployment: _Optional[str] = ..., node: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class UnpinPlacementResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListPinsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPinsResponse(_message.Message):
    __slots__ = ("pins", "next_page_token")
    PINS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    pins: _containers.RepeatedCompositeFieldContainer[_placement_pb2.Pin]
    next_page_token: str
    def __init__(self, pins: _Optional[_Iterable[_Union[_placement_pb2.Pin, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WhatIfRequest(_message.Message):
    __slots__ = ("lost_nodes", "scaled_load", "added_nodes", "cordoned_nodes", "deployments")
    class ScaledLoadEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    LOST_NODES_FIELD_NUMBER: _ClassVar[int]
    SCALED_LOAD_FIELD_NUMBER: _ClassVar[int]
    ADDED_NODES_FIELD_NUMBER: _ClassVar[int]
    CORDONED_NODES_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENTS_FIELD_NUMBER: _ClassVar[int]
    lost_nodes: _containers.RepeatedScalarFieldContainer[str]
    scaled_load: _containers.ScalarMap[str, float]
    added_nodes: _containers.RepeatedCompositeFieldContainer[AddedNodes]
    cordoned_nodes: _containers.RepeatedScalarFieldContainer[str]
    deployments: _containers.RepeatedCompositeFieldContainer[_deployment_pb2.Deployment]
    def __init__(self, lost_nodes: _Optional[_Iterable[str]] = ..., scaled_load: _Optional[_Mapping[str, float]] = ..., added_nodes: _Optional[_Iterable[_Union[AddedNodes, _Mapping]]] = ..., cordoned_nodes: _Optional[_Iterable[str]] = ..., deployments: _Optional[_Iterable[_Union[_deployment_pb2.Deployment, _Mapping]]] = ...) -> None: ...

class AddedNodes(_message.Message):
    __slots__ = ("count", "device_type", "devices", "memory_bytes", "group")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_TYPE_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    count: int
    device_type: str
    devices: int
    memory_bytes: int
    group: str
    def __init__(self, count: _Optional[int] = ..., device_type: _Optional[str] = ..., devices: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., group: _Optional[str] = ...) -> None: ...

class WhatIfResponse(_message.Message):
    __slots__ = ("plan", "now", "supposed", "deployments", "revision")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    SUPPOSED_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENTS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    plan: _placement_pb2.Plan
    now: _placement_pb2.PlacementTotals
    supposed: _placement_pb2.PlacementTotals
    deployments: _containers.RepeatedCompositeFieldContainer[_placement_pb2.DeploymentTotals]
    revision: int
    def __init__(self, plan: _Optional[_Union[_placement_pb2.Plan, _Mapping]] = ..., now: _Optional[_Union[_placement_pb2.PlacementTotals, _Mapping]] = ..., supposed: _Optional[_Union[_placement_pb2.PlacementTotals, _Mapping]] = ..., deployments: _Optional[_Iterable[_Union[_placement_pb2.DeploymentTotals, _Mapping]]] = ..., revision: _Optional[int] = ...) -> None: ...
