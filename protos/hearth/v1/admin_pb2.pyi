from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SnapshotRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PartitionSnapshot(_message.Message):
    __slots__ = ("partition", "position", "epoch", "households", "bytes")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    HOUSEHOLDS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    partition: int
    position: int
    epoch: int
    households: int
    bytes: int
    def __init__(self, partition: _Optional[int] = ..., position: _Optional[int] = ..., epoch: _Optional[int] = ..., households: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class SnapshotResponse(_message.Message):
    __slots__ = ("snapshots",)
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    snapshots: _containers.RepeatedCompositeFieldContainer[PartitionSnapshot]
    def __init__(self, snapshots: _Optional[_Iterable[_Union[PartitionSnapshot, _Mapping]]] = ...) -> None: ...

class Reject(_message.Message):
    __slots__ = ("position", "reason", "detail", "original")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_FIELD_NUMBER: _ClassVar[int]
    position: str
    reason: str
    detail: str
    original: bytes
    def __init__(self, position: _Optional[str] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ..., original: _Optional[bytes] = ...) -> None: ...

class RejectRequest(_message.Message):
    __slots__ = ("rejects",)
    REJECTS_FIELD_NUMBER: _ClassVar[int]
    rejects: _containers.RepeatedCompositeFieldContainer[Reject]
    def __init__(self, rejects: _Optional[_Iterable[_Union[Reject, _Mapping]]] = ...) -> None: ...

class RejectResponse(_message.Message):
    __slots__ = ("kept",)
    KEPT_FIELD_NUMBER: _ClassVar[int]
    kept: int
    def __init__(self, kept: _Optional[int] = ...) -> None: ...

class ConfirmClockRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ConfirmClockResponse(_message.Message):
    __slots__ = ("partitions",)
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    partitions: int
    def __init__(self, partitions: _Optional[int] = ...) -> None: ...

class ScaleRequest(_message.Message):
    __slots__ = ("shards", "await_nodes")
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    AWAIT_NODES_FIELD_NUMBER: _ClassVar[int]
    shards: int
    await_nodes: bool
    def __init__(self, shards: _Optional[int] = ..., await_nodes: _Optional[bool] = ...) -> None: ...

class ScaleResponse(_message.Message):
    __slots__ = ("placement",)
    PLACEMENT_FIELD_NUMBER: _ClassVar[int]
    placement: Placement
    def __init__(self, placement: _Optional[_Union[Placement, _Mapping]] = ...) -> None: ...

class RebalanceRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RebalanceResponse(_message.Message):
    __slots__ = ("placement",)
    PLACEMENT_FIELD_NUMBER: _ClassVar[int]
    placement: Placement
    def __init__(self, placement: _Optional[_Union[Placement, _Mapping]] = ...) -> None: ...

class DrainRequest(_message.Message):
    __slots__ = ("name", "undo")
    NAME_FIELD_NUMBER: _ClassVar[int]
    UNDO_FIELD_NUMBER: _ClassVar[int]
    name: str
    undo: bool
    def __init__(self, name: _Optional[str] = ..., undo: _Optional[bool] = ...) -> None: ...

class DrainResponse(_message.Message):
    __slots__ = ("placement",)
    PLACEMENT_FIELD_NUMBER: _ClassVar[int]
    placement: Placement
    def __init__(self, placement: _Optional[_Union[Placement, _Mapping]] = ...) -> None: ...

class RestartRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RestartResponse(_message.Message):
    __slots__ = ("placement",)
    PLACEMENT_FIELD_NUMBER: _ClassVar[int]
    placement: Placement
    def __init__(self, placement: _Optional[_Union[Placement, _Mapping]] = ...) -> None: ...

class ShowPlacementRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ShowPlacementResponse(_message.Message):
    __slots__ = ("placement",)
    PLACEMENT_FIELD_NUMBER: _ClassVar[int]
    placement: Placement
    def __init__(self, placement: _Optional[_Union[Placement, _Mapping]] = ...) -> None: ...

class Placement(_message.Message):
    __slots__ = ("shards_wanted", "is_settled", "left", "moved", "shards", "move", "failed", "hot", "pause_p50_ms", "pause_p95_ms", "drained_nodes", "restart")
    SHARDS_WANTED_FIELD_NUMBER: _ClassVar[int]
    IS_SETTLED_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    MOVED_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    MOVE_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    HOT_FIELD_NUMBER: _ClassVar[int]
    PAUSE_P50_MS_FIELD_NUMBER: _ClassVar[int]
    PAUSE_P95_MS_FIELD_NUMBER: _ClassVar[int]
    DRAINED_NODES_FIELD_NUMBER: _ClassVar[int]
    RESTART_FIELD_NUMBER: _ClassVar[int]
    shards_wanted: int
    is_settled: bool
    left: int
    moved: int
    shards: _containers.RepeatedCompositeFieldContainer[PlacedShard]
    move: MoveUnderWay
    failed: _containers.RepeatedCompositeFieldContainer[FailedMove]
    hot: _containers.RepeatedCompositeFieldContainer[HotPartition]
    pause_p50_ms: float
    pause_p95_ms: float
    drained_nodes: _containers.RepeatedScalarFieldContainer[str]
    restart: RollingRestart
    def __init__(self, shards_wanted: _Optional[int] = ..., is_settled: _Optional[bool] = ..., left: _Optional[int] = ..., moved: _Optional[int] = ..., shards: _Optional[_Iterable[_Union[PlacedShard, _Mapping]]] = ..., move: _Optional[_Union[MoveUnderWay, _Mapping]] = ..., failed: _Optional[_Iterable[_Union[FailedMove, _Mapping]]] = ..., hot: _Optional[_Iterable[_Union[HotPartition, _Mapping]]] = ..., pause_p50_ms: _Optional[float] = ..., pause_p95_ms: _Optional[float] = ..., drained_nodes: _Optional[_Iterable[str]] = ..., restart: _Optional[_Union[RollingRestart, _Mapping]] = ...) -> None: ...

class RollingRestart(_message.Message):
    __slots__ = ("done", "left")
    DONE_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    done: _containers.RepeatedScalarFieldContainer[str]
    left: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, done: _Optional[_Iterable[str]] = ..., left: _Optional[_Iterable[str]] = ...) -> None: ...

class PlacedShard(_message.Message):
    __slots__ = ("shard", "node", "state", "is_spare", "partitions", "share")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    IS_SPARE_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    shard: str
    node: str
    state: str
    is_spare: bool
    partitions: _containers.RepeatedScalarFieldContainer[int]
    share: float
    def __init__(self, shard: _Optional[str] = ..., node: _Optional[str] = ..., state: _Optional[str] = ..., is_spare: _Optional[bool] = ..., partitions: _Optional[_Iterable[int]] = ..., share: _Optional[float] = ...) -> None: ...

class MoveUnderWay(_message.Message):
    __slots__ = ("partition", "source", "target", "step", "why", "seconds")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    partition: int
    source: str
    target: str
    step: str
    why: str
    seconds: float
    def __init__(self, partition: _Optional[int] = ..., source: _Optional[str] = ..., target: _Optional[str] = ..., step: _Optional[str] = ..., why: _Optional[str] = ..., seconds: _Optional[float] = ...) -> None: ...

class FailedMove(_message.Message):
    __slots__ = ("partition", "why")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    partition: int
    why: str
    def __init__(self, partition: _Optional[int] = ..., why: _Optional[str] = ...) -> None: ...

class HotPartition(_message.Message):
    __slots__ = ("partition", "shard", "per_s", "share")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    PER_S_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    partition: int
    shard: str
    per_s: float
    share: float
    def __init__(self, partition: _Optional[int] = ..., shard: _Optional[str] = ..., per_s: _Optional[float] = ..., share: _Optional[float] = ...) -> None: ...
