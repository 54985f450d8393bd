"""The audit log: who looked at whom, who changed what, who was refused. Nothing in it can be changed unnoticed.

A line of JSON per entry; each carries the seal of the one before it, and its own seal over all that it says, made with
a key of the installation. What is appended is on disk before whoever asked gets his answer. All processes of a data
directory write to one file, one after another, by a lock of the operating system. A line that a crash left unfinished
was never acknowledged: the next writer takes it away and says so. `head` beside the file knows how long it has been, so
that entries cannot be cut from its end.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FOLDER_NAME: Final = "audit"
FILE_NAME: Final = "audit.jsonl"
HEAD_NAME: Final = "head"
FIRST_SEAL: Final = "0" * 64
TAIL_BYTES: Final = 1 << 16
"""Longer than any entry."""
TEXT_LENGTH_MAX: Final = 512

AuditEntry = Mapping[str, Any]
"""What one line says."""


class AuditUnusable(Exception):
    """The audit log cannot be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFindings:
    """What an examination of the audit log found."""

    count: int
    """Entries that hold together, from the first on."""
    seal: str
    """Of the last of them: noted elsewhere, it proves later that nothing before it was changed."""
    broken: str = ""
    """What is wrong with the first entry that does not; empty if all do."""
    torn_bytes: int = 0
    """Of a line at the end that a crash left unfinished."""


class AuditLog:
    """Appends to the audit log of a data directory. Blocks; may be used by several processes at once."""

    def __init__(self, folder: Path, key: bytes) -> None:
        """Take the log's folder and the key of its seals."""
        self._folder = folder
        self._key = key
        self._end: tuple[int, int, str] = (-1, 0, FIRST_SEAL)
        """Size of the file, number of entries and last seal, as this process left it."""

    def append(self, entries: Sequence[AuditEntry]) -> None:
        """Write entries behind all others; once this returns, they are on disk.

        Raises:
            AuditUnusable: they could not be written; none of them is there then, or all of them may be.
        """
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(self._folder / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                self._append(descriptor, entries)
            finally:
                os.close(descriptor)
        except OSError as wrong:
            self._end = (-1, 0, FIRST_SEAL)
            raise AuditUnusable(f"the audit log in {self._folder} cannot be written: {wrong.strerror}") from wrong

    def _append(self, descriptor: int, entries: Sequence[AuditEntry]) -> None:
        size = os.fstat(descriptor).st_size
        torn = 0
        if size != self._end[0]:
            torn = self._find_end(descriptor, size)
            size = self._end[0]
        _, count, seal = self._end
        if torn:
            told = {"did": "torn entry taken away", "note": f"{torn} bytes that a crash had left unfinished"}
            entries = [{**{name: entries[0][name] for name in ("time",) if name in entries[0]}, **told}, *entries]
        lines = b""
        for entry in entries:
            line, seal = sealed(entry, number=count, before=seal, key=self._key)
            lines += line
            count += 1
        try:
            _write(descriptor, lines, at=size)
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
        self._end = (size + len(lines), count, seal)
        head = self._folder / f"{HEAD_NAME}.new"
        head.write_text(f"{count} {seal}\n")
        head.replace(self._folder / HEAD_NAME)

    def _find_end(self, descriptor: int, size: int) -> int:
        """Look where another process, or a crash, left the file; return how many bytes were taken away."""
        tail = os.pread(descriptor, TAIL_BYTES, max(0, size - TAIL_BYTES))
        whole = tail.rfind(b"\n") + 1
        torn = len(tail) - whole
        if torn:
            os.ftruncate(descriptor, size - torn)
        lines = tail[:whole].splitlines()
        count, seal = 0, FIRST_SEAL
        if lines:
            try:
                last = json.loads(lines[-1])
                count, seal = int(last["number"]) + 1, str(last["seal"])
            except (ValueError, KeyError, TypeError):
                # Somebody has been at it. The chain goes on from what is there; `examine` tells where it broke.
                content = os.pread(descriptor, size, 0)
                count, seal = content.count(b"\n"), hashlib.sha256(lines[-1]).hexdigest()
        self._end = (size - torn, count, seal)
        return torn


def _write(descriptor: int, content: bytes, *, at: int) -> None:
    while content:
        written = os.pwrite(descriptor, content, at)
        content, at = content[written:], at + written


def sealed(entry: AuditEntry, *, number: int, before: str, key: bytes) -> tuple[bytes, str]:
    """Return the line of an entry, and its seal."""
    said = {"number": number, **{name: _bounded(value) for name, value in entry.items()}, "before": before}
    seal = _seal(said, key)
    return json.dumps({**said, "seal": seal}, ensure_ascii=False).encode() + b"\n", seal


def _bounded(value: Any) -> Any:
    # What a token calls its subject may hold what no file can: a lone half of a pair, say.
    return value[:TEXT_LENGTH_MAX].encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def _seal(said: AuditEntry, key: bytes) -> str:
    content = json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass")
    return hmac.new(key, content, hashlib.sha256).hexdigest()


def examine(folder: Path, key: bytes) -> AuditFindings:
    """Look whether the audit log is as it was written; stops at the first entry that is not.

    Raises:
        OSError: it cannot be read.
    """
    count, seal, torn = 0, FIRST_SEAL, 0
    head_count, head_seal = _head(folder)
    seal_at_head = FIRST_SEAL if head_count == 0 else ""
    path = folder / FILE_NAME
    if path.exists():
        with path.open("rb") as stream:
            for line in stream:
                if not line.endswith(b"\n"):
                    torn = len(line)
                    break
                wrong, entry = _checked(line, number=count, before=seal, key=key)
                if wrong:
                    return AuditFindings(count=count, seal=seal, broken=f"entry {count}{_of(entry)}: {wrong}")
                count, seal = count + 1, str(entry["seal"])
                if count == head_count:
                    seal_at_head = seal
    broken = ""
    if count < head_count:
        broken = f"entry {count}: it is gone, with all behind it: there were {head_count}"
    elif seal_at_head != head_seal and head_seal:
        broken = f"entry {head_count - 1}: it is another than the one that was last written"
    return AuditFindings(count=count, seal=seal, broken=broken, torn_bytes=torn)


def _checked(line: bytes, *, number: int, before: str, key: bytes) -> tuple[str, dict[str, Any]]:
    try:
        entry = json.loads(line)
    except ValueError:
        return "it is no entry", {}
    if not isinstance(entry, dict):
        return "it is no entry", {}
    said = {name: value for name, value in entry.items() if name != "seal"}
    if not hmac.compare_digest(str(entry.get("seal")).encode(errors="replace"), _seal(said, key).encode()):
        return "what it says is not what was sealed", entry
    if entry.get("number") != number or entry.get("before") != before:
        return "an entry before it is gone, or was put in", entry
    return "", entry


def _of(entry: AuditEntry) -> str:
    return f" of {entry['time']}" if "time" in entry else ""


def _head(folder: Path) -> tuple[int, str]:
    try:
        count, seal = (folder / HEAD_NAME).read_text().split()
        return int(count), seal
    except (OSError, ValueError):
        return 0, ""


def entries_of(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the entries as they are written, unexamined; lines that are none say so.

    Raises:
        OSError: the log cannot be read.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return
    with path.open("rb") as stream:
        for line in stream:
            try:
                entry = json.loads(line)
            except ValueError:
                entry = None
            yield entry if isinstance(entry, dict) else {"note": "this line is no entry"}
