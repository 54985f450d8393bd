"""What a data directory remembers of the playbook in force: the plan itself, its version and where it came from.

Kept apart from what compiles and looks into logs (cluster/playbook_in_force.py), so that whoever only tells is quick.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster.data_dir import DataDirUnusable, write_durably
from cluster.errors import CommandFailed

PLAYBOOK_NAME = "playbook.json"
PLAYBOOK_FORMAT = 1


class PlaybookForgotten(CommandFailed):
    """What a data directory remembers of its playbook cannot be read; says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaybookFacts:
    """What is told of a playbook in force."""

    name: str
    version: str
    source: str
    """File or folder it was compiled from, absolute, or "the log". For telling: it may be gone, or another by now."""
    since: str
    """Wall time from which it is in force, ISO 8601; empty if not known."""

    def __str__(self) -> str:
        return f"playbook {self.name}, version {self.version}, from {self.source}"


def recall(data_dir: Path) -> tuple[PlaybookFacts, bytes] | None:
    """Return the facts and the plan's canonical bytes that a data directory remembers; None if it remembers none.

    Raises:
        PlaybookForgotten: the file is damaged, or a version of Hearth wrote it that knew more than this one.
    """
    file = data_dir / PLAYBOOK_NAME
    try:
        plain = json.loads(file.read_bytes())
        if plain["format"] != PLAYBOOK_FORMAT:
            raise PlaybookForgotten(
                f"{file} is of format {plain['format']}, this Hearth reads {PLAYBOOK_FORMAT}; run the version of "
                "Hearth that wrote it, or name the playbook with --playbook"
            )
        facts = PlaybookFacts(**{name: str(plain[name]) for name in PlaybookFacts.__slots__})
        canonical = str(plain["plan"]).encode()
        if _checksum(facts, canonical) != plain["sha256"]:
            raise ValueError("checksum")
        return facts, canonical
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as wrong:
        raise PlaybookForgotten(
            f"{file} is not as it was written ({type(wrong).__name__}: {wrong}); name the playbook with --playbook, or "
            "remove the file: the newest playbook in the log is then in force"
        ) from wrong


def remember(data_dir: Path, facts: PlaybookFacts, canonical: bytes) -> None:
    """Write down which playbook is in force, durably.

    Raises:
        DataDirUnusable: it cannot be written.
    """
    content = {
        "format": PLAYBOOK_FORMAT,
        **asdict(facts),
        "sha256": _checksum(facts, canonical),
        "plan": canonical.decode(),
    }
    try:
        write_durably(data_dir / PLAYBOOK_NAME, json.dumps(content) + "\n")
    except OSError as failed:
        raise DataDirUnusable(f"{data_dir / PLAYBOOK_NAME} cannot be written: {failed}") from failed


def _checksum(facts: PlaybookFacts, canonical: bytes) -> str:
    return hashlib.sha256("\0".join(asdict(facts).values()).encode() + b"\0" + canonical).hexdigest()


def told_facts(data_dir: Path) -> dict[str, str] | None:
    """Return what a data directory or backup says of its playbook, as JSON has it; `problem` if it is unreadable."""
    try:
        found = recall(data_dir)
    except PlaybookForgotten as wrong:
        return {"problem": str(wrong)}
    return None if found is None else asdict(found[0])


def told_line(facts: dict[str, str] | None) -> str:
    """Return the same as a line for people."""
    if facts is None:
        return "no playbook is remembered yet: `hearth up` takes the newest that is in the log"
    return facts.get("problem") or str(PlaybookFacts(**facts))
