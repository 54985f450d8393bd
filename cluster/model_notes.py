"""What `hearth models watch` found last of the versions that score, as numbers for the page of the coordinator."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cluster.config import utc_now

if TYPE_CHECKING:
    from cluster.metrics import Points
    from serving.models.findings import Note
    from serving.models.in_force import ModelInForce

NOTHING_SEEN: Final = (0, 0)


class ModelNotes:
    """Reads the notes again whenever they are others. Asked from the threads that show numbers."""

    def __init__(self, now: Callable[[], datetime] = utc_now) -> None:
        self._now = now
        self._read: tuple[str, tuple[int, int], list[Note]] = ("", NOTHING_SEEN, [])

    def points(self, model: ModelInForce) -> dict[str, Points]:
        """Return what was found of the versions in service, and since when; nothing of one never looked at."""
        # A coordinator that shows nothing does without.
        from serving.models.findings import WatchFinding

        known = {note.version: note for note in self._notes(model)}
        versions = [one.version for one in (model, *(beside.model for beside in model.beside)) if one.version]
        noted = [known[version] for version in versions if version in known]
        return {
            "hearth.model.findings": [
                ({"hearth.model.version": note.version, "hearth.finding": str(one)}, int(one in note.findings))
                for note in noted
                for one in WatchFinding
            ],
            "hearth.model.watch.age": [
                ({"hearth.model.version": note.version}, age)
                for note in noted
                if (age := self._age_s(note)) is not None
            ],
        }

    def _notes(self, model: ModelInForce) -> list[Note]:
        from serving.models.findings import NOTES_FILE, read_notes

        paths = [one.bundle_path for one in (model, *(beside.model for beside in model.beside)) if one.bundle_path]
        if not paths:
            return []
        folder = Path(paths[0]).parent
        looks = _looks(folder / NOTES_FILE)
        if self._read[:2] != (str(folder), looks):
            self._read = (str(folder), looks, read_notes(folder))
        return self._read[2]

    def _age_s(self, note: Note) -> int | None:
        try:
            return max(0, round((self._now() - datetime.fromisoformat(note.at)).total_seconds()))
        except (ValueError, TypeError):
            return None


def _looks(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:
        return NOTHING_SEEN
    return found.st_mtime_ns, found.st_size
