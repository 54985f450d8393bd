"""Where snapshots lie: folders of files on any pyarrow filesystem, and durably on the local one.

A folder counts from the moment its manifest is there. On the local filesystem it is written under another name, synced
and then renamed; elsewhere the manifest is the last file to be written.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash
from pyarrow import fs

from actors.log.files import Files

UNFINISHED = ".unfinished"
"""End of a folder's name while it is being written, on the local filesystem."""

MANIFEST = "manifest.json"

_PART_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file as its manifest knows it."""

    size: int
    xxh3_128: str


class _HashingSink:
    """Takes what Arrow writes, hashes it on its way, and lets other threads run between two parts of it."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream = stream
        self._hash = xxhash.xxh3_128()
        self.size = 0
        self.closed = False

    def write(self, content: pa.Buffer | bytes) -> int:
        view = memoryview(content)
        for start in range(0, view.nbytes, _PART_BYTES):
            part = view[start : start + _PART_BYTES]
            self._hash.update(part)
            self._stream.write(part)
        self.size += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        return self.size

    def flush(self) -> None: ...

    def close(self) -> None:
        self.closed = True

    def stored(self) -> StoredFile:
        return StoredFile(size=self.size, xxh3_128=self._hash.hexdigest())


Content = Any
"""Of a file: bytes, as they are; or a pa.RecordBatch (which has no type), as an Arrow IPC file with this one batch."""


@dataclass(slots=True)
class SnapshotFiles:
    """Folders under a root. Every method raises OSError or pa.ArrowException as the filesystem gave it."""

    filesystem: fs.FileSystem
    root: str
    files: Files = field(default_factory=Files)

    @property
    def is_local(self) -> bool:
        """Whether a folder can be synced and appear by a rename."""
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def path(self, *parts: str) -> str:
        """Return a path under the root."""
        return "/".join((self.root.rstrip("/"), *parts))

    def folders(self, parent: str) -> list[str]:
        """Return the names of the folders under a folder, sorted; none if it does not exist."""
        found = self.filesystem.get_file_info(fs.FileSelector(self.path(parent), allow_not_found=True))
        return sorted(one.base_name for one in found if one.type is fs.FileType.Directory)

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the size of each file in a folder; empty if it does not exist."""
        found = self.filesystem.get_file_info(fs.FileSelector(self.path(folder), allow_not_found=True))
        return {one.base_name: one.size for one in found if one.type is fs.FileType.File}

    def read(self, folder: str, name: str) -> pa.Buffer:
        """Return a file's content.

        Read, not mapped: a page that cannot be read would end the process instead of raising.
        """
        with self.filesystem.open_input_file(self.path(folder, name)) as file:
            return file.read_buffer()

    def begin(self, folder: str) -> str:
        """Make room for a new folder; return the name under which its files are to be written until it is published."""
        unfinished = folder + UNFINISHED if self.is_local else folder
        self.remove(unfinished)
        self.remove(folder)
        if self.is_local:
            self.files.make_directory(Path(self.path(unfinished)))
        else:
            self.filesystem.create_dir(self.path(unfinished), recursive=True)
        return unfinished

    def write(self, folder: str, name: str, content: Content) -> StoredFile:
        """Write one file whole; return what it must read as. Not durable before `publish`."""
        path = self.path(folder, name)
        with self.filesystem.open_output_stream(path, compression=None) as stream:
            sink = _HashingSink(stream)
            _write(sink, content)
        return sink.stored()

    def publish(self, unfinished: str, folder: str) -> None:
        """Make a folder whose files are all written durable, under its name."""
        if not self.is_local:
            return
        directory, final = Path(self.path(unfinished)), Path(self.path(folder))
        for name in self.files.list(directory):
            self._sync(directory / name)
        self.files.sync_directory(directory)
        self.files.rename(directory, final)
        self.files.sync_directory(final.parent)

    def _sync(self, path: Path) -> None:
        descriptor = self.files.open(path, os.O_RDWR)
        try:
            self.files.fsync(descriptor)
            # What is read back then comes from the device, not from memory.
            self.files.forget_cached(descriptor)
        finally:
            self.files.close(descriptor)

    def remove(self, folder: str) -> None:
        """Remove a folder with all that is in it; its manifest first, so that no half of it is taken for a whole."""
        path = self.path(folder)
        if self.filesystem.get_file_info(path).type is not fs.FileType.Directory:
            return
        if MANIFEST in self.sizes(folder):
            self.filesystem.delete_file(self.path(folder, MANIFEST))
        self.filesystem.delete_dir(path)


def _write(sink: _HashingSink, content: Content) -> None:
    if isinstance(content, bytes):
        sink.write(content)
        return
    with pa.PythonFile(sink, mode="w") as file, pa.ipc.new_file(file, content.schema) as writer:
        writer.write_batch(content)


def difference(files: Mapping[str, StoredFile], read: Callable[[str], pa.Buffer]) -> tuple[str, str] | None:
    """Return (file, what is wrong) of the first file that does not read as it was written, or None."""
    for name, stored in files.items():
        try:
            content = read(name)
        except (OSError, pa.ArrowException) as wrong:
            return name, f"cannot be read: {wrong}"
        found = unlike(content, stored)
        if found:
            return name, found
    return None


def unlike(content: pa.Buffer, stored: StoredFile) -> str:
    """Return what is wrong with a file's content; empty if it is as it was written."""
    if content.size != stored.size:
        return f"{content.size} bytes, {stored.size} were written"
    if xxhash.xxh3_128(content).hexdigest() != stored.xxh3_128:
        return "other bytes than were written (checksum)"
    return ""
