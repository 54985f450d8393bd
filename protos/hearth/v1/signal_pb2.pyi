import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Signal(_message.Message):
    __slots__ = ("event_id", "type", "household", "member", "time", "fields", "source", "identifier")
    class FieldsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: FieldValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[FieldValue, _Mapping]] = ...) -> None: ...
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    HOUSEHOLD_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    IDENTIFIER_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    type: str
    household: str
    member: str
    time: _timestamp_pb2.Timestamp
    fields: _containers.MessageMap[str, FieldValue]
    source: str
    identifier: str
    def __init__(self, event_id: _Optional[str] = ..., type: _Optional[str] = ..., household: _Optional[str] = ..., member: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., fields: _Optional[_Mapping[str, FieldValue]] = ..., source: _Optional[str] = ..., identifier: _Optional[str] = ...) -> None: ...

class FieldValue(_message.Message):
    __slots__ = ("number", "integer", "text", "flag")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    INTEGER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FLAG_FIELD_NUMBER: _ClassVar[int]
    number: float
    integer: int
    text: str
    flag: bool
    def __init__(self, number: _Optional[float] = ..., integer: _Optional[int] = ..., text: _Optional[str] = ..., flag: _Optional[bool] = ...) -> None: ...

class IngestRequest(_message.Message):
    __slots__ = ("signals", "arrow_stream")
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    ARROW_STREAM_FIELD_NUMBER: _ClassVar[int]
    signals: _containers.RepeatedCompositeFieldContainer[Signal]
    arrow_stream: bytes
    def __init__(self, signals: _Optional[_Iterable[_Union[Signal, _Mapping]]] = ..., arrow_stream: _Optional[bytes] = ...) -> None: ...

class IngestResponse(_message.Message):
    __slots__ = ("counts", "rejections", "unknown_fields")
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    REJECTIONS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELDS_FIELD_NUMBER: _ClassVar[int]
    counts: SignalCounts
    rejections: _containers.RepeatedCompositeFieldContainer[Rejection]
    unknown_fields: _containers.RepeatedCompositeFieldContainer[UnknownField]
    def __init__(self, counts: _Optional[_Union[SignalCounts, _Mapping]] = ..., rejections: _Optional[_Iterable[_Union[Rejection, _Mapping]]] = ..., unknown_fields: _Optional[_Iterable[_Union[UnknownField, _Mapping]]] = ...) -> None: ...

class IngestStreamRequest(_message.Message):
    __slots__ = ("batch",)
    BATCH_FIELD_NUMBER: _ClassVar[int]
    batch: IngestRequest
    def __init__(self, batch: _Optional[_Union[IngestRequest, _Mapping]] = ...) -> None: ...

class IngestStreamResponse(_message.Message):
    __slots__ = ("counts", "rejections", "unknown_fields")
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    REJECTIONS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELDS_FIELD_NUMBER: _ClassVar[int]
    counts: SignalCounts
    rejections: _containers.RepeatedCompositeFieldContainer[Rejection]
    unknown_fields: _containers.RepeatedCompositeFieldContainer[UnknownField]
    def __init__(self, counts: _Optional[_Union[SignalCounts, _Mapping]] = ..., rejections: _Optional[_Iterable[_Union[Rejection, _Mapping]]] = ..., unknown_fields: _Optional[_Iterable[_Union[UnknownField, _Mapping]]] = ...) -> None: ...

class SignalCounts(_message.Message):
    __slots__ = ("received", "applied", "duplicate", "late", "rejected")
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    LATE_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    received: int
    applied: int
    duplicate: int
    late: int
    rejected: int
    def __init__(self, received: _Optional[int] = ..., applied: _Optional[int] = ..., duplicate: _Optional[int] = ..., late: _Optional[int] = ..., rejected: _Optional[int] = ...) -> None: ...

class Rejection(_message.Message):
    __slots__ = ("index", "event_id", "reason", "field", "detail")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    index: int
    event_id: str
    reason: str
    field: str
    detail: str
    def __init__(self, index: _Optional[int] = ..., event_id: _Optional[str] = ..., reason: _Optional[str] = ..., field: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class UnknownField(_message.Message):
    __slots__ = ("name", "signals", "passed_over")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    PASSED_OVER_FIELD_NUMBER: _ClassVar[int]
    name: str
    signals: int
    passed_over: bool
    def __init__(self, name: _Optional[str] = ..., signals: _Optional[int] = ..., passed_over: _Optional[bool] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeResponse(_message.Message):
    __slots__ = ("playbook_version", "types")
    PLAYBOOK_VERSION_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    playbook_version: str
    types: _containers.RepeatedCompositeFieldContainer[EventTypeDescription]
    def __init__(self, playbook_version: _Optional[str] = ..., types: _Optional[_Iterable[_Union[EventTypeDescription, _Mapping]]] = ...) -> None: ...

class EventTypeDescription(_message.Message):
    __slots__ = ("name", "source", "fields")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    source: str
    fields: _containers.RepeatedCompositeFieldContainer[FieldDescription]
    def __init__(self, name: _Optional[str] = ..., source: _Optional[str] = ..., fields: _Optional[_Iterable[_Union[FieldDescription, _Mapping]]] = ...) -> None: ...

class FieldDescription(_message.Message):
    __slots__ = ("name", "kind", "required", "least", "most", "values")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    LEAST_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: str
    required: bool
    least: float
    most: float
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[str] = ..., required: _Optional[bool] = ..., least: _Optional[float] = ..., most: _Optional[float] = ..., values: _Optional[_Iterable[str]] = ...) -> None: ...
