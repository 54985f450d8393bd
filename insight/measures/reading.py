"""Facts out of the log's export of signals, or out of rollups: each event once, and only what playbooks let through.

An event that came again counts once, as it came first. One that the playbooks reject for its type or its amount counts
nothing. One that came late counts when it happened: who asks as of a time when it was not known does not see it.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from household.events import LATEST_US, LONGEST_KEY
from household.graph.events import GRAPH_FIELDS, GRAPH_TYPES, PROBABILITY
from household.plan import Plan
from insight.measures.coded import NONE, Coded, Codes, Ids, coded, in_one_piece
from insight.measures.definitions import Definitions
from insight.measures.facts import REPORTS, Facts

ACTION_ID: Final = "action_id"
IDENTITY: Final = "identity"
"""Of signals in rollups: what those that are one event have in common."""

_CODED_KEYS: Final = ("household", "member", "type", "source", "identifier")
_KEYS: Final = ("event_id", *_CODED_KEYS)
_ROWS_TOGETHER: Final = 1 << 18
"""Tables are taken together up to so many rows: a call of Arrow takes longer to begin than for some hundred rows."""


def read_facts(
    tables: Iterable[pa.Table],
    definitions: Definitions,
    plans: Iterable[Plan],
    *,
    also: Collection[str] = (),
    only: Collection[str] | None = None,
    uses_since_us: int | None = None,
) -> Facts:
    """Return the facts of an export of signals.

    Args:
        tables: as `hearth log export --kind signals` writes them, in the order of the log.
        plans: the playbooks in the log; what none of them declares was rejected. With none, nothing is held to them.
        also: event types that are asked for besides those of the definitions.
        only: event types that are asked for, and no others; None: all that measures are made of.
        uses_since_us: events that are nothing but use, and happened before, are not asked for; None: all are.
    """
    wanted = frozenset({*definitions.types, *REPORTS, *GRAPH_TYPES, *also})
    reading = _Reading(
        definitions=definitions,
        rules=_Rules.of(plans),
        wanted=wanted if only is None else wanted & frozenset(only),
        texts=tuple(sorted({*definitions.texts, ACTION_ID, *GRAPH_FIELDS})),
        mere_uses=definitions.mere_uses - set(also),
        uses_since_us=uses_since_us,
    )
    return reading.facts(tables)


def let_through(types: Iterable[str], plans: Iterable[Plan]) -> frozenset[str]:
    """Return those of some event types that a playbook lets through at all."""
    rules = _Rules.of(plans)
    return frozenset(name for name in types if rules.knows(name))


def columns_of(definitions: Definitions) -> tuple[str, ...]:
    """Return the columns of an export of signals that facts are read from; a field may have its text in another."""
    texts = sorted({*definitions.texts, ACTION_ID, *GRAPH_FIELDS})
    fields = [*dict.fromkeys([*definitions.amounts.values(), *texts, PROBABILITY])]
    spellings = [f"{name}{more}" for name in fields for more in ("", "_text", "_field", "_field_text")]
    return tuple(dict.fromkeys([*_KEYS, "time", "recorded_at", IDENTITY, *spellings]))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rules:
    """What playbooks let through."""

    bounds: Mapping[str, Mapping[str, tuple[float, float]]]
    """By type and field."""
    is_any: bool
    future_us: int | None
    """An event that was further ahead of the clock by which it was recorded was rejected; None: nobody says."""

    @classmethod
    def of(cls, plans: Iterable[Plan]) -> "_Rules":
        bounds: dict[str, dict[str, tuple[float, float]]] = {}
        is_any, future_us = True, None
        for plan in plans:
            is_any, future_us = False, plan.clock.future_us
            for kind in plan.event_types:
                # Of several playbooks the newest says what goes through.
                bounds[kind.name] = {plan.fields[one.field].name: (one.least, one.most) for one in kind.fields}
        return cls(bounds=bounds, is_any=is_any, future_us=future_us)

    def knows(self, name: str) -> bool:
        return self.is_any or name in self.bounds or name in GRAPH_TYPES or name in REPORTS

    def of_field(self, name: str, field: str) -> tuple[float, float]:
        return self.bounds.get(name, {}).get(field, (-(2.0**53), 2.0**53))


@dataclass(slots=True, kw_only=True)
class _Reading:
    """Facts on their way out of tables."""

    definitions: Definitions
    rules: _Rules
    wanted: frozenset[str]
    texts: tuple[str, ...]
    mere_uses: frozenset[str]
    uses_since_us: int | None
    left_out: Counter[str] = field(default_factory=Counter)
    newest_us: int = 0

    def facts(self, tables: Iterable[pa.Table]) -> Facts:
        parts = [part for table in _together(tables) if (part := self._part(table)) is not None]
        whole = pa.concat_tables(parts, promote_options="default") if parts else _empty()
        keys = {name: _named(whole, name) for name in _CODED_KEYS}
        time_us = np.asarray(whole.column("time").to_numpy(), np.int64)
        ids = Ids.of(in_one_piece(whole.column("event_id")))
        told = _told(keys["household"], keys["identifier"])
        first = _first(told.codes, keys["source"].codes, ids, _identity(whole))
        self.left_out["came again"] += len(time_us) - len(first)
        order = first[np.argsort(time_us[first], kind="stable")]
        return Facts(
            time_us=time_us,
            learnt_us=np.asarray(whole.column("recorded_at").to_numpy(), np.int64),
            type=keys["type"],
            event_id=ids,
            source=keys["source"],
            told=told,
            is_identifier=_is_identifier(keys["household"], keys["identifier"]),
            member=keys["member"],
            amount_minor=np.asarray(whole.column("amount").to_numpy(), np.int64),
            texts={name: _named(whole, _text_column(name)) for name in self.texts},
            probability=_numbers(whole, PROBABILITY),
            left_out={reason: count for reason, count in self.left_out.items() if count},
            newest_us=self.newest_us,
        ).take(order)

    def _part(self, given: pa.Table) -> pa.Table | None:
        """Return what is asked for of a table, under our names of columns; those that say nothing are left out."""
        kinds, is_timed = coded(given.column("type")), _is_there(given.column("time"))
        time_us, learnt_us = _us(given.column("time")), _us(given.column("recorded_at"))
        future_us = self.rules.future_us
        is_ahead = None if future_us is None else time_us - learnt_us > future_us
        can_be = time_us if is_ahead is None else time_us[~is_ahead]
        self.newest_us = max(self.newest_us, int(can_be.max(initial=0)))
        is_wanted = _of_names(kinds, self.wanted.__contains__)
        if self.uses_since_us is not None:
            is_wanted &= ~(_of_names(kinds, self.mere_uses.__contains__) & is_timed & (time_us < self.uses_since_us))
        if not is_wanted.any():
            return None
        table = given
        if not is_wanted.all():
            rows = np.flatnonzero(is_wanted)
            table, kinds = given.filter(pa.array(is_wanted)), kinds.take(rows)
            time_us, learnt_us, is_timed = time_us[rows], learnt_us[rows], is_timed[rows]
            is_ahead = None if is_ahead is None else is_ahead[rows]
        is_good = is_timed
        if not is_timed.all():
            # A report without a time is of when it was recorded, as the fold has it.
            is_told_late = _of_names(kinds, REPORTS.__contains__) & ~is_timed
            time_us = np.where(is_told_late, learnt_us, time_us)
            is_good = is_timed | is_told_late
            self.left_out["no time"] += int((~is_good).sum())
            is_ahead = None if future_us is None else time_us - learnt_us > future_us
        if is_ahead is not None:
            self.left_out["from the future"] += int(is_ahead.sum())
            is_good = is_good & ~is_ahead
        is_past = is_good & ((time_us < 0) | (time_us >= LATEST_US))
        if is_past.any():
            self.left_out["before 1970 or after 2200"] += int(is_past.sum())
            is_good = is_good & ~is_past
        is_known = _of_names(kinds, self.rules.knows)
        self._leave_out(kinds, ~is_known, "no playbook knows it")
        is_good = is_good & is_known
        amount, is_no_amount = self._amounts(table, kinds, is_known)
        is_good &= ~is_no_amount
        columns = {name: found for name in _CODED_KEYS if (found := _text(table, name)) is not None}
        for name in ("household", "member"):
            if name in columns and (is_long := _is_too_long(columns[name])) is not None:
                self.left_out[f"{name} is too long"] += int((is_good & is_long).sum())
                is_good = is_good & ~is_long
        for name in self.texts:
            if (found := _text(table, name)) is not None:
                columns[_text_column(name)] = found
        columns["event_id"] = table.column("event_id").cast(pa.large_string())
        columns["time"], columns["recorded_at"] = pa.array(time_us), pa.array(learnt_us)
        columns["amount"] = pa.array(amount)
        if PROBABILITY in table.column_names and not _is_text(table.schema.field(PROBABILITY).type):
            columns[PROBABILITY] = table.column(PROBABILITY).cast(pa.float64())
        if IDENTITY in table.column_names:
            columns[IDENTITY] = table.column(IDENTITY)
        made = pa.table(columns)
        return made if is_good.all() else made.filter(pa.array(is_good))

    def _amounts(
        self, table: pa.Table, kinds: Coded, is_known: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return (rows,) the amount of each, 0 where its type has none; and whether it ought to have one."""
        amounts = self.definitions.amounts
        amount, is_none = np.zeros(table.num_rows, np.int64), np.zeros(table.num_rows, np.bool_)
        for name in sorted(set(amounts.values())):
            rows = np.flatnonzero(_of_names(kinds, lambda kind, name=name: amounts.get(kind) == name) & is_known)  # type: ignore[misc]
            if not len(rows):
                continue
            own = _numbers(table, name)[rows]
            bounds = np.array([self.rules.of_field(kind, name) for kind in kinds.names])[kinds.codes[rows]]
            is_amount = np.isfinite(own) & (own >= bounds[:, 0]) & (own <= bounds[:, 1]) & (own == np.floor(own))
            amount[rows[is_amount]] = own[is_amount].astype(np.int64)
            is_wrong = np.zeros(table.num_rows, np.bool_)
            is_wrong[rows[~is_amount]] = True
            self._leave_out(kinds, is_wrong, f"{name} is no amount")
            is_none |= is_wrong
        return amount, is_none

    def _leave_out(self, kinds: Coded, rows: NDArray[np.bool_], why: str) -> None:
        if not rows.any():
            return
        counts = np.bincount(kinds.codes[rows & (kinds.codes != NONE)], minlength=len(kinds.names))
        for name, count in zip(kinds.names, counts.tolist(), strict=True):
            if count:
                self.left_out[f"{name}: {why}"] += count


def _together(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield tables of the same columns as one, up to some hundred thousand rows."""
    waiting: list[pa.Table] = []
    rows = 0
    for table in tables:
        if waiting and (rows >= _ROWS_TOGETHER or not table.schema.equals(waiting[0].schema)):
            yield pa.concat_tables(waiting)
            waiting, rows = [], 0
        waiting.append(table)
        rows += table.num_rows
    if waiting:
        yield pa.concat_tables(waiting)


def _text_column(field: str) -> str:
    """Return the column in which texts of a field are kept here: a field may be called as one of ours."""
    return f"text.{field}"


def _of_names(kinds: Coded, holds: Callable[[str], bool]) -> NDArray[np.bool_]:
    """(n,) whether something holds for each text; not for none."""
    return np.array([*map(holds, kinds.names), False], np.bool_)[kinds.codes]


def _empty() -> pa.Table:
    columns = {name: pa.array([], pa.int64()) for name in ("time", "recorded_at", "amount")}
    return pa.table({**columns, "event_id": pa.array([], pa.large_string())})


def _is_there(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    if not column.null_count:
        return np.broadcast_to(np.True_, len(column))
    return np.asarray(column.is_valid().to_numpy(), np.bool_)


def _us(column: pa.ChunkedArray) -> NDArray[np.int64]:
    found = column.cast(pa.int64())
    return np.asarray((found.fill_null(0) if found.null_count else found).to_numpy(), np.int64)


def _numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    if name in table.column_names and not _is_text(table.schema.field(name).type):
        column = table.column(name)
        if column.null_count < len(column):
            return np.asarray(column.cast(pa.float64()).fill_null(np.nan).to_numpy(), np.float64)
    return np.broadcast_to(np.float64(np.nan), table.num_rows)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or (pa.types.is_dictionary(kind) and pa.types.is_string(kind.value_type)))


def _text(table: pa.Table, name: str) -> pa.ChunkedArray | None:
    """Return a column as text, None where it says nothing; a field that came as a number, too, has it in another."""
    for spelt in (f"{name}_text", name):
        if spelt in table.column_names and _is_text(table.schema.field(spelt).type):
            column = table.column(spelt)
            if column.null_count == len(column):
                return None
            return column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    return None


def _is_too_long(column: pa.ChunkedArray) -> NDArray[np.bool_] | None:
    """Return (rows,) which of a column of keys are longer than a key may be; None where none is."""
    if all((pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0) <= LONGEST_KEY for chunk in column.chunks):
        return None
    lengths = [pc.binary_length(chunk.dictionary_decode()).fill_null(0) for chunk in column.chunks]
    return np.asarray(pa.chunked_array(lengths).to_numpy() > LONGEST_KEY)


def _named(whole: pa.Table, name: str) -> Coded:
    """Return a column of texts; an empty one is none."""
    if name not in whole.column_names:
        return Coded.nothing(whole.num_rows)
    found = coded(whole.column(name))
    if "" not in found.names:
        return found
    return Coded(codes=np.where(found.codes == found.code(""), NONE, found.codes), names=found.names)


def _identity(table: pa.Table) -> Codes | None:
    """(n,) what those that are one event have in common, where all of the tables say so."""
    if IDENTITY not in table.column_names or table.column(IDENTITY).null_count:
        return None
    return np.asarray(table.column(IDENTITY).to_numpy(), np.int64)


def _told(household: Coded, identifier: Coded) -> Coded:
    """Return household keys, and identifiers where there are none, under numbers of their own."""
    if not identifier.names:
        return household
    names = dict.fromkeys((*household.names, *identifier.names))
    number = {name: place for place, name in enumerate(names)}
    ours = np.array([*(number[name] for name in household.names), NONE], np.int64)
    theirs = np.array([*(number[name] for name in identifier.names), NONE], np.int64)
    codes = np.where(household.codes != NONE, ours[household.codes], theirs[identifier.codes])
    return Coded(codes=codes, names=tuple(names))


def _is_identifier(household: Coded, identifier: Coded) -> NDArray[np.bool_]:
    if not identifier.names:
        return np.broadcast_to(np.False_, len(identifier.codes))
    return np.asarray((household.codes == NONE) & (identifier.codes != NONE), np.bool_)


def _first(told: Codes, source: Codes, ids: Ids, identity: Codes | None) -> NDArray[np.intp]:
    """Return the rows that are the first of their event, in order."""
    maybe = np.arange(len(told), dtype=np.intp)
    if not len(told):
        return maybe
    if identity is not None:
        # Which are one event have one identity, so those whose identity is their own need not be compared.
        values = np.sort(identity)
        again = np.unique(values[1:][values[1:] == values[:-1]])
        if not len(again):
            return maybe
        maybe = np.flatnonzero(np.isin(identity, again))
    texts = ids.take(maybe).texts
    event = coded(pa.chunked_array([pc.if_else(pc.equal(texts, ""), pa.scalar(None, texts.type), texts)])).codes
    keys = (told[maybe], source[maybe], event)
    order = np.lexsort(keys[::-1])
    is_new = np.ones(len(order), np.bool_)
    is_new[1:] = ~np.logical_and.reduce([key[order][1:] == key[order][:-1] for key in keys])
    is_first = np.ones(len(told), np.bool_)
    is_first[maybe[order[~is_new]]] = False
    return np.flatnonzero(is_first)
