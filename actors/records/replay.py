"""From records to state: what a live shard, a restart and every tool that reads a log have in common."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from actors.log.contract import StoredRecord
from actors.records import codec
from actors.records.kinds import BY_KIND
from actors.records.payload import PayloadUnreadable
from household.apply import (
    Applied,
    advance_now,
    apply_decision,
    apply_delivery,
    apply_epoch,
    apply_inventory,
    apply_relocations,
    apply_signals,
)
from household.contact_rules.share import CapacityShare
from household.decision import Decision
from household.delivery import DeliveryNote
from household.events import EventBatch
from household.inventory_notes import InventoryNote
from household.migration import migrated
from household.plan import Plan
from household.relocation.notes import RelocationNote
from household.state import FOLD_VERSION, PartitionState


@dataclass(slots=True)
class Replay:
    """A partition's state as far as its log has been folded. There is none before the first plan record."""

    state: PartitionState | None = None
    stream_clock: bool = False
    fold_version: int = FOLD_VERSION
    """Of the term in force."""
    epoch: int = 0
    fold_count: int = 0
    """Records folded."""
    void_plans: int = 0
    void_epochs: int = 0
    partition: int = 0
    partition_count: int = 1
    """As the term in force has them; which before the first plan nothing else keeps."""
    share: CapacityShare = field(default_factory=CapacityShare)
    """Of capacities that all partitions share."""

    @property
    def now(self) -> PartitionState:
        """The state; only to be asked for after a plan record."""
        assert self.state is not None, "no plan record yet"
        return self.state

    def take_share(self, share: CapacityShare) -> None:
        """Take this partition's share of capacities, before anything is decided."""
        self.share = share
        if self.state is not None:
            self.state.share = share

    def fold(self, stored: StoredRecord) -> None:
        """Fold one record; the next expected one.

        Raises:
            PayloadUnreadable, PlanUnreadable: intact, but not what this software can read.
        """
        kind = BY_KIND.get(stored.record.kind)
        if kind is None:
            raise PayloadUnreadable(f"{stored.record.kind.name.lower()} record: it belongs into a reject log")
        kind.fold(self, stored)
        self.fold_count += 1

    def fold_epoch(self, opening: codec.EpochOpening, epoch: int) -> None:
        """Open a term; one that is not newer than the term in force is void."""
        if epoch <= self.epoch:
            self.void_epochs += 1
            return
        self.epoch, self.stream_clock, self.fold_version = epoch, opening.stream_clock, opening.fold_version
        self.partition, self.partition_count = opening.partition, opening.partition_count
        if self.state is not None:
            self.state.stream_clock = opening.stream_clock
            apply_epoch(
                self.state,
                epoch=epoch,
                fold_version=opening.fold_version,
                partition=opening.partition,
                partition_count=opening.partition_count,
            )

    def fold_plan(self, plan: Plan, epoch: int, stamp_us: int) -> None:
        """Put a plan into force; one written by an older epoch is void."""
        if epoch < self.epoch:
            self.void_plans += 1
        elif self.state is None:
            self.state = PartitionState(plan=plan, stream_clock=self.stream_clock, share=self.share)
            self.state.epoch, self.state.fold_version = self.epoch, self.fold_version
            self.state.partition, self.state.partition_count = self.partition, self.partition_count
        else:
            if plan.halted != self.state.plan.halted:
                # Timers stand still, or go on, from then. Other changes leave the time as it is, as they always did.
                advance_now(self.state, stamp_us)
            self.state = migrated(self.state, plan)

    def fold_signals(self, batch: EventBatch, stamp_us: int) -> Applied:
        """Fold a batch of events."""
        return apply_signals(self.now, batch, stamp_us=stamp_us)

    def fold_decision(self, decision: Decision, payload: bytes, epoch: int, offset: int, stamp_us: int) -> bool:
        """Fold a decision; False if it is void."""
        return apply_decision(self.now, decision, payload, epoch=epoch, offset=offset, stamp_us=stamp_us)

    def fold_delivery(self, notes: Sequence[DeliveryNote], epoch: int, stamp_us: int) -> bool:
        """Fold what became of outbound actions on their way; False if it is void."""
        return apply_delivery(self.now, notes, epoch=epoch, stamp_us=stamp_us)

    def fold_inventory(self, note: InventoryNote, epoch: int, stamp_us: int) -> bool:
        """Fold what was claimed of scarce items, or answered; False if it is void."""
        return apply_inventory(self.now, note, epoch=epoch, stamp_us=stamp_us)

    def fold_relocations(self, note: RelocationNote, epoch: int, stamp_us: int) -> bool:
        """Fold what became of components that change their partition; False if it is void."""
        return apply_relocations(self.now, note, epoch=epoch, stamp_us=stamp_us)
