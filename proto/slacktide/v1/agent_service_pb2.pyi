import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from slacktide.v1 import deployment_pb2 as _deployment_pb2
from slacktide.v1 import node_pb2 as _node_pb2
from slacktide.v1 import replica_pb2 as _replica_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SessionRequest(_message.Message):
    __slots__ = ("hello", "report")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    report: NodeReport
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., report: _Optional[_Union[NodeReport, _Mapping]] = ...) -> None: ...

class SessionResponse(_message.Message):
    __slots__ = ("welcome", "assignment", "grant")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    ASSIGNMENT_FIELD_NUMBER: _ClassVar[int]
    GRANT_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    assignment: NodeAssignment
    grant: LeaseGrant
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., assignment: _Optional[_Union[NodeAssignment, _Mapping]] = ..., grant: _Optional[_Union[LeaseGrant, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("node", "protocol_version", "incarnation", "held_epoch", "held_revision", "replicas")
    NODE_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    HELD_EPOCH_FIELD_NUMBER: _ClassVar[int]
    HELD_REVISION_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    node: _node_pb2.Node
    protocol_version: int
    incarnation: str
    held_epoch: int
    held_revision: int
    replicas: _containers.RepeatedCompositeFieldContainer[_replica_pb2.ReplicaReport]
    def __init__(self, node: _Optional[_Union[_node_pb2.Node, _Mapping]] = ..., protocol_version: _Optional[int] = ..., incarnation: _Optional[str] = ..., held_epoch: _Optional[int] = ..., held_revision: _Optional[int] = ..., replicas: _Optional[_Iterable[_Union[_replica_pb2.ReplicaReport, _Mapping]]] = ...) -> None: ...

class NodeReport(_message.Message):
    __slots__ = ("replicas", "revision", "models", "warm_models")
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    WARM_MODELS_FIELD_NUMBER: _ClassVar[int]
    replicas: _containers.RepeatedCompositeFieldContainer[_replica_pb2.ReplicaReport]
    revision: int
    models: _containers.RepeatedCompositeFieldContainer[ModelFacts]
    warm_models: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, replicas: _Optional[_Iterable[_Union[_replica_pb2.ReplicaReport, _Mapping]]] = ..., revision: _Optional[int] = ..., models: _Optional[_Iterable[_Union[ModelFacts, _Mapping]]] = ..., warm_models: _Optional[_Iterable[str]] = ...) -> None: ...

class ModelFacts(_message.Message):
    __slots__ = ("model", "weights_bytes", "kv_bytes_per_token", "max_context_tokens", "error")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_BYTES_FIELD_NUMBER: _ClassVar[int]
    KV_BYTES_PER_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MAX_CONTEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    model: str
    weights_bytes: int
    kv_bytes_per_token: int
    max_context_tokens: int
    error: str
    def __init__(self, model: _Optional[str] = ..., weights_bytes: _Optional[int] = ..., kv_bytes_per_token: _Optional[int] = ..., max_context_tokens: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("lease", "epoch", "control_plane_version")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    CONTROL_PLANE_VERSION_FIELD_NUMBER: _ClassVar[int]
    lease: _duration_pb2.Duration
    epoch: int
    control_plane_version: str
    def __init__(self, lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., epoch: _Optional[int] = ..., control_plane_version: _Optional[str] = ...) -> None: ...

class LeaseGrant(_message.Message):
    __slots__ = ("epoch",)
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    def __init__(self, epoch: _Optional[int] = ...) -> None: ...

class NodeAssignment(_message.Message):
    __slots__ = ("epoch", "revision", "replicas", "kill_switch", "cordoned", "wanted_models")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    KILL_SWITCH_FIELD_NUMBER: _ClassVar[int]
    CORDONED_FIELD_NUMBER: _ClassVar[int]
    WANTED_MODELS_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    revision: int
    replicas: _containers.RepeatedCompositeFieldContainer[AssignedReplica]
    kill_switch: bool
    cordoned: bool
    wanted_models: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, epoch: _Optional[int] = ..., revision: _Optional[int] = ..., replicas: _Optional[_Iterable[_Union[AssignedReplica, _Mapping]]] = ..., kill_switch: _Optional[bool] = ..., cordoned: _Optional[bool] = ..., wanted_models: _Optional[_Iterable[str]] = ...) -> None: ...

class AssignedReplica(_message.Message):
    __slots__ = ("replica", "spec", "drain_grace")
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    DRAIN_GRACE_FIELD_NUMBER: _ClassVar[int]
    replica: _replica_pb2.Replica
    spec: _deployment_pb2.DeploymentSpec
    drain_grace: _duration_pb2.Duration
    def __init__(self, replica: _Optional[_Union[_replica_pb2.Replica, _Mapping]] = ..., spec: _Optional[_Union[_deployment_pb2.DeploymentSpec, _Mapping]] = ..., drain_grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...
