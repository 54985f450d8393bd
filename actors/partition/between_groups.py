"""What an owner writes between two groups, where the state is that of the log: a plan, notes of scarce items,
and of what leaves for other partitions and comes from them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from actors.conditions import PartitionLost
from actors.failpoints import Failpoint, reached
from actors.log.contract import Record, RecordKind
from actors.partition.commit import CommitLoop
from actors.partition.folding import Folding
from actors.partition.ports import OwnerPorts
from actors.partition.term import Term
from actors.records import codec
from actors.records.plans import PlansAtHand
from actors.state_thread import Urgency
from household.inventory_notes import InventoryNote
from household.plan import Plan
from household.relocation.folding import news as relocation_news
from household.relocation.notes import RelocationNote
from household.state import PartitionState

logger = logging.getLogger(__name__)

Note = TypeVar("Note")


class BetweenGroups:
    """Writes for one term. A write whose outcome is unknown ends it."""

    def __init__(
        self, term: Term, commits: CommitLoop, folding: Folding, plans: PlansAtHand, ports: OwnerPorts
    ) -> None:
        self._term = term
        self._commits = commits
        self._folding = folding
        self._plans = plans
        self._ports = ports
        self._claims = _Notes(commits, self._write_claims)
        self._relocations = _Notes(commits, self._write_relocations)

    async def put_into_force(self, plan: Plan) -> bool:
        """Go over to another plan; return whether it was another. Raises as PartitionOwner.put_into_force does."""

        async def between() -> bool:
            before = self._folding.state.plan
            if before.version == plan.version:
                return False
            self._term.check_current()
            record = self._term.record(RecordKind.PLAN, codec.PLAN_LAYOUT, codec.encode_plan(plan))
            try:
                offset = await self._commits.append([record])
                await self._folding.fold_opening([record], offset)
            except BaseException as wrong:
                self._commits.lose(wrong)
                raise PartitionLost from wrong
            self._plans.remember(before)
            logger.info("partition %d decides by playbook version %s from now on", self._term.partition, plan.version)
            return True

        changed: bool = await self._commits.between_groups(between)
        return changed

    async def note(self, note: InventoryNote) -> None:
        """Write what of a note is news, with those that come meanwhile. Raises as the owner's note_inventory does."""
        await self._claims.add(note)

    async def note_relocations(self, note: RelocationNote) -> None:
        """Write the same of what leaves and comes. Raises as the owner's note_relocations does."""
        await self._relocations.add(note)

    async def _write_claims(self, notes: list[InventoryNote]) -> None:
        told = InventoryNote(
            asked=tuple(one for note in notes for one in note.asked),
            answered=tuple(one for note in notes for one in note.answered),
            stock=tuple(one for note in notes for one in note.stock),
        )
        news = await self._news(lambda state: state.inventory.news(state, told))
        if not news:
            return
        record = self._term.record(RecordKind.INVENTORY, codec.INVENTORY_LAYOUT, codec.encode_inventory(news))
        await self._write(record, Failpoint.CLAIMS_FORMED, Failpoint.CLAIMS_SYNCED)
        if news.answered:
            # What waited for its hold may go out now.
            self._ports.on_waiting_change()

    async def _write_relocations(self, notes: list[RelocationNote]) -> None:
        told = RelocationNote.together(notes)
        news = await self._news(lambda state: relocation_news(state, told))
        if not news:
            return
        record = self._term.record(RecordKind.RELOCATION, codec.RELOCATION_LAYOUT, codec.encode_relocations(news))
        await self._write(record, Failpoint.RELOCATION_FORMED, Failpoint.RELOCATION_SYNCED)
        if news.came or news.outs:
            # Actions that wait to be sent have come, or gone.
            self._ports.on_waiting_change()

    async def _news(self, of: Callable[[PartitionState], Note]) -> Note:
        def news() -> Note:
            return of(self._folding.state_as_of(self._ports.clock.now_us()))

        return await self._ports.state_thread.run(Urgency.DECISION, news)

    async def _write(self, record: Record, formed: Failpoint, synced: Failpoint) -> None:
        self._term.check_current()
        try:
            reached(formed)
            offset = await self._commits.append([record])
            reached(synced)
            await self._folding.fold_between_groups(record, offset)
        except BaseException as wrong:
            self._commits.lose(wrong)
            raise PartitionLost from wrong


class _Notes(Generic[Note]):
    """Notes of one kind that wait for their turn between two groups: those that come meanwhile go together."""

    def __init__(self, commits: CommitLoop, write: Callable[[list[Note]], Awaitable[None]]) -> None:
        self._commits = commits
        self._write = write
        self._notes: list[Note] = []
        self._noting: asyncio.Future[None] | None = None
        """The turn in which these are written."""

    async def add(self, note: Note) -> None:
        """Return once a note is written, if anything of it was news."""
        self._notes.append(note)
        if self._noting is None or self._noting.done():
            self._noting = asyncio.ensure_future(self._commits.between_groups(self._turn))
        await asyncio.shield(self._noting)

    async def _turn(self) -> None:
        notes, self._notes, self._noting = self._notes, [], None
        await self._write(notes)
