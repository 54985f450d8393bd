"""Laws: whatever bytes a file holds, each line that is not blank is a row or an unreadable row, in order, under its own
numbers, whatever the size of the blocks; a sound file reads as Python's own csv module reads it.
"""

import csv
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intake.reading import csv_file
from intake.reading.csv_file import CsvFile, CsvShape

HEADER = b"a,b\n"
NASTY = st.lists(
    st.sampled_from([b"1", b"x", b",", b'"', b"\n", b"\r\n", b"\r", b" ", b"\xff", "é".encode()]), max_size=60
)
CELL = st.text(st.sampled_from('ab ,"é;'), min_size=1, max_size=6)


def read(
    content: bytes, *, block_bytes: int
) -> tuple[list[tuple[int, int, tuple[str | None, ...]]], list[tuple[int, int, str]]]:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_file, "CHUNK_BYTES", block_bytes)
        path = Path(folder) / "f.csv"
        path.write_bytes(content)
        rows, unreadable = [], []
        for chunk in CsvFile(path, CsvShape()).chunks():
            cells = zip(*(column.to_pylist() for column in chunk.columns.values()), strict=True)
            rows += list(zip(chunk.rows.tolist(), chunk.lines.tolist(), cells, strict=True))
            unreadable += [(one.row, one.line, one.text) for one in chunk.unreadable]
    return rows, unreadable


@given(NASTY, st.sampled_from([1, 7, 64, 1 << 20]))
def test_every_line_that_is_not_blank_is_accounted_for_once_under_its_own_numbers(
    pieces: list[bytes], block_bytes: int
):
    body = b"".join(pieces)
    lines = [(number, line.removesuffix(b"\r")) for number, line in enumerate(body.split(b"\n"), start=2)]
    expected = [(number, line) for number, line in lines if line]

    rows, unreadable = read(HEADER + body, block_bytes=block_bytes)

    numbered = sorted([(row, line) for row, line, _ in rows] + [(row, line) for row, line, _ in unreadable])
    assert numbered == [(row, number) for row, (number, _) in enumerate(expected, start=1)]
    text_by_line = {number: line.decode("utf-8", "surrogateescape") for number, line in expected}
    assert all(text_by_line[line] == text for _, line, text in unreadable)
    assert (rows, unreadable) == read(HEADER + body, block_bytes=1 << 20)


@given(st.lists(st.tuples(CELL, CELL), max_size=20), st.sampled_from([5, 1 << 20]))
def test_a_sound_file_reads_as_the_csv_module_reads_it(table: list[tuple[str, str]], block_bytes: int):
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows(table)

    rows, unreadable = read(HEADER + stream.getvalue().encode(), block_bytes=block_bytes)

    assert [cells for _, _, cells in rows] == table
    assert unreadable == []
