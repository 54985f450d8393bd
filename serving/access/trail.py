"""The edge's side of the audit log: entries of one process, written together, refusals within bounds.

Whoever is refused can try again at once and for ever: of refusals that are alike only some are written, each with how
many were not, so that nobody fills the disk.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from hearth.v1 import household_pb2
from household.graph.identifiers import normalised
from serving.access.audit import AuditLog, AuditUnusable
from serving.access.principal import Principal
from serving.access.rights import RIGHTS
from wire.failures import Failure, failed
from wire.installation import Installation

logger = logging.getLogger(__name__)

ALIKE_EVERY_S: Final = 10.0
"""Of refusals that are alike, one is written in so long; the others are counted in the next."""
REFUSALS_PER_S: Final = 1.0
REFUSALS_BURST: Final = 60
"""Of all together. A day of attacks then leaves some 30 MB."""
KINDS_MAX: Final = 1_000


@dataclass(slots=True)
class _Alike:
    """Refusals of one caller, for one reason, of one method."""

    written_s: float
    unwritten: int = 0


class Trail:
    """Writes what the door tells. Must be used in one event loop."""

    def __init__(self, log: AuditLog, installation: Installation, *, now: Callable[[], str], where: str) -> None:
        """Take the log and what entries say.

        Args:
            log: where they are written.
            installation: makes pseudonyms.
            now: wall time, ISO 8601.
            where: the process, for entries.
        """
        self._log, self._installation, self._now, self._where = log, installation, now, where
        self._waiting: list[tuple[dict[str, Any], asyncio.Future[None] | None]] = []
        self._writing: asyncio.Task[None] | None = None
        self._alike: OrderedDict[tuple[str, str, str], _Alike] = OrderedDict()
        self._allowed = float(REFUSALS_BURST)
        self._counted_s = time.monotonic()
        self._unwritten = 0

    async def done(self, method: str, principal: Principal, request: object) -> None:
        """Return once it is on disk that somebody was let in.

        Raises:
            CallFailed: AUDIT_UNAVAILABLE.
        """
        about = _about(request)
        entry = {
            "time": self._now(),
            "who": principal.name,
            "roles": sorted(principal.roles),
            "did": method.lstrip("/"),
            "trace": RIGHTS[method].trace.value,
            "about": self._installation.pseudonym(about) if about else "",
            "where": self._where,
        }
        written = asyncio.get_running_loop().create_future()
        self._write_soon(entry, written)
        try:
            await asyncio.shield(written)
        except AuditUnusable:
            text = (
                "the audit log cannot be written, and what leaves a trace is not done without it: nothing was done; "
                "most often the disk of the data directory is full: make room, then ask again"
            )
            raise failed(Failure.AUDIT_UNAVAILABLE, text) from None

    def refused(self, method: str, who: str, reason: str) -> None:
        """Note a refusal, if there was none like it of late."""
        now_s = time.monotonic()
        alike = self._alike.get((method, who, reason))
        if alike is not None and now_s - alike.written_s < ALIKE_EVERY_S:
            alike.unwritten += 1
            return
        self._allowed = min(REFUSALS_BURST, self._allowed + (now_s - self._counted_s) * REFUSALS_PER_S)
        self._counted_s = now_s
        if self._allowed < 1.0:
            self._unwritten += 1
            return
        self._allowed -= 1.0
        unwritten = self._unwritten + (alike.unwritten if alike is not None else 0)
        self._unwritten = 0
        self._alike[(method, who, reason)] = _Alike(written_s=now_s)
        while len(self._alike) > KINDS_MAX:
            self._unwritten += self._alike.popitem(last=False)[1].unwritten
        entry: dict[str, Any] = {
            "time": self._now(),
            "who": who,
            "did": method.lstrip("/"),
            "refused": reason,
            "where": self._where,
        }
        if unwritten:
            entry["unwritten"] = unwritten
        self._write_soon(entry, None)

    async def settled(self) -> None:
        """Return once all that was told is written, or cannot be."""
        while self._writing is not None and not self._writing.done():
            await asyncio.wait((self._writing,))

    def _write_soon(self, entry: dict[str, Any], written: asyncio.Future[None] | None) -> None:
        self._waiting.append((entry, written))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        """Write what waits as one, then what has come to wait meanwhile."""
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await asyncio.to_thread(self._log.append, [entry for entry, _ in batch])
            except AuditUnusable as wrong:
                logger.warning("%s", wrong)
                for _, written in batch:
                    if written is not None and not written.done():
                        written.set_exception(wrong)
            else:
                for _, written in batch:
                    if written is not None and not written.done():
                        written.set_result(None)


def _about(request: object) -> str:
    """Return whom a request is about: a household, an identifier as it is always written, or the cause of a change."""
    if isinstance(request, household_pb2.ChangeRequest):
        return request.merge.household or request.unmerge or request.confirm
    identifier = getattr(request, "identifier", "")
    return getattr(request, "household", "") or normalised(identifier) or identifier
