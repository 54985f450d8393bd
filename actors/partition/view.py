"""What may be asked of an owned partition: nothing here changes anything, and nothing of it can be set from outside."""

import asyncio

from actors.log.contract import Epoch, Offset, OffsetOutOfRange, PartitionId, RecordKind
from actors.partition.folding import Folding
from actors.partition.heat import Heat
from actors.partition.moments import PendingMoments
from actors.partition.ports import OwnerPorts
from actors.partition.recovery import Recovered
from actors.partition.term import Term
from actors.partition.unknown_fields import UnknownFields
from actors.records import codec
from actors.records.plans import PlansAtHand
from actors.rejects.store import RejectStore
from household.decision import Decision
from household.plan import Plan
from household.relocation.positions import parts_of
from household.state import PartitionState


class PartitionView:
    """A partition as its owner knows it."""

    def __init__(
        self, partition: PartitionId, recovered: Recovered, ports: OwnerPorts, rejects: RejectStore | None
    ) -> None:
        self._log = recovered.log
        self._faults = recovered.faults
        self._rejects = rejects
        self._ports = ports
        self._moments = PendingMoments()
        self._term = Term(partition, clock=ports.clock, lease=ports.lease)
        self._folding = Folding(recovered, ports, self._moments, rejects)
        self._heat = Heat()
        snapshots = ports.snapshots
        self._plans = PlansAtHand(recovered.log, lambda: snapshots.plans(partition) if snapshots is not None else ())

    # --- the state ---

    @property
    def state(self) -> PartitionState:
        """The state; to be used in the state thread only."""
        return self._folding.state

    def state_as_of_now(self) -> PartitionState:
        """Return the state as it reads now. Its own `now` is that of the newest record, which may be long ago.

        In the state thread, to read and not to keep.
        """
        return self._folding.state_as_of(self._ports.clock.now_us())

    @property
    def moments(self) -> PendingMoments:
        """Households whose moments wait for a decision that nobody asked for."""
        return self._moments

    @property
    def unknown_fields(self) -> UnknownFields:
        """What came since it was assigned."""
        return self._folding.unknown_fields

    @property
    def heat(self) -> Heat:
        """Who is asked and told of most of late."""
        return self._heat

    @property
    def rejects(self) -> RejectStore | None:
        """Where what was rejected is kept, if anywhere."""
        return self._rejects

    # --- the log ---

    def read_decision(self, offset: int) -> codec.DecisionRecord:
        """Return the decision recorded at an offset. Blocks: not for the event loop.

        Raises:
            PartitionLost, LogError.
        """
        self._term.check_open()
        stored = next(iter(self._log.read(Offset(offset))))
        assert stored.record.kind is RecordKind.DECISION, f"offset {offset} holds {stored.record.kind.name}"
        return codec.decode_decision(stored.record.payload)

    async def recorded(self, position: int) -> codec.DecisionRecord:
        """Return the decision recorded at a position, in this partition's log or in another's.

        Raises:
            PartitionLost, LogError; CallFailed: the other partition's owner does not answer.
        """
        partition, offset = parts_of(position)
        if partition is None:
            return await asyncio.get_running_loop().run_in_executor(None, self.read_decision, offset)
        payload = await self._ports.read_elsewhere(partition, offset)
        if not payload:
            gone = Offset(offset + 1)
            raise OffsetOutOfRange(PartitionId(partition), Offset(offset), gone, gone)
        return codec.decode_decision(payload)

    def record_at(self, offset: int) -> bytes:
        """Return the payload of a decision's record, for another partition; empty where the log has it no more. Blocks.

        Raises:
            PartitionLost, LogError.
        """
        self._term.check_open()
        try:
            stored = next(iter(self._log.read(Offset(offset))))
        except OffsetOutOfRange:
            return b""
        return stored.record.payload if stored.record.kind is RecordKind.DECISION else b""

    def plan_at_hand(self, decision: Decision) -> Plan | None:
        """Return the plan that a decision was made under if it is in memory. In the state thread; blocks nobody."""
        plan = self.state.plan
        return plan if plan.version == decision.plan_version else self._plans.at_hand(decision.plan_version)

    def plan_of(self, decision: Decision, offset: int | None) -> Plan | None:
        """Return the plan that a decision recorded at an offset was made under; None where nothing has it any more.

        Without an offset it is looked for in the whole log. Blocks: not for the event loop.

        Raises:
            PartitionLost, LogError.
        """
        self._term.check_open()
        before = self._log.end_offset
        if offset is not None:
            partition, own = parts_of(offset)
            before = Offset(own) if partition is None else before
        return self._plans.find(decision.plan_version, before=before)

    # --- the term ---

    @property
    def partition(self) -> PartitionId:
        """Which one."""
        return self._term.partition

    @property
    def epoch(self) -> Epoch:
        """Of this term; 0 before it is opened."""
        return self._term.epoch

    @property
    def is_open(self) -> bool:
        """Whether this owner may still answer and hand out."""
        return self._term.is_open

    @property
    def is_lost(self) -> bool:
        """Whether it may not, since the outcome of something is unknown."""
        return self._term.is_lost

    @property
    def lost_because(self) -> str:
        """Why; empty if it is not."""
        return self._term.lost_because

    @property
    def is_current(self) -> bool:
        """Whether this owner can prove that its state is the current one."""
        return self._term.why_not_current() is None

    def check_current(self) -> None:
        """Before an answer goes out: raise unless this owner can prove that its state is the current one.

        Raises:
            NotCurrent
        """
        self._term.check_current()

    # --- how much it is ---

    @property
    def faults(self) -> tuple[str, ...]:
        """Snapshots that were no good when the partition was opened, and why."""
        return self._faults

    @property
    def log_repetitions(self) -> int:
        """Groups that were found twice in the log and folded once; only Kafka's can have any."""
        return self._log.repetitions

    @property
    def fold_count(self) -> int:
        """Records folded."""
        return self._folding.replay.fold_count

    @property
    def records_folded(self) -> int:
        """Records folded since the snapshot that this term began with."""
        return self._folding.records_folded

    @property
    def events_folded(self) -> int:
        """Events folded since the snapshot that this term began with."""
        return self._folding.events_folded
