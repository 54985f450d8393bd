"""Graph events in signal batches: what they say, and in which partition all that they name lies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from household.graph.events import GRAPH_FIELDS, GRAPH_TYPES, PROBABILITY, GraphRow, saying_of
from household.graph.identifiers import normalised
from wire.batches import APART_COLUMN, IDENTIFIER_COLUMN, NUMBERS, TEXTS, field_column


def graph_rows(batch: pa.RecordBatch, names: list[str | None], codes: NDArray[np.int64]) -> tuple[GraphRow, ...]:
    """Return what the graph events of a batch say; what is not sound says why."""
    if GRAPH_TYPES.keys().isdisjoint(names):
        return ()
    kinds = {index: GRAPH_TYPES[name] for index, name in enumerate(names) if name in GRAPH_TYPES}
    rows = [row for row, code in enumerate(codes.tolist()) if code in kinds]
    chosen = batch.take(pa.array(rows, pa.int64()))

    def cells(column: str) -> list[Any]:
        return chosen.column(column).to_pylist() if column in chosen.schema.names else [None] * len(rows)

    texts = {name: cells(field_column(TEXTS, name)) for name in GRAPH_FIELDS}
    named = cells(IDENTIFIER_COLUMN)
    apart = cells(APART_COLUMN)
    probabilities, households = cells(field_column(NUMBERS, PROBABILITY)), cells("household")
    found = []
    for place, row in enumerate(rows):
        given = {name: values[place] for name, values in texts.items() if values[place]}
        if named[place]:
            given.setdefault("identifier", key_text(named[place]))
        try:
            household = key_text(households[place])
            if apart[place]:
                found.append(GraphRow(row=row, saying=None, wrong=apart[place], is_apart=True))
                continue
            saying = saying_of(kinds[int(codes[row])], given, household, probabilities[place])
            found.append(GraphRow(row=row, saying=saying))
        except ValueError as wrong:
            found.append(GraphRow(row=row, saying=None, wrong=str(wrong)))
    return tuple(found)


def key_text(key: bytes | str) -> str:
    """Return a key as text."""
    return key if isinstance(key, str) else key.decode(errors="replace")


def names_graph(batch: pa.RecordBatch) -> bool:
    """Return whether some row may name an identifier, or be a graph event."""
    if IDENTIFIER_COLUMN in batch.schema.names:
        return True
    types = batch.column("type")
    known = types.dictionary if pa.types.is_dictionary(types.type) else types.unique()
    return any(name in GRAPH_TYPES for name in known.to_pylist())


def placed(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[bytes]]:
    """Return a batch and, for each row, the key by which its partition is found.

    A signal without a household lies where its identifier does. A graph event goes where the first of what it names
    lies, and waits there until all of that lies together; one that names nothing is marked so, and the fold rejects it.
    """
    if APART_COLUMN in batch.schema.names:
        batch = batch.drop_columns([APART_COLUMN])  # of a time before
    households = batch.column("household").to_pylist()
    identifiers = batch.column(IDENTIFIER_COLUMN).to_pylist() if IDENTIFIER_COLUMN in batch.schema.names else households
    keys = [
        household or (normalised(key_text(identifier)) or key_text(identifier)).encode() if identifier else household
        for household, identifier in zip(households, identifiers, strict=True)
    ]
    types = batch.column("type")
    if not pa.types.is_dictionary(types.type):
        types = types.dictionary_encode()
    codes = np.asarray(types.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False))
    apart: dict[int, str] = {}
    for told in graph_rows(batch, types.dictionary.to_pylist(), codes):
        saying = told.saying
        if saying is None:
            continue
        names = [one for one in (saying.identifier, *saying.subjects, saying.household, saying.other) if one]
        if not names and not keys[told.row]:
            apart[told.row] = f"a {saying.kind.value} needs a household, one of those that it is about: there it lies"
        if names:
            keys[told.row] = names[0].encode()
    if apart:
        column = pa.array([apart.get(row) for row in range(batch.num_rows)], pa.string()).dictionary_encode()
        batch = batch.append_column(APART_COLUMN, column)
    return batch, keys
