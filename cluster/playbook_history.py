"""What a data directory knows of the changes of its playbook: the history, drafts, what is scheduled, what is halted.

One file, replaced as a whole. It is written before `playbook.json`, which alone says what is in force: whoever finds
that the two differ, since a process died between them, finishes what the first says (`finished`).
"""

import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cluster.data_dir import DataDirUnusable, write_durably
from cluster.errors import CommandFailed
from cluster.playbook_versions import FOLDER, KeptVersion, keep, kept
from cluster.remembered_playbook import PlaybookFacts, recall, remember
from household.plan import Halt, HaltedJourney, Plan, plan_from_bytes
from household.plan.earlier import with_earlier, without_earlier

NAME = "history.json"
FORMAT = 1

WAITING, APPROVED, REJECTED, IN_FORCE = "waiting", "approved", "rejected", "in force"
"""States of a draft."""


class HistoryUnreadable(CommandFailed):
    """The file is not as it was written; says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaybookChange:
    """One change, as docs and `hearth playbook history` have it."""

    number: int
    time: str
    """Wall time, ISO 8601; so are the other times here."""
    did: str
    """up, push, rollback, schedule, pause, stop or resume."""
    by: str = ""
    before: str = ""
    version: str
    """Of the playbook, without what is halted of it."""
    in_force: str
    """What decisions call it."""
    journey: str = ""
    why: str = ""
    approved_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaybookDraft:
    """A version that waits for a second person, or waited."""

    draft: str
    version: str
    from_version: str
    submitted_by: str
    submitted: str
    why: str = ""
    state: str = WAITING
    decided_by: str = ""
    decided_because: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """A version that comes into force by itself."""

    scheduled: str
    version: str
    from_version: str
    at: str
    by: str
    why: str = ""
    approved_by: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Halted:
    """A journey that is paused or stopped."""

    journey: str
    how: str
    """A value of household.plan.Halt."""
    since: str
    by: str
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All of it. Replaced, never changed."""

    version: str = ""
    """In force, without what is halted of it; empty before the first."""
    in_force: str = ""
    source: str = ""
    numbered: int = 0
    """Ids of drafts and of what is scheduled that were given out."""
    changes: tuple[PlaybookChange, ...] = ()
    drafts: tuple[PlaybookDraft, ...] = ()
    scheduled: tuple[Scheduled, ...] = ()
    halted: tuple[Halted, ...] = ()
    empty: tuple[tuple[str, str], ...] = ()
    """(journey, version) of earlier states that the newest change has left out: nobody went by them any more."""

    @property
    def number(self) -> int:
        """Of the newest change; 0 before the first."""
        return self.changes[-1].number if self.changes else 0

    def changed(self, change: PlaybookChange, **more: Any) -> "History":
        """Return it with a change, and whatever else comes with that."""
        made = {"version": change.version, "in_force": change.in_force, "changes": (*self.changes, change)}
        return replace(self, **(made | more))

    def was_in_force(self, version: str) -> bool:
        """Return whether a version ever was."""
        return any(one.version == version for one in self.changes)


def as_in_force(
    written: Plan, halted: tuple[Halted, ...], *, before: Plan | None, empty: Collection[tuple[str, str]] = ()
) -> Plan:
    """Return a plan as it comes into force: with what is halted of it, and the states by which instances still go.

    Args:
        written: as the playbook says.
        halted: journeys; one that it does not have is left out.
        before: in force until then, if any was.
        empty: (journey, version) of earlier states by which nobody goes any more.
    """
    known = sorted((one.journey, Halt(one.how)) for one in halted if one.journey in written.journey_by_name)
    plan = with_earlier(written, before, empty=empty)[0] if before is not None else written
    return replace(plan, halted=tuple(HaltedJourney(journey=journey, how=how) for journey, how in known))


def as_written(plan: Plan) -> Plan:
    """Return a plan as the playbook says, of one that is in force."""
    return without_earlier(replace(plan, halted=()) if plan.halted else plan)


def read_history(data_dir: Path) -> History:
    """Return what is known; nothing of a data directory that is older than its history.

    Raises:
        HistoryUnreadable
    """
    file = data_dir / FOLDER / NAME
    try:
        plain = json.loads(file.read_bytes())
        if plain["format"] != FORMAT:
            raise HistoryUnreadable(
                f"{file} is of format {plain['format']}, this Hearth reads {FORMAT}; run the version of Hearth that "
                "wrote it"
            )
        content = plain["history"]
        if _checksum(content) != plain["sha256"]:
            raise ValueError("checksum")
        parts = {"changes": PlaybookChange, "drafts": PlaybookDraft, "scheduled": Scheduled, "halted": Halted}
        rows = {name: tuple(kind(**one) for one in content[name]) for name, kind in parts.items()}
        empty = tuple((journey, version) for journey, version in content.get("empty", ()))
        return History(**(content | rows | {"empty": empty}))
    except FileNotFoundError:
        return History()
    except (OSError, ValueError, KeyError, TypeError) as wrong:
        raise HistoryUnreadable(
            f"{file} is not as it was written ({type(wrong).__name__}: {wrong}); move it away to begin a new history: "
            "what is in force stays"
        ) from wrong


def write_history(data_dir: Path, history: History) -> None:
    """Write it down, durably.

    Raises:
        DataDirUnusable: it cannot be written.
    """
    file, content = data_dir / FOLDER / NAME, asdict(history)
    if not history.empty:
        del content["empty"]  # older versions of Hearth know no such thing
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_durably(file, json.dumps({"format": FORMAT, "sha256": _checksum(content), "history": content}) + "\n")
    except OSError as failed:
        raise DataDirUnusable(f"{file} cannot be written: {failed}") from failed


def put_down(data_dir: Path, history: History, plan: Plan) -> None:
    """Write down that a plan (with what is halted of it) is in force, and the history that says so.

    Raises:
        DataDirUnusable: it cannot be written; which of the two versions is in force is what `finished` says.
    """
    write_history(data_dir, history)
    facts = PlaybookFacts(name=plan.name, version=plan.version, source=history.source, since=history.changes[-1].time)
    remember(data_dir, facts, plan.canonical_bytes)


def finished(data_dir: Path) -> History:
    """Return the history, and finish a change that a process died in.

    Raises:
        HistoryUnreadable, PlaybookForgotten, VersionUnknown, DataDirUnusable
    """
    history = read_history(data_dir)
    found = recall(data_dir) if history.changes else None
    if found is not None and found[0].version != history.in_force:
        before = plan_from_bytes(found[1])
        plan = as_in_force(kept(data_dir, history.version).plan, history.halted, before=before, empty=history.empty)
        put_down(data_dir, history, plan)
    return history


def note_start(data_dir: Path, plan: Plan, *, files: dict[str, str], source: str, by: str, time: str) -> History:
    """Keep the version that a start finds or puts into force, and note it where it is another than the newest.

    Returns the history. What is halted stays so.

    Raises:
        HistoryUnreadable, DataDirUnusable
    """
    history, written = read_history(data_dir), as_written(plan)
    keep(data_dir, KeptVersion(plan=written, files=files, source=source))
    if history.version == written.version and history.in_force == plan.version:
        return history
    change = PlaybookChange(
        number=history.number + 1,
        time=time,
        did="up",
        by=by,
        before=history.version,
        version=written.version,
        in_force=plan.version,
    )
    history = history.changed(change, source=source)
    write_history(data_dir, history)
    return history


def _checksum(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
