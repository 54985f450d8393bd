"""The system calls the embedded log makes, in one place, so that a test can fail or tear any one of them."""

from __future__ import annotations

import errno
import os
from pathlib import Path


class Files:
    """Thin names over the operating system; every method raises OSError as the kernel gave it."""

    def open(self, path: Path, flags: int) -> int:
        return os.open(path, flags, 0o640)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def size(self, path: Path) -> int:
        return path.stat().st_size

    def read(self, descriptor: int, length: int, position: int) -> bytes:
        """Return up to `length` bytes; fewer only at the end of the file or of what the kernel had ready."""
        return os.pread(descriptor, length, position)

    def write(self, descriptor: int, content: memoryview, position: int) -> int:
        """Return how many bytes were taken, possibly fewer than offered."""
        return os.pwrite(descriptor, content, position)

    def fdatasync(self, descriptor: int) -> None:
        os.fdatasync(descriptor)

    def fsync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        os.ftruncate(descriptor, size)

    def forget_cached(self, descriptor: int) -> None:
        """Drop clean cached pages, so that the next read comes from the device."""
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def rename(self, source: Path, target: Path) -> None:
        source.rename(target)

    def unlink(self, path: Path) -> None:
        path.unlink()

    def list(self, directory: Path) -> list[str]:
        return sorted(os.listdir(directory))

    def sync_directory(self, directory: Path) -> None:
        """Make names in `directory` durable: a synced file can still vanish with its unsynced directory entry."""
        descriptor = self.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.fsync(descriptor)
        finally:
            self.close(descriptor)

    def make_directory(self, directory: Path) -> None:
        """Create `directory` and its missing parents durably; do nothing if it exists."""
        if directory.is_dir():
            return
        if directory.parent != directory:
            self.make_directory(directory.parent)
        directory.mkdir(exist_ok=True)
        self.sync_directory(directory.parent)


def read_fully(files: Files, descriptor: int, length: int, position: int) -> bytes:
    """Return `length` bytes from `position`, fewer only where the file ends."""
    chunk = files.read(descriptor, length, position)
    if len(chunk) == length or not chunk:
        return chunk
    chunks = [chunk]
    received = len(chunk)
    while received < length and chunk:
        chunk = files.read(descriptor, length - received, position + received)
        chunks.append(chunk)
        received += len(chunk)
    return b"".join(chunks)


def write_fully(files: Files, descriptor: int, content: bytes, position: int) -> None:
    """Write all of `content` at `position`, in as many steps as the kernel takes."""
    view = memoryview(content)
    while view:
        written = files.write(descriptor, view, position)
        if written == 0:
            raise OSError(errno.EIO, "the file takes no more bytes and does not say why")
        view, position = view[written:], position + written
