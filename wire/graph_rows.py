"""Graph events in signal batches: what they say, and in which partition all that they name lies."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from household.graph.events import GRAPH_FIELDS, GRAPH_TYPES, PROBABILITY, GraphRow, probability_of, saying_of
from household.graph.identifiers import LONGEST, normalised
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
    written = cells(field_column(TEXTS, PROBABILITY))
    found = []
    for place, row in enumerate(rows):
        given = {name: values[place] for name, values in texts.items() if values[place]}
        if named[place]:
            given.setdefault("identifier", key_text(named[place]))
        before = None
        try:
            household, kind = key_text(households[place]), kinds[int(codes[row])]
            if apart[place]:
                found.append(GraphRow(row=row, saying=None, wrong=apart[place], is_apart=True))
                continue
            probability = probabilities[place]
            if probability is None and written[place]:
                before = saying_of(kind, given, household, None)
                probability = probability_of(written[place])
            saying = saying_of(kind, given, household, probability)
            found.append(GraphRow(row=row, saying=saying, before=before, at=given.get("household", "")))
        except ValueError as wrong:
            found.append(GraphRow(row=row, saying=None, before=before, wrong=str(wrong)))
    return tuple(found)


_WRITTEN: Final = (
    r"^((msisdn|phone):(\+[0-9]+|[1-9][0-9]*|0[1-9][0-9]*|0)|(email|mac):[!-@\[-~]+"
    r"|(member|line|account|device|cookie|imei|imsi|iccid|crm):[!-~]+|)$"
)
"""Identifiers that surely are written as they always are, and the empty text."""


def are_written(identifiers: pa.Array) -> bool:
    """Return whether all identifiers of a column, or none, are surely written as `normalised` writes them.

    Most senders write them so; a tenth of the time that it takes to look at each.
    """
    try:
        texts = identifiers.cast(pa.string())
    except pa.ArrowInvalid:  # some is no UTF-8
        return False
    is_short = (pc.max(pc.binary_length(texts)).as_py() or 0) <= LONGEST
    return is_short and pc.all(pc.match_substring_regex(texts, _WRITTEN)).as_py() is not False


def are_empty(column: pa.Array) -> bool:
    """Return whether all keys of a column are empty."""
    return not pc.sum(pc.binary_length(column)).as_py()


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


def placed(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.Array]:
    """Return a batch and, for each row, the key (binary) by which its partition is found.

    A signal without a household lies where its identifier does. A graph event goes where the first of what it names
    lies, and waits there until all of that lies together; one that names nothing is marked so, and the fold rejects it.
    """
    if APART_COLUMN in batch.schema.names:
        batch = batch.drop_columns([APART_COLUMN])  # of a time before
    households, types = batch.column("household"), batch.column("type")
    if not pa.types.is_dictionary(types.type):
        types = types.dictionary_encode()
    codes = np.asarray(types.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False))
    graph = graph_rows(batch, types.dictionary.to_pylist(), codes)
    has_identifiers = IDENTIFIER_COLUMN in batch.schema.names
    if not graph and has_identifiers and are_empty(households) and are_written(batch.column(IDENTIFIER_COLUMN)):
        return batch, batch.column(IDENTIFIER_COLUMN).cast(pa.binary())
    named = households.to_pylist()
    identifiers = batch.column(IDENTIFIER_COLUMN).to_pylist() if has_identifiers else named
    keys = [
        household or (normalised(key_text(identifier)) or key_text(identifier)).encode() if identifier else household
        for household, identifier in zip(named, identifiers, strict=True)
    ]
    apart, at = dict[int, str](), dict[int, bytes]()
    for told in graph:
        saying = told.saying
        if saying is None:
            continue
        names = [one for one in (saying.identifier, *saying.subjects, saying.household, saying.other) if one]
        if not names and not keys[told.row] and told.at:
            at[told.row] = keys[told.row] = told.at.encode()
        elif not names and not keys[told.row]:
            apart[told.row] = f"{saying.kind.value} needs a household, one of those that it is about: there it lies"
        if names:
            keys[told.row] = names[0].encode()
    if at:
        # There it lies, and is looked for: as if it were the signal's own.
        own = pa.array([at.get(row, one) for row, one in enumerate(named)], pa.binary()).cast(households.type)
        batch = batch.set_column(batch.schema.get_field_index("household"), batch.schema.field("household"), own)
    if apart:
        column = pa.array([apart.get(row) for row in range(batch.num_rows)], pa.string()).dictionary_encode()
        batch = batch.append_column(APART_COLUMN, column)
    return batch, pa.array(keys, pa.binary())
