from slacktide.v1 import replica_pb2 as _replica_pb2
from slacktide.v1 import slo_pb2 as _slo_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WatchRoutesRequest(_message.Message):
    __slots__ = ("gateway", "version", "address")
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    gateway: str
    version: str
    address: str
    def __init__(self, gateway: _Optional[str] = ..., version: _Optional[str] = ..., address: _Optional[str] = ...) -> None: ...

class WatchRoutesResponse(_message.Message):
    __slots__ = ("revision", "epoch", "routes", "deployments", "slo_classes")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENTS_FIELD_NUMBER: _ClassVar[int]
    SLO_CLASSES_FIELD_NUMBER: _ClassVar[int]
    revision: int
    epoch: int
    routes: _containers.RepeatedCompositeFieldContainer[Route]
    deployments: _containers.RepeatedScalarFieldContainer[str]
    slo_classes: _containers.RepeatedCompositeFieldContainer[DeploymentClasses]
    def __init__(self, revision: _Optional[int] = ..., epoch: _Optional[int] = ..., routes: _Optional[_Iterable[_Union[Route, _Mapping]]] = ..., deployments: _Optional[_Iterable[str]] = ..., slo_classes: _Optional[_Iterable[_Union[DeploymentClasses, _Mapping]]] = ...) -> None: ...

class DeploymentClasses(_message.Message):
    __slots__ = ("deployment", "slo_classes")
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    SLO_CLASSES_FIELD_NUMBER: _ClassVar[int]
    deployment: str
    slo_classes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, deployment: _Optional[str] = ..., slo_classes: _Optional[_Iterable[str]] = ...) -> None: ...

class Route(_message.Message):
    __slots__ = ("replica", "deployment", "node", "address", "online_share", "state", "load", "slo", "max_running_requests", "slo_class")
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ONLINE_SHARE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    SLO_FIELD_NUMBER: _ClassVar[int]
    MAX_RUNNING_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    SLO_CLASS_FIELD_NUMBER: _ClassVar[int]
    replica: str
    deployment: str
    node: str
    address: str
    online_share: float
    state: _replica_pb2.ReplicaState
    load: _replica_pb2.ReplicaLoad
    slo: _slo_pb2.Slo
    max_running_requests: int
    slo_class: str
    def __init__(self, replica: _Optional[str] = ..., deployment: _Optional[str] = ..., node: _Optional[str] = ..., address: _Optional[str] = ..., online_share: _Optional[float] = ..., state: _Optional[_Union[_replica_pb2.ReplicaState, str]] = ..., load: _Optional[_Union[_replica_pb2.ReplicaLoad, _Mapping]] = ..., slo: _Optional[_Union[_slo_pb2.Slo, _Mapping]] = ..., max_running_requests: _Optional[int] = ..., slo_class: _Optional[str] = ...) -> None: ...
