"""What owners write to their logs, in the one order in which they do, to be written again elsewhere step by step."""

import os
from collections.abc import Callable
from pathlib import Path

from tests.actors.harness import DiskFiles

Step = Callable[[Path], object]
"""Writes it under another folder."""


class Journal:
    """All that was written under a folder, by whichever owner."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.steps = folder, list[Step]()

    def files(self) -> "JournalFiles":
        """Return the system calls of one owner."""
        return JournalFiles(self)

    def note(self, path: Path, do: Callable[[Path], object]) -> None:
        """Keep what was done to a file."""
        if not path.is_relative_to(self.folder):
            return
        below = path.relative_to(self.folder)
        self.steps.append(lambda folder: do(folder / below))


class JournalFiles(DiskFiles):
    """A disk that writes a journal."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal, self._paths = journal, dict[int, Path]()

    def open(self, path: Path, flags: int) -> int:
        descriptor = super().open(path, flags)
        self._paths[descriptor] = path
        if flags & os.O_CREAT:
            self._journal.note(path, lambda there: os.close(os.open(there, flags, 0o640)))
        return descriptor

    def write(self, descriptor: int, content: memoryview, position: int) -> int:
        taken = super().write(descriptor, content, position)
        written = bytes(content[:taken])
        self._journal.note(self._paths[descriptor], lambda there: _written(there, written, position))
        return taken

    def truncate(self, descriptor: int, size: int) -> None:
        super().truncate(descriptor, size)
        self._journal.note(self._paths[descriptor], lambda there: os.truncate(there, size))

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        self._journal.note(source, lambda there: there.rename(there.with_name(target.name)))

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self._journal.note(path, lambda there: there.unlink())

    def make_directory(self, directory: Path) -> None:
        super().make_directory(directory)
        self._journal.note(directory, lambda there: there.mkdir(parents=True, exist_ok=True))


def _written(path: Path, content: bytes, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        file.write(content)
