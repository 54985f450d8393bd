"""What is in force of the playbook, and its history, as the coordinator holds and changes them: one change at a time.

A change is kept in this order: every shard has laid the plan out; the audit log says what is about to be done, by whom
and why; the history and `playbook.json` say that it is in force. From then on it is, and is spread.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cluster.access import now_text
from cluster.errors import CommandFailed
from cluster.installation import installation_of
from cluster.playbook_asking import Asker, NotNow, Refused
from cluster.playbook_history import (
    History,
    PlaybookChange,
    PlaybookDraft,
    as_in_force,
    finished,
    put_down,
    write_history,
)
from cluster.playbook_spread import NotReady, PlaybookSpread
from cluster.remembered_playbook import recall
from household.plan import Plan, plan_from_bytes
from household.scoring import schema_hash
from serving.access.audit import FOLDER_NAME, AuditLog, AuditUnusable
from serving.models.in_force import ModelInForce

logger = logging.getLogger(__name__)

LIVE_WITHIN_S = 5.0
"""So long whoever asks waits for the last partition; what is late then follows by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeReason:
    """Why something is changed, and by whom."""

    did: str
    """As `Change.did`."""
    by: Asker
    why: str = ""
    approved_by: str = ""
    journey: str = ""


class PlaybookLedger:
    """Knows and changes what is in force. In the coordinator's loop; `changing` is held while a change is made."""

    def __init__(self, spread: PlaybookSpread, data_dir: Path, *, model: Callable[[], ModelInForce]) -> None:
        """Take the way to the shards, where things are kept, and what scores."""
        self.spread = spread
        self.data_dir = data_dir
        self.changing = asyncio.Lock()
        self.history = History()
        self._model = model

    async def load(self) -> None:
        """Learn what is in force, and finish a change that the coordinator before died in.

        Raises:
            CommandFailed: nobody can tell.
        """
        self.history = await asyncio.to_thread(finished, self.data_dir)
        found = await asyncio.to_thread(recall, self.data_dir)
        if found is not None:
            self.spread.use(found[1], self.history.number)

    @property
    def plan(self) -> Plan:
        """In force, with what is halted of it."""
        return plan_from_bytes(self.spread.plan_bytes)

    def whole(self, version: str) -> str:
        """Return the whole name of a version that is in force, was, or is to come, of which the beginning is given.

        Raises:
            Refused: there is none, or there are several.
        """
        history = self.history
        known = {history.version, *(one.version for one in history.changes)}
        known |= {one.version for one in history.scheduled}
        found = [one for one in known if version and one.startswith(version)]
        if len(found) != 1:
            raise Refused(f"{version!r} is no version that was in force; {history.version} is")
        return found[0]

    def draft(self, name: str) -> PlaybookDraft:
        """Return a draft.

        Raises:
            Refused: there is none of this name.
        """
        found = next((one for one in self.history.drafts if one.draft == name), None)
        if found is None:
            raise Refused(f"there is no draft {name!r}; `hearth playbook drafts` lists them")
        return found

    def model_warning(self, plan: Plan) -> list[dict[str, Any]]:
        """Return what is to be said where the model in force cannot score by a plan."""
        model = self._model()
        if not model.version or model.feature_schema_hash == schema_hash(plan):
            return []
        text = (
            f"model {model.version} was trained on other features than this version has: the playbook's priors score "
            "until a model of this version is promoted"
        )
        return [{"message": text}]

    def answer(self, *, before: str, changed: bool) -> dict[str, Any]:
        """Return a PushResponse, as JSON has it."""
        return {
            "version": self.history.version,
            "before": before,
            "changed": changed,
            "partitions_live": self.spread.live,
            "partitions": self.spread.partition_count,
        }

    async def change(self, history: History, written: Plan, reason: ChangeReason) -> dict[str, Any]:
        """Put a version into force with what is halted by a history, and spread it; return a PushResponse.

        Raises:
            Refused: a shard cannot, or it leaves no trace; nothing was changed.
            CommandFailed: it cannot be written down.
        """
        before, by = history.version, reason.by
        history = replace(history, empty=await self._empty())
        plan = as_in_force(written, history.halted, before=self.plan, empty=history.empty)
        change = PlaybookChange(
            number=history.number + 1,
            time=now_text(),
            did=reason.did,
            by=by.name,
            before=before,
            version=written.version,
            in_force=plan.version,
            journey=reason.journey,
            why=reason.why,
            approved_by=reason.approved_by,
        )
        try:
            await self.spread.ready(plan.canonical_bytes)
        except NotReady as wrong:
            raise NotNow(str(wrong)) from wrong
        what = f"{reason.journey}: " if reason.journey else ""
        second = f", approved by {reason.approved_by}" if reason.approved_by else ""
        told = f"{what}from {before} to {written.version}{second}: {reason.why}"
        await self.note(by, f"playbook {reason.did}", told)
        history = history.changed(change)
        began_s = asyncio.get_running_loop().time()
        await asyncio.to_thread(put_down, self.data_dir, history, plan)
        self.history = history
        self.spread.use(plan.canonical_bytes, change.number)
        logger.info("playbook version %s is put into force by %s: %s", plan.version, by.name, reason.why)
        await self.spread.spread_within(LIVE_WITHIN_S)
        took_ms = (asyncio.get_running_loop().time() - began_s) * 1_000
        return self.answer(before=before, changed=True) | {"took_ms": round(took_ms, 1)}

    async def _empty(self) -> tuple[tuple[str, str], ...]:
        """Return the earlier versions of journeys by which nobody goes any more, anywhere."""
        versions = {
            (journey.name, one.version)
            for journey in self.plan.journeys
            if journey.flow is not None
            for one in journey.flow.earlier
        }
        if not versions or self.spread.live < self.spread.partition_count:
            return ()
        counted = await self.spread.instances()
        going = {(journey, state.rpartition("@")[2]) for journey in counted for state in counted[journey]}
        return tuple(sorted(versions - going))

    async def keep(self, history: History) -> None:
        """Write a history down that changes nothing of what is in force.

        Raises:
            CommandFailed: it cannot be.
        """
        await asyncio.to_thread(write_history, self.data_dir, history)
        self.history = history

    async def note(self, who: Asker, did: str, said: str) -> None:
        """Write into the audit log what is about to be done.

        Raises:
            Refused: it cannot be written.
        """
        entry = {
            "time": now_text(),
            "who": who.name,
            "roles": sorted(who.roles) if who.is_proven else [],
            "did": did,
            "trace": "change",
            "where": "coordinator",
            "note": said,
        }

        def write() -> None:
            key = installation_of(self.data_dir).derived("audit")
            AuditLog(self.data_dir / FOLDER_NAME, key).append([entry])

        try:
            await asyncio.to_thread(write)
        except (AuditUnusable, CommandFailed) as wrong:
            raise Refused(f"{wrong}; what leaves a trace is not done without it") from wrong
