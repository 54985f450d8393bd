"""Parts of all households: none is split between two of them, whoever was merged with whom by when one asks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from household.graph.identifiers import normalised
from household.graph.membership import Membership
from insight.measures.coded import NONE, Coded, Ids, coded, in_one_piece
from insight.measures.facts import Facts
from insight.measures.owners import household_of

_TEXTS = ("type", "source", "told", "member")
_NUMBERS = ("time_us", "learnt_us", "is_identifier", "amount_minor", "probability")


def together(membership: Membership) -> dict[str, str]:
    """Return, by each name that a graph event names, one name of all that are in a part with it.

    In one part are whoever was one household at any time, and who held the same identifier.
    """
    root: dict[str, str] = {}

    def find(name: str) -> str:
        while (above := root.setdefault(name, name)) != name:
            root[name] = root.get(above, above)
            name = above
        return name

    def join(one: str, other: str) -> None:
        root[find(one)] = find(other)

    for event in membership.events.values():
        for name in filter(None, (event.household, event.other)):
            join(name, household_of(membership, name))
    for subject in membership.home:
        join(subject, household_of(membership, subject))
    for identifier, timeline in membership.timelines.items():
        for holder in timeline.holders:
            join(identifier, identifier if holder is None else household_of(membership, holder))
        join(identifier, membership.standing(identifier))
    return {name: find(name) for name in list(root)}


def entangled(facts: Facts, roots: Mapping[str, str]) -> NDArray[np.bool_]:
    """(facts,) which were told of a name that a graph event names."""
    if not roots:
        return np.zeros(facts.count, np.bool_)
    by_key = np.array([*(name in roots for name in facts.told.names), False], np.bool_)
    by_identifier = np.array([*((normalised(name) or name) in roots for name in facts.told.names), False], np.bool_)
    return np.where(facts.is_identifier, by_identifier[facts.told.codes], by_key[facts.told.codes])


def joined(parts: Sequence[Facts]) -> Facts:
    """Return the facts of some parts as one, in the order of their times."""
    first = parts[0]
    time_us = np.concatenate([one.time_us for one in parts])
    whole = replace(
        first,
        time_us=time_us,
        learnt_us=np.concatenate([one.learnt_us for one in parts]),
        type=_coded([one.type for one in parts]),
        event_id=Ids.of(pa.concat_arrays([one.event_id.texts for one in parts])),
        source=_coded([one.source for one in parts]),
        told=_coded([one.told for one in parts]),
        is_identifier=np.concatenate([one.is_identifier for one in parts]),
        member=_coded([one.member for one in parts]),
        amount_minor=np.concatenate([one.amount_minor for one in parts]),
        texts={name: _coded([one.texts[name] for one in parts]) for name in first.texts},
        probability=np.concatenate([one.probability for one in parts]),
    )
    return whole.take(np.argsort(time_us, kind="stable"))


def table_of(facts: Facts) -> pa.Table:
    """Return facts as a table, for `facts_in`."""
    texts = {name: getattr(facts, name) for name in _TEXTS} | {f"text.{name}": one for name, one in facts.texts.items()}
    columns = {name: _texts_of(one) for name, one in texts.items()}
    columns |= {name: pa.array(np.ascontiguousarray(getattr(facts, name))) for name in _NUMBERS}
    return pa.table({**columns, "event_id": facts.event_id.texts})


def facts_in(table: pa.Table) -> Facts:
    """Return the facts of a table that `table_of` made, or of some of its rows, in their order."""
    fields = [name.removeprefix("text.") for name in table.column_names if name.startswith("text.")]
    columns: dict[str, Any] = {name: coded(table.column(name)) for name in _TEXTS}
    columns |= {name: table.column(name).to_numpy() for name in _NUMBERS}
    return Facts(
        **columns,
        event_id=Ids.of(in_one_piece(table.column("event_id"))),
        texts={name: coded(table.column(f"text.{name}")) for name in fields},
        left_out={},
        newest_us=0,
    )


def _texts_of(one: Coded) -> pa.Array:
    codes = np.asarray(one.codes, np.int32)
    indices = pa.array(codes, mask=codes == NONE)
    return pa.DictionaryArray.from_arrays(indices, pa.array(one.names, pa.string())).cast(pa.string())


def _coded(parts: Sequence[Coded]) -> Coded:
    numbers: dict[str, int] = {}
    codes = []
    for one in parts:
        theirs = np.array([*(numbers.setdefault(name, len(numbers)) for name in one.names), NONE], np.int64)
        codes.append(theirs[one.codes])
    return Coded(codes=np.concatenate(codes), names=tuple(numbers))
