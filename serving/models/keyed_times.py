"""Times by key, as many as there are, in sorted runs: full ones may lie in files, and are looked into there."""

import mmap
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

RUN_ROWS: Final = 1 << 18
"""Of a run: some 8 MB where a key has the length of an action's id."""

TIME_BYTES: Final = 8


class KeyedTimes:
    """Answers whether a key has a time in a span; holds each pair of key and time once.

    A key ends before its trailing zero bytes, as in all byte strings of NumPy.
    """

    def __init__(self, spill_to: Path | None = None, *, run_rows: int = RUN_ROWS) -> None:
        """Begin with nothing.

        Args:
            spill_to: folder for full runs, in files without a name, which are gone with the process; None to keep all
                in memory.
            run_rows: pairs of a full run.
        """
        self._spill_to, self._run_rows = spill_to, run_rows
        self._runs: list[NDArray[np.bytes_]] = []
        self._mapped: list[mmap.mmap] = []
        self._fresh: list[tuple[NDArray[np.bytes_], NDArray[np.int64]]] = []
        self._fresh_rows = 0

    def add(self, keys: NDArray[np.bytes_], time_us: NDArray[np.int64]) -> None:
        """Take (n,) pairs.

        Raises:
            OSError: a run cannot be written.
        """
        if not len(keys):
            return
        self._fresh.append((keys, time_us))
        self._fresh_rows += len(keys)
        if self._fresh_rows >= self._run_rows:
            self._runs.append(self._kept(self._sorted()))

    def any_within(
        self, keys: NDArray[np.bytes_], from_us: NDArray[np.int64], until_us: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Return (n,) whether each key has a time in [from, until)."""
        if self._fresh:
            self._runs.append(self._sorted())
        found = np.zeros(len(keys), np.bool_)
        lengths = np.char.str_len(keys)
        for run in self._runs:
            width = run.dtype.itemsize - TIME_BYTES
            first = np.searchsorted(run, _pairs(keys, from_us, width))
            last = np.searchsorted(run, _pairs(keys, until_us, width))
            # A longer key is none of the run's, though it may begin like one.
            found |= (first < last) & (lengths <= width)
        for mapped in self._mapped:
            # What was looked at is the system's to keep or not, and no memory of this process.
            mapped.madvise(mmap.MADV_DONTNEED)
        return found

    def _sorted(self) -> NDArray[np.bytes_]:
        width = max(1, *(keys.dtype.itemsize for keys, _ in self._fresh))
        run = np.unique(np.concatenate([_pairs(keys, time_us, width) for keys, time_us in self._fresh]))
        self._fresh.clear()
        self._fresh_rows = 0
        return run

    def _kept(self, run: NDArray[np.bytes_]) -> NDArray[np.bytes_]:
        if self._spill_to is None:
            return run
        with tempfile.TemporaryFile(dir=self._spill_to) as file:
            file.write(run.view(np.uint8).data)
            file.flush()
            # What is mapped stays when its file is closed.
            mapped = mmap.mmap(file.fileno(), run.nbytes, access=mmap.ACCESS_READ)
        self._mapped.append(mapped)
        return np.frombuffer(mapped, run.dtype)


def _pairs(keys: NDArray[np.bytes_], time_us: NDArray[np.int64], width: int) -> NDArray[np.bytes_]:
    """Return (n,) bytes that are in order as key and time are: the key in its width, then the time."""
    pairs = np.empty((len(keys), width + TIME_BYTES), np.uint8)
    pairs[:, :width] = keys.astype(f"S{width}").view(np.uint8).reshape(-1, width)
    above_least = time_us.astype(np.int64) ^ np.int64(-(1 << 63))
    pairs[:, width:] = above_least.astype(">i8").view(np.uint8).reshape(-1, TIME_BYTES)
    return pairs.view(f"S{width + TIME_BYTES}").ravel()
