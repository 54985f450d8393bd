"""Facts of households that graph events name, until all of them are there: in memory while few, then on disk."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from actors.exports.rollup_files import bucket_of
from household.graph.identifiers import normalised
from insight.measures.coded import NONE
from insight.measures.facts import Facts
from insight.measures.parts import facts_in, joined, table_of

SHARES: Final = 64
"""Parts that they are shared out to once they are on disk: none splits who may be one household."""


class Entangled:
    """Those of a question. They may be one household with others whose facts lie anywhere, so they wait for all."""

    def __init__(self, roots: Mapping[str, str], *, rows_most: int) -> None:
        """Nothing yet.

        Args:
            roots: by each name that a graph event names: one name of all that may be one household with it.
            rows_most: facts in memory, about.
        """
        self._roots, self._rows_most = roots, rows_most
        self._waiting: dict[tuple[int, int], Facts] = {}
        self._files: dict[tuple[int, int], tuple[Path, tuple[int, ...]]] = {}
        """By where facts come from: their file, and how many of them are of each share."""
        self._own, self._closing = threading.Lock(), ExitStack()
        self._folder: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Remove what is on disk."""
        self._closing.close()

    def keep(self, origin: tuple[int, int], facts: Facts) -> None:
        """Keep the facts of one part; may be called from any thread."""
        with self._own:
            self._waiting[origin] = facts
            if self._folder is not None or sum(one.count for one in self._waiting.values()) > self._rows_most:
                self._write()

    def share_of(self, name: str) -> int:
        """Return the part that a name is in: 0 for all while all are in memory."""
        if self._folder is None:
            return 0
        return bucket_of(self._roots.get(name) or self._roots[normalised(name) or name], SHARES)

    def parts(self) -> Iterator[tuple[int, Facts | None]]:
        """Yield the parts, once nothing is added any more; None for one of which there is nothing."""
        if self._folder is None:
            waiting = [self._waiting[origin] for origin in sorted(self._waiting)]
            yield 0, joined(waiting) if waiting else None
            return
        for share in range(SHARES):
            found = [self._read(*self._files[origin], share) for origin in sorted(self._files)]
            facts = [one for one in found if one is not None]
            yield share, joined(facts) if facts else None

    def _write(self) -> None:
        if self._folder is None:
            self._folder = Path(self._closing.enter_context(TemporaryDirectory(prefix="hearth-kpis-")))
        for origin, facts in self._waiting.items():
            shares = self._shares(facts)
            order = np.argsort(shares, kind="stable")
            counts = tuple(np.bincount(shares, minlength=SHARES).tolist())
            file = self._folder / f"{origin[0]}-{origin[1]}.parquet"
            _write_groups(file, table_of(facts.take(order)), counts)
            self._files[origin] = file, counts
        self._waiting.clear()

    def _shares(self, facts: Facts) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        used = np.unique(facts.told.codes).tolist()
        by_code = np.zeros(len(facts.told.names) + 1, np.int64)
        for code in used:
            by_code[code] = self.share_of(facts.told.names[code]) if code != NONE else 0
        return np.asarray(by_code[facts.told.codes], np.int64)

    def _read(self, file: Path, counts: tuple[int, ...], share: int) -> Facts | None:
        if not counts[share]:
            return None
        group = sum(count > 0 for count in counts[:share])
        with pq.ParquetFile(file, memory_map=True) as opened:
            return facts_in(opened.read_row_group(group, use_threads=False))


def _write_groups(file: Path, table: pa.Table, counts: tuple[int, ...]) -> None:
    with pq.ParquetWriter(file, table.schema, compression="lz4") as writer:
        start = 0
        for rows in counts:
            if rows:
                writer.write_table(table.slice(start, rows), row_group_size=rows)
            start += rows
