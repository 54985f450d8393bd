"""What the last look at each version found: `<registry>/<name>/watch.json`, for a running Hearth to show.

Imports nothing that takes long: the coordinator reads it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from serving.models.bundle import NAME, BundleRefused, checked_name, read_plain, replace_durably
from serving.models.registry import changing

NOTES_FILE: Final = "watch.json"
NOTES_BYTES_MAX: Final = 1 << 20


class WatchFinding(StrEnum):
    """What of a version is not as it should be."""

    FEATURES = "features"
    """Columns have drifted from its training set."""
    SCORES = "scores"
    """Its scores have."""
    CALIBRATION = "calibration"
    """Its scores are not what comes true."""
    DEGRADED = "degraded"
    """It was to decide, and something worse did."""
    SLOW = "slow"
    """Its scores come late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One version, as it was found."""

    version: str
    at: str
    """ISO 8601."""
    findings: tuple[WatchFinding, ...]
    verdict: str
    """In a sentence."""


def write_notes(registry: Path, name: str, notes: Sequence[Note]) -> None:
    """Note what was found; versions that were not looked at keep their notes.

    Raises:
        OSError: it cannot be written.
    """
    with changing(registry, name):
        known = {note.version: note for note in (*read_notes(registry / name), *notes)}
        told = {
            note.version: {"at": note.at, "findings": list(note.findings), "verdict": note.verdict}
            for note in known.values()
        }
        content = json.dumps(told, indent=1, ensure_ascii=False).encode() + b"\n"
        replace_durably(registry / checked_name(name) / NOTES_FILE, content)


def read_notes(folder: Path) -> list[Note]:
    """Return what was noted in the folder of a model's versions; nothing where no file is, or one that is broken."""
    try:
        told = json.loads(read_plain(folder / NOTES_FILE, NOTES_BYTES_MAX))
        return [
            Note(
                version=version,
                at=str(note["at"]),
                findings=tuple(WatchFinding(one) for one in note["findings"]),
                verdict=str(note["verdict"]),
            )
            for version, note in told.items()
            if NAME.fullmatch(version)
        ]
    except (BundleRefused, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
