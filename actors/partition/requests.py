"""What a partition knows of requests by their ids: answered before, under way, or another request under the same id."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from actors.partition.owner import PartitionOwner
from actors.state_thread import StateThread, Urgency
from household.state import RequestKey
from household.tables.requests import KnownRequest


class RequestIdReused(Exception):
    """The request id is that of another request of the household; nothing of this one was done."""


@dataclass(slots=True, eq=False)
class _UnderWay:
    body_hash: bytes
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class Requests:
    """The requests of one partition's households. Belongs to the event loop it is used in."""

    def __init__(self, owner: PartitionOwner, state_thread: StateThread) -> None:
        self._owner = owner
        self._state_thread = state_thread
        self._under_way: dict[RequestKey, _UnderWay] = {}

    @asynccontextmanager
    async def hold(
        self, household: bytes, request_id: str, body_hash: bytes, *, is_decide: bool
    ) -> AsyncIterator[KnownRequest | None]:
        """Yield what is known of a request, once no other under its id is under way.

        Args:
            household: the household that it names.
            request_id: empty for one that has none.
            body_hash: empty where it is not told; then it is taken for the request that is known.
            is_decide: whether it asks for a decision; otherwise it reports.

        Raises:
            RequestIdReused: its id is that of another request, known or under way.
        """
        if not request_id:
            yield None
            return
        key = (household, request_id)
        mine = self._under_way.setdefault(key, _UnderWay(body_hash))
        if _differ(mine.body_hash, body_hash):
            raise RequestIdReused
        mine.users += 1
        try:
            async with mine.lock:
                known = await self._state_thread.run(Urgency.DECISION, self._known, key, is_decide)
                if known is not None and (bool(known.decision_id) != is_decide or _differ(known.body_hash, body_hash)):
                    raise RequestIdReused
                yield known
        finally:
            mine.users -= 1
            if not mine.users:
                del self._under_way[key]

    def _known(self, key: RequestKey, is_decide: bool) -> KnownRequest | None:
        """In the state thread."""
        state = self._owner.state_as_of_now()
        found = state.requests.get(*key)
        if found is None and is_decide:
            # Of a term of fold version 1, perhaps of another household: the decision's record says.
            found = state.requests.get(b"", key[1])
        if found is None or found.seen_us < state.now_us - state.plan.clock.request_window_us:
            return None
        return found


def _differ(one: bytes, other: bytes) -> bool:
    return bool(one and other) and one != other
