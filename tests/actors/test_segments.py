"""The embedded log under cut, flipped, swapped and refused bytes.

Laws:
    a file cut anywhere in its last groups reopens as exactly the complete groups before the cut;
    a file cut before an end that was noted is damage, however much is missing;
    any subset of the last group's blocks that never reached the disk reopens as the groups before it;
    a flipped bit is damage, or the very last group reads as torn; never other content;
    what no crash explains is named with file and byte, and nothing on disk changes;
    the chain catches what each record's own checksum cannot;
    a log loses its oldest segments only on purpose: a drop leaves evidence before the first file goes;
    whatever write or sync is refused, what was acknowledged is there afterwards and nothing is half there.
"""

import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from xxhash import xxh3_64_intdigest

from actors import failpoints
from actors.log.contract import (
    LOG_START,
    AppendFailed,
    DamagedLog,
    Epoch,
    LogLocked,
    LogUnavailable,
    Offset,
    OffsetOutOfRange,
    PartitionId,
    Record,
    RecordKind,
    UnknownFormat,
)
from actors.log.files import Files
from actors.log.frame import (
    FRAME_HEADER_BYTES,
    PAYLOAD_BYTES_MAX,
    SEGMENT_HEADER_BYTES,
    Checksum,
    Frame,
    FrameReader,
    SegmentHeader,
    encode_group,
)
from actors.log.inspection import inspect
from actors.log.marks import MARK_BYTES
from actors.log.segment_files import create_segment
from actors.log.segments import SegmentLog, SegmentSettings, SegmentStore

ZERO = PartitionId(0)


class UnsyncedFiles(Files):
    """Spares the thousands of reopenings here the disk's patience."""

    def fdatasync(self, descriptor: int) -> None: ...

    def fsync(self, descriptor: int) -> None: ...


def record(payload: bytes, epoch: int = 1) -> Record:
    return Record(kind=RecordKind.SIGNALS, version=1, epoch=Epoch(epoch), stamp_us=5, payload=payload)


def group(name: str, size: int) -> list[Record]:
    return [record(f"{name}{index}".encode() * (index + 1)) for index in range(size)]


GROUPS = [group("a", 2), group("b", 1), group("c", 3), group("d", 2)]


def byte_count(records: list[Record]) -> int:
    return sum(FRAME_HEADER_BYTES + len(each.payload) for each in records)


def write(
    directory: Path, groups: list[list[Record]] = GROUPS, *, keeps_end: bool = False, **settings: int
) -> list[Path]:
    """Write the groups; return the segment files. The mark of the end is lost, as after a power cut, unless kept."""
    log = SegmentStore(directory, settings=SegmentSettings(**settings)).open(ZERO)
    for each in groups:
        log.append(each)
    log.close()
    if not keeps_end:
        end_mark(directory).unlink()
    return sorted((directory / "p-0000").glob("*.seg"))


def end_mark(directory: Path) -> Path:
    return directory / "p-0000" / "end"


def records_of(log: SegmentLog) -> list[Record]:
    return [stored.record for stored in log.read(log.first_offset)]


def reopened(directory: Path, acknowledged_end: int = 0) -> tuple[list[Record], int]:
    """Open, read everything and close; return the records and how many bytes were cut."""
    log = SegmentStore(directory, files=UnsyncedFiles()).open(ZERO, acknowledged_end=Offset(acknowledged_end))
    try:
        return records_of(log), log.cut_bytes
    finally:
        log.close()


def flat(groups: list[list[Record]]) -> list[Record]:
    return [each for records in groups for each in records]


def overwrite(path: Path, content: bytes | bytearray) -> None:
    """Replace a file's bytes in place: emptying a file first makes ext4 flush it, thousands of times here."""
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*.seg"))}


def test_a_file_cut_at_any_byte_of_its_last_two_groups_keeps_exactly_the_complete_groups_before(tmp_path: Path):
    (path,) = write(tmp_path)
    whole = path.read_bytes()
    ends = [SEGMENT_HEADER_BYTES + byte_count(flat(GROUPS[:count])) for count in range(len(GROUPS) + 1)]
    assert ends[-1] == len(whole)
    for size in range(ends[2], len(whole) + 1):
        overwrite(path, whole[:size])
        complete = max(count for count, end in enumerate(ends) if end <= size)
        assert reopened(tmp_path) == (flat(GROUPS[:complete]), size - ends[complete])
        end_mark(tmp_path).unlink()
        assert path.read_bytes() == whole[: ends[complete]]


def test_a_cut_log_goes_on_where_it_was_cut(tmp_path: Path):
    (path,) = write(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    log = SegmentStore(tmp_path).open(ZERO)
    assert log.append(group("e", 2)) == 6
    log.close()
    assert reopened(tmp_path) == (flat([*GROUPS[:3], group("e", 2)]), 0)


def test_the_epoch_of_a_torn_group_does_not_count_and_that_of_older_segments_does(tmp_path: Path):
    paths = write(tmp_path, [[record(b"a", epoch=4)], [record(b"b", epoch=9)] * 2], segment_bytes=100)
    assert len(paths) == 2
    paths[1].write_bytes(paths[1].read_bytes()[:-1])
    log = SegmentStore(tmp_path).open(ZERO)
    assert (log.end_offset, log.last_epoch) == (1, 4)
    log.close()


@pytest.mark.parametrize("lost", range(1, 8))
def test_blocks_of_the_last_group_that_never_reached_the_disk_tear_it_whole_in_any_order(tmp_path: Path, lost: int):
    last = [record(bytes([65 + index]) * 1_000) for index in range(12)]
    (path,) = write(tmp_path, [*GROUPS, last])
    content = bytearray(path.read_bytes())
    begin = len(content) - byte_count(last)
    for block in range(3):
        if lost >> block & 1:
            content[begin + block * 4_096 : begin + (block + 1) * 4_096] = bytes(4_096)
    path.write_bytes(content)
    assert reopened(tmp_path) == (flat(GROUPS), byte_count(last))


def test_a_tail_of_zeros_is_torn(tmp_path: Path):
    (path,) = write(tmp_path)
    path.write_bytes(path.read_bytes() + bytes(10_000))
    assert reopened(tmp_path) == (flat(GROUPS), 10_000)


def test_a_torn_looking_tail_that_was_acknowledged_is_damage_and_stays(tmp_path: Path):
    (path,) = write(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    before = contents(tmp_path)
    with pytest.raises(DamagedLog, match="the log ends at offset 6, 8 was acknowledged"):
        reopened(tmp_path, acknowledged_end=8)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("segment_bytes", [64 << 20, 200])
def test_every_flipped_bit_is_damage_or_tears_the_very_last_group(tmp_path: Path, segment_bytes: int):
    groups = [group("a", 1), group("b", 2), group("c", 1)]
    paths = write(tmp_path, groups, segment_bytes=segment_bytes)
    last_begins = paths[-1].stat().st_size - byte_count(groups[-1])
    torn_count = 0
    for path in paths:
        whole = path.read_bytes()
        for bit in range(len(whole) * 8):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            overwrite(path, flipped)
            if path == paths[-1] and bit // 8 >= last_begins:
                assert reopened(tmp_path) == (flat(groups[:-1]), byte_count(groups[-1]))
                torn_count += 1
                end_mark(tmp_path).unlink()
            else:
                with pytest.raises(DamagedLog):
                    reopened(tmp_path)
                assert path.read_bytes() == flipped
                end_mark(tmp_path).unlink(missing_ok=True)
        overwrite(path, whole)
    assert torn_count == byte_count(groups[-1]) * 8
    assert reopened(tmp_path) == (flat(groups), 0)


def test_a_file_cut_anywhere_before_an_end_that_was_noted_is_damage(tmp_path: Path):
    """However much is missing: not only torn groups, whole ones that were acknowledged too."""
    (path,) = write(tmp_path, keeps_end=True)
    whole, mark = path.read_bytes(), end_mark(tmp_path).read_bytes()
    for size in range(SEGMENT_HEADER_BYTES, len(whole)):
        overwrite(path, whole[:size])
        with pytest.raises(DamagedLog, match=f"{path.name}.*8 was acknowledged"):
            reopened(tmp_path)
        assert any("8 was acknowledged" in problem for _, _, problem in problems(tmp_path))
        assert path.read_bytes() == whole[:size]
        assert end_mark(tmp_path).read_bytes() == mark
    overwrite(path, whole)
    assert reopened(tmp_path) == (flat(GROUPS), 0)


def test_a_last_segment_that_vanished_whole_is_damage_while_the_end_is_noted(tmp_path: Path):
    paths = write(tmp_path, keeps_end=True, segment_bytes=200)
    paths[-1].unlink()
    with pytest.raises(DamagedLog, match="the log ends at offset 6, 8 was acknowledged"):
        reopened(tmp_path)


def test_a_flipped_cut_or_stale_mark_of_the_end_changes_nothing(tmp_path: Path):
    write(tmp_path, GROUPS[:3], keeps_end=True)
    stale = end_mark(tmp_path).read_bytes()
    log = SegmentStore(tmp_path).open(ZERO)
    log.append(GROUPS[3])
    log.close()
    whole = end_mark(tmp_path).read_bytes()
    spoiled = [whole[:size] for size in range(len(whole))]
    for bit in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        spoiled.append(bytes(flipped))
    for content in [stale, *spoiled]:
        end_mark(tmp_path).write_bytes(content)
        assert list(problems(tmp_path)) == []
        assert reopened(tmp_path) == (flat(GROUPS), 0)
        assert end_mark(tmp_path).read_bytes() == whole, "opening notes it anew"


def test_an_end_that_cannot_be_noted_is_no_reason_to_refuse(tmp_path: Path):
    class NoteRefused(Files):
        def write(self, descriptor: int, content: memoryview, position: int) -> int:
            if len(content) == MARK_BYTES:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().write(descriptor, content, position)

    log = SegmentStore(tmp_path, files=NoteRefused()).open(ZERO)
    assert log.append(GROUPS[0]) == 0
    assert log.append(GROUPS[1]) == 2
    log.close()
    assert reopened(tmp_path) == (flat(GROUPS[:2]), 0)


def test_a_group_whose_sync_failed_is_not_noted(tmp_path: Path):
    class SyncRefused(Files):
        is_armed = False

        def fdatasync(self, descriptor: int) -> None:
            if self.is_armed:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

    files = SyncRefused()
    log = SegmentStore(tmp_path, files=files).open(ZERO)
    log.append(GROUPS[0])
    before = end_mark(tmp_path).read_bytes()
    files.is_armed = True
    with pytest.raises(AppendFailed):
        log.append(GROUPS[1])
    log.close()
    assert end_mark(tmp_path).read_bytes() == before


def test_damage_with_a_later_group_behind_it_names_file_and_byte(tmp_path: Path):
    (path,) = write(tmp_path)
    content = bytearray(path.read_bytes())
    begin = SEGMENT_HEADER_BYTES + byte_count(GROUPS[0])
    content[begin + FRAME_HEADER_BYTES] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedLog) as caught:
        reopened(tmp_path)
    assert (caught.value.path, caught.value.position) == (str(path), begin)
    assert "good record 3 of a later group follows" in caught.value.what


def test_a_length_beyond_the_limit_is_damage(tmp_path: Path):
    (path,) = write(tmp_path)
    content = bytearray(path.read_bytes())
    content[SEGMENT_HEADER_BYTES + 12 : SEGMENT_HEADER_BYTES + 16] = (PAYLOAD_BYTES_MAX + 1).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(DamagedLog, match=f"length {PAYLOAD_BYTES_MAX + 1} is beyond the limit"):
        reopened(tmp_path)


def test_damage_in_an_older_segment_is_found_when_it_is_read(tmp_path: Path):
    paths = write(tmp_path, segment_bytes=200)
    content = bytearray(paths[1].read_bytes())
    content[-1] ^= 1
    paths[1].write_bytes(content)
    log = SegmentStore(tmp_path).open(ZERO)
    reading = log.read(Offset(0))
    assert [next(reading).record for _ in range(2)] == GROUPS[0]
    with pytest.raises(DamagedLog, match=f"{paths[1].name} is damaged at byte {SEGMENT_HEADER_BYTES}"):
        next(reading)
    assert [stored.record for stored in log.read(Offset(6))] == GROUPS[3]
    log.close()


def test_a_missing_segment_a_shortened_one_and_none_at_all_are_damage_when_opening(tmp_path: Path):
    paths = write(tmp_path, segment_bytes=200)
    assert len(paths) == 4
    whole = paths[1].read_bytes()
    paths[1].unlink()
    with pytest.raises(DamagedLog, match=f"it continues {paths[1].name}, which is missing"):
        reopened(tmp_path)
    paths[1].write_bytes(whole[:-1])
    with pytest.raises(DamagedLog, match=f"{len(whole) - 1} bytes long, {len(whole)} when the next one was begun"):
        reopened(tmp_path)
    for path in paths:
        path.unlink(missing_ok=True)
    with pytest.raises(DamagedLog, match="holds no segment"):
        reopened(tmp_path)


def test_another_partitions_segment_is_damage(tmp_path: Path):
    (path,) = write(tmp_path)
    path.parent.rename(tmp_path / "p-0001")
    with pytest.raises(DamagedLog, match="belongs to partition 0"):
        SegmentStore(tmp_path).open(PartitionId(1))


def test_a_record_of_a_newer_version_is_neither_cut_nor_called_damage(tmp_path: Path):
    (path,) = write(tmp_path, GROUPS[:1])
    before = path.read_bytes()
    chained = Checksum(int.from_bytes(before[-byte_count(GROUPS[0][1:]) :][:8], "little"))
    newer = Record(kind=99, version=1, epoch=Epoch(1), stamp_us=5, payload=b"")  # type: ignore[arg-type]
    path.write_bytes(before + encode_group([newer], offset=Offset(2), previous=chained)[0])
    with pytest.raises(UnknownFormat, match="record 2 is of unknown kind 99"):
        reopened(tmp_path)
    assert path.stat().st_size == len(before) + FRAME_HEADER_BYTES


def good_alone(path: Path) -> list[Frame]:
    """A checker without the chain: every frame against its own checksum and offset only."""
    frames: list[Frame] = []
    descriptor = os.open(path, os.O_RDONLY)
    reader = FrameReader(Files(), descriptor, end=path.stat().st_size)
    position = SEGMENT_HEADER_BYTES
    while position < path.stat().st_size:
        frame = reader.frame_at(position)
        assert isinstance(frame, Frame)
        assert frame.offset == len(frames)
        frames.append(frame)
        position = frame.end
    os.close(descriptor)
    return frames


@pytest.mark.parametrize("swapped", [1, 3], ids=["in the middle", "in the last group"])
def test_the_chain_alone_catches_two_records_that_changed_places(tmp_path: Path, swapped: int):
    """Negative control: offsets and checksums of the swapped pair are right, so only the chain tells."""
    groups = [[record(b"a")], [record(b"b"), record(b"c")], [record(b"d")], [record(b"e"), record(b"f")]]
    (path,) = write(tmp_path / "log", groups)
    (other,) = write(tmp_path / "other", [each[::-1] for each in groups])
    begin = SEGMENT_HEADER_BYTES + byte_count(flat(groups[:swapped]))
    end = begin + byte_count(groups[swapped])
    content = path.read_bytes()
    path.write_bytes(content[:begin] + other.read_bytes()[begin:end] + content[end:])

    payloads = b"".join(frame.payload for frame in good_alone(path))
    assert payloads == (b"acbdef" if swapped == 1 else b"abcdfe"), "without the chain the swap goes unnoticed"
    with pytest.raises(DamagedLog, match="does not chain"):
        reopened(tmp_path / "log")


@pytest.mark.parametrize(("offset", "what"), [(Offset(7), "offset 7, expected 2"), (Offset(2), "index 1 in its group")])
def test_a_record_that_chains_but_claims_another_place_is_damage(tmp_path: Path, offset: Offset, what: str):
    (path,) = write(tmp_path, GROUPS[:1])
    checksum = good_alone(path)[-1].checksum
    misplaced, _ = encode_group([record(b"x")], offset=offset, previous=checksum)
    if offset == 2:
        covered = misplaced[8:48] + (1).to_bytes(4, "little") + misplaced[52:]
        misplaced = xxh3_64_intdigest(covered).to_bytes(8, "little") + covered
    path.write_bytes(path.read_bytes() + misplaced)
    with pytest.raises(DamagedLog, match=what):
        reopened(tmp_path)


def test_a_segment_of_another_history_is_caught_when_it_is_read(tmp_path: Path):
    paths = write(tmp_path / "log", segment_bytes=200)
    others = write(tmp_path / "other", [GROUPS[0], [record(b"B0")], *GROUPS[2:]], segment_bytes=200)
    shutil.copy(others[1], paths[1])
    log = SegmentStore(tmp_path / "log").open(ZERO)
    with pytest.raises(DamagedLog, match="the log goes on at 3"):
        records_of(log)
    log.close()


def test_a_group_that_does_not_fit_opens_the_next_segment_named_by_its_first_offset(tmp_path: Path):
    size = SEGMENT_HEADER_BYTES + byte_count(flat(GROUPS[:2]))
    exactly = write(tmp_path / "exactly", GROUPS[:3], segment_bytes=size)
    assert [path.name for path in exactly] == [f"{0:020d}.seg", f"{3:020d}.seg"]
    less = write(tmp_path / "less", GROUPS[:3], segment_bytes=size - 1)
    assert [path.name for path in less] == [f"{0:020d}.seg", f"{2:020d}.seg", f"{3:020d}.seg"]
    assert reopened(tmp_path / "less") == (flat(GROUPS[:3]), 0)


@pytest.mark.parametrize(
    "settings",
    [{"segment_bytes": SEGMENT_HEADER_BYTES}, {"record_bytes_max": PAYLOAD_BYTES_MAX + 1}, {"record_bytes_max": 0}],
)
def test_settings_that_contradict_the_format_are_refused(settings: dict[str, int]):
    with pytest.raises(AssertionError):
        SegmentSettings(**settings)


def test_a_partition_held_by_another_process_names_it_and_is_free_once_it_died(tmp_path: Path):
    program = (
        "import sys; from pathlib import Path; from actors.log.segments import SegmentStore;"
        "log = SegmentStore(Path(sys.argv[1])).open(0); print('open', flush=True); sys.stdin.read()"
    )
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", program, str(tmp_path)]
    holder = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(LogLocked, match=f"held by process {holder.pid}; stop that process"):
            SegmentStore(tmp_path).open(ZERO)
        holder.kill()
        holder.wait()
    SegmentStore(tmp_path).open(ZERO).close()


def test_a_new_logs_names_are_durable_up_to_the_first_directory_that_existed(tmp_path: Path):
    calls: list[str] = []

    class ToldFiles(Files):
        def sync_directory(self, directory: Path) -> None:
            calls.append(f"sync {directory.relative_to(tmp_path)}")

        def rename(self, source: Path, target: Path) -> None:
            calls.append(f"rename {target.relative_to(tmp_path)}")
            super().rename(source, target)

    SegmentStore(tmp_path / "data" / "log", files=ToldFiles()).open(ZERO).close()
    assert calls == [
        "sync .",
        "sync data",
        "sync data/log",
        f"rename data/log/p-0000.tmp/{0:020d}.seg",
        "sync data/log/p-0000.tmp",
        "rename data/log/p-0000",
        "sync data/log",
    ]


def test_a_file_where_the_directory_should_be_is_named(tmp_path: Path):
    (tmp_path / "log").write_text("not a directory")
    with pytest.raises(LogUnavailable, match=str(tmp_path / "log")):
        SegmentStore(tmp_path / "log").open(ZERO)


class FailingFiles(Files):
    """Refuses the n-th call that changes the disk, taking half of a refused write first."""

    def __init__(self, fails_at: int, number: int) -> None:
        self.calls = 0
        self._fails_at = fails_at
        self._number = number

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self._fails_at:
            raise OSError(self._number, os.strerror(self._number))

    def write(self, descriptor: int, content: memoryview, position: int) -> int:
        try:
            self._count()
        except OSError:
            super().write(descriptor, content[: len(content) // 2], position)
            raise
        return super().write(descriptor, content[:50], position)

    def fdatasync(self, descriptor: int) -> None:
        self._count()

    def fsync(self, descriptor: int) -> None:
        self._count()

    def rename(self, source: Path, target: Path) -> None:
        self._count()
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        self._count()
        super().unlink(path)

    def truncate(self, descriptor: int, size: int) -> None:
        self._count()
        super().truncate(descriptor, size)


def run_until_refused(directory: Path, files: FailingFiles) -> tuple[list[Record], list[Record]]:
    """Append all groups; return what was acknowledged and the group whose outcome is unknown."""
    acknowledged: list[Record] = []
    log = SegmentStore(directory, settings=SegmentSettings(segment_bytes=300), files=files).open(ZERO)
    try:
        for each in GROUPS:
            try:
                log.append(each)
            except AppendFailed:
                with pytest.raises(AppendFailed):
                    log.append(each)
                return acknowledged, each
            acknowledged += each
    finally:
        log.close()
    return acknowledged, []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_whatever_call_is_refused_nothing_acknowledged_is_lost_and_nothing_is_half_there(tmp_path: Path, number: int):
    refused_count, append_failed_count = 0, 0
    for fails_at in range(1, 200):
        files = FailingFiles(fails_at, number)
        directory = tmp_path / str(fails_at)
        acknowledged: list[Record] = []
        unknown: list[Record] = []
        with suppress(LogUnavailable):
            acknowledged, unknown = run_until_refused(directory, files)
        assert reopened(directory)[0] in (acknowledged, acknowledged + unknown)
        append_failed_count += bool(unknown)
        if files.calls < fails_at:
            break
        refused_count += 1
    else:
        pytest.fail("the run never completed")
    assert acknowledged == flat(GROUPS)
    assert refused_count > append_failed_count > 20


def test_a_torn_group_that_cannot_be_cut_leaves_the_partition_closed_and_the_next_try_succeeds(tmp_path: Path):
    (path,) = write(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    for fails_at in (1, 2, 3):
        assert not end_mark(tmp_path).exists()
        with pytest.raises(LogUnavailable):
            SegmentStore(tmp_path, files=FailingFiles(fails_at, errno.EIO)).open(ZERO)
    assert reopened(tmp_path)[0] == flat(GROUPS[:3])


class Interruption(BaseException):
    """Stands for what may stop a thread anywhere, such as KeyboardInterrupt."""


def test_an_append_that_was_interrupted_has_an_unknown_outcome(tmp_path: Path):
    class InterruptedFiles(Files):
        is_armed = False

        def fdatasync(self, descriptor: int) -> None:
            if self.is_armed:
                raise Interruption

    files = InterruptedFiles()
    log = SegmentStore(tmp_path, files=files).open(ZERO)
    files.is_armed = True
    with pytest.raises(Interruption):
        log.append(GROUPS[0])
    with pytest.raises(AppendFailed, match="interrupted"):
        log.append(GROUPS[0])
    log.close()


def test_each_group_is_one_write_and_one_sync_before_it_is_noted_and_acknowledged(tmp_path: Path):
    calls: list[str] = []

    class ToldFiles(Files):
        def write(self, descriptor: int, content: memoryview, position: int) -> int:
            calls.append("note" if len(content) == MARK_BYTES else "write")
            return super().write(descriptor, content, position)

        def fdatasync(self, descriptor: int) -> None:
            calls.append("fdatasync")

        def fsync(self, descriptor: int) -> None:
            calls.append("fsync")

        def rename(self, source: Path, target: Path) -> None:
            calls.append("rename")
            super().rename(source, target)

    log = SegmentStore(tmp_path, settings=SegmentSettings(segment_bytes=300), files=ToldFiles()).open(ZERO)
    calls.clear()
    log.append(GROUPS[0])
    assert calls == ["write", "fdatasync", "note"]
    calls.clear()
    log.append(GROUPS[2])
    assert calls == ["write", "fsync", "rename", "fsync", "write", "fdatasync", "note"]
    log.close()


def test_what_an_owner_wrote_and_did_not_sync_is_synced_before_a_new_one_reads_it(tmp_path: Path):
    write(tmp_path)
    calls: list[str] = []

    class ToldFiles(Files):
        def fdatasync(self, descriptor: int) -> None:
            calls.append("fdatasync")

        def forget_cached(self, descriptor: int) -> None:
            calls.append("forget_cached")

        def read(self, descriptor: int, length: int, position: int) -> bytes:
            names = {SEGMENT_HEADER_BYTES: "header", MARK_BYTES + 1: "mark"}
            calls.append(names.get(length, "frames"))
            return super().read(descriptor, length, position)

    SegmentStore(tmp_path, files=ToldFiles()).open(ZERO).close()
    assert calls[:4] == ["header", "fdatasync", "forget_cached", "frames"]


def problems(directory: Path) -> Iterator[tuple[str, int, str]]:
    for entry in inspect(directory / "p-0000"):
        if entry.problem:
            yield entry.path.name, entry.position, entry.problem


def test_inspection_of_a_good_log_yields_every_record_and_no_problem(tmp_path: Path):
    paths = write(tmp_path, segment_bytes=200)
    entries = list(inspect(tmp_path / "p-0000"))
    assert [entry.frame.stored().record for entry in entries if entry.frame] == flat(GROUPS)
    assert [entry.path for entry in entries if entry.header] == paths
    assert list(problems(tmp_path)) == []


def test_inspection_names_damage_goes_on_behind_it_and_changes_nothing(tmp_path: Path):
    paths = write(tmp_path, segment_bytes=350)
    content = bytearray(paths[0].read_bytes())
    content[SEGMENT_HEADER_BYTES + 12] ^= 1  # the first record's length
    paths[0].write_bytes(content)
    paths[-1].write_bytes(paths[-1].read_bytes()[:-1])
    before = contents(tmp_path)
    assert [(name, position) for name, position, _ in problems(tmp_path)] == [
        (paths[0].name, SEGMENT_HEADER_BYTES),
        (paths[-1].name, SEGMENT_HEADER_BYTES + byte_count(GROUPS[3][:1])),
    ]
    seen = [entry.frame.offset for entry in inspect(tmp_path / "p-0000") if entry.frame]
    assert seen == [1, 2, 3, 4, 5, 6]
    assert contents(tmp_path) == before


def test_every_flipped_bit_shows_in_an_inspection(tmp_path: Path):
    (path,) = write(tmp_path, GROUPS[:2])
    whole = path.read_bytes()
    for bit in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        overwrite(path, flipped)
        assert list(problems(tmp_path)), f"bit {bit}"


def test_a_leftover_of_an_unfinished_segment_is_overwritten(tmp_path: Path):
    write(tmp_path)
    (tmp_path / "p-0000" / "next.tmp").write_bytes(b"left over" * 100)
    log = SegmentStore(tmp_path, settings=SegmentSettings(segment_bytes=100)).open(ZERO)
    log.append(GROUPS[0])
    log.close()
    assert reopened(tmp_path)[0] == flat([*GROUPS, GROUPS[0]])


def opened(directory: Path, files: Files | None = None, segment_bytes: int = 200) -> SegmentLog:
    return SegmentStore(directory, settings=SegmentSettings(segment_bytes=segment_bytes), files=files).open(ZERO)


def test_what_is_dropped_is_whole_segments_that_end_before_the_offset_and_never_the_last(tmp_path: Path):
    paths = write(tmp_path, segment_bytes=200)
    firsts = [int(path.stem) for path in paths]
    assert firsts == [0, 2, 3, 6]
    log = opened(tmp_path)
    for offset, kept in [(0, 0), (1, 0), (2, 1), (2, 1), (1, 1), (5, 2), (8, 3), (8, 3)]:
        assert log.drop_before(Offset(offset)) == firsts[kept]
        assert sorted((tmp_path / "p-0000").glob("*.seg")) == paths[kept:]
        assert records_of(log) == flat(GROUPS[kept:])
        with pytest.raises(OffsetOutOfRange):
            log.read(Offset(firsts[kept] - 1))
    assert log.append(group("e", 2)) == 8
    log.close()
    assert reopened(tmp_path) == (flat([GROUPS[3], group("e", 2)]), 0)
    assert list(problems(tmp_path)) == []


def test_log_is_as_old_as_its_segments_say_one_after_another_however_wrong_a_clock_was(tmp_path: Path):
    log = opened(tmp_path, segment_bytes=200)
    # Of a segment each; the third was written while the clock was at its beginning.
    for stamp_us in (100, 200, 3, 300, 400):
        log.append([replace(record(b"x" * 150), stamp_us=stamp_us)])
    assert [log.written_before(time_us) for time_us in (0, 100, 101, 200, 201, 301, 1_000)] == [0, 0, 0, 0, 2, 3, 4]
    log.close()
    log = opened(tmp_path, segment_bytes=200)
    assert log.written_before(301) == 3
    log.close()
    empty = opened(tmp_path / "new")
    assert empty.written_before(1_000) == 0
    empty.close()


def test_an_oldest_segment_that_was_not_dropped_and_is_missing_is_damage(tmp_path: Path):
    paths = write(tmp_path, segment_bytes=200)
    whole = paths[0].read_bytes()
    paths[0].unlink()
    with pytest.raises(DamagedLog, match="the log begins at offset 0, and this segment is missing"):
        reopened(tmp_path)
    paths[0].write_bytes(whole)
    log = opened(tmp_path)
    log.drop_before(Offset(2))
    log.close()
    paths[1].unlink()
    with pytest.raises(DamagedLog, match=f"{paths[1].name}.*begins at offset 2, and this segment is missing"):
        reopened(tmp_path)


def test_a_lost_flipped_or_cut_marker_of_the_beginning_is_damage(tmp_path: Path):
    write(tmp_path, segment_bytes=200)
    log = opened(tmp_path)
    log.drop_before(Offset(3))
    log.close()
    marker = tmp_path / "p-0000" / "first"
    whole = marker.read_bytes()
    for bit in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        marker.write_bytes(flipped)
        with pytest.raises(DamagedLog, match="first is damaged"):
            reopened(tmp_path)
    for size in range(len(whole)):
        marker.write_bytes(whole[:size])
        with pytest.raises(DamagedLog, match="first is damaged"):
            reopened(tmp_path)
    marker.unlink()
    with pytest.raises(DamagedLog, match="begins at offset 0, and this segment is missing"):
        reopened(tmp_path)
    marker.write_bytes(whole)
    assert reopened(tmp_path) == (flat(GROUPS[2:]), 0)


class StoppingFiles(Files):
    """Stops the process, as it were, before the n-th call that changes the disk."""

    def __init__(self, stops_at: int) -> None:
        self.calls = 0
        self._stops_at = stops_at

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self._stops_at:
            raise Interruption

    def write(self, descriptor: int, content: memoryview, position: int) -> int:
        self._count()
        return super().write(descriptor, content, position)

    def fsync(self, descriptor: int) -> None:
        self._count()

    def rename(self, source: Path, target: Path) -> None:
        self._count()
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        self._count()
        super().unlink(path)


def test_a_drop_that_is_interrupted_anywhere_leaves_a_readable_log_and_is_finished_by_opening_it(tmp_path: Path):
    seen = set()
    for stops_at in range(1, 20):
        directory = tmp_path / str(stops_at)
        paths = write(directory, segment_bytes=200)
        files = StoppingFiles(1_000)
        log = opened(directory, files)
        files.calls, files._stops_at = 0, stops_at
        is_stopped = False
        try:
            log.drop_before(Offset(6))
        except Interruption:
            is_stopped = True
        log.close()
        again = opened(directory)
        seen.add((int(again.first_offset), is_stopped))
        assert records_of(again) == flat(GROUPS[3:] if again.first_offset else GROUPS)
        assert sorted((directory / "p-0000").glob("*.seg")) == (paths[3:] if again.first_offset else paths)
        assert again.drop_before(Offset(6)) == 6
        again.close()
        if not is_stopped:
            break
    assert seen == {(0, True), (6, True), (6, False)}


def test_a_drop_that_the_disk_refuses_says_so_and_succeeds_when_asked_again(tmp_path: Path):
    for fails_at in range(1, 20):
        directory = tmp_path / str(fails_at)
        write(directory, segment_bytes=200)
        files = FailingFiles(10_000, errno.EIO)
        log = opened(directory, files)
        files.calls, files._fails_at = 0, fails_at
        try:
            log.drop_before(Offset(6))
        except LogUnavailable:
            assert records_of(log) == flat(GROUPS)[log.first_offset :]
            assert log.drop_before(Offset(6)) == 6
            assert log.append(group("e", 1)) == 8
            log.close()
            continue
        log.close()
        break
    else:
        pytest.fail("never succeeded")
    # Marker: write, sync, rename, sync of the directory; then three unlinks and the directory again.
    assert fails_at == 9


def test_a_reader_inside_a_dropped_segment_finishes_it_and_one_before_it_is_told(tmp_path: Path):
    write(tmp_path, segment_bytes=200)
    log = opened(tmp_path)
    inside, before, behind = log.read(Offset(0)), log.read(Offset(0)), log.read(Offset(6))
    got = [next(inside).record]
    assert log.drop_before(Offset(6)) == 6
    with pytest.raises(OffsetOutOfRange, match=r"asked for offset 2, the log holds \[6, 8\)"):
        got.extend(stored.record for stored in inside)
    assert got == GROUPS[0]
    with pytest.raises(OffsetOutOfRange, match=r"asked for offset 0, the log holds \[6, 8\)"):
        next(before)
    assert [stored.record for stored in behind] == GROUPS[3]
    log.close()


def test_a_segment_that_vanished_under_an_open_log_is_no_reason_to_say_it_was_dropped(tmp_path: Path):
    paths = write(tmp_path, segment_bytes=200)
    log = opened(tmp_path)
    paths[1].unlink()
    with pytest.raises(LogUnavailable, match=paths[1].name):
        records_of(log)
    log.close()


def test_refresh_says_where_the_log_ends(tmp_path: Path):
    log = opened(tmp_path)
    assert log.refresh() == 0
    log.append(GROUPS[0])
    assert log.refresh() == log.end_offset == 2
    log.close()


def test_failpoints_are_reached_in_the_order_things_become_durable(tmp_path: Path):
    reached: list[str] = []
    log = opened(tmp_path)
    failpoints.arm(lambda failpoint: reached.append(str(failpoint)))
    try:
        for each in GROUPS[:2]:
            log.append(each)
        log.drop_before(Offset(2))
    finally:
        failpoints.arm(failpoints._pass_by)
        log.close()
    group_points = ["group-written", "group-synced"]
    assert reached == [*group_points, "segment-rolled", *group_points, "log-dropped"]


def test_a_disk_that_takes_nothing_and_says_nothing_is_an_error_and_not_a_hang(tmp_path: Path):
    class NothingTaken(Files):
        def write(self, descriptor: int, content: memoryview, position: int) -> int:
            return 0

    log = opened(tmp_path)
    log._files = NothingTaken()
    with pytest.raises(AppendFailed, match="takes no more bytes"):
        log.append(GROUPS[0])
    log.close()


def test_a_header_is_64_bytes_and_begins_with_its_magic(tmp_path: Path):
    header = SegmentHeader(
        partition=ZERO,
        first_offset=Offset(0),
        last_epoch=Epoch(0),
        previous_first_offset=Offset(0),
        previous_bytes=0,
        previous_checksum=Checksum(0),
    )
    segment, descriptor = create_segment(tmp_path, header, Files())
    os.close(descriptor)
    assert segment.path.read_bytes()[:12] == b"hearthsg\x01\x00\x00\x00"
    assert segment.path.stat().st_size == 64


class GatedFiles(Files):
    """Holds the next sync until it is let through."""

    def __init__(self) -> None:
        self.is_gated = False
        self.reached, self.gate = threading.Event(), threading.Event()

    def fdatasync(self, descriptor: int) -> None:
        if self.is_gated:
            self.reached.set()
            assert self.gate.wait(10)
        super().fdatasync(descriptor)


def test_what_is_durable_can_be_read_while_the_next_group_is_being_synced(tmp_path: Path) -> None:
    files = GatedFiles()
    log = SegmentStore(tmp_path, files=files).open(ZERO)
    log.append(GROUPS[0])
    files.is_gated = True
    appending = threading.Thread(target=log.append, args=(GROUPS[1],))
    appending.start()
    assert files.reached.wait(10)

    meanwhile = records_of(log)
    files.gate.set()
    appending.join()

    assert meanwhile == GROUPS[0]
    assert records_of(log) == GROUPS[0] + GROUPS[1]


@pytest.mark.parametrize("reopen", [False, True])
def test_reading_from_anywhere_gives_what_reading_from_the_start_gives(tmp_path: Path, reopen: bool) -> None:
    store = SegmentStore(tmp_path, settings=SegmentSettings(segment_bytes=300_000), files=UnsyncedFiles())
    log = store.open(ZERO)
    for number in range(60):
        log.append([record(bytes([number]) * 5_000), record(bytes([number, 1]) * 4_000)])
    if reopen:
        log.close()
        log = store.open(ZERO)
    whole = list(log.read(Offset(0)))

    assert len(whole) == 120
    assert len(list(tmp_path.glob("p-0000/*.seg"))) > 2
    for start in range(0, 121, 7):
        assert list(log.read(Offset(start))) == whole[start:]


def test_who_follows_reads_no_group_before_it_is_whole(tmp_path: Path):
    """Whatever part of it has reached the file when he looks."""
    (path,) = write(tmp_path, GROUPS[:2])
    before = path.read_bytes()
    overwrite(path, before)
    write(tmp_path, GROUPS[2:3])
    whole = path.read_bytes()
    store = SegmentStore(tmp_path, files=UnsyncedFiles())
    for length in range(len(before), len(whole)):
        for filling in (b"", bytes(len(whole) - length)):
            path.write_bytes(whole[:length] + filling)
            follower = store.follow(ZERO, LOG_START)
            assert [stored.record for stored in follower.read_on()] == flat(GROUPS[:2])
            path.write_bytes(whole)
            assert [stored.record for stored in follower.read_on()] == GROUPS[2]
            follower.close()


def test_who_follows_names_what_no_crash_explains(tmp_path: Path):
    paths = write(tmp_path, segment_bytes=200)
    assert len(paths) > 1
    content = bytearray(paths[0].read_bytes())
    content[-1] ^= 1
    overwrite(paths[0], content)
    follower = SegmentStore(tmp_path).follow(ZERO, LOG_START)
    with pytest.raises(DamagedLog, match=paths[0].name):
        list(follower.read_on())
    follower.close()


def test_a_piece_that_cannot_be_begun_makes_the_log_dead_and_loses_nothing(tmp_path: Path):
    was_dead = 0
    for fails_at in range(1, 10):
        directory = tmp_path / str(fails_at)
        write(directory, GROUPS[:1], keeps_end=True)
        files = FailingFiles(fails_at, errno.EIO)
        try:
            log = SegmentStore(directory, files=files).open(ZERO)
        except LogUnavailable:
            continue
        try:
            log.begin_piece()
        except AppendFailed:
            was_dead += 1
            with pytest.raises(AppendFailed):
                log.append(GROUPS[1])
        log.close()
        assert reopened(directory)[0][:2] == GROUPS[0]
    assert was_dead
