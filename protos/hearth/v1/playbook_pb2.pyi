import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JourneyHalt(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOURNEY_HALT_UNSPECIFIED: _ClassVar[JourneyHalt]
    JOURNEY_HALT_PAUSE: _ClassVar[JourneyHalt]
    JOURNEY_HALT_STOP: _ClassVar[JourneyHalt]
    JOURNEY_HALT_RESUME: _ClassVar[JourneyHalt]
JOURNEY_HALT_UNSPECIFIED: JourneyHalt
JOURNEY_HALT_PAUSE: JourneyHalt
JOURNEY_HALT_STOP: JourneyHalt
JOURNEY_HALT_RESUME: JourneyHalt

class PushRequest(_message.Message):
    __slots__ = ("files", "version", "draft", "from_version", "why", "at", "until", "without_approval", "by", "source")
    class FilesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    FILES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DRAFT_FIELD_NUMBER: _ClassVar[int]
    FROM_VERSION_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_APPROVAL_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    files: _containers.ScalarMap[str, str]
    version: str
    draft: str
    from_version: str
    why: str
    at: _timestamp_pb2.Timestamp
    until: _timestamp_pb2.Timestamp
    without_approval: bool
    by: str
    source: str
    def __init__(self, files: _Optional[_Mapping[str, str]] = ..., version: _Optional[str] = ..., draft: _Optional[str] = ..., from_version: _Optional[str] = ..., why: _Optional[str] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., without_approval: _Optional[bool] = ..., by: _Optional[str] = ..., source: _Optional[str] = ...) -> None: ...

class PushResponse(_message.Message):
    __slots__ = ("version", "before", "changed", "problems", "warnings", "conflict", "partitions_live", "partitions", "took_ms", "scheduled")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    CONFLICT_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_LIVE_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    TOOK_MS_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_FIELD_NUMBER: _ClassVar[int]
    version: str
    before: str
    changed: bool
    problems: _containers.RepeatedCompositeFieldContainer[PlaybookRemark]
    warnings: _containers.RepeatedCompositeFieldContainer[PlaybookRemark]
    conflict: str
    partitions_live: int
    partitions: int
    took_ms: float
    scheduled: str
    def __init__(self, version: _Optional[str] = ..., before: _Optional[str] = ..., changed: _Optional[bool] = ..., problems: _Optional[_Iterable[_Union[PlaybookRemark, _Mapping]]] = ..., warnings: _Optional[_Iterable[_Union[PlaybookRemark, _Mapping]]] = ..., conflict: _Optional[str] = ..., partitions_live: _Optional[int] = ..., partitions: _Optional[int] = ..., took_ms: _Optional[float] = ..., scheduled: _Optional[str] = ...) -> None: ...

class PlaybookRemark(_message.Message):
    __slots__ = ("file", "line", "column", "message", "fix")
    FILE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FIX_FIELD_NUMBER: _ClassVar[int]
    file: str
    line: int
    column: int
    message: str
    fix: str
    def __init__(self, file: _Optional[str] = ..., line: _Optional[int] = ..., column: _Optional[int] = ..., message: _Optional[str] = ..., fix: _Optional[str] = ...) -> None: ...

class HaltRequest(_message.Message):
    __slots__ = ("journey", "how", "why", "by")
    JOURNEY_FIELD_NUMBER: _ClassVar[int]
    HOW_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    journey: str
    how: JourneyHalt
    why: str
    by: str
    def __init__(self, journey: _Optional[str] = ..., how: _Optional[_Union[JourneyHalt, str]] = ..., why: _Optional[str] = ..., by: _Optional[str] = ...) -> None: ...

class HaltResponse(_message.Message):
    __slots__ = ("change",)
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    change: PushResponse
    def __init__(self, change: _Optional[_Union[PushResponse, _Mapping]] = ...) -> None: ...

class SubmitRequest(_message.Message):
    __slots__ = ("files", "from_version", "why", "by", "source")
    class FilesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    FILES_FIELD_NUMBER: _ClassVar[int]
    FROM_VERSION_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    files: _containers.ScalarMap[str, str]
    from_version: str
    why: str
    by: str
    source: str
    def __init__(self, files: _Optional[_Mapping[str, str]] = ..., from_version: _Optional[str] = ..., why: _Optional[str] = ..., by: _Optional[str] = ..., source: _Optional[str] = ...) -> None: ...

class SubmitResponse(_message.Message):
    __slots__ = ("draft", "problems", "warnings")
    DRAFT_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    draft: PlaybookDraft
    problems: _containers.RepeatedCompositeFieldContainer[PlaybookRemark]
    warnings: _containers.RepeatedCompositeFieldContainer[PlaybookRemark]
    def __init__(self, draft: _Optional[_Union[PlaybookDraft, _Mapping]] = ..., problems: _Optional[_Iterable[_Union[PlaybookRemark, _Mapping]]] = ..., warnings: _Optional[_Iterable[_Union[PlaybookRemark, _Mapping]]] = ...) -> None: ...

class ApproveRequest(_message.Message):
    __slots__ = ("draft", "reject", "why", "by")
    DRAFT_FIELD_NUMBER: _ClassVar[int]
    REJECT_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    draft: str
    reject: bool
    why: str
    by: str
    def __init__(self, draft: _Optional[str] = ..., reject: _Optional[bool] = ..., why: _Optional[str] = ..., by: _Optional[str] = ...) -> None: ...

class ApproveResponse(_message.Message):
    __slots__ = ("draft",)
    DRAFT_FIELD_NUMBER: _ClassVar[int]
    draft: PlaybookDraft
    def __init__(self, draft: _Optional[_Union[PlaybookDraft, _Mapping]] = ...) -> None: ...

class PlaybookDraft(_message.Message):
    __slots__ = ("draft", "version", "from_version", "submitted_by", "submitted", "why", "state", "decided_by", "decided_because")
    DRAFT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FROM_VERSION_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_BY_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DECIDED_BY_FIELD_NUMBER: _ClassVar[int]
    DECIDED_BECAUSE_FIELD_NUMBER: _ClassVar[int]
    draft: str
    version: str
    from_version: str
    submitted_by: str
    submitted: _timestamp_pb2.Timestamp
    why: str
    state: str
    decided_by: str
    decided_because: str
    def __init__(self, draft: _Optional[str] = ..., version: _Optional[str] = ..., from_version: _Optional[str] = ..., submitted_by: _Optional[str] = ..., submitted: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., why: _Optional[str] = ..., state: _Optional[str] = ..., decided_by: _Optional[str] = ..., decided_because: _Optional[str] = ...) -> None: ...

class ScheduledPlaybook(_message.Message):
    __slots__ = ("scheduled", "version", "from_version", "at", "by", "why", "trouble", "approved_by")
    SCHEDULED_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FROM_VERSION_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    TROUBLE_FIELD_NUMBER: _ClassVar[int]
    APPROVED_BY_FIELD_NUMBER: _ClassVar[int]
    scheduled: str
    version: str
    from_version: str
    at: _timestamp_pb2.Timestamp
    by: str
    why: str
    trouble: str
    approved_by: str
    def __init__(self, scheduled: _Optional[str] = ..., version: _Optional[str] = ..., from_version: _Optional[str] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., by: _Optional[str] = ..., why: _Optional[str] = ..., trouble: _Optional[str] = ..., approved_by: _Optional[str] = ...) -> None: ...

class PlaybookChange(_message.Message):
    __slots__ = ("number", "time", "did", "by", "before", "version", "journey", "why", "approved_by", "in_force")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    DID_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    JOURNEY_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    APPROVED_BY_FIELD_NUMBER: _ClassVar[int]
    IN_FORCE_FIELD_NUMBER: _ClassVar[int]
    number: int
    time: _timestamp_pb2.Timestamp
    did: str
    by: str
    before: str
    version: str
    journey: str
    why: str
    approved_by: str
    in_force: str
    def __init__(self, number: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., did: _Optional[str] = ..., by: _Optional[str] = ..., before: _Optional[str] = ..., version: _Optional[str] = ..., journey: _Optional[str] = ..., why: _Optional[str] = ..., approved_by: _Optional[str] = ..., in_force: _Optional[str] = ...) -> None: ...

class HaltedJourney(_message.Message):
    __slots__ = ("journey", "how", "since", "by", "why")
    JOURNEY_FIELD_NUMBER: _ClassVar[int]
    HOW_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    journey: str
    how: JourneyHalt
    since: _timestamp_pb2.Timestamp
    by: str
    why: str
    def __init__(self, journey: _Optional[str] = ..., how: _Optional[_Union[JourneyHalt, str]] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., by: _Optional[str] = ..., why: _Optional[str] = ...) -> None: ...

class JourneyInstances(_message.Message):
    __slots__ = ("journey", "by_state")
    class ByStateEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    JOURNEY_FIELD_NUMBER: _ClassVar[int]
    BY_STATE_FIELD_NUMBER: _ClassVar[int]
    journey: str
    by_state: _containers.ScalarMap[str, int]
    def __init__(self, journey: _Optional[str] = ..., by_state: _Optional[_Mapping[str, int]] = ...) -> None: ...

class ShowPlaybookRequest(_message.Message):
    __slots__ = ("version", "limit", "instances")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    version: str
    limit: int
    instances: bool
    def __init__(self, version: _Optional[str] = ..., limit: _Optional[int] = ..., instances: _Optional[bool] = ...) -> None: ...

class ShowPlaybookResponse(_message.Message):
    __slots__ = ("name", "version", "in_force", "source", "partitions_live", "partitions", "history", "drafts", "scheduled", "halted", "instances", "files", "plan")
    class FilesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    IN_FORCE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_LIVE_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    DRAFTS_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_FIELD_NUMBER: _ClassVar[int]
    HALTED_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    in_force: str
    source: str
    partitions_live: int
    partitions: int
    history: _containers.RepeatedCompositeFieldContainer[PlaybookChange]
    drafts: _containers.RepeatedCompositeFieldContainer[PlaybookDraft]
    scheduled: _containers.RepeatedCompositeFieldContainer[ScheduledPlaybook]
    halted: _containers.RepeatedCompositeFieldContainer[HaltedJourney]
    instances: _containers.RepeatedCompositeFieldContainer[JourneyInstances]
    files: _containers.ScalarMap[str, str]
    plan: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., in_force: _Optional[str] = ..., source: _Optional[str] = ..., partitions_live: _Optional[int] = ..., partitions: _Optional[int] = ..., history: _Optional[_Iterable[_Union[PlaybookChange, _Mapping]]] = ..., drafts: _Optional[_Iterable[_Union[PlaybookDraft, _Mapping]]] = ..., scheduled: _Optional[_Iterable[_Union[ScheduledPlaybook, _Mapping]]] = ..., halted: _Optional[_Iterable[_Union[HaltedJourney, _Mapping]]] = ..., instances: _Optional[_Iterable[_Union[JourneyInstances, _Mapping]]] = ..., files: _Optional[_Mapping[str, str]] = ..., plan: _Optional[str] = ...) -> None: ...
