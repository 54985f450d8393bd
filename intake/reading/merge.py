"""Signals of several files in one order of time, holding a chunk of each file."""

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa

from intake.reading.examine import SourceFile
from intake.reading.rows import CHUNK_ROWS, Chunk, UnreadableRow
from intake.reading.signals import FileMapper

NoteUnreadable = Callable[[UnreadableRow], None]


def signals_of(source: SourceFile, mapper: FileMapper, note: NoteUnreadable) -> Iterator[pa.Table]:
    """Yield the signals of a file in order of time, equal times in the file's order; tables may be empty.

    A file that is in order is streamed; one that is not is held as a whole and sorted.
    """
    if source.is_sorted:
        for chunk in source.reader.chunks():
            yield _map(mapper, chunk, note)
        return
    whole = pa.concat_tables([_map(mapper, chunk, note) for chunk in source.reader.chunks()])
    whole = whole.take(_order(whole))
    for start in range(0, whole.num_rows, CHUNK_ROWS):
        yield whole.slice(start, CHUNK_ROWS)


def merge(streams: list[Iterator[pa.Table]]) -> Iterator[pa.Table]:
    """Yield the rows of streams, each in order of time, in one order of time that is the same on every run."""
    held = {index: table for index, stream in enumerate(streams) if (table := _next(stream)) is not None}
    while held:
        # Up to the earliest end of what is held, nothing can come in between any more.
        frontier = min(_times(table)[-1] for table in held.values())
        parts = []
        for index, table in list(held.items()):
            count = int(np.searchsorted(_times(table), frontier, side="right"))
            parts.append(table.slice(0, count))
            rest = table.slice(count) if count < table.num_rows else _next(streams[index])
            if rest is None:
                del held[index]
            else:
                held[index] = rest
        merged = pa.concat_tables(parts)
        yield merged if len(parts) == 1 else merged.take(_order(merged))


def rebatch(tables: Iterator[pa.Table], *, rows: int) -> Iterator[pa.Table]:
    """Yield the same rows in tables of `rows` rows, the last one shorter."""
    waiting: list[pa.Table] = []
    count = 0
    for table in tables:
        waiting.append(table)
        count += table.num_rows
        if count >= rows:
            whole = pa.concat_tables(waiting)
            for start in range(0, count - count % rows, rows):
                yield whole.slice(start, rows).combine_chunks()
            waiting = [whole.slice(count - count % rows)]
            count %= rows
    if count:
        yield pa.concat_tables(waiting).combine_chunks()


def _map(mapper: FileMapper, chunk: Chunk, note: NoteUnreadable) -> pa.Table:
    mapped = mapper.map(chunk)
    for unreadable in mapped.unreadable:
        note(unreadable)
    return mapped.signals


def _next(stream: Iterator[pa.Table]) -> pa.Table | None:
    return next((table for table in stream if table.num_rows), None)


def _times(table: pa.Table) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return table.column("time").to_numpy()  # type: ignore[no-any-return]


def _order(table: pa.Table) -> pa.Array:
    return pa.array(np.argsort(_times(table), kind="stable"))
