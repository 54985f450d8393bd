"""Which households a decision is under way for."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType


class _Lock:
    """Of one household, with how many hold it or wait for it. Lasts as long as there are any."""

    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock, self.users = asyncio.Lock(), 0


class _Hold:
    """Entered once nobody else holds a household, and left when this one is through."""

    __slots__ = ("_household", "_locks")

    def __init__(self, locks: dict[bytes, _Lock], household: bytes) -> None:
        self._locks, self._household = locks, household

    # A class, where a generator would be shorter and cost several times as much: each decision enters one.
    async def __aenter__(self) -> None:
        held = self._locks.get(self._household)
        if held is None:
            held = self._locks[self._household] = _Lock()
        held.users += 1
        try:
            await held.lock.acquire()
        except BaseException:
            self._leave(held)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, wrong: BaseException | None, trace: TracebackType | None
    ) -> None:
        held = self._locks[self._household]
        held.lock.release()
        self._leave(held)

    def _leave(self, held: _Lock) -> None:
        held.users -= 1
        if not held.users:
            del self._locks[self._household]


class HouseholdLocks:
    """At most one decision under way per household."""

    def __init__(self) -> None:
        self._locks: dict[bytes, _Lock] = {}

    def is_busy(self, household: bytes) -> bool:
        """Return whether a decision of this household is under way."""
        return household in self._locks

    def hold(self, household: bytes) -> _Hold:
        """Wait, when it is entered, until no other decision of this household is under way."""
        return _Hold(self._locks, household)

    @asynccontextmanager
    async def hold_all(self, households: Iterable[bytes]) -> AsyncIterator[None]:
        """Wait until no other decision of any of them is under way."""
        async with AsyncExitStack() as stack:
            for household in households:
                await stack.enter_async_context(self.hold(household))
            yield
