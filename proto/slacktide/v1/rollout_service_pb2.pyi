import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from slacktide.v1 import deployment_pb2 as _deployment_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetRolloutRequest(_message.Message):
    __slots__ = ("deployment",)
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    deployment: str
    def __init__(self, deployment: _Optional[str] = ...) -> None: ...

class GetRolloutResponse(_message.Message):
    __slots__ = ("stage", "evidence")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    stage: _deployment_pb2.Stage
    evidence: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, stage: _Optional[_Union[_deployment_pb2.Stage, str]] = ..., evidence: _Optional[_Iterable[str]] = ...) -> None: ...

class AdvanceRolloutRequest(_message.Message):
    __slots__ = ("deployment", "request_id")
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    deployment: str
    request_id: str
    def __init__(self, deployment: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class AdvanceRolloutResponse(_message.Message):
    __slots__ = ("stage",)
    STAGE_FIELD_NUMBER: _ClassVar[int]
    stage: _deployment_pb2.Stage
    def __init__(self, stage: _Optional[_Union[_deployment_pb2.Stage, str]] = ...) -> None: ...

class RollbackRolloutRequest(_message.Message):
    __slots__ = ("deployment", "reason", "request_id")
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    deployment: str
    reason: str
    request_id: str
    def __init__(self, deployment: _Optional[str] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class RollbackRolloutResponse(_message.Message):
    __slots__ = ("stage",)
    STAGE_FIELD_NUMBER: _ClassVar[int]
    stage: _deployment_pb2.Stage
    def __init__(self, stage: _Optional[_Union[_deployment_pb2.Stage, str]] = ...) -> None: ...

class SetKillSwitchRequest(_message.Message):
    __slots__ = ("engaged", "reason", "request_id")
    ENGAGED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    engaged: bool
    reason: str
    request_id: str
    def __init__(self, engaged: _Optional[bool] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class SetKillSwitchResponse(_message.Message):
    __slots__ = ("engaged", "change_time")
    ENGAGED_FIELD_NUMBER: _ClassVar[int]
    CHANGE_TIME_FIELD_NUMBER: _ClassVar[int]
    engaged: bool
    change_time: _timestamp_pb2.Timestamp
    def __init__(self, engaged: _Optional[bool] = ..., change_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
