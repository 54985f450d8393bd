"""What an owner writes between two groups, where the state is that of the log: a plan, and notes of scarce items."""

import asyncio
import logging

from actors.conditions import PartitionLost
from actors.failpoints import Failpoint, reached
from actors.log.contract import RecordKind
from actors.partition.commit import CommitLoop
from actors.partition.folding import Folding
from actors.partition.ports import OwnerPorts
from actors.partition.term import Term
from actors.records import codec
from actors.records.plans import PlansAtHand
from actors.state_thread import Urgency
from household.inventory_notes import InventoryNote
from household.plan import Plan

logger = logging.getLogger(__name__)


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
        self._notes: list[InventoryNote] = []
        self._noting: asyncio.Future[None] | None = None
        """The turn in which these are written."""

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
        self._notes.append(note)
        if self._noting is None or self._noting.done():
            self._noting = asyncio.ensure_future(self._commits.between_groups(self._write_notes))
        await asyncio.shield(self._noting)

    async def _write_notes(self) -> None:
        notes, self._notes, self._noting = self._notes, [], None
        told = InventoryNote(
            asked=tuple(one for note in notes for one in note.asked),
            answered=tuple(one for note in notes for one in note.answered),
            stock=tuple(one for note in notes for one in note.stock),
        )
        news = await self._ports.state_thread.run(Urgency.DECISION, self._news_of, told)
        if not news:
            return
        self._term.check_current()
        record = self._term.record(RecordKind.INVENTORY, codec.INVENTORY_LAYOUT, codec.encode_inventory(news))
        try:
            reached(Failpoint.CLAIMS_FORMED)
            offset = await self._commits.append([record])
            reached(Failpoint.CLAIMS_SYNCED)
            await self._folding.fold_between_groups(record, offset)
        except BaseException as wrong:
            self._commits.lose(wrong)
            raise PartitionLost from wrong
        if news.answered:
            # What waited for its hold may go out now.
            self._ports.on_outbox_change()

    def _news_of(self, note: InventoryNote) -> InventoryNote:
        state = self._folding.state_as_of(self._ports.clock.now_us())
        return state.inventory.news(state, note)
