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
        self._read: dict[Path, tuple[tuple[int, int], list[Note]]] = {}
        """By the folder of a model: how its file of notes looked when it was read, and what it said."""

    def points(self, model: ModelInForce) -> dict[str, Points]:
        """Return what was found of the versions in service, and since when; nothing of one never looked at.

        Versions are called as Serve and shards call them: two models may each have one of a name.
        """
        # A coordinator that shows nothing does without.
        from serving.models.findings import WatchFinding

        noted: list[tuple[str, Note]] = []
        for term in (model, *model.terms):
            for one in (term, *(beside.model for beside in term.beside)):
                if one.version and one.bundle_path:
                    notes = self._notes(Path(one.bundle_path).parent)
                    noted += [(one.served_as, note) for note in notes if note.version == one.version]
        return {
            "hearth.model.findings": [
                ({"hearth.model.version": called, "hearth.finding": str(one)}, int(one in note.findings))
                for called, note in noted
                for one in WatchFinding
            ],
            "hearth.model.watch.age": [
                ({"hearth.model.version": called}, age)
                for called, note in noted
                if (age := self._age_s(note)) is not None
            ],
        }

    def _notes(self, folder: Path) -> list[Note]:
        from serving.models.findings import NOTES_FILE, read_notes

        looks = _looks(folder / NOTES_FILE)
        if folder not in self._read or self._read[folder][0] != looks:
            self._read[folder] = looks, read_notes(folder)
        return self._read[folder][1]

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
