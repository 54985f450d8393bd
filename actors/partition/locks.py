"""Which households a decision is under way for."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager


class HouseholdLocks:
    """At most one decision under way per household."""

    def __init__(self) -> None:
        self._locks: OrderedDict[bytes, tuple[asyncio.Lock, int]] = OrderedDict()

    def is_busy(self, household: bytes) -> bool:
        """Return whether a decision of this household is under way."""
        return household in self._locks

    @asynccontextmanager
    async def _hold(self, household: bytes) -> AsyncIterator[None]:
        lock, users = self._locks.get(household, (asyncio.Lock(), 0))
        self._locks[household] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[household]
            if users == 1:
                del self._locks[household]
            else:
                self._locks[household] = (lock, users - 1)

    def hold(self, household: bytes) -> AbstractAsyncContextManager[None]:
        """Wait until no other decision of this household is under way."""
        return self._hold(household)

    @asynccontextmanager
    async def hold_all(self, households: Iterable[bytes]) -> AsyncIterator[None]:
        """Wait until no other decision of any of them is under way."""
        async with AsyncExitStack() as stack:
            for household in households:
                await stack.enter_async_context(self._hold(household))
            yield
