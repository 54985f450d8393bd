"""What a partition knows of requests by their ids: answered before, under way, or another request under the same id."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from household.state import PartitionState, RequestKey
from household.tables.requests import KnownRequest


class RequestIdReused(Exception):
    """The request id is that of another request of the household; nothing of this one was done."""


@dataclass(slots=True, eq=False)
class _UnderWay:
    body_hash: bytes
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


@dataclass(frozen=True, slots=True)
class HeldRequest:
    """A request while no other under its id is under way."""

    _key: RequestKey | None
    """None for one that has no id; its household is empty where `_identifier` says whose it is."""
    _identifier: str
    _body_hash: bytes
    _is_decide: bool

    def known(self, state: PartitionState) -> KnownRequest | None:
        """Return what is known of it as of now. In the state thread.

        Raises:
            RequestIdReused: its id is that of another request.
        """
        if self._key is None:
            return None
        asked, request_id = self._key
        household, _ = state.graph.whom(asked, b"", self._identifier, state.now_us)
        found = state.requests.get(household, request_id)
        if found is None and self._is_decide and not self._identifier:
            # Of a term of fold version 1, perhaps of another household: the decision's record says.
            found = state.requests.get(b"", request_id)
        if found is None and state.graph:
            found = self._known_by_another_key(state, household, request_id)
        if found is None or found.seen_us < state.now_us - state.plan.clock.request_window_us:
            return None
        if bool(found.decision_id) != self._is_decide or _differ(found.body_hash, self._body_hash):
            raise RequestIdReused
        return found

    def _known_by_another_key(self, state: PartitionState, household: bytes, request_id: str) -> KnownRequest | None:
        """Return what is known of the very same request from when a graph event had not yet said who it is."""
        row = state.households.find(household)
        for one in state.rows_together(row) if row >= 0 and self._body_hash else ():
            found = state.requests.get(state.households.key(one), request_id)
            if found is not None and found.body_hash == self._body_hash:
                return found
        return None

    def check(self, state: PartitionState) -> None:
        """Raise as `known` does."""
        self.known(state)


class Requests:
    """The requests of one partition's households. Belongs to the event loop it is used in."""

    def __init__(self) -> None:
        self._under_way: dict[RequestKey, _UnderWay] = {}

    @asynccontextmanager
    async def hold(
        self, household: bytes, request_id: str, body_hash: bytes, *, is_decide: bool, identifier: str = ""
    ) -> AsyncIterator[HeldRequest]:
        """Yield a request once no other under its id is under way.

        Args:
            household: the household that it names; empty where it names an identifier.
            request_id: empty for one that has none.
            body_hash: empty where it is not told; then it is taken for the request that is known.
            is_decide: whether it asks for a decision; otherwise it reports.
            identifier: that it names instead.

        Raises:
            RequestIdReused: its id is that of another request under way.
        """
        if not request_id:
            yield HeldRequest(None, identifier, body_hash, is_decide)
            return
        key = (household or identifier.encode(), request_id)
        mine = self._under_way.setdefault(key, _UnderWay(body_hash))
        if _differ(mine.body_hash, body_hash):
            raise RequestIdReused
        mine.users += 1
        try:
            async with mine.lock:
                yield HeldRequest((household, request_id), identifier, body_hash, is_decide)
        finally:
            mine.users -= 1
            if not mine.users:
                del self._under_way[key]


def _differ(one: bytes, other: bytes) -> bool:
    return bool(one and other) and one != other
