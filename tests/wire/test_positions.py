"""Laws: a position in a log is read back as it was written, and no other text is one; edge and shard read it alike."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.admin import reject_partition
from wire.positions import file_position, kafka_position, log_position, place_of, source_of
from wire.rejects import REPLAYED, is_mark


@given(st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1), st.integers(0, 65_535))
def test_a_position_in_a_log_is_read_as_it_was_written(partition: int, offset: int, row: int):
    if partition < 10**9:
        assert place_of(log_position(partition, offset, row)) == (partition, offset, row)


@pytest.mark.parametrize(
    "position",
    ["log:3/17", "file:log:3/17/42", "log:3/17/42 ", "log:-3/17/42", "log:٣/17/42", f"log:3/{10**19}/42", "log:///"],
)
def test_what_only_looks_like_one_lies_outside(position: str):
    assert place_of(position) is None
    assert source_of(position) != "ingest"


def test_a_position_outside_says_where_it_lies():
    assert source_of(kafka_position("calls", 0, 17)) == "kafka:calls/0"
    assert source_of(file_position("calls.csv", 9)) == "file:calls.csv"


def test_what_stands_in_a_log_is_kept_with_its_partition():
    assert reject_partition(log_position(3, 17, 42), 8) == 3
    assert 0 <= reject_partition(log_position(99, 17, 42), 8) < 8


def test_a_mark_is_told_by_its_reason():
    assert is_mark(f"{REPLAYED}APPLIED")
    assert not is_mark("UNREADABLE")
