"""Moments that wait for a decision that nobody asked for."""

import asyncio
from collections.abc import Iterable


class PendingMoments:
    """Rows of households with pending moments, oldest first; those that folded since they were last taken."""

    def __init__(self) -> None:
        self._rows: dict[int, None] = {}
        self._arose = asyncio.Event()

    def __len__(self) -> int:
        return len(self._rows)

    def arose(self, rows: Iterable[int]) -> None:
        """Let some be decided."""
        self.put_off(rows)
        self.look()

    def put_off(self, rows: Iterable[int]) -> None:
        """Let some be decided once somebody looks again."""
        self._rows.update(dict.fromkeys(rows))

    def look(self) -> None:
        """Look again at those that wait, if any do."""
        if self._rows:
            self._arose.set()

    def end(self) -> None:
        """Nothing will arise any more: whoever waits looks why."""
        self._arose.set()

    async def wait(self) -> None:
        """Return as soon as some arose since the last time, or it has ended."""
        await self._arose.wait()
        self._arose.clear()

    def take(self, most: int) -> list[int]:
        """Take the oldest, at most so many."""
        rows = list(self._rows)[:most]
        for row in rows:
            del self._rows[row]
        return rows
