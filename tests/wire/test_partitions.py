"""Laws: a household is in the same partition for ever; pieces together are the whole, each at its owner, in order."""

import xxhash
from hypothesis import given
from hypothesis import strategies as st

from serving.signal_batches import batch_from_signals
from tests.serving.test_signal_batches import batch_of, signal
from wire.partitions import partition_of, split_by_partition

rows = st.lists(
    st.tuples(st.text(max_size=3), st.sampled_from(["a.b", "c.d", "e.f"]), st.text(max_size=2)), max_size=40
)


@given(rows, st.integers(1, 300))
def test_pieces_together_are_the_whole_each_at_its_owner(rows, partition_count):
    batch = batch_from_signals([signal(f"e{i}", kind, key, x=text) for i, (key, kind, text) in enumerate(rows)])

    pieces = split_by_partition(batch, partition_count)

    seen = []
    for partition, (indices, payload) in pieces.items():
        piece = batch_of(payload)
        piece.validate(full=True)
        assert piece.schema == batch.schema
        assert piece.to_pylist() == [batch.slice(row, 1).to_pylist()[0] for row in indices.tolist()]
        for key in piece.column("household").to_pylist():
            assert partition == xxhash.xxh3_64(key).intdigest() % partition_count
        assert indices.tolist() == sorted(indices.tolist())
        seen += indices.tolist()
    assert sorted(seen) == list(range(len(rows)))


def test_a_piece_carries_only_the_dictionary_entries_it_names():
    texts = [f"text {row:05}" for row in range(5_000)]
    batch = batch_from_signals([signal(f"e{row}", household=f"h{row}", x=text) for row, text in enumerate(texts)])

    pieces = split_by_partition(batch, 256)

    assert len(pieces) == 256
    assert sum(len(batch_of(payload).column("s:x").dictionary) for _, payload in pieces.values()) == 5_000


def test_the_same_key_is_in_the_same_partition_for_ever():
    assert [partition_of(key, 256) for key in (b"", b"h1", b"household-7")] == [
        xxhash.xxh3_64_intdigest(key) % 256 for key in (b"", b"h1", b"household-7")
    ]
    assert partition_of(b"household-7", 8) == 4
