import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from hearth.v1 import decision_pb2 as _decision_pb2
from hearth.v1 import delivery_pb2 as _delivery_pb2
from hearth.v1 import household_pb2 as _household_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Method(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    METHOD_UNSPECIFIED: _ClassVar[Method]
    METHOD_INGEST: _ClassVar[Method]
    METHOD_DECIDE: _ClassVar[Method]
    METHOD_REPORT: _ClassVar[Method]
    METHOD_ACK: _ClassVar[Method]
    METHOD_GET: _ClassVar[Method]
    METHOD_EXPLAIN: _ClassVar[Method]
    METHOD_DECISIONS: _ClassVar[Method]
    METHOD_SNAPSHOT: _ClassVar[Method]
    METHOD_REJECT: _ClassVar[Method]
    METHOD_CONFIRM_CLOCK: _ClassVar[Method]
    METHOD_DESCRIBE: _ClassVar[Method]
    METHOD_GRAPH: _ClassVar[Method]
    METHOD_INVENTORY: _ClassVar[Method]
    METHOD_RELOCATE: _ClassVar[Method]
    METHOD_RECORD: _ClassVar[Method]
METHOD_UNSPECIFIED: Method
METHOD_INGEST: Method
METHOD_DECIDE: Method
METHOD_REPORT: Method
METHOD_ACK: Method
METHOD_GET: Method
METHOD_EXPLAIN: Method
METHOD_DECISIONS: Method
METHOD_SNAPSHOT: Method
METHOD_REJECT: Method
METHOD_CONFIRM_CLOCK: Method
METHOD_DESCRIBE: Method
METHOD_GRAPH: Method
METHOD_INVENTORY: Method
METHOD_RELOCATE: Method
METHOD_RECORD: Method

class MovedSignals(_message.Message):
    __slots__ = ("rows", "partitions")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedScalarFieldContainer[int]
    partitions: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, rows: _Optional[_Iterable[int]] = ..., partitions: _Optional[_Iterable[int]] = ...) -> None: ...

class RecordCall(_message.Message):
    __slots__ = ("offset",)
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    offset: int
    def __init__(self, offset: _Optional[int] = ...) -> None: ...

class Call(_message.Message):
    __slots__ = ("id", "partition", "method", "payload", "timeout_ms", "traceparent")
    ID_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    id: int
    partition: int
    method: Method
    payload: bytes
    timeout_ms: int
    traceparent: str
    def __init__(self, id: _Optional[int] = ..., partition: _Optional[int] = ..., method: _Optional[_Union[Method, str]] = ..., payload: _Optional[bytes] = ..., timeout_ms: _Optional[int] = ..., traceparent: _Optional[str] = ...) -> None: ...

class Reply(_message.Message):
    __slots__ = ("id", "code", "payload")
    ID_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    id: int
    code: int
    payload: bytes
    def __init__(self, id: _Optional[int] = ..., code: _Optional[int] = ..., payload: _Optional[bytes] = ...) -> None: ...

class ExchangeRequest(_message.Message):
    __slots__ = ("calls", "left")
    CALLS_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    calls: _containers.RepeatedCompositeFieldContainer[Call]
    left: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, calls: _Optional[_Iterable[_Union[Call, _Mapping]]] = ..., left: _Optional[_Iterable[int]] = ...) -> None: ...

class ExchangeResponse(_message.Message):
    __slots__ = ("replies",)
    REPLIES_FIELD_NUMBER: _ClassVar[int]
    replies: _containers.RepeatedCompositeFieldContainer[Reply]
    def __init__(self, replies: _Optional[_Iterable[_Union[Reply, _Mapping]]] = ...) -> None: ...

class DecideCall(_message.Message):
    __slots__ = ("request", "signal_batch", "request_hash")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_BATCH_FIELD_NUMBER: _ClassVar[int]
    REQUEST_HASH_FIELD_NUMBER: _ClassVar[int]
    request: _decision_pb2.DecideRequest
    signal_batch: bytes
    request_hash: bytes
    def __init__(self, request: _Optional[_Union[_decision_pb2.DecideRequest, _Mapping]] = ..., signal_batch: _Optional[bytes] = ..., request_hash: _Optional[bytes] = ...) -> None: ...

class ReportCall(_message.Message):
    __slots__ = ("signal_batch", "household", "action_id", "channel", "group", "request_id", "request_hash", "identifier")
    SIGNAL_BATCH_FIELD_NUMBER: _ClassVar[int]
    HOUSEHOLD_FIELD_NUMBER: _ClassVar[int]
    ACTION_ID_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_HASH_FIELD_NUMBER: _ClassVar[int]
    IDENTIFIER_FIELD_NUMBER: _ClassVar[int]
    signal_batch: bytes
    household: str
    action_id: str
    channel: str
    group: str
    request_id: str
    request_hash: bytes
    identifier: str
    def __init__(self, signal_batch: _Optional[bytes] = ..., household: _Optional[str] = ..., action_id: _Optional[str] = ..., channel: _Optional[str] = ..., group: _Optional[str] = ..., request_id: _Optional[str] = ..., request_hash: _Optional[bytes] = ..., identifier: _Optional[str] = ...) -> None: ...

class GraphQuestion(_message.Message):
    __slots__ = ("households", "cause", "limit")
    HOUSEHOLDS_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    households: _containers.RepeatedScalarFieldContainer[str]
    cause: str
    limit: int
    def __init__(self, households: _Optional[_Iterable[str]] = ..., cause: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class GraphAnswer(_message.Message):
    __slots__ = ("as_of", "standing", "quarantine", "quarantined_total", "merge_about", "quarantined_about")
    class StandingEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    QUARANTINE_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_TOTAL_FIELD_NUMBER: _ClassVar[int]
    MERGE_ABOUT_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_ABOUT_FIELD_NUMBER: _ClassVar[int]
    as_of: _timestamp_pb2.Timestamp
    standing: _containers.ScalarMap[str, str]
    quarantine: _containers.RepeatedCompositeFieldContainer[_household_pb2.Quarantined]
    quarantined_total: int
    merge_about: str
    quarantined_about: str
    def __init__(self, as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., standing: _Optional[_Mapping[str, str]] = ..., quarantine: _Optional[_Iterable[_Union[_household_pb2.Quarantined, _Mapping]]] = ..., quarantined_total: _Optional[int] = ..., merge_about: _Optional[str] = ..., quarantined_about: _Optional[str] = ...) -> None: ...

class DeliverRequest(_message.Message):
    __slots__ = ("channels", "group")
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    channels: _containers.RepeatedScalarFieldContainer[str]
    group: str
    def __init__(self, channels: _Optional[_Iterable[str]] = ..., group: _Optional[str] = ...) -> None: ...

class DeliverResponse(_message.Message):
    __slots__ = ("delivery",)
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    delivery: _delivery_pb2.SubscribeResponse
    def __init__(self, delivery: _Optional[_Union[_delivery_pb2.SubscribeResponse, _Mapping]] = ...) -> None: ...
