import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ComponentKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMPONENT_KIND_UNSPECIFIED: _ClassVar[ComponentKind]
    COMPONENT_KIND_CONTROL_PLANE: _ClassVar[ComponentKind]
    COMPONENT_KIND_GATEWAY: _ClassVar[ComponentKind]
    COMPONENT_KIND_AGENT: _ClassVar[ComponentKind]
    COMPONENT_KIND_ENGINE: _ClassVar[ComponentKind]
COMPONENT_KIND_UNSPECIFIED: ComponentKind
COMPONENT_KIND_CONTROL_PLANE: ComponentKind
COMPONENT_KIND_GATEWAY: ComponentKind
COMPONENT_KIND_AGENT: ComponentKind
COMPONENT_KIND_ENGINE: ComponentKind

class GetFleetRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetFleetResponse(_message.Message):
    __slots__ = ("components", "revision", "epoch", "kill_switch", "plan")
    COMPONENTS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    KILL_SWITCH_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    components: _containers.RepeatedCompositeFieldContainer[Component]
    revision: int
    epoch: int
    kill_switch: bool
    plan: str
    def __init__(self, components: _Optional[_Iterable[_Union[Component, _Mapping]]] = ..., revision: _Optional[int] = ..., epoch: _Optional[int] = ..., kill_switch: _Optional[bool] = ..., plan: _Optional[str] = ...) -> None: ...

class Component(_message.Message):
    __slots__ = ("kind", "id", "version", "address", "state", "last_seen_time")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_TIME_FIELD_NUMBER: _ClassVar[int]
    kind: ComponentKind
    id: str
    version: str
    address: str
    state: str
    last_seen_time: _timestamp_pb2.Timestamp
    def __init__(self, kind: _Optional[_Union[ComponentKind, str]] = ..., id: _Optional[str] = ..., version: _Optional[str] = ..., address: _Optional[str] = ..., state: _Optional[str] = ..., last_seen_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
