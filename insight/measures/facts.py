"""What happened, as columns: the events that measures are made of, each once, out of the log's export of signals.

An event that came again counts once, as it came first. One that the playbooks reject for its type or its amount counts
nothing. One that came late counts when it happened: who asks as of a time when it was not known does not see it.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
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
_KEYS = ("event_id", "household", "member", "type", "source", "identifier")
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
class Facts:
    """Events, each once, in the order of their times; those of one time as they came."""

    time_us: NDArray[np.int64]
    """(n,) when it happened."""
    learnt_us: NDArray[np.int64]
    """(n,) when it was recorded."""
    type: Coded
    event_id: Coded
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

    def is_of(self, types: Iterable[str]) -> NDArray[np.bool_]:
        """(n,) whether each is of one of these types."""
        return np.isin(self.type.codes, [self.type.code(name) for name in types if name in self.type.names])

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
    wanted = {*definitions.types, *REPORTS, *GRAPH_TYPES, *also}
    left_out: Counter[str] = Counter()
    texts = sorted({*definitions.texts, ACTION_ID, *GRAPH_FIELDS})
    ends = [0]
    parts = list(
        _parts(_noting(tables, ends, rules), pa.array(sorted(wanted), pa.string()), texts, definitions, rules, left_out)
    )
    whole = pa.concat_tables(parts) if parts else _empty(texts)
    coded = {name: _coded(whole.column(name)) for name in (*_KEYS, *texts_of(texts))}
    is_identifier = (coded["household"].codes == NONE) & (coded["identifier"].codes != NONE)
    told = _told(coded["household"], coded["identifier"])
    time_us = np.asarray(whole.column("time").to_numpy(), np.int64)
    first = _first(told.codes, coded["source"].codes, coded["event_id"].codes)
    left_out["came again"] += len(time_us) - len(first)
    order = first[np.argsort(time_us[first], kind="stable")]
    facts = Facts(
        time_us=time_us,
        learnt_us=np.asarray(whole.column("recorded_at").to_numpy(), np.int64),
        type=coded["type"],
        event_id=coded["event_id"],
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
    wanted: pa.Array,
    texts: list[str],
    definitions: Definitions,
    rules: _Rules,
    left_out: Counter[str],
) -> Iterator[pa.Table]:
    amounts = definitions.amounts
    for table in tables:
        table = table.filter(pc.is_in(table.column("type"), value_set=wanted))
        if not table.num_rows:
            continue
        # A report without a time is of when it was recorded, as the fold has it.
        is_report = pc.is_in(table.column("type"), value_set=pa.array(REPORTS))
        is_told_late = pc.and_(is_report, pc.is_null(table.column("time")))
        times = pc.if_else(is_told_late, table.column("recorded_at"), table.column("time"))
        table = table.set_column(table.schema.get_field_index("time"), "time", times)
        types = np.array(table.column("type").to_pylist(), object)
        is_good = np.asarray(table.column("time").is_valid().to_numpy(), np.bool_)
        left_out["no time"] += int((~is_good).sum())
        is_ahead = rules.is_ahead(_us(table.column("time")).to_numpy(), _us(table.column("recorded_at")).to_numpy())
        left_out["from the future"] += int(is_ahead.sum())
        is_good &= ~is_ahead
        amount = np.zeros(table.num_rows)
        for name in sorted(set(types)):
            of_type = types == name
            if not rules.knows(name):
                left_out[f"{name}: no playbook knows it"] += int(of_type.sum())
                is_good &= ~of_type
            elif name in amounts:
                own = _numbers(table, amounts[name])
                least, most = rules.of_field(name, amounts[name])
                is_amount = np.isfinite(own) & (own >= least) & (own <= most) & (own == np.floor(own))
                left_out[f"{name}: {amounts[name]} is no amount"] += int((of_type & ~is_amount).sum())
                is_good &= ~of_type | is_amount
                amount[of_type & is_amount] = own[of_type & is_amount]
        columns = {name: _texts(table, name) for name in _KEYS}
        columns |= {f"text.{name}": _texts(table, name) for name in texts}
        columns["time"] = _us(table.column("time"))
        columns["recorded_at"] = _us(table.column("recorded_at"))
        columns["amount"] = pa.array(amount.astype(np.int64))
        columns["probability"] = pa.array(_numbers(table, PROBABILITY))
        yield pa.table(columns).filter(pa.array(is_good))


def _empty(texts: list[str]) -> pa.Table:
    columns: dict[str, pa.Array] = {name: pa.array([], pa.string()) for name in (*_KEYS, *texts_of(texts))}
    columns |= {name: pa.array([], pa.int64()) for name in ("time", "recorded_at", "amount")}
    return pa.table({**columns, "probability": pa.array([], pa.float64())})


def _us(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.int64()).fill_null(0)


def _numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    if name not in table.column_names or pa.types.is_string(table.schema.field(name).type):
        return np.full(table.num_rows, np.nan)
    return np.asarray(table.column(name).cast(pa.float64()).fill_null(np.nan).to_numpy(), np.float64)


def _texts(table: pa.Table, name: str) -> pa.ChunkedArray:
    """Return a column as text, null for none; a field that came as a number, too, has its text in another column."""
    for column in (f"{name}_text", name):
        if column in table.column_names and pa.types.is_string(table.schema.field(column).type):
            found = table.column(column)
            return pc.if_else(pc.equal(found, ""), None, found)
    return pa.chunked_array([pa.nulls(table.num_rows, pa.string())])


def _coded(column: pa.ChunkedArray) -> Coded:
    encoded = column.combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = pa.concat_arrays(encoded.chunks) if encoded.num_chunks else pa.array([], pa.string())
    encoded = encoded.dictionary_encode()
    codes = np.asarray(encoded.indices.cast(pa.int64()).fill_null(NONE).to_numpy(zero_copy_only=False), np.int64)
    return Coded(codes=codes, names=tuple(encoded.dictionary.to_pylist()))


def _told(household: Coded, identifier: Coded) -> Coded:
    """Return household keys, and identifiers where there are none, under numbers of their own."""
    names = dict.fromkeys((*household.names, *identifier.names))
    number = {name: place for place, name in enumerate(names)}
    ours = np.array([number[name] for name in household.names] or [NONE], np.int64)
    theirs = np.array([number[name] for name in identifier.names] or [NONE], np.int64)
    identified = np.where(identifier.codes != NONE, theirs[identifier.codes], NONE)
    codes = np.where(household.codes != NONE, ours[household.codes], identified)
    return Coded(codes=codes, names=tuple(names))


def _first(*keys: Codes) -> NDArray[np.intp]:
    """Return the rows that are the first with their keys, in order."""
    if not len(keys[0]):
        return np.empty(0, np.intp)
    order = np.lexsort(keys[::-1])
    is_new = np.ones(len(order), np.bool_)
    same = [key[order][1:] == key[order][:-1] for key in keys]
    is_new[1:] = ~np.logical_and.reduce(same)
    return np.sort(order[is_new])
