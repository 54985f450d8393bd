"""Where the playbook in force is changed: in the coordinator, which every shard and every edge knows.

    1. it is compiled, here, from the files that were sent; or a version that is kept is taken
    2. another version in force than the one it was made from refuses it, and so does a mistake
    3. every shard reads it and lays it out, beside all that goes on; one that cannot refuses it
    4. the audit log, the history and `playbook.json` say that it is in force: from here on it is
    5. each partition's owner goes over to it between two groups, by a record of its log
    6. whoever was not there is told as soon as it is: partitions that decide by another are looked for all the time

So what a coordinator dies in is nothing before the fourth step, and finished by the next one behind it.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cluster.access import now_text
from cluster.errors import CommandFailed
from cluster.launching import overrides, without_control
from cluster.playbook_asking import Asker, Refused, remark, time_of
from cluster.playbook_drafts import approve, approver_of, submit, used_up
from cluster.playbook_history import APPROVED, WAITING, Halted, PlaybookDraft, as_written
from cluster.playbook_ledger import ChangeReason, PlaybookLedger
from cluster.playbook_schedule import schedule, schedule_end, start_due
from cluster.playbook_spread import PlaybookSpread
from cluster.playbook_versions import KeptVersion, examined, keep, kept
from household.plan import Halt, Plan
from serving.models.in_force import ModelInForce

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.25
HISTORY_SHOWN = 20

HALTS = {"JOURNEY_HALT_PAUSE": Halt.PAUSED, "JOURNEY_HALT_STOP": Halt.STOPPED, "JOURNEY_HALT_RESUME": None}
DID = {Halt.PAUSED: "pause", Halt.STOPPED: "stop", None: "resume"}
NOWHERE = "this Hearth has no data directory in which a playbook could be kept, or cannot read what it keeps"


class PlaybookDesk:
    """Takes what is asked of the playbook, and sees to it that every partition decides by what is in force."""

    def __init__(self, spread: PlaybookSpread, *, data_dir: Path | None, model: Callable[[], ModelInForce]) -> None:
        """Take what is in force, where it is kept (nowhere: nothing can be changed), and what scores."""
        self._spread = spread
        self._ledger = PlaybookLedger(spread, data_dir, model=model) if data_dir is not None else None

    async def load(self) -> None:
        """Learn what is in force, and finish a change that the coordinator before died in."""
        if self._ledger is None:
            return
        try:
            await self._ledger.load()
        except CommandFailed as wrong:
            logger.error("the playbook cannot be changed: %s", wrong)
            self._ledger = None

    async def run(self) -> None:
        """See to it, for ever: partitions that decide by another version, and what comes into force by itself."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                if self._ledger is None or not self._ledger.changing.locked():
                    await self._spread.spread()
                if self._ledger is not None:
                    await start_due(self._ledger)
            except Exception:
                logger.exception("looking after the playbook failed; trying again")

    async def ask(self, verb: str, request: Mapping[str, Any], asker: Mapping[str, Any]) -> dict[str, Any]:
        """Do what is asked for; return the answer as JSON has it, or `{"refused": why}`.

        Args:
            verb: a method of PlaybookService.
            request: its request, as JSON has it.
            asker: `name`, `roles` and `is_proven`, as Asker has them.
        """
        who = Asker(name=str(asker["name"]), roles=frozenset(asker["roles"]), is_proven=bool(asker["is_proven"]))
        ledger = self._ledger
        try:
            if ledger is None:
                raise Refused(NOWHERE)
            if verb == "ShowPlaybook":
                return await self._show(ledger, request)
            async with ledger.changing:
                match verb:
                    case "Push":
                        return await self._push(ledger, request, who)
                    case "Halt":
                        return {"change": await self._halt(ledger, request, who)}
                    case "Submit":
                        return await submit(ledger, request, who)
                    case "Approve":
                        return await approve(ledger, request, who)
                    case _:
                        raise Refused(f"{verb} is not known here")
        except (Refused, CommandFailed) as wrong:
            return {"refused": str(wrong)}

    async def _push(self, ledger: PlaybookLedger, request: Mapping[str, Any], who: Asker) -> dict[str, Any]:
        base, in_force = str(request.get("from_version", "")), ledger.history.version
        if request.get("files"):
            found = await asyncio.to_thread(examined, request["files"], before=ledger.plan)
            if found.plan is None:
                return {"problems": [remark(one) for one in found.problems], "version": in_force}
            if not base:
                raise Refused(f"name the version it was made from; {in_force} is in force")
            version = KeptVersion(plan=found.plan, files=request["files"], source=str(request.get("source", "")))
            told = {"warnings": [remark(one) for one in found.warnings]}
            return await self._put(ledger, version, ledger.whole(base), request, who, is_new=True, told=told)
        if request.get("draft"):
            draft = ledger.draft(str(request["draft"]))
            _check_approved(draft)
            version = await asyncio.to_thread(kept, ledger.data_dir, draft.version)
            # Another version may have come into force since it was submitted.
            found = await asyncio.to_thread(examined, version.files, before=ledger.plan)
            if found.plan is None:
                return {"problems": [remark(one) for one in found.problems], "version": in_force}
            return await self._put(ledger, version, base or draft.from_version, request, who, is_new=True, told={})
        if request.get("version"):
            version = await asyncio.to_thread(kept, ledger.data_dir, str(request["version"]))
            base = ledger.whole(base) if base else in_force
            return await self._put(ledger, version, base, request, who, is_new=False, told={})
        raise Refused("nothing to put into force: send files, or name a version or a draft")

    async def _put(
        self,
        ledger: PlaybookLedger,
        version: KeptVersion,
        base: str,
        request: Mapping[str, Any],
        who: Asker,
        *,
        is_new: bool,
        told: dict[str, Any],
    ) -> dict[str, Any]:
        """Put a version into force that was made from another, now or later; return a PushResponse."""
        history, plan, in_force = ledger.history, version.plan, ledger.plan
        if plan.name != in_force.name:
            raise Refused(
                f"playbook {plan.name!r} is another one than {in_force.name!r}, which is in force; "
                "`hearth up --playbook` begins with another one"
            )
        at, until = time_of(request, "at"), time_of(request, "until")
        if until and until <= (at or now_text()):
            raise Refused(f"it is to end at {until}, which is not behind its beginning")
        to_come = {one.version for one in history.scheduled if not one.trouble}
        if base != history.version and plan.version != history.version and not (at and base in to_come):
            return told | {"conflict": history.version, "version": history.version}
        if not history.was_in_force(plan.version):
            await asyncio.to_thread(_check_launch, plan, in_force, ledger.data_dir)
        reason = ChangeReason(
            did="push" if is_new else "rollback",
            by=who,
            why=str(request.get("why", "")),
            approved_by=approver_of(history, plan.version, base, request, who),
        )
        await asyncio.to_thread(keep, ledger.data_dir, version)
        if at:
            return told | await schedule(ledger, plan.version, base, reason, at=at, until=until)
        if plan.version == history.version:
            return told | ledger.answer(before=history.version, changed=False)
        told = {"warnings": [*told.get("warnings", ()), *ledger.model_warning(plan)]}
        answer = await ledger.change(used_up(replace(history, source=version.source), plan.version), plan, reason)
        if until:
            ends = await schedule_end(ledger, plan.version, answer["before"], reason, until=until)
            answer["scheduled"] = ends.scheduled
        return told | answer

    async def _halt(self, ledger: PlaybookLedger, request: Mapping[str, Any], who: Asker) -> dict[str, Any]:
        history, journey, why = ledger.history, str(request.get("journey", "")), str(request.get("why", ""))
        plan = ledger.plan
        if journey not in plan.journey_by_name:
            known = ", ".join(sorted(plan.journey_by_name))
            raise Refused(f"{journey!r} is no journey of the playbook in force; there are {known}")
        if request.get("how") not in HALTS:
            raise Refused("say how: pause, stop or resume")
        how = HALTS[str(request["how"])]
        if plan.halt_by_journey.get(journey) is how:
            return ledger.answer(before=history.version, changed=False)
        left = tuple(one for one in history.halted if one.journey != journey)
        if how is not None:
            left += (Halted(journey=journey, how=how.value, since=now_text(), by=who.name, why=why),)
        reason = ChangeReason(did=DID[how], by=who, why=why, journey=journey)
        return await ledger.change(replace(history, halted=left), as_written(plan), reason)

    async def _show(self, ledger: PlaybookLedger, request: Mapping[str, Any]) -> dict[str, Any]:
        history, limit = ledger.history, int(request.get("limit", 0)) or HISTORY_SHOWN
        told: dict[str, Any] = {
            "name": ledger.plan.name,
            "version": history.version,
            "in_force": self._spread.version,
            "source": history.source,
            "partitions_live": self._spread.live,
            "partitions": self._spread.partition_count,
            "history": [asdict(one) for one in reversed(history.changes[-limit:])],
            "drafts": [asdict(one) for one in reversed(history.drafts[-limit:])],
            "scheduled": [asdict(one) for one in history.scheduled],
            "halted": [asdict(one) | {"how": _halt_name(one.how)} for one in history.halted],
        }
        if request.get("version"):
            version = await asyncio.to_thread(kept, ledger.data_dir, str(request["version"]))
            told |= {"files": dict(version.files), "plan": version.plan.canonical_bytes.decode()}
        if request.get("instances"):
            counted = await self._spread.instances()
            told["instances"] = [{"journey": one, "by_state": counted[one]} for one in sorted(counted)]
        return told


def _check_approved(draft: PlaybookDraft) -> None:
    if draft.state == WAITING:
        raise Refused(f"draft {draft.draft} is {draft.state}; it takes `hearth playbook approve {draft.draft}` first")
    if draft.state != APPROVED:
        raise Refused(f"draft {draft.draft} is {draft.state} already; `hearth playbook submit` makes another one")


def _halt_name(how: str) -> str:
    return next(name for name, halt in HALTS.items() if halt is not None and halt.value == how)


def _check_launch(plan: Plan, in_force: Plan, data_dir: Path) -> None:
    """Refuse a version that was never in force and brings a journey that may not be launched."""
    lacking = without_control(plan, in_force, overrides(data_dir))
    if lacking:
        raise Refused(
            f"journey '{lacking[0]}' has no control group, so nobody will know what it brought: write 'control: 10%' "
            f"under it, or let an approver say why not: hearth readiness {lacking[0]} --playbook ... "
            '--without-control "why, in a sentence"'
        )
