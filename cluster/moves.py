"""A move: a partition goes from a living owner to another, who has read its log up to a moment before.

    prepare    the target loads the newest snapshot and follows the log; the source serves all the while
    hand over  the source lets go, and makes the target the owner in the metadata store
    serve      the target opens its term in the log, and answers

Who owns is the ownership row alone, and only the source's own word changes it here. So a move that fails at any step is
simply over: what nobody serves then is opened again by whoever the row names, or taken over from a dead one, as any
partition is (placement.py, takeover.py). The row of the move itself tells a coordinator that is made anew what was
under way, and people what is (docs/decisions/0031-moves.md).
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from actors.passing_over import passing_over
from cluster.metadata import MetadataStore, MetadataUnavailable, MoveRow
from cluster.shard_seen import HandedOver, ShardSeen, within

logger = logging.getLogger(__name__)

CLOSE_S = 0.25
"""A target that catches up within this is close enough behind: so long, about, it then takes once more."""
ROUNDS_MAX = 30
HAND_OVER_DEADLINE_S = 20.0
"""For a group that is being written, on a slow disk; whoever hangs for longer loses its lease meanwhile."""
FAILED_PAUSE_S = 5.0
FAILED_PAUSE_S_MAX = 300.0
"""A partition whose move failed is not moved for so long; doubles up to this."""
REMEMBERED = 256


class MoveStep(StrEnum):
    """How far a move is."""

    PREPARE = "prepare"
    HAND_OVER = "hand-over"
    SERVE = "serve"


@dataclass(slots=True, kw_only=True)
class Move:
    """One under way."""

    partition: int
    source: ShardSeen
    source_holder: str
    target: ShardSeen
    target_holder: str
    why: str
    began_s: float
    """Of the loop's clock."""
    step: MoveStep = MoveStep.PREPARE
    let_go_s: float = 0.0
    """When the source was told to let go; 0 before."""

    @property
    def row(self) -> MoveRow:
        """It, as the metadata store notes it."""
        return MoveRow(
            partition=self.partition,
            source=self.source_holder,
            target=self.target_holder,
            step=self.step.value,
            why=self.why,
        )

    @property
    def is_in_gap(self) -> bool:
        """Whether nobody serves the partition, and those who know of the move are about to."""
        match self.step:
            case MoveStep.PREPARE:
                return False
            case MoveStep.HAND_OVER:
                return self.source.holder == self.source_holder
            case MoveStep.SERVE:
                return self.target.holder == self.target_holder


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a move ended."""

    partition: int
    source: str
    target: str
    why: str
    failed: str
    """Why it did; empty if it did not."""
    pause_s: float
    """From when the source was told to let go until the target served; 0 if it came to nothing before."""


class MoveFailed(Exception):
    """It is over, and the partition where it was, or on its way through a take-over."""


class Mover:
    """Moves one partition at a time. In the coordinator's loop."""

    def __init__(
        self,
        metadata: MetadataStore,
        shards: Mapping[str, ShardSeen],
        *,
        plan_bytes: Callable[[], bytes],
        deadline_s: float,
        changed: asyncio.Event,
    ) -> None:
        """
        Args:
            metadata: who holds what.
            shards: by name, as they come to be known.
            plan_bytes: what whoever opens a partition decides by.
            deadline_s: how long preparing, and opening, may take.
            changed: set where a partition may be left without a shard.
        """
        self._metadata = metadata
        self._shards = shards
        self._plan_bytes = plan_bytes
        self._deadline_s = deadline_s
        self._changed = changed
        self.under_way: Move | None = None
        self.ended: deque[Ended] = deque(maxlen=REMEMBERED)
        self.moved = 0
        """Partitions that changed their shard since this coordinator was made."""
        self._failed: dict[int, tuple[float, float]] = {}
        """By partition: the pause after its last failure, and its end by the loop's clock."""

    @property
    def in_gap(self) -> frozenset[int]:
        """Partitions that are served again in a moment: calls for them wait, and nobody else is given them."""
        move = self.under_way
        return frozenset((move.partition,)) if move is not None and move.is_in_gap else frozenset()

    def is_pausing(self, partition: int) -> bool:
        """Whether its last move failed only a while ago."""
        return partition in self._failed and asyncio.get_running_loop().time() < self._failed[partition][1]

    async def resume(self) -> None:
        """Carry on with the moves that a coordinator before this one has left, as far as all is as it was."""
        for row in await asyncio.to_thread(self._metadata.moves):
            by_holder = {seen.holder: seen for seen in self._shards.values() if seen.started is not None}
            source, target = by_holder.get(row.source), by_holder.get(row.target)
            if source is not None and target is not None and row.partition in source.partitions:
                logger.info("the move of partition %d from %s goes on", row.partition, source.name)
                await self.move(row.partition, source, target, why=row.why)
            else:
                await asyncio.to_thread(self._metadata.forget_move, row.partition)

    async def move(self, partition: int, source: ShardSeen, target: ShardSeen, *, why: str) -> bool:
        """Move a partition that a shard serves to another; return whether it is served there. Never raises."""
        assert self.under_way is None, "one at a time"
        assert source is not target, f"partition {partition} is there already"
        loop = asyncio.get_running_loop()
        move = Move(
            partition=partition,
            source=source,
            source_holder=source.holder,
            target=target,
            target_holder=target.holder,
            why=why,
            began_s=loop.time(),
        )
        self.under_way = move
        failed = ""
        try:
            await self._prepare(move)
            await self._serve(move, await self._hand_over(move))
        except Exception as wrong:  # noqa: BLE001 - whatever it was, the partition is whose the row says
            failed = str(wrong).partition("\n")[0] or type(wrong).__name__
            logger.warning("partition %d does not move from %s to %s: %s", partition, source.name, target.name, failed)
        finally:
            self.under_way = None
            self._changed.set()
        pause_s = loop.time() - move.let_go_s if move.let_go_s else 0.0
        self.ended.append(
            Ended(partition=partition, source=source.name, target=target.name, why=why, failed=failed, pause_s=pause_s)
        )
        if not failed:
            self.moved += 1
            logger.info("partition %d moved from %s to %s in %.3f s", partition, source.name, target.name, pause_s)
        await self._tidy_up(move, has_failed=bool(failed))
        return not failed

    async def _prepare(self, move: Move) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._metadata.note_move, move.row)
        for _ in range(ROUNDS_MAX):
            began_s = loop.time()
            await within(self._deadline_s, move.target.handle.prepare.remote(move.partition))
            if loop.time() - began_s <= CLOSE_S:
                break
        else:
            raise MoveFailed(f"{move.target.name} reads the log more slowly than it is written")
        if move.partition not in move.source.partitions or move.source.holder != move.source_holder:
            raise MoveFailed(f"{move.source.name} serves it no more")
        if move.target.holder != move.target_holder:
            raise MoveFailed(f"{move.target.name} has ended")

    async def _hand_over(self, move: Move) -> HandedOver:
        # Before anybody waits: it takes a write to the disk.
        await asyncio.to_thread(self._metadata.note_move, replace(move.row, step=MoveStep.HAND_OVER.value))
        move.step, move.let_go_s = MoveStep.HAND_OVER, asyncio.get_running_loop().time()
        call = move.source.handle.hand_over.remote(move.partition, to=move.target_holder)
        handed_over: HandedOver = await within(HAND_OVER_DEADLINE_S, call)
        move.source.partitions.pop(move.partition, None)
        return handed_over

    async def _serve(self, move: Move, handed_over: HandedOver) -> None:
        move.step = MoveStep.SERVE
        epoch = handed_over["epoch"]
        call = move.target.handle.assign.remote(
            move.partition, plan_bytes=self._plan_bytes(), epoch=epoch, ends_at=handed_over["ends_at"]
        )
        opened: int = await within(self._deadline_s, call)
        if move.target.holder != move.target_holder:
            raise MoveFailed(f"{move.target.name} has ended")
        move.target.partitions[move.partition] = {"epoch": opened, "is_lost": False}
        if opened > epoch:
            with passing_over(MetadataUnavailable, because="whoever takes it next asks the log, too"):
                await asyncio.to_thread(
                    self._metadata.raise_epoch,
                    move.partition,
                    holder=move.target_holder,
                    seen_epoch=epoch,
                    epoch=opened,
                )

    async def _tidy_up(self, move: Move, *, has_failed: bool) -> None:
        partition = move.partition
        if has_failed:
            pause_s = min(2 * self._failed[partition][0], FAILED_PAUSE_S_MAX) if partition in self._failed else 0.0
            pause_s = pause_s or FAILED_PAUSE_S
            self._failed[partition] = pause_s, asyncio.get_running_loop().time() + pause_s
            try:
                if move.target.holder == move.target_holder:
                    await within(HAND_OVER_DEADLINE_S, move.target.handle.forget.remote(partition))
            except Exception as wrong:  # noqa: BLE001 - it forgets by itself what nobody asks about
                logger.info("%s is not told that partition %d stays: %s", move.target.name, partition, wrong)
        else:
            self._failed.pop(partition, None)
        try:
            await asyncio.to_thread(self._metadata.forget_move, partition)
        except MetadataUnavailable as wrong:
            # Whoever reads it sees that all is otherwise by now, and forgets it.
            logger.warning("the move of partition %d is not forgotten: %s", partition, wrong)
