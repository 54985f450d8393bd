"""Records whose payload holds the bytes of whole frames, as any client can send them in an id, a key or a text.

Laws:
    a power cut at any byte of such a record leaves a torn group, for opening, for repair and for readers;
    damage to what was acknowledged is found as in any other log, and no more is said to be lost than was;
    what was written is read as it was written, whatever it holds.
Both as they are written now (escaped) and as older versions wrote them.
"""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from xxhash import xxh3_64_intdigest

from actors.log.contract import DamagedLog, Epoch, Offset, PartitionId, Record, RecordKind
from actors.log.examination import LogVerdict, examine
from actors.log.files import Files
from actors.log.frame import FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES, Checksum, encode_group
from actors.log.reading import read_only_logs
from actors.log.remedy import RemedyKind, choose
from actors.log.segments import SegmentStore

ZERO = PartitionId(0)
LATER = Epoch(1_000)

Encode = Callable[..., tuple[bytes, Checksum]]


class UnsyncedFiles(Files):
    """Spares thousands of reopenings the disk's patience."""

    def fdatasync(self, descriptor: int) -> None: ...

    def fsync(self, descriptor: int) -> None: ...


FILES = UnsyncedFiles()


def record(payload: bytes, epoch: int = 3) -> Record:
    return Record(kind=RecordKind.SIGNALS, version=1, epoch=Epoch(epoch), stamp_us=5, payload=payload)


BEFORE = [[record(b"one")], [record(b"two"), record(b"three")]]
END = 3


def as_older_versions_wrote(records: Sequence[Record], *, offset: Offset, previous: Checksum) -> tuple[bytes, Checksum]:
    """Frame a group with payloads as they are; docs/decisions/0005-embedded-log.md has the layout."""
    content = b""
    for index, one in enumerate(records):
        fields = (b"HFRM", len(one.payload), offset + index, previous, one.epoch, one.stamp_us, index)
        last = int(index == len(records) - 1)
        covered = struct.pack("<4sIQQQqIHBB", *fields, one.version, one.kind, last) + one.payload
        previous = Checksum(xxh3_64_intdigest(covered))
        content += struct.pack("<Q", previous) + covered
    return content, previous


def frames(offset: int, *groups: list[Record], previous: int = 77) -> bytes:
    """Return groups that chain among themselves, from an offset on."""
    content, checksum = b"", Checksum(previous)
    for group in groups:
        framed, checksum = as_older_versions_wrote(group, offset=Offset(offset), previous=checksum)
        content, offset = content + framed, offset + len(group)
    return content


def own_frame(log: bytes, number: int) -> bytes:
    """Return a frame of the log itself, as it stands in its file."""
    at = SEGMENT_HEADER_BYTES
    for _ in range(number):
        at += FRAME_HEADER_BYTES + struct.unpack_from("<I", log, at + 12)[0]
    return log[at : at + FRAME_HEADER_BYTES + struct.unpack_from("<I", log, at + 12)[0]]


def last_checksum(log: bytes) -> int:
    return int.from_bytes(own_frame(log, END - 1)[:8], "little")


HELD = {
    "one of its own": lambda log: own_frame(log, 0),
    "its own newest": lambda log: own_frame(log, END - 1),
    "its own offset": lambda log: frames(END, [record(b"x")], previous=last_checksum(log)),
    "the offset that comes next": lambda log: frames(END + 1, [record(b"x")], previous=last_checksum(log)),
    "several that chain": lambda _: frames(END + 1, [record(b"x")], [record(b"y"), record(b"z")], [record(b"")]),
    "half a group": lambda _: frames(END + 2, [record(b"x"), record(b"y")])[FRAME_HEADER_BYTES + 1 :],
    "a far offset and epoch": lambda _: frames(2**40, [record(b"x", epoch=LATER)]),
    "what belongs nowhere": lambda _: frames(END + 1, [record(b"x")]) + frames(9, [record(b"y")]),
    "one inside another": lambda _: frames(END + 1, [record(frames(END + 2, [record(b"x")]))]),
}


def write(directory: Path) -> tuple[Path, bytes]:
    """Write BEFORE; return the segment and its bytes, the mark of the end lost as after a power cut."""
    log = SegmentStore(directory, files=FILES).open(ZERO)
    for group in BEFORE:
        log.append(group)
    log.close()
    (path,) = (directory / "p-0000").glob("*.seg")
    forget_end(directory)
    return path, path.read_bytes()


def forget_end(directory: Path) -> None:
    (directory / "p-0000" / "end").unlink(missing_ok=True)


def records_of(directory: Path) -> list[Record]:
    log = SegmentStore(directory, files=FILES).open(ZERO)
    try:
        return [stored.record for stored in log.read(Offset(0))]
    finally:
        log.close()
        forget_end(directory)


def appended(log: bytes, encode: Encode, *groups: list[Record]) -> tuple[bytes, list[int]]:
    """Return the log with groups behind its end, and where each ends."""
    checksum, offset, ends = Checksum(last_checksum(log)), END, []
    for group in groups:
        content, checksum = encode(group, offset=Offset(offset), previous=checksum)
        log, offset = log + content, offset + len(group)
        ends.append(len(log))
    return log, ends


flat = [each for group in BEFORE for each in group]
both_ways = pytest.mark.parametrize(
    "encode", [encode_group, as_older_versions_wrote], ids=["as now", "as older versions wrote"]
)


@both_ways
@pytest.mark.parametrize("held", HELD)
def test_a_cut_at_any_byte_of_a_record_that_holds_frames_is_torn(tmp_path: Path, held: str, encode: Encode):
    path, log = write(tmp_path)
    frame = HELD[held](log)
    for group in (
        [record(frame + b"tail")],
        [record(b"-"), record(b"-" + frame)],
    ):
        content, _ = appended(log, encode, group)
        for size in range(len(log) + 1, len(content)):
            path.write_bytes(content[:size])
            examination = examine(ZERO, path.parent, FILES)
            assert examination.verdict is LogVerdict.TORN, (size, examination.problems)
            assert examination.torn_bytes == size - len(log)
            assert examination.last_epoch == 3
            remedy = choose(examination, [])
            assert (remedy.kind, remedy.lost) == (RemedyKind.NOTHING, ())
            assert [stored.record for _, stored in read_only_logs(tmp_path)] == flat
            assert records_of(tmp_path) == flat
            assert path.read_bytes() == log, "opening cuts it"
        path.write_bytes(content)
        assert records_of(tmp_path) == [*flat, *group]


@pytest.mark.parametrize("held", HELD)
def test_blocks_that_never_reached_the_disk_tear_a_record_that_holds_frames(tmp_path: Path, held: str):
    """The device orders its own writes: the header may be missing, and what the record held be there."""
    path, log = write(tmp_path)
    frame = HELD[held](log)
    content, _ = appended(log, encode_group, [record(b"a"), record(frame + bytes(40) + frame)])
    for missing in range(len(log), len(content), 7):
        path.write_bytes(content[: len(log)] + bytes(missing - len(log)) + content[missing:])
        if missing > len(log):
            assert examine(ZERO, path.parent, FILES).verdict is LogVerdict.TORN
            assert records_of(tmp_path) == flat


@both_ways
@pytest.mark.parametrize("held", HELD)
def test_a_flipped_bit_in_an_acknowledged_record_that_holds_frames_is_found(tmp_path: Path, held: str, encode: Encode):
    path, log = write(tmp_path)
    groups = [[record(b"a" + HELD[held](log) + b"b")], [record(b"real")]]
    content, (end, _) = appended(log, encode, *groups)
    for byte in range(len(log), end):
        flipped = bytearray(content)
        flipped[byte] ^= 1 << byte % 8
        path.write_bytes(flipped)
        examination = examine(ZERO, path.parent, FILES)
        assert examination.verdict is LogVerdict.DAMAGED, byte
        if encode is encode_group:
            assert [(run.first, run.end) for run in examination.runs] == [(0, END), (END + 1, END + 2)]
            assert choose(examination, []).lost == ((END, END + 2),)
        with pytest.raises(DamagedLog, match=f"byte {len(log)}"):
            records_of(tmp_path)
        assert path.read_bytes() == flipped
        forget_end(tmp_path)


def test_what_a_record_holds_is_read_as_it_was_written(tmp_path: Path):
    parts = [b"HFRM", b"HFR", b"HFR\0", b"HFR\0M", b"M", b"\0", b"HF", b"HHFRMM", frames(4, [record(b"HFRM")])]
    payloads = [one + other + third for one in parts for other in parts for third in parts]
    payloads += [bytes(range(256)) * 200 + one + b"\xff" * 40_000 for one in payloads[:90]]
    log = SegmentStore(tmp_path, files=FILES).open(ZERO)
    log.append([record(payload) for payload in payloads])
    assert [stored.record.payload for stored in log.read(Offset(0))] == payloads
    log.close()
    (path,) = (tmp_path / "p-0000").glob("*.seg")
    assert path.read_bytes().count(b"HFRM") == len(payloads), "a frame's magic stands where a frame begins, only"
    assert [record.payload for record in records_of(tmp_path)] == payloads
