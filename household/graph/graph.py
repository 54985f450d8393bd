"""The graph of a partition as the fold and the decision meet it: which rows of the columns belong together.

Facts lie where they came: in the row of a household that a signal named, in that of a subject, or in that of a span
of an identifier's time (`msisdn:+44…` from the beginning, `msisdn:+44…#1750075200000000` from a time on). Graph events
move none of them. Which rows one household has follows from the events, and is remembered until they say otherwise.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from household.graph.membership import Membership
from household.graph.naming import self_key
from household.graph.persons import Persons
from household.graph.timeline import ALWAYS_US, FROM, Timeline
from household.graph.together import LaidTogether, with_rows
from household.relocation.whereabouts import check_here
from household.tables.graph_events import GRAPH_EVENTS, GraphEvent
from household.tables.slots import COUNT
from household.tables.table import Table

if TYPE_CHECKING:
    from household.state import PartitionState

BASE = "\0"
"""Ends the key of a row with what can change hands no more of a span."""


def span_key(identifier: str, start_us: int) -> str:
    """Return the key of the row of a span of an identifier's time."""
    return identifier if start_us == ALWAYS_US else f"{identifier}{FROM}{start_us}"


class Graph:
    """Who belongs together in one partition."""

    def __init__(self, state: "PartitionState") -> None:
        """Begin by what the tables hold, as soon as somebody asks."""
        self._state = state
        self._events: Table[GraphEvent] = state.tables.of(GRAPH_EVENTS)
        self._membership: Membership | None = None
        self._starts: dict[str, tuple[int, ...]] = {}
        """Of each identifier's spans, as the rows were last laid out."""
        self._is_cut = np.zeros(0, np.uint8)
        """(households and more,) 1 for the row of an identifier that has several spans."""
        self._made: dict[str, set[int]] = {}
        """Starts of an identifier's spans, past ones too, that have a row."""
        self._rows_by_household: dict[str, tuple[int, ...]] = {}
        self._household_by_row: dict[int, str] = {}
        self.together = LaidTogether(self)
        self._persons = Persons(self)

    def __bool__(self) -> bool:
        """Return whether there is any graph event."""
        return self._events.rows.item(0, COUNT) > 0  # asked two dozen times for a decision

    def carried(self, state: "PartitionState") -> "Graph":
        """Return the graph of the state that this one's goes over to: this one, unless other rules hold there."""
        if state.plan.graph != self._state.plan.graph:
            return Graph(state)
        self._state = state
        self.together.forget_all()
        return self

    def begin(self) -> None:
        """Look what the events say now, and not when somebody first asks: some 20 µs for each."""
        if self:
            assert self.membership.events

    @property
    def membership(self) -> Membership:
        """What the graph events say."""
        if self._membership is None:
            self._membership = Membership(self._state.plan.graph)
            for event in sorted(self._events, key=lambda one: (one.time_us, one.key)):
                self._membership.add(event)
            for name, one in self._membership.timelines.items():
                self._lay_out(name, tuple(one.starts_us))
            self._made = {name: self._with_row(name, one) for name, one in self._membership.timelines.items()}
        return self._membership

    def _with_row(self, identifier: str, timeline: Timeline) -> set[int]:
        """Return the starts of spans of an identifier, past ones too, that have a row."""
        households = self._state.households
        return {one for one in timeline.spoken_of_us if households.find(span_key(identifier, one).encode()) >= 0}

    def _lay_out(self, identifier: str, starts_us: tuple[int, ...]) -> None:
        """Note where an identifier's spans start."""
        was_cut = len(self._starts.get(identifier, ())) > 1
        self._starts[identifier] = starts_us
        if was_cut or len(starts_us) > 1:
            row = self._state.households.find(identifier.encode())
            if row >= 0:
                self._cut_rows()[row] = len(starts_us) > 1

    def _cut_rows(self) -> NDArray[np.uint8]:
        """Return 1 for each row (households,) of an identifier that has several spans."""
        self._is_cut = with_rows(self._is_cut, self._state.households.count)
        return self._is_cut

    def _note_made(self, text: str, row: int) -> None:
        identifier, start_us = self._span_of(text)
        if identifier:
            self._made.setdefault(identifier, set()).add(start_us)
            if start_us == ALWAYS_US:
                self._cut_rows()[row] = len(self._starts.get(identifier, ())) > 1

    def _span_of(self, text: str) -> tuple[str, int]:
        """Return identifier and start of the span whose row has this key; "" for another row."""
        if text.endswith(BASE):
            return "", 0
        if text in self.membership.timelines:
            return text, ALWAYS_US
        identifier, _, start = text.rpartition(FROM)
        timeline = self.membership.timelines.get(identifier)
        # Another identifier may end in such a mark and a number: only a time that was spoken of begins a span.
        if timeline is not None and start.isdecimal() and int(start) in timeline.spoken_of_us:
            return identifier, int(start)
        return "", 0

    def _text(self, row: int) -> str:
        return self._state.households.key(row).decode(errors="surrogateescape")

    # --- telling ------------------------------------------------------------------------------------------------------

    def known(self, key: bytes) -> bool:
        """Return whether a graph event was folded."""
        return key in self.membership.events

    def keep(self, events: Sequence[GraphEvent]) -> None:
        """Keep events that were learned, before anybody asks for more than who belongs together."""
        self._events.put_new(events)

    def add(self, event: GraphEvent) -> dict[str, tuple[int, ...]]:
        """Take in an event, as `learn`, and keep it."""
        changed = self.learn(event)
        self._events.put(event)
        return changed

    def learn(self, event: GraphEvent) -> dict[str, tuple[int, ...]]:
        """Take in an event; return the identifiers whose spans are others now, with the starts they had."""
        membership = self.membership
        self._persons.forget()
        touched = membership.add(event)
        for name in touched & self._rows_by_household.keys():
            self._forget(name)
        changed = {}
        for name in touched:
            timeline = membership.timelines.get(name)
            if timeline is not None:
                before = self._starts.get(name, (ALWAYS_US,))
                if name not in self._starts and self._state.households.find(name.encode()) >= 0:
                    self._made.setdefault(name, set()).add(ALWAYS_US)
                starts_us = tuple(timeline.starts_us)
                if before != starts_us:
                    changed[name] = before
                if name not in self._starts or before != starts_us:
                    self._lay_out(name, starts_us)
                for start_us in self._made.get(name, ()):
                    # An orphan may have been merged with others, whom it leaves if somebody holds it now.
                    self._forget(membership.standing(span_key(name, start_us)))
        return changed

    def drop(self, name: str) -> None:
        """Forget all graph events that are tied to a name: what they tie together goes elsewhere."""
        membership = self.membership
        self._persons.forget()
        names, keys = membership.tied(name)
        for one in names:
            self._forget(membership.household_of(one))
            for start_us in self._made.pop(one, ()):
                self._forget(membership.standing(span_key(one, start_us)))
            if one in self._starts:
                self._lay_out(one, ())
                del self._starts[one]
        for key in keys:
            self._events.remove(key)
        membership.drop(name)

    def rows_came(self, rows: Iterable[int]) -> None:
        """Rows have come from elsewhere, with all that graph events say of them."""
        self._persons.forget()
        for row in rows:
            text = self._text(row)
            self._note_made(text, row)
            self._forget(self.household_of(text))

    def _forget(self, household: str) -> None:
        """Forget which rows a household has: they may be others by now."""
        rows = self._rows_by_household.pop(household, ())
        self.together.forget(rows)
        for row in rows:
            self._household_by_row.pop(row, None)

    def rows_added(self, first: int) -> None:
        """Rows from `first` on are new."""
        self.rows_came(range(first, self._state.households.count))

    # --- asking -------------------------------------------------------------------------------------------------------

    def household_of(self, text: str) -> str:
        """Return the id that stands of the household to which the row with this key belongs."""
        membership = self.membership
        if text in membership.home:
            return membership.household_of(text)
        identifier, start_us = self._span_of(text)
        if not identifier:
            return membership.standing(text)
        timeline = membership.timelines[identifier]
        place = timeline.place(start_us)
        holder = timeline.holders[place]
        if holder is not None:
            return membership.household_of(holder)
        return membership.standing(span_key(identifier, timeline.starts_us[place]))

    def are_cut(self, rows: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Return of rows (n,), -1 for none, which are of identifiers that have several spans."""
        if not self:
            return np.zeros(rows.shape[0], np.bool_)
        assert self.membership.events
        are_cut, is_known = np.zeros(rows.shape[0], np.bool_), rows >= 0
        are_cut[is_known] = self._cut_rows()[rows[is_known]] != 0
        return are_cut

    def timeline(self, identifier: str) -> Timeline | None:
        """Return the spans of an identifier that a graph event spoke of."""
        return self.membership.timelines.get(identifier) if self else None

    def start_of(self, identifier: str, time_us: int) -> int:
        """Return where the span starts in which a time lies."""
        timeline = self.timeline(identifier)
        return ALWAYS_US if timeline is None else timeline.start_of(time_us)

    def place_of(self, identifier: str, time_us: int) -> tuple[bytes, bytes]:
        """Return the keys of the household's and the member's row by which whoever holds an identifier then is known.

        Of one that nobody holds, those of its span: a household of its own.
        """
        timeline = self.timeline(identifier)
        if self and identifier in self.membership.home:
            return identifier.encode(), self_key(identifier)
        start_us = ALWAYS_US if timeline is None else timeline.start_of(time_us)
        holder = None if timeline is None else timeline.holders[timeline.place(time_us)]
        if holder is not None:
            return holder.encode(), self_key(holder)
        return span_key(identifier, start_us).encode(), self_key(identifier)

    def whom(self, household: bytes, member: bytes, identifier: str, time_us: int) -> tuple[bytes, bytes]:
        """Return the keys of the rows by which is known whom a request names: by an identifier, or by a household's id.

        An id that no signal has named, only graph events, is known by a row of one of its subjects. An orphan's
        household is called as its identifier, and means what that means.

        Raises:
            LiesElsewhere: that lies in another partition.
        """
        check_here(self._state, identifier.encode() or household)
        return self.place_of(identifier, time_us) if identifier else self.named(household, member, time_us)

    def named(self, household: bytes, member: bytes, time_us: int) -> tuple[bytes, bytes]:
        """Return the same of a household's id, wherever that lies: for who reads the log."""
        text = household.decode(errors="surrogateescape")
        if self and text in self.membership.timelines:
            place = self.place_of(text, time_us)
            return (place[0], member) if member else place
        if not self or self._state.households.find(household) >= 0:
            return household, member
        rows = self._rows(self.keys_of_household(self.household_of(text)))
        keys = [self._state.households.key(row) for row in rows]
        own = b"member:" + member
        return (own if own in keys else keys[0] if keys else household), member

    def is_over(self, row: int) -> bool:
        """Return whether a row is of an orphan whose identifier means somebody else by now: nobody is reached by it."""
        text = self._text(row)
        identifier, start_us = self._span_of(text) if self else ("", 0)
        if not identifier:
            return False
        timeline = self.membership.timelines[identifier]
        place = timeline.place(start_us)
        if timeline.holders[place] is not None or place == len(timeline.starts_us) - 1:
            return False
        return bool(self.names_identifier(self.household_of(text)))

    def names_identifier(self, text: str) -> str:
        """Return the identifier whose span the row with this key is, or a household's id names; "" for none."""
        return self._span_of(text)[0]

    def is_of_graph(self, key: bytes) -> bool:
        """Return whether the row with this key is a subject's or an identifier's."""
        text = key.decode(errors="surrogateescape").removesuffix(BASE)
        return text in self.membership.home or bool(self._span_of(text)[0])

    def keys_of_subject(self, subject: str) -> list[str]:
        """Return the keys of all rows whose facts are a subject's, in the order of the keys."""
        membership = self.membership
        keys = [subject]
        for identifier in membership.held.get(subject, ()):
            timeline = membership.timelines.get(identifier)
            if timeline is not None:
                keys += [
                    span_key(identifier, start_us)
                    for start_us in self._made.get(identifier, ())
                    if timeline.holders[timeline.place(start_us)] == subject
                ]
        return sorted(keys)

    def keys_of_household(self, household: str) -> list[str]:
        """Return the keys of all rows whose facts are a household's, given by the id that stands; in their order."""
        membership = self.membership
        found = membership.households.get(household)
        keys = set()
        for one in found.ids if found is not None else (household,):
            if one not in membership.home:
                identifier, start_us = self._span_of(one)
                if not identifier:
                    keys.add(one)
                else:
                    keys.update(self._orphan_keys(identifier, start_us))
        for subject in found.subjects if found is not None else ():
            keys.update(self.keys_of_subject(subject))
        return sorted(keys)

    def _orphan_keys(self, identifier: str, start_us: int) -> list[str]:
        """Return the keys of the rows of a span that nobody holds, of which one starts then."""
        timeline = self.membership.timelines[identifier]
        place = timeline.place(start_us)
        if timeline.holders[place] is not None or timeline.starts_us[place] != start_us:
            return []
        made = self._made.get(identifier, ())
        return [span_key(identifier, one) for one in made if timeline.place(one) == place]

    def household_rows(self, row: int) -> tuple[int, ...]:
        """Return the rows whose facts together are those of the household that has this one, in order of their keys."""
        if not self:
            return (row,)
        household = self._household_by_row.get(row)
        if household is None:
            household = self.household_of(self._text(row))
        rows = self._rows_by_household.get(household)
        if rows is None:
            rows = self._rows(self.keys_of_household(household))
            self._rows_by_household[household] = rows
            self._household_by_row.update(dict.fromkeys(rows, household))
        return rows if row in rows else (row,)

    def is_remembered(self, row: int) -> bool:
        """Return whether it is remembered whose row this is; `_forget` tells when that is over."""
        return row in self._household_by_row

    def merged_rows(self, row: int) -> tuple[int, ...]:
        """Return the rows of what signals named as households, where those of this row's household are several."""
        rows = self.household_rows(row)
        if len(rows) == 1:
            return ()
        named = tuple(one for one in rows if not self.is_of_graph(self._state.households.key(one)))
        return named if len(named) > 1 else ()

    def called(self, row: int, member: bytes) -> int:
        """Return the row of who is called so beneath a household's row though no signal has done so; -1 for nobody."""
        if not self:
            return -1
        subject = self._persons.called(self._state, self._text(row), member)
        own = self._state.households.find(subject.encode(errors="surrogateescape")) if subject else -1
        return self._state.members.find(member, own) if own >= 0 else -1

    def member_rows(self, row: int, member: int) -> tuple[int, ...]:
        """Return the rows of members that are the same person as this one, beneath a household's row."""
        return self._persons.rows(self._state, row, member) if self and member >= 0 else (member,)

    def subject_of(self, text: str) -> str:
        """Return the subject whose facts the row with this key has; "" for nobody's."""
        if text in self.membership.home:
            return text
        identifier, start_us = self._span_of(text)
        if not identifier:
            return ""
        timeline = self.membership.timelines[identifier]
        return timeline.holders[timeline.place(start_us)] or ""

    def _rows(self, keys: Sequence[str]) -> tuple[int, ...]:
        rows = [self._state.households.find(key.encode(errors="surrogateescape")) for key in keys]
        return tuple(row for row in rows if row >= 0)
