import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from hearth.v1 import decision_pb2 as _decision_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SubscribeRequest(_message.Message):
    __slots__ = ("channels", "gateway", "group")
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    channels: _containers.RepeatedScalarFieldContainer[str]
    gateway: str
    group: str
    def __init__(self, channels: _Optional[_Iterable[str]] = ..., gateway: _Optional[str] = ..., group: _Optional[str] = ...) -> None: ...

class SubscribeResponse(_message.Message):
    __slots__ = ("household", "member", "action", "decision_id", "send_before", "attempt", "channel")
    HOUSEHOLD_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    SEND_BEFORE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    household: str
    member: str
    action: _decision_pb2.Action
    decision_id: str
    send_before: _timestamp_pb2.Timestamp
    attempt: int
    channel: str
    def __init__(self, household: _Optional[str] = ..., member: _Optional[str] = ..., action: _Optional[_Union[_decision_pb2.Action, _Mapping]] = ..., decision_id: _Optional[str] = ..., send_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., attempt: _Optional[int] = ..., channel: _Optional[str] = ...) -> None: ...

class AckRequest(_message.Message):
    __slots__ = ("request_id", "household", "action_id", "delivered", "detail", "channel", "group", "identifier")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    HOUSEHOLD_FIELD_NUMBER: _ClassVar[int]
    ACTION_ID_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    IDENTIFIER_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    household: str
    action_id: str
    delivered: bool
    detail: str
    channel: str
    group: str
    identifier: str
    def __init__(self, request_id: _Optional[str] = ..., household: _Optional[str] = ..., action_id: _Optional[str] = ..., delivered: _Optional[bool] = ..., detail: _Optional[str] = ..., channel: _Optional[str] = ..., group: _Optional[str] = ..., identifier: _Optional[str] = ...) -> None: ...

class AckResponse(_message.Message):
    __slots__ = ("effective", "reason")
    EFFECTIVE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    effective: bool
    reason: str
    def __init__(self, effective: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...
