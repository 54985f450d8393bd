"""Components on their way between partitions, and graph events that wait until what they name lies together.

What left is a row of the state, and is sent again until its target has it; an event that waits is one, too, and all
that it names is asked to go where the first of those names was born, until it lies in one partition and the event holds
there (the protocol: docs/decisions/0026-moves-between-partitions.md). Nobody waits for any of it.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from actors.conditions import NotCurrent, PartitionLost
from actors.partition.owner import PartitionOwner
from actors.passing_over import passing_over
from actors.records import codec
from actors.shard.claims import CallHere, Forward
from actors.state_thread import StateThread, Urgency
from hearth.internal.v1 import shard_pb2
from household.relocation.births import birth_of, key_of, rank_of
from household.relocation.folding import has_come
from household.relocation.notes import (
    Came,
    Done,
    Lies,
    Out,
    RelocationAnswer,
    RelocationNote,
    RelocationQuestion,
    event_of,
)
from household.relocation.places import lies, may_have_some, names_needed
from wire.failures import CallFailed

logger = logging.getLogger(__name__)

EVENTS_AT_ONCE = 1_000
"""Looked at in one round."""

BYTES_AT_ONCE = 8 << 20
"""Of departures, sent to one partition in one call: beyond that one by one."""

HOPS_MOST = 8
"""Partitions that are asked one after another where a name lies; after that it is looked for anew."""

PAUSE_S = 0.02
"""After a round that has left something; twice as long after each that follows."""

PAUSE_S_MOST = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _ToDo:
    departures: dict[int, list[Came]]
    """By target, the first first."""
    events: list[tuple[bytes, bytes, list[str]]]
    """Key, bytes, and all that has to lie together."""

    def __bool__(self) -> bool:
        return bool(self.departures or self.events)


class ShardRelocations:
    """What leaves, comes and waits in all partitions of a shard. For one event loop."""

    def __init__(self, state_thread: StateThread, call: CallHere, forward: Forward | None) -> None:
        """Take what answers calls to the shard's own partitions, and what brings calls to others, if anything does."""
        self._state_thread = state_thread
        self._call = call
        self._forward_away = forward
        self._by_partition: dict[int, Relocations] = {}

    def begin(self, owner: PartitionOwner) -> None:
        """See to what waits in a partition from now on."""
        self.end(owner.partition)
        self._by_partition[owner.partition] = Relocations(owner, self._state_thread, self._forward)

    def end(self, partition: int) -> None:
        """See to nothing more of a partition: whoever owns it next does."""
        if (relocations := self._by_partition.pop(partition, None)) is not None:
            relocations.stop()

    def look(self) -> None:
        """See to what waits, soon."""
        for relocations in self._by_partition.values():
            relocations.look()

    async def answer(self, method: int, partition: int, payload: bytes) -> bytes:
        """Answer another partition; raises as Relocations.answer and `record` do, and PartitionLost."""
        relocations = self._by_partition.get(partition)
        if relocations is None:
            raise PartitionLost
        return await (relocations.answer if method == shard_pb2.METHOD_RELOCATE else relocations.record)(payload)

    async def round(self, partition: int) -> bool:
        """See to what waits once; see Relocations.round."""
        return await self._by_partition[partition].round()

    async def read(self, partition: int, offset: int) -> bytes:
        """Return the payload of a decision's record in another partition's log; empty where that has it no more.

        Raises:
            CallFailed
        """
        payload = shard_pb2.RecordCall(offset=offset).SerializeToString()
        return await self._ask(shard_pb2.METHOD_RECORD, partition, payload)

    async def _forward(self, partition: int, payload: bytes) -> bytes:
        return await self._ask(shard_pb2.METHOD_RELOCATE, partition, payload)

    async def _ask(self, method: int, partition: int, payload: bytes) -> bytes:
        if partition in self._by_partition or self._forward_away is None:
            return await self._call(method, partition, payload, None, "")
        return await self._forward_away(method, partition, payload)


class Relocations:
    """What leaves, comes and waits in one partition."""

    def __init__(
        self, owner: PartitionOwner, state_thread: StateThread, forward: Callable[[int, bytes], Awaitable[bytes]]
    ) -> None:
        self._owner = owner
        self._state_thread = state_thread
        self._forward = forward
        self._changed = asyncio.Event()
        self._changed.set()
        self._looked_at = 0
        """Of the events that wait: behind these the next round goes on."""
        self._has_progress = False
        """Whether the newest round has brought anything about."""
        task = asyncio.create_task(self._work(), name=f"relocations-{owner.partition}")
        self._task: asyncio.Task[None] | None = owner.supervised(task)

    def stop(self) -> None:
        """Do nothing more. Nothing refers to the task then: what is frozen for the collector would keep the owner."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def look(self) -> None:
        """See to what waits, soon."""
        if may_have_some(self._owner.state):
            self._changed.set()

    async def answer(self, payload: bytes) -> bytes:
        """Return where names lie, and what was made of a note of another partition.

        Raises:
            PayloadUnreadable, and what PartitionOwner.note_relocations raises.
        """
        asked = codec.decode_relocation_question(payload)
        if asked.note:
            await self._owner.note_relocations(asked.note)

        def told() -> RelocationAnswer:
            state = self._owner.state
            return RelocationAnswer(
                lies=tuple(lies(state, name) for name in asked.names),
                came=tuple(has_come(state, one) for one in asked.note.came),
                events=tuple(state.graph.known(event_of(one).key) for one in asked.note.events),
            )

        return codec.encode_relocation_answer(await self._state_thread.run(Urgency.DECISION, told))

    async def record(self, payload: bytes) -> bytes:
        """Return the payload of a decision's record; empty where the log has it no more.

        Raises:
            PartitionLost, LogError.
        """
        offset = shard_pb2.RecordCall.FromString(payload).offset
        return await asyncio.to_thread(self._owner.record_at, offset)

    async def _work(self) -> None:
        pause_s = PAUSE_S
        while self._owner.is_open:
            await self._changed.wait()
            self._changed.clear()
            if await self.round():
                pause_s = PAUSE_S
                continue
            pause_s = PAUSE_S if self._has_progress else min(2 * pause_s, PAUSE_S_MOST)
            await asyncio.sleep(pause_s)
            self._changed.set()

    async def round(self) -> bool:
        """Send what left, and see that what waits comes together; return whether nothing is left of it."""
        to_do = await self._state_thread.run(Urgency.INGEST, self._to_do)
        if not to_do:
            return True
        # Only what stands in the log before the next owner's epoch has left: whoever holds the lease is that owner.
        if not self._owner.is_current:
            return False
        self._has_progress = False
        done, told = await asyncio.gather(self._send(to_do.departures), self._bring_together(to_do.events))
        with passing_over(NotCurrent, PartitionLost, because="whoever owns the partition next sees to it again"):
            if note := RelocationNote(done=tuple(done), told=tuple(told)):
                self._has_progress = True
                await self._owner.note_relocations(note)
        return not may_have_some(self._owner.state)

    def _to_do(self) -> _ToDo:
        """In the state thread."""
        state = self._owner.state
        departures: defaultdict[int, list[Came]] = defaultdict(list)
        room: defaultdict[int, int] = defaultdict(lambda: BYTES_AT_ONCE)
        for one in sorted(state.departures, key=lambda one: one.number):
            if room[one.target] > 0:
                departures[one.target].append(Came(source=self._owner.partition, number=one.number, data=one.data))
                room[one.target] -= len(one.data)
        slots = state.waiting.slots_in_order()
        # In turn: some may wait for long, for a partition that is away.
        first = self._looked_at if self._looked_at < slots.shape[0] else 0
        self._looked_at = first + EVENTS_AT_ONCE
        events = []
        for slot in slots[first : self._looked_at].tolist():
            waiting = state.waiting.row(slot)
            events.append((waiting.key, waiting.event, names_needed(event_of(waiting.event))))
        return _ToDo(departures=dict(departures), events=events)

    async def _send(self, departures: dict[int, list[Came]]) -> list[Done]:
        """Send what left to where it goes; return what is known to have come."""

        async def send(target: int, came: list[Came]) -> list[Done]:
            answer = await self._ask(target, RelocationQuestion(note=RelocationNote(came=tuple(came))))
            if answer is None:
                return []
            return [
                Done(target=target, number=one.number)
                for one, has_come in zip(came, answer.came, strict=True)
                if has_come
            ]

        sent = await asyncio.gather(*(send(*item) for item in departures.items()))
        return [one for done in sent for one in done]

    async def _bring_together(self, events: list[tuple[bytes, bytes, list[str]]]) -> list[bytes]:
        """Ask for what waiting events need; return the keys of those that hold by now."""
        found = await self._located({name for _, _, names in events for name in names})
        to_tell: defaultdict[int, list[tuple[bytes, bytes]]] = defaultdict(list)
        outs: defaultdict[tuple[int, int], dict[tuple[str, str], None]] = defaultdict(dict)
        for key, data, names in events:
            known = {name: found[name] for name in names if name in found}
            if len(known) < len(names):
                continue
            places = {one.partition for one in known.values()}
            if len(places) == 1:
                to_tell[places.pop()].append((key, data))
                continue
            root = min((one.root for one in known.values()), key=rank_of)
            home = self._birth_of(root)
            for name, one in known.items():
                if one.partition != home:
                    outs[one.partition, home][name, root] = None
        questions: dict[int, RelocationNote] = {}
        for partition in {*to_tell, *(one for one, _ in outs)}:
            questions[partition] = RelocationNote(
                events=tuple(data for _, data in to_tell.get(partition, ())),
                outs=tuple(
                    Out(target=home, named=tuple(named)) for (at, home), named in outs.items() if at == partition
                ),
            )
        answers = await asyncio.gather(
            *(self._ask(partition, RelocationQuestion(note=note)) for partition, note in questions.items())
        )
        told = []
        for partition, answer in zip(questions, answers, strict=True):
            if answer is not None:
                holds = zip(to_tell.get(partition, ()), answer.events, strict=True)
                told += [key for (key, _), is_known in holds if is_known]
        return told

    async def _located(self, names: Iterable[str]) -> dict[str, Lies]:
        """Return where names lie, of those of which somebody says so."""
        found: dict[str, Lies] = {}
        to_ask: defaultdict[int, list[str]] = defaultdict(list)
        for name in names:
            to_ask[self._birth_of(name)].append(name)
        for _ in range(HOPS_MOST):
            if not to_ask:
                break
            answers = await asyncio.gather(
                *(self._ask(place, RelocationQuestion(names=tuple(asked))) for place, asked in to_ask.items())
            )
            next_ones: defaultdict[int, list[str]] = defaultdict(list)
            for (place, asked), answer in zip(to_ask.items(), answers, strict=True):
                for name, one in zip(asked, answer.lies if answer is not None else (), strict=answer is not None):
                    if one.partition == place:
                        found[name] = one
                    else:
                        next_ones[one.partition].append(name)
            to_ask = next_ones
        return found

    def _birth_of(self, name: str) -> int:
        return birth_of(key_of(name), self._owner.state.partition_count)

    async def _ask(self, partition: int, question: RelocationQuestion) -> RelocationAnswer | None:
        payload = codec.encode_relocation_question(question)
        try:
            return codec.decode_relocation_answer(await self._forward(partition, payload))
        except CallFailed as away:
            logger.debug("partition %d: partition %d, which names lie in: %s", self._owner.partition, partition, away)
            return None
