"""What happened, as columns: the events that measures are made of, each once, out of the log's export of signals.

An event that came again counts once, as it came first. One that the playbooks reject for its type or its amount counts
nothing. One that came late counts when it happened: who asks as of a time when it was not known does not see it.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from household.graph.events import GRAPH_FIELDS, GRAPH_TYPES, PROBABILITY
from household.plan import Plan
from insight.measures.definitions import Definitions

REPORTS = ("hearth.impression", "hearth.click", "hearth.accept", "hearth.decline", "hearth.convert")
"""What gateways tell of an action."""

ACTION_ID = "action_id"
IDENTITY = "identity"
"""Of signals in rollups: what those that are one event have in common."""

_CODED_KEYS = ("household", "member", "type", "source", "identifier")
_KEYS = ("event_id", *_CODED_KEYS)
_DICTIONARY = pa.dictionary(pa.int32(), pa.string())
NONE = -1

Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coded:
    """Texts by number."""

    codes: Codes
    """(n,) index of each text; NONE for none."""
    names: tuple[str, ...]

    def code(self, name: str) -> int:
        """Return the number of a text, NONE where it does not occur."""
        return self.names.index(name) if name in self.names else NONE

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "Coded":
        """Return some of them."""
        return Coded(codes=self.codes[rows], names=self.names)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ids:
    """Ids of events, as texts: nearly each is its own, so they get numbers only where some are compared."""

    texts: pa.Array
    """(n,) null for none."""

    def text(self, row: int) -> str:
        """Return one of them, empty for none."""
        return self.texts[row].as_py() or ""

    def at(self, rows: Sequence[int] | NDArray[np.int64]) -> list[str]:
        """Return some of them, those that have none left out."""
        return [one for one in self.texts.take(pa.array(rows, pa.int64())).to_pylist() if one]

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "Ids":
        """Return some of them, in their order."""
        places = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return Ids(texts=self.texts.take(pa.array(places)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Facts:
    """Events, each once, in the order of their times; those of one time as they came."""

    time_us: NDArray[np.int64]
    """(n,) when it happened."""
    learnt_us: NDArray[np.int64]
    """(n,) when it was recorded."""
    type: Coded
    event_id: Ids
    source: Coded
    told: Coded
    """Whom it was told of: a household key, or an identifier where none was named."""
    is_identifier: NDArray[np.bool_]
    member: Coded
    amount_minor: NDArray[np.int64]
    """(n,) 0 where its type has none."""
    texts: Mapping[str, Coded]
    """By field."""
    probability: NDArray[np.float64]
    """(n,) of graph events; NaN for none."""
    left_out: Mapping[str, int]
    """How many events are not counted, by reason."""
    newest_us: int
    """The time of the newest event of all, whatever is measured of it; 0 for none."""

    @property
    def count(self) -> int:
        """How many."""
        return len(self.time_us)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "Facts":
        """Return some of them, in their order."""
        return replace(
            self,
            time_us=self.time_us[rows],
            learnt_us=self.learnt_us[rows],
            type=self.type.take(rows),
            event_id=self.event_id.take(rows),
            source=self.source.take(rows),
            told=self.told.take(rows),
            is_identifier=self.is_identifier[rows],
            member=self.member.take(rows),
            amount_minor=self.amount_minor[rows],
            texts={name: one.take(rows) for name, one in self.texts.items()},
            probability=self.probability[rows],
        )

    def is_of(self, types: Iterable[str], rows: slice = slice(None)) -> NDArray[np.bool_]:
        """(n,) whether each, or each of some of them, is of one of these types."""
        # The last place stands for NONE, which is of no type.
        is_wanted = np.zeros(len(self.type.names) + 1, np.bool_)
        is_wanted[[self.type.code(name) for name in types if name in self.type.names]] = True
        return np.asarray(is_wanted[self.type.codes[rows]])

    def between(self, start_us: int, end_us: int) -> slice:
        """Return the rows of what happened in [start, end): they are in the order of their times."""
        begin, end = np.searchsorted(self.time_us, (start_us, end_us))
        return slice(int(begin), int(end))

    def as_of(self, *, time_us: int, known_us: int | None) -> "Facts":
        """Return what had happened before a time, as far as it was known at another (None: by now)."""
        is_in = self.time_us < time_us
        if known_us is not None:
            is_in &= self.learnt_us <= known_us
        return self.take(is_in)


def read_facts(
    tables: Iterable[pa.Table], definitions: Definitions, plans: Iterable[Plan], *, also: Collection[str] = ()
) -> Facts:
    """Return the facts of an export of signals.

    Args:
        tables: as `hearth log export --kind signals` writes them, in the order of the log.
        plans: the playbooks in the log; what none of them declares was rejected. With none, nothing is held to them.
        also: event types that are asked for besides those of the definitions.
    """
    rules = _Rules.of(plans)
    wanted = frozenset({*definitions.types, *REPORTS, *GRAPH_TYPES, *also})
    left_out: Counter[str] = Counter()
    texts = sorted({*definitions.texts, ACTION_ID, *GRAPH_FIELDS})
    ends = [0]
    parts = list(_parts(_noting(tables, ends, rules), wanted, texts, definitions, rules, left_out))
    whole = pa.concat_tables(parts) if parts else _empty(texts)
    coded = {name: _coded(whole.column(name)) for name in (*_CODED_KEYS, *texts_of(texts))}
    is_identifier = (coded["household"].codes == NONE) & (coded["identifier"].codes != NONE)
    told = _told(coded["household"], coded["identifier"])
    time_us = np.asarray(whole.column("time").to_numpy(), np.int64)
    ids = Ids(texts=_one(whole.column("event_id")))
    first = _first(told.codes, coded["source"].codes, ids, _identity(whole))
    left_out["came again"] += len(time_us) - len(first)
    order = first[np.argsort(time_us[first], kind="stable")]
    facts = Facts(
        time_us=time_us,
        learnt_us=np.asarray(whole.column("recorded_at").to_numpy(), np.int64),
        type=coded["type"],
        event_id=ids,
        source=coded["source"],
        told=told,
        is_identifier=is_identifier,
        member=coded["member"],
        amount_minor=np.asarray(whole.column("amount").to_numpy(), np.int64),
        texts={name: coded[f"text.{name}"] for name in texts},
        probability=np.asarray(whole.column("probability").to_numpy(), np.float64),
        left_out={reason: count for reason, count in left_out.items() if count},
        newest_us=max(ends),
    )
    return facts.take(order)


def columns_of(definitions: Definitions) -> tuple[str, ...]:
    """Return the columns of an export of signals that facts are read from; a field may have its text in another."""
    texts = sorted({*definitions.texts, ACTION_ID, *GRAPH_FIELDS})
    fields = [*dict.fromkeys([*definitions.amounts.values(), *texts, PROBABILITY])]
    spellings = [f"{name}{more}" for name in fields for more in ("", "_text", "_field", "_field_text")]
    return tuple(dict.fromkeys([*_KEYS, "time", "recorded_at", IDENTITY, *spellings]))


def texts_of(fields: Iterable[str]) -> tuple[str, ...]:
    """Return the columns in which texts of fields are kept here: a field may be called as one of ours."""
    return tuple(f"text.{name}" for name in fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rules:
    """What playbooks let through."""

    bounds: Mapping[str, Mapping[str, tuple[float, float]]]
    """By type and field."""
    is_any: bool
    future_us: int
    """An event that was further ahead of the clock by which it was recorded was rejected."""

    @classmethod
    def of(cls, plans: Iterable[Plan]) -> "_Rules":
        bounds: dict[str, dict[str, tuple[float, float]]] = {}
        is_any, future_us = True, 2**62
        for plan in plans:
            is_any, future_us = False, plan.clock.future_us
            for kind in plan.event_types:
                # Of several playbooks the newest says what goes through.
                bounds[kind.name] = {plan.fields[one.field].name: (one.least, one.most) for one in kind.fields}
        return cls(bounds=bounds, is_any=is_any, future_us=future_us)

    def is_ahead(self, time_us: NDArray[np.int64], recorded_us: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.asarray(time_us - recorded_us > self.future_us, np.bool_)

    def knows(self, name: str) -> bool:
        return self.is_any or name in self.bounds or name in GRAPH_TYPES or name in REPORTS

    def of_field(self, name: str, field: str) -> tuple[float, float]:
        return self.bounds.get(name, {}).get(field, (-(2.0**53), 2.0**53))


def _noting(tables: Iterable[pa.Table], ends: list[int], rules: _Rules) -> Iterator[pa.Table]:
    """Yield tables as they are, and note the newest time of each that can have been one."""
    for table in tables:
        times = _us(table.column("time")).to_numpy()
        ends.append(int(times[~rules.is_ahead(times, _us(table.column("recorded_at")).to_numpy())].max(initial=0)))
        yield table


def _parts(
    tables: Iterable[pa.Table],
    wanted: frozenset[str],
    texts: list[str],
    definitions: Definitions,
    rules: _Rules,
    left_out: Counter[str],
) -> Iterator[pa.Table]:
    amounts = definitions.amounts
    for given in tables:
        kinds = _coded(given.column("type"))
        is_wanted = _of_names(kinds, lambda name: name in wanted)
        if not is_wanted.any():
            continue
        table = given if is_wanted.all() else given.filter(pa.array(is_wanted))
        kinds = kinds.take(is_wanted)
        # A report without a time is of when it was recorded, as the fold has it.
        is_timed = np.asarray(table.column("time").is_valid().to_numpy(), np.bool_)
        time_us, learnt_us = (_us(table.column(name)).to_numpy() for name in ("time", "recorded_at"))
        is_told_late = _of_names(kinds, lambda name: name in REPORTS) & ~is_timed
        time_us = np.where(is_told_late, learnt_us, time_us)
        is_good = is_timed | is_told_late
        left_out["no time"] += int((~is_good).sum())
        is_ahead = rules.is_ahead(time_us, learnt_us)
        left_out["from the future"] += int(is_ahead.sum())
        is_good &= ~is_ahead
        is_known = _of_names(kinds, rules.knows)
        for name, count in _tally(kinds, ~is_known):
            left_out[f"{name}: no playbook knows it"] += count
        is_good &= is_known
        amount = np.zeros(table.num_rows)
        for field in sorted(set(amounts.values())):
            of_field = _of_names(kinds, lambda name, field=field: amounts.get(name) == field) & is_known  # type: ignore[misc]
            if not of_field.any():
                continue
            own = _numbers(table, field)
            bounds = np.array([rules.of_field(name, field) for name in kinds.names] or [(0.0, 0.0)])[kinds.codes]
            is_amount = np.isfinite(own) & (own >= bounds[:, 0]) & (own <= bounds[:, 1]) & (own == np.floor(own))
            for name, count in _tally(kinds, of_field & ~is_amount):
                left_out[f"{name}: {field} is no amount"] += count
            is_good &= ~of_field | is_amount
            is_amount &= of_field
            amount[is_amount] = own[is_amount]
        columns = {name: _texts(table, name) for name in _CODED_KEYS}
        columns |= {f"text.{name}": _texts(table, name) for name in texts}
        columns["event_id"] = _plain(table.column("event_id"))
        columns["time"], columns["recorded_at"] = pa.array(time_us), pa.array(learnt_us)
        columns["amount"] = pa.array(amount.astype(np.int64))
        columns["probability"] = pa.array(_numbers(table, PROBABILITY))
        if IDENTITY in table.column_names:
            columns[IDENTITY] = table.column(IDENTITY)
        made = pa.table(columns)
        yield made if is_good.all() else made.filter(pa.array(is_good))


def _of_names(coded: Coded, holds: Callable[[str], bool]) -> NDArray[np.bool_]:
    """(n,) whether something holds for each text; not for none."""
    return np.array([*map(holds, coded.names), False], np.bool_)[coded.codes]


def _tally(coded: Coded, rows: NDArray[np.bool_]) -> Iterator[tuple[str, int]]:
    """Yield how often each text is among some rows."""
    counts = np.bincount(coded.codes[rows & (coded.codes != NONE)], minlength=len(coded.names))
    return ((name, int(count)) for name, count in zip(coded.names, counts.tolist(), strict=True) if count)


def _empty(texts: list[str]) -> pa.Table:
    columns: dict[str, pa.Array] = {name: pa.array([], _DICTIONARY) for name in (*_CODED_KEYS, *texts_of(texts))}
    columns |= {name: pa.array([], pa.int64()) for name in ("time", "recorded_at", "amount")}
    columns["event_id"] = pa.array([], pa.large_string())
    return pa.table({**columns, "probability": pa.array([], pa.float64())})


def _us(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.int64()).fill_null(0)


def _numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    if name not in table.column_names or _is_text(table.schema.field(name).type):
        return np.full(table.num_rows, np.nan)
    return np.asarray(table.column(name).cast(pa.float64()).fill_null(np.nan).to_numpy(), np.float64)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or (pa.types.is_dictionary(kind) and pa.types.is_string(kind.value_type)))


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    found = column.cast(pa.large_string())
    return pc.if_else(pc.equal(found, ""), pa.scalar(None, pa.large_string()), found)


def _texts(table: pa.Table, name: str) -> pa.Array:
    """Return a column as text, null for none; a field that came as a number, too, has its text in another column."""
    for column in (f"{name}_text", name):
        if column in table.column_names and _is_text(table.schema.field(column).type):
            coded = _coded(table.column(column))
            codes = np.where(coded.codes == coded.code(""), NONE, coded.codes) if "" in coded.names else coded.codes
            indices = pa.array(codes.astype(np.int32), mask=codes == NONE)
            return pa.DictionaryArray.from_arrays(indices, pa.array(coded.names, pa.string()))
    return pa.nulls(table.num_rows, _DICTIONARY)


def _one(column: pa.ChunkedArray) -> pa.Array:
    found = column.combine_chunks()
    return pa.concat_arrays(found.chunks) if isinstance(found, pa.ChunkedArray) else found


def _coded(column: pa.ChunkedArray) -> Coded:
    if not column.num_chunks:
        return Coded(codes=np.empty(0, np.int64), names=())
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    encoded = _one(column.unify_dictionaries())
    codes = np.asarray(encoded.indices.cast(pa.int64()).fill_null(NONE).to_numpy(zero_copy_only=False), np.int64)
    names = encoded.dictionary.to_pylist()
    return Coded(codes=codes, names=tuple(names))


def _identity(table: pa.Table) -> Codes | None:
    """(n,) what those that are one event have in common, where all of the tables say so."""
    if IDENTITY not in table.column_names or table.column(IDENTITY).null_count:
        return None
    return np.asarray(table.column(IDENTITY).to_numpy(), np.int64)


def _told(household: Coded, identifier: Coded) -> Coded:
    """Return household keys, and identifiers where there are none, under numbers of their own."""
    names = dict.fromkeys((*household.names, *identifier.names))
    number = {name: place for place, name in enumerate(names)}
    ours = np.array([number[name] for name in household.names] or [NONE], np.int64)
    theirs = np.array([number[name] for name in identifier.names] or [NONE], np.int64)
    identified = np.where(identifier.codes != NONE, theirs[identifier.codes], NONE)
    codes = np.where(household.codes != NONE, ours[household.codes], identified)
    return Coded(codes=codes, names=tuple(names))


def _first(told: Codes, source: Codes, ids: Ids, identity: Codes | None) -> NDArray[np.intp]:
    """Return the rows that are the first of their event, in order."""
    if not len(told):
        return np.empty(0, np.intp)
    maybe = np.arange(len(told), dtype=np.intp)
    if identity is not None:
        # Which are one event have one identity, so those whose identity is their own need not be compared.
        values = np.sort(identity)
        again = np.unique(values[1:][values[1:] == values[:-1]])
        if not len(again):
            return maybe
        maybe = np.flatnonzero(np.isin(identity, again))
    event = _coded(pa.chunked_array([ids.texts.take(pa.array(maybe))])).codes
    keys = (told[maybe], source[maybe], event)
    order = np.lexsort(keys[::-1])
    is_new = np.ones(len(order), np.bool_)
    is_new[1:] = ~np.logical_and.reduce([key[order][1:] == key[order][:-1] for key in keys])
    is_first = np.ones(len(told), np.bool_)
    is_first[maybe[order[~is_new]]] = False
    return np.flatnonzero(is_first)
