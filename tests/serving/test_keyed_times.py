"""Law: whether a key has a time in a span is what each pair says, in however many runs, wherever they are."""

from pathlib import Path

import numpy as np
import pytest

from serving.models.keyed_times import KeyedTimes


@pytest.mark.parametrize("is_spilled", [False, True])
@pytest.mark.parametrize("run_rows", [1, 7, 64, 10_000])
def test_a_key_has_the_times_that_a_look_at_every_pair_finds(tmp_path: Path, run_rows: int, is_spilled: bool):
    draw = np.random.default_rng(run_rows)
    held = KeyedTimes(tmp_path if is_spilled else None, run_rows=run_rows)
    names = [b"a" * int(draw.integers(0, 5)) + bytes([97 + int(draw.integers(3))]) for _ in range(40)]
    pairs: set[tuple[bytes, int]] = set()
    for count in (0, 1, 5, 90, 3, 200):
        keys = [names[draw.integers(len(names))] for _ in range(count)]
        times = draw.integers(-300, 300, count) * 255
        held.add(np.array(keys, np.bytes_), times)
        pairs |= set(zip(keys, times.tolist(), strict=True))
        # Looked into between, and with keys longer than any that is held.
        asked = [*draw.choice(len(names), 50).tolist()]
        wanted = np.array([names[one] for one in asked] + [b"aaaaaaaaaa", b""], np.bytes_)
        since = np.append(draw.integers(-300, 300, 50) * 255, [-(2**62), -(2**62)])
        until = since + np.append(draw.integers(0, 4, 50) * 200, [2**62, 2**62])
        found = held.any_within(wanted, since, until).tolist()
        assert found == [
            any(key == one and first <= time < last for key, time in pairs)
            for one, first, last in zip(wanted.tolist(), since.tolist(), until.tolist(), strict=True)
        ]
    assert len(pairs) > 100
    assert not list(tmp_path.iterdir()), "a file without a name is gone with its process"


def test_nothing_has_no_time():
    held = KeyedTimes()
    assert held.any_within(np.array([b"a"], np.bytes_), np.array([0]), np.array([9])).tolist() == [False]
    assert held.any_within(np.array([], np.bytes_), np.array([], np.int64), np.array([], np.int64)).shape == (0,)


def test_a_run_that_cannot_be_written_is_an_error(tmp_path: Path):
    held = KeyedTimes(tmp_path / "none", run_rows=1)
    with pytest.raises(OSError, match="none"):
        held.add(np.array([b"a"], np.bytes_), np.array([1]))
