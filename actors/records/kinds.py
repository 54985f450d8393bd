"""The one table of record kinds that state is a fold of: what each means, its layout, what it does when it is folded.

Folding, exports, their documentation and the tests of all kinds follow from it. docs/recipes/add-a-record-kind.md
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from actors.log.contract import STATE_KINDS, RecordKind, StoredRecord
from actors.records import codec
from actors.records.signals import decode_signals
from household.apply import apply_tick
from household.decision import Decision
from household.delivery import DeliveryNote
from household.events import EventBatch
from household.inventory_notes import InventoryNote
from household.plan import Plan
from household.relocation.notes import RelocationNote
from household.state import PartitionState


class FoldTarget(Protocol):
    """What a record is folded into: actors/records/replay.py."""

    @property
    def now(self) -> PartitionState: ...

    def fold_epoch(self, opening: codec.EpochOpening, epoch: int) -> None: ...

    def fold_plan(self, plan: Plan, epoch: int, stamp_us: int) -> None: ...

    def fold_signals(self, batch: EventBatch, stamp_us: int) -> object: ...

    def fold_decision(self, decision: Decision, payload: bytes, epoch: int, offset: int, stamp_us: int) -> object: ...

    def fold_delivery(self, notes: Sequence[DeliveryNote], epoch: int, stamp_us: int) -> object: ...

    def fold_inventory(self, note: InventoryNote, epoch: int, stamp_us: int) -> object: ...

    def fold_relocations(self, note: RelocationNote, epoch: int, stamp_us: int) -> object: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KindOfRecord:
    """What there is to know of one kind of record."""

    kind: RecordKind
    layout: int
    """Of the payload; the newest that this software writes."""
    means: str
    """For people: what it says."""
    fold: Callable[[FoldTarget, StoredRecord], None]
    """Decode and fold one. Raises PayloadUnreadable, PlanUnreadable: intact, but not what this software can read."""
    is_owners_word: bool = False
    """Void behind the epoch record of a newer owner."""
    exports: tuple[str, ...] = ()
    """The kinds of `hearth log export` that are made of it."""


def _fold_signals(replay: FoldTarget, stored: StoredRecord) -> None:
    replay.fold_signals(decode_signals(stored.record.payload, replay.now.plan), stored.record.stamp_us)


def _fold_decision(replay: FoldTarget, stored: StoredRecord) -> None:
    record = stored.record
    decision = codec.decode_decision(record.payload).decision
    replay.fold_decision(decision, record.payload, record.epoch, stored.offset, record.stamp_us)


def _fold_tick(replay: FoldTarget, stored: StoredRecord) -> None:
    apply_tick(replay.now, epoch=stored.record.epoch, stamp_us=stored.record.stamp_us)


def _fold_plan(replay: FoldTarget, stored: StoredRecord) -> None:
    record = stored.record
    replay.fold_plan(codec.decode_plan(record.payload), record.epoch, record.stamp_us)


def _fold_epoch(replay: FoldTarget, stored: StoredRecord) -> None:
    replay.fold_epoch(codec.decode_epoch(stored.record.payload), stored.record.epoch)


def _fold_delivery(replay: FoldTarget, stored: StoredRecord) -> None:
    record = stored.record
    replay.fold_delivery(codec.decode_delivery(record.payload), record.epoch, record.stamp_us)


def _fold_inventory(replay: FoldTarget, stored: StoredRecord) -> None:
    record = stored.record
    replay.fold_inventory(codec.decode_inventory(record.payload), record.epoch, record.stamp_us)


def _fold_relocations(replay: FoldTarget, stored: StoredRecord) -> None:
    record = stored.record
    replay.fold_relocations(codec.decode_relocations(record.payload), record.epoch, record.stamp_us)


KINDS = (
    KindOfRecord(
        kind=RecordKind.SIGNALS,
        layout=codec.SIGNALS_LAYOUT,
        means="what happened to households, as sources sent it",
        fold=_fold_signals,
        exports=("signals",),
    ),
    KindOfRecord(
        kind=RecordKind.DECISION,
        layout=codec.DECISION_LAYOUT,
        means="what was decided for a household, why, and what was not chosen",
        fold=_fold_decision,
        is_owners_word=True,
        exports=("decisions", "moments"),
    ),
    KindOfRecord(
        kind=RecordKind.TICK,
        layout=codec.TICK_LAYOUT,
        means="that time has passed",
        fold=_fold_tick,
    ),
    KindOfRecord(
        kind=RecordKind.PLAN,
        layout=codec.PLAN_LAYOUT,
        means="the playbook in force from here on, compiled",
        fold=_fold_plan,
        is_owners_word=True,
    ),
    KindOfRecord(
        kind=RecordKind.EPOCH,
        layout=codec.EPOCH_LAYOUT,
        means="who owns the partition from here on, by which clock and version it folds",
        fold=_fold_epoch,
    ),
    KindOfRecord(
        kind=RecordKind.DELIVERY,
        layout=codec.DELIVERY_LAYOUT,
        means="what became of outbound actions on their way",
        fold=_fold_delivery,
    ),
    KindOfRecord(
        kind=RecordKind.INVENTORY,
        layout=codec.INVENTORY_LAYOUT,
        means="what was claimed of scarce items, as their home granted it, and what homes answered",
        fold=_fold_inventory,
        is_owners_word=True,
    ),
    KindOfRecord(
        kind=RecordKind.RELOCATION,
        layout=codec.RELOCATION_LAYOUT,
        means="what left for another partition, or came from one, with all that is known of it",
        fold=_fold_relocations,
        is_owners_word=True,
    ),
)

BY_KIND = {one.kind: one for one in KINDS}
# A kind without an entry would be folded as nothing, and the state be wrong without a word.
assert BY_KIND.keys() == STATE_KINDS

OWNERS_WORD = frozenset(one.kind for one in KINDS if one.is_owners_word)
"""Kinds that are void behind the epoch record of a newer owner."""

EXPORTS = tuple(sorted({name for one in KINDS for name in one.exports}))
"""What `hearth log export` can write."""
