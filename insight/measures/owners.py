"""Whose an event is: the household that has it as of a time, as the graph events say that were known then."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from household.graph.events import BETWEEN_SUBJECTS, GRAPH_FIELDS, GRAPH_TYPES, saying_of
from household.graph.identifiers import is_subject, normalised
from household.graph.membership import Membership
from household.plan import GraphRules
from household.tables.graph_events import GraphEvent
from insight.measures.coded import NONE, Coded
from insight.measures.facts import Facts


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FactOwners:
    """The households of some facts."""

    household: NDArray[np.int64]
    """(facts,) index of its household; NONE for none."""
    names: tuple[str, ...]
    """Ids of households, by the ids that stand."""
    by_key: Mapping[str, int]
    """The index of the household of each key that was told of, or asked for."""


def owners_of(facts: Facts, membership: Membership, *, also: Iterable[str] = ()) -> FactOwners:
    """Return the household of each fact, and of other keys that are asked for."""
    if not membership.events:
        names = tuple(dict.fromkeys((*facts.told.names, *also)))
        return FactOwners(
            household=facts.told.codes, names=names, by_key={name: place for place, name in enumerate(names)}
        )
    numbers: dict[str, int] = {}
    keys = {key: numbers.setdefault(household_of(membership, key), len(numbers)) for key in also}
    household = np.full(facts.count, NONE, np.int64)
    by_code = [NONE] * len(facts.told.names)
    for code in np.unique(facts.told.codes[~facts.is_identifier]).tolist():
        if code != NONE:
            key = facts.told.names[code]
            keys[key] = by_code[code] = numbers.setdefault(household_of(membership, key), len(numbers))
    plain = ~facts.is_identifier & (facts.told.codes != NONE)
    household[plain] = np.array(by_code, np.int64)[facts.told.codes[plain]]
    by_code = [NONE] * len(facts.told.names)
    for code in np.unique(facts.told.codes[facts.is_identifier]).tolist():
        text = facts.told.names[code]
        identifier = normalised(text) or text
        if is_subject(identifier) or identifier not in membership.timelines:
            by_code[code] = numbers.setdefault(holder_of(membership, identifier, 0), len(numbers))
            continue
        # It may have changed hands: whose a fact is depends on when it happened.
        for row in np.flatnonzero(facts.is_identifier & (facts.told.codes == code)).tolist():
            owner = holder_of(membership, identifier, int(facts.time_us[row]))
            household[row] = numbers.setdefault(owner, len(numbers))
    held = np.array([*by_code, NONE], np.int64)[facts.told.codes]
    household = np.where(facts.is_identifier & (held != NONE), held, household)
    return FactOwners(household=household, names=tuple(numbers), by_key=keys)


def membership_of(facts: Facts, rules: GraphRules) -> Membership:
    """Return who belongs together by the graph events among some facts; what is not sound says nothing."""
    membership = Membership(rules)
    found = []
    for row in np.flatnonzero(facts.is_of(GRAPH_TYPES)).tolist():
        event = _event(facts, row)
        if event is not None:
            found.append(event)
    for event in sorted(found, key=lambda one: (one.time_us, one.key)):
        membership.add(event)
    return membership


def household_of(membership: Membership, text: str) -> str:
    """Return the id that stands for whom a key, or the name of a subject, tells of."""
    return membership.household_of(text) if text in membership.home else membership.standing(text)


def holder_of(membership: Membership, identifier: str, time_us: int) -> str:
    """Return the household of who held an identifier at a time; an orphan's is that of the identifier."""
    if is_subject(identifier):
        return household_of(membership, identifier)
    timeline = membership.timelines.get(identifier)
    if timeline is None:
        return membership.standing(identifier)
    holder = timeline.holders[timeline.place(time_us)]
    return membership.household_of(holder) if holder is not None else membership.standing(identifier)


def _event(facts: Facts, row: int) -> GraphEvent | None:
    def text(coded: Coded) -> str:
        code = int(coded.codes[row])
        return coded.names[code] if code != NONE else ""

    told = text(facts.told)
    kind = GRAPH_TYPES[text(facts.type)]
    given = {name: found for name in GRAPH_FIELDS if (found := text(facts.texts[name]))}
    if facts.is_identifier[row]:
        given.setdefault("identifier", told)
    probability = float(facts.probability[row])
    own = "" if facts.is_identifier[row] else told
    try:
        saying = saying_of(kind, given, own, None if np.isnan(probability) else probability)
    except ValueError:
        return None
    event_id = facts.event_id.text(row)
    key = b"".join(
        len(part).to_bytes(2, "little") + part
        for part in (own.encode(), text(facts.source).encode(), event_id.encode())
    )
    return GraphEvent(
        key=key,
        kind=saying.kind,
        time_us=int(facts.time_us[row]),
        learned_us=int(facts.learnt_us[row]),
        identifier=saying.identifier,
        subjects=BETWEEN_SUBJECTS.join(saying.subjects),
        household=saying.household,
        other=saying.other,
        cause=saying.cause or event_id,
        evidence=saying.evidence,
        probability_ppm=saying.probability_ppm,
    )
