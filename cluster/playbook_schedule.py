"""Versions of the playbook that come into force by themselves: a season starts and ends while nobody looks on.

Kept in the history, so a restart goes on with them; one whose time passed meanwhile starts at once. One that finds
another version in force than the one it was made from does not start, and says so: somebody's edit would be lost. One
that a shard cannot answer for at present is tried again.
"""

import asyncio
import logging
from dataclasses import replace
from typing import Any

from cluster.access import now_text
from cluster.errors import CommandFailed
from cluster.playbook_asking import Asker, NotNow, Refused
from cluster.playbook_history import Scheduled
from cluster.playbook_ledger import ChangeReason, PlaybookLedger
from cluster.playbook_versions import kept

logger = logging.getLogger(__name__)


async def schedule(
    ledger: PlaybookLedger, version: str, base: str, reason: ChangeReason, *, at: str, until: str
) -> dict[str, Any]:
    """Let a version that is kept come into force at a time, and go again at another; return a PushResponse.

    Raises:
        Refused, CommandFailed
    """
    if at <= now_text():
        raise Refused(f"{at} has passed")
    made = await schedule_one(ledger, version, base, reason, at=at)
    if until:
        await schedule_end(ledger, version, base, reason, until=until)
    return ledger.answer(before=ledger.history.version, changed=True) | {"scheduled": made.scheduled}


async def schedule_end(
    ledger: PlaybookLedger, version: str, before: str, reason: ChangeReason, *, until: str
) -> Scheduled:
    """Let the version that was in force before come into force again at a time. Raises as `schedule` does."""
    of_end = ChangeReason(did="schedule", by=reason.by, why=f"the end of: {reason.why}" if reason.why else "the end")
    return await schedule_one(ledger, before, version, of_end, at=until)


async def schedule_one(ledger: PlaybookLedger, version: str, base: str, reason: ChangeReason, *, at: str) -> Scheduled:
    """Note one version for a time. Raises as `schedule` does."""
    number = ledger.history.numbered + 1
    made = Scheduled(
        scheduled=f"s{number}",
        version=version,
        from_version=base,
        at=at,
        by=reason.by.name,
        why=reason.why,
        approved_by=reason.approved_by,
    )
    await ledger.note(reason.by, "playbook schedule", f"{version} from {base} at {at}: {reason.why}")
    await ledger.keep(replace(ledger.history, numbered=number, scheduled=(*ledger.history.scheduled, made)))
    return made


async def start_due(ledger: PlaybookLedger) -> None:
    """Put into force what is due by now."""
    now = now_text()
    if not any(one.at <= now and not one.trouble for one in ledger.history.scheduled):
        return
    async with ledger.changing:
        due = [one for one in ledger.history.scheduled if one.at <= now and not one.trouble]
        for one in sorted(due, key=lambda one: one.at):
            try:
                await _start(ledger, one)
            except NotNow as wrong:
                logger.warning("playbook version %s is due and tried again: %s", one.version, wrong)
                return


async def _start(ledger: PlaybookLedger, one: Scheduled) -> None:
    history, trouble = ledger.history, ""
    left = tuple(other for other in history.scheduled if other.scheduled != one.scheduled)
    if history.version != one.from_version:
        trouble = f"{history.version} is in force, and it was made from {one.from_version}"
    else:
        who = Asker(name=one.by, roles=frozenset(), is_proven=False)
        reason = ChangeReason(did="schedule", by=who, why=one.why, approved_by=one.approved_by)
        try:
            version = await asyncio.to_thread(kept, ledger.data_dir, one.version)
            await ledger.change(replace(history, scheduled=left, source=version.source), version.plan, reason)
        except NotNow:
            raise
        except (Refused, CommandFailed) as wrong:
            trouble = str(wrong)
    if trouble:
        logger.error("playbook version %s does not come into force by itself: %s", one.version, trouble)
        await ledger.keep(replace(history, scheduled=(*left, replace(one, trouble=trouble))))
