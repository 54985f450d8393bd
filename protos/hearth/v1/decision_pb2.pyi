import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from hearth.v1 import signal_pb2 as _signal_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ScoredBy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCORED_BY_UNSPECIFIED: _ClassVar[ScoredBy]
    SCORED_BY_SERVE: _ClassVar[ScoredBy]
    SCORED_BY_SHARD: _ClassVar[ScoredBy]
    SCORED_BY_PRIOR: _ClassVar[ScoredBy]

class ActionStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACTION_STATUS_UNSPECIFIED: _ClassVar[ActionStatus]
    ACTION_STATUS_LIVE: _ClassVar[ActionStatus]
    ACTION_STATUS_ACCEPTED: _ClassVar[ActionStatus]
    ACTION_STATUS_DECLINED: _ClassVar[ActionStatus]
    ACTION_STATUS_EXPIRED: _ClassVar[ActionStatus]
    ACTION_STATUS_WITHDRAWN: _ClassVar[ActionStatus]
    ACTION_STATUS_WITHHELD: _ClassVar[ActionStatus]

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_IMPRESSION: _ClassVar[Outcome]
    OUTCOME_CLICK: _ClassVar[Outcome]
    OUTCOME_ACCEPT: _ClassVar[Outcome]
    OUTCOME_DECLINE: _ClassVar[Outcome]
    OUTCOME_CONVERT: _ClassVar[Outcome]
SCORED_BY_UNSPECIFIED: ScoredBy
SCORED_BY_SERVE: ScoredBy
SCORED_BY_SHARD: ScoredBy
SCORED_BY_PRIOR: ScoredBy
ACTION_STATUS_UNSPECIFIED: ActionStatus
ACTION_STATUS_LIVE: ActionStatus
ACTION_STATUS_ACCEPTED: ActionStatus
ACTION_STATUS_DECLINED: ActionStatus
ACTION_STATUS_EXPIRED: ActionStatus
ACTION_STATUS_WITHDRAWN: ActionStatus
ACTION_STATUS_WITHHELD: ActionStatus
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_IMPRESSION: Outcome
OUTCOME_CLICK: Outcome
OUTCOME_ACCEPT: Outcome
OUTCOME_DECLINE: Outcome
OUTCOME_CONVERT: Outcome

class DecideRequest(_message.Message):
    __slots__ = ("request_id", "household", "member", "channel", "signals", "identifier")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    HOUSEHOLD_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    IDENTIFIER_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    household: str
    member: str
    channel: str
    signals: _containers.RepeatedCompositeFieldContainer[_signal_pb2.Signal]
    identifier: str
    def __init__(self, request_id: _Optional[str] = ..., household: _Optional[str] = ..., member: _Optional[str] = ..., channel: _Optional[str] = ..., signals: _Optional[_Iterable[_Union[_signal_pb2.Signal, _Mapping]]] = ..., identifier: _Optional[str] = ...) -> None: ...

class DecideResponse(_message.Message):
    __slots__ = ("decision_id", "action", "reasons", "degraded", "playbook_version", "model_version", "decided_at", "repeated_request", "signal_counts", "rejections", "scored_by", "arms", "term_versions")
    class ArmsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class TermVersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    PLAYBOOK_VERSION_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    DECIDED_AT_FIELD_NUMBER: _ClassVar[int]
    REPEATED_REQUEST_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_COUNTS_FIELD_NUMBER: _ClassVar[int]
    REJECTIONS_FIELD_NUMBER: _ClassVar[int]
    SCORED_BY_FIELD_NUMBER: _ClassVar[int]
    ARMS_FIELD_NUMBER: _ClassVar[int]
    TERM_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    action: Action
    reasons: _containers.RepeatedScalarFieldContainer[str]
    degraded: bool
    playbook_version: str
    model_version: str
    decided_at: _timestamp_pb2.Timestamp
    repeated_request: bool
    signal_counts: _signal_pb2.SignalCounts
    rejections: _containers.RepeatedCompositeFieldContainer[_signal_pb2.Rejection]
    scored_by: ScoredBy
    arms: _containers.ScalarMap[str, str]
    term_versions: _containers.ScalarMap[str, str]
    def __init__(self, decision_id: _Optional[str] = ..., action: _Optional[_Union[Action, _Mapping]] = ..., reasons: _Optional[_Iterable[str]] = ..., degraded: _Optional[bool] = ..., playbook_version: _Optional[str] = ..., model_version: _Optional[str] = ..., decided_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., repeated_request: _Optional[bool] = ..., signal_counts: _Optional[_Union[_signal_pb2.SignalCounts, _Mapping]] = ..., rejections: _Optional[_Iterable[_Union[_signal_pb2.Rejection, _Mapping]]] = ..., scored_by: _Optional[_Union[ScoredBy, str]] = ..., arms: _Optional[_Mapping[str, str]] = ..., term_versions: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Action(_message.Message):
    __slots__ = ("action_id", "offer", "kind", "family", "treatment", "price_minor", "currency", "valid_until", "status", "journey", "member", "withdrawn_because")
    ACTION_ID_FIELD_NUMBER: _ClassVar[int]
    OFFER_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    TREATMENT_FIELD_NUMBER: _ClassVar[int]
    PRICE_MINOR_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    VALID_UNTIL_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    JOURNEY_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWN_BECAUSE_FIELD_NUMBER: _ClassVar[int]
    action_id: str
    offer: str
    kind: str
    family: str
    treatment: Treatment
    price_minor: int
    currency: str
    valid_until: _timestamp_pb2.Timestamp
    status: ActionStatus
    journey: str
    member: str
    withdrawn_because: str
    def __init__(self, action_id: _Optional[str] = ..., offer: _Optional[str] = ..., kind: _Optional[str] = ..., family: _Optional[str] = ..., treatment: _Optional[_Union[Treatment, _Mapping]] = ..., price_minor: _Optional[int] = ..., currency: _Optional[str] = ..., valid_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., status: _Optional[_Union[ActionStatus, str]] = ..., journey: _Optional[str] = ..., member: _Optional[str] = ..., withdrawn_because: _Optional[str] = ...) -> None: ...

class Treatment(_message.Message):
    __slots__ = ("name", "channel", "text", "parameters")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    name: str
    channel: str
    text: str
    parameters: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., channel: _Optional[str] = ..., text: _Optional[str] = ..., parameters: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ReportRequest(_message.Message):
    __slots__ = ("request_id", "household", "member", "action_id", "outcome", "channel", "time", "identifier")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    HOUSEHOLD_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    ACTION_ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    IDENTIFIER_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    household: str
    member: str
    action_id: str
    outcome: Outcome
    channel: str
    time: _timestamp_pb2.Timestamp
    identifier: str
    def __init__(self, request_id: _Optional[str] = ..., household: _Optional[str] = ..., member: _Optional[str] = ..., action_id: _Optional[str] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., channel: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., identifier: _Optional[str] = ...) -> None: ...

class ReportResponse(_message.Message):
    __slots__ = ("status", "repeated_request", "effective", "reason")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REPEATED_REQUEST_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    status: ActionStatus
    repeated_request: bool
    effective: bool
    reason: str
    def __init__(self, status: _Optional[_Union[ActionStatus, str]] = ..., repeated_request: _Optional[bool] = ..., effective: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...
