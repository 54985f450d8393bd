"""Drafts of the playbook: submitted by one person, approved by a second, and put into force by whoever may."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from cluster.access import now_text
from cluster.playbook_asking import Asker, Refused, remark
from cluster.playbook_history import APPROVED, IN_FORCE, REJECTED, WAITING, History, PlaybookDraft
from cluster.playbook_ledger import PlaybookLedger
from cluster.playbook_versions import KeptVersion, examined, keep
from serving.access.rights import Role


async def submit(ledger: PlaybookLedger, request: Mapping[str, Any], who: Asker) -> dict[str, Any]:
    """Keep a version as a draft; return a SubmitResponse, as JSON has it.

    Raises:
        Refused, CommandFailed
    """
    found = await asyncio.to_thread(examined, request.get("files", {}), before=ledger.plan)
    if found.plan is None:
        return {"problems": [remark(one) for one in found.problems]}
    base = ledger.whole(str(request.get("from_version", "")) or ledger.history.version)
    version = KeptVersion(plan=found.plan, files=request["files"], source=str(request.get("source", "")))
    await asyncio.to_thread(keep, ledger.data_dir, version)
    number = ledger.history.numbered + 1
    draft = PlaybookDraft(
        draft=f"d{number}",
        version=found.plan.version,
        from_version=base,
        submitted_by=who.name,
        submitted=now_text(),
        why=str(request.get("why", "")),
    )
    await ledger.note(who, "playbook submit", f"{draft.draft}: {draft.version} from {base}: {draft.why}")
    await ledger.keep(replace(ledger.history, numbered=number, drafts=(*ledger.history.drafts, draft)))
    return {"draft": asdict(draft), "warnings": [remark(one) for one in found.warnings]}


async def approve(ledger: PlaybookLedger, request: Mapping[str, Any], who: Asker) -> dict[str, Any]:
    """Say yes or no to a draft, or take back what is scheduled; return an ApproveResponse, as JSON has it.

    Raises:
        Refused, CommandFailed
    """
    name, is_no, why = str(request.get("draft", "")), bool(request.get("reject")), str(request.get("why", ""))
    history = ledger.history
    if is_no and any(one.scheduled == name for one in history.scheduled):
        await ledger.note(who, "playbook schedule taken back", f"{name}: {why}")
        await ledger.keep(replace(history, scheduled=tuple(one for one in history.scheduled if one.scheduled != name)))
        return {}
    draft = ledger.draft(name)
    if draft.state != WAITING:
        raise Refused(f"draft {name} is {draft.state} already")
    is_own = draft.submitted_by == who.name
    if is_own and not is_no:
        raise Refused(f"draft {name} is {who.name}'s own; it takes a second person to approve it")
    if who.is_proven and Role.APPROVER not in who.roles and not is_own:
        raise Refused(f"{who.name} is no approver")
    decided = replace(draft, state=REJECTED if is_no else APPROVED, decided_by=who.name, decided_because=why)
    did = "playbook reject" if is_no else "playbook approve"
    await ledger.note(who, did, f"{name}: {draft.version} from {draft.from_version}: {why}")
    await ledger.keep(replace(history, drafts=tuple(decided if one.draft == name else one for one in history.drafts)))
    return {"draft": asdict(decided)}


def approver_of(history: History, version: str, base: str, request: Mapping[str, Any], who: Asker) -> str:
    """Return who else said yes to a version made from another; empty where nobody has to.

    Raises:
        Refused: somebody has to, and nobody did.
    """
    for one in history.drafts:
        if one.version == version and one.from_version == base and one.state == APPROVED:
            return one.decided_by
    if not who.is_proven or history.was_in_force(version):
        return ""
    if request.get("without_approval"):
        if Role.APPROVER not in who.roles:
            raise Refused("only an approver may put a version into force that nobody else has approved")
        if not request.get("why"):
            raise Refused("without approval it takes a reason")
        return ""
    raise Refused(
        f"version {version} needs a second person: `hearth playbook submit` it, have it approved, then push it; an "
        "approver may go without, with a reason"
    )


def used_up(history: History, version: str) -> History:
    """Return a history in which the approved drafts of a version are in force."""
    return replace(
        history,
        drafts=tuple(
            replace(one, state=IN_FORCE) if one.version == version and one.state == APPROVED else one
            for one in history.drafts
        ),
    )
