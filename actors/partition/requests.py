"""What a partition knows of requests by their ids: answered before, under way, or another request under the same id."""

import asyncio
from dataclasses import dataclass, field
from types import TracebackType

from household.state import PartitionState, RequestKey
from household.tables.requests import KnownRequest


class RequestIdReused(Exception):
    """The request id is that of another request of the household; nothing of this one was done."""


@dataclass(slots=True, eq=False)
class _UnderWay:
    body_hash: bytes
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


@dataclass(slots=True)
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
        if state.tables.texts.find(request_id.encode()) < 0:
            return None  # no row of any table has it
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


class _Hold:
    """Entered once no other request under an id is under way, and left when this one is over."""

    __slots__ = ("_body_hash", "_key", "_request", "_under_way")

    def __init__(
        self, under_way: dict[RequestKey, _UnderWay], key: RequestKey | None, body_hash: bytes, request: HeldRequest
    ) -> None:
        """`key`: of its id; None for one that has none."""
        self._under_way, self._key, self._body_hash, self._request = under_way, key, body_hash, request

    # A class, where a generator would be shorter and cost several times as much: each request enters one.
    async def __aenter__(self) -> HeldRequest:
        if (key := self._key) is not None:
            mine = self._under_way.get(key)
            if mine is None:
                mine = self._under_way[key] = _UnderWay(self._body_hash)
            elif _differ(mine.body_hash, self._body_hash):
                raise RequestIdReused
            mine.users += 1
            try:
                await mine.lock.acquire()
            except BaseException:
                self._leave(key, mine)
                raise
        return self._request

    async def __aexit__(
        self, kind: type[BaseException] | None, wrong: BaseException | None, trace: TracebackType | None
    ) -> None:
        if (key := self._key) is not None:
            mine = self._under_way[key]
            mine.lock.release()
            self._leave(key, mine)

    def _leave(self, key: RequestKey, mine: _UnderWay) -> None:
        mine.users -= 1
        if not mine.users:
            del self._under_way[key]


class Requests:
    """The requests of one partition's households. Belongs to the event loop it is used in."""

    def __init__(self) -> None:
        self._under_way: dict[RequestKey, _UnderWay] = {}

    def hold(
        self, household: bytes, request_id: str, body_hash: bytes, *, is_decide: bool, identifier: str = ""
    ) -> _Hold:
        """Return what yields a request, when it is entered, once no other under its id is under way.

        Args:
            household: the household that it names; empty where it names an identifier.
            request_id: empty for one that has none.
            body_hash: empty where it is not told; then it is taken for the request that is known.
            is_decide: whether it asks for a decision; otherwise it reports.
            identifier: that it names instead.

        To enter it raises RequestIdReused if its id is that of another request under way.
        """
        if not request_id:
            return _Hold(self._under_way, None, body_hash, HeldRequest(None, identifier, body_hash, is_decide))
        request = HeldRequest((household, request_id), identifier, body_hash, is_decide)
        return _Hold(self._under_way, (household or identifier.encode(), request_id), body_hash, request)


def _differ(one: bytes, other: bytes) -> bool:
    return bool(one and other) and one != other
