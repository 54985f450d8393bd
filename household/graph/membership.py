"""From a set of graph events to who belongs together: the same for the same set, in whatever order it was learned.

Events hold in the order of their times, ties in the order of their keys. One that is the newest of all that has to do
with it is taken as it comes; otherwise what has to do with it is made anew from its events. So is what an `unmerge`
takes back: the graph is then what it would be without the merge.
"""

import hashlib
from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import assert_never

from household.graph.events import BETWEEN_SUBJECTS, CERTAIN, GraphKind
from household.graph.identifiers import is_member, normalised
from household.graph.timeline import FROM, Timeline
from household.plan import GraphRules
from household.tables.graph_events import GraphEvent

NEW_HOUSEHOLD = "~"
"""Begins the id of a household that a `leave` or a `split` made."""

_CAUSE = "\0"
"""Begins the name of a cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A graph event that is not applied until a person confirms its cause."""

    cause: str
    kind: GraphKind
    time_us: int
    about: tuple[str, ...]
    """The two households, the subject and its household, or the identifier and the subject."""
    why: str


@dataclass(slots=True, eq=False)
class _Component:
    """Events that have to do with one another, by what they name, in the order in which they hold."""

    events: list[tuple[int, bytes]] = field(default_factory=list)
    names: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Household:
    """A household by its id that stands, as far as graph events say it."""

    first_seen_us: int
    ids: set[str]
    """Its own and its aliases."""
    subjects: set[str] = field(default_factory=set)
    closed_us: int | None = None


class Membership:
    """Subjects, households and identifiers of a partition."""

    def __init__(self, rules: GraphRules) -> None:
        """Know nothing yet."""
        self.rules = rules
        self._worth_ppm = {one.evidence: rules.believed_ppm(one.evidence, CERTAIN) for one in rules.linking}
        self.events: dict[bytes, GraphEvent] = {}
        self.home: dict[str, str] = {}
        """The household of each subject, by an id that may be an alias by now."""
        self.households: dict[str, Household] = {}
        """By the id that stands."""
        self.timelines: dict[str, Timeline] = {}
        self.held: dict[str, set[str]] = {}
        """Identifiers that a subject holds, held, or only might have."""
        self.quarantined: dict[bytes, Quarantined] = {}
        self._survivor: dict[str, str] = {}
        self._component: dict[str, _Component] = {}
        self._unmerged: set[str] = set()
        self._confirmed: set[str] = set()
        self._touched: set[str] = set()

    # --- asking -------------------------------------------------------------------------------------------------------

    def standing(self, household: str) -> str:
        """Return the id that stands for a household's id."""
        while household in self._survivor:
            household = self._survivor[household]
        return household

    def household_of(self, subject: str) -> str:
        """Return the household of a subject, by the id that stands: at first its own."""
        return self.standing(self.home.get(subject, subject))

    def of_cause(self, cause: str) -> list[GraphEvent]:
        """Return the events of a cause that a person may take back or confirm, and those that do."""
        component = self._component.get(_of_cause(cause))
        events = [self.events[key] for _, key in component.events] if component is not None else []
        return [one for one in events if one.cause == cause]

    def tied(self, name: str) -> tuple[set[str], list[bytes]]:
        """Return all names that events tie to one, itself among them, and the keys of those events in their order."""
        component = self._component.get(name)
        if component is None:
            return {name}, []
        return {one for one in component.names if not is_cause(one)}, [key for _, key in component.events]

    # --- telling ------------------------------------------------------------------------------------------------------

    def drop(self, name: str) -> None:
        """Forget all that is tied to a name, as if nobody had ever spoken of it."""
        component = self._component.get(name)
        if component is None:
            return
        self._forget(component)
        for _, key in component.events:
            event = self.events.pop(key)
            if event.kind is GraphKind.UNMERGE:
                self._unmerged.discard(event.cause)
            elif event.kind is GraphKind.CONFIRM:
                self._confirmed.discard(event.cause)
            for subject in event.subjects.split(BETWEEN_SUBJECTS):
                self.held.pop(subject, None)
        for one in component.names:
            del self._component[one]

    def add(self, event: GraphEvent) -> set[str]:
        """Take in an event that is not known yet; return all names that may mean something else by now.

        Names are those of households, by the ids that stood before and stand now, of subjects and of identifiers.
        """
        self.events[event.key] = event
        names = names_of(event)
        if event.kind is GraphKind.JOIN and not self._is_believed(event):
            names.add(_of_cause(event.cause))  # a person may confirm it
        component = self._joined(names)
        place = (event.time_us, event.key)
        is_newest = not component.events or component.events[-1] < place
        if is_newest:
            component.events.append(place)
        else:
            insort(component.events, place)
        self._touched = set()
        if event.kind is GraphKind.UNMERGE:
            self._unmerged.add(event.cause)
        elif event.kind is GraphKind.CONFIRM:
            self._confirmed.add(event.cause)
        elif is_newest:
            self._apply(event)
            return self._touched
        if len(component.events) > 1:
            self._make_anew(component)
        return self._touched

    def _joined(self, names: set[str]) -> _Component:
        """Return the one component of all these names."""
        by_name = self._component
        found, new = list[_Component](), list[str]()
        for name in names:
            one = by_name.get(name)
            if one is None:
                new.append(name)
            elif one not in found:
                found.append(one)
        component = max(found, key=lambda one: len(one.events)) if found else _Component()
        for other in found:
            if other is not component:
                component.events = sorted([*component.events, *other.events])
                component.names |= other.names
                by_name.update(dict.fromkeys(other.names, component))
        for name in new:
            component.names.add(name)
            by_name[name] = component
        return component

    def _make_anew(self, component: _Component) -> None:
        self._touched |= component.names
        self._forget(component)
        for _, key in component.events:
            self._apply(self.events[key])

    def _forget(self, component: _Component) -> None:
        for name in component.names:
            self.home.pop(name, None)
            self.households.pop(name, None)
            self.timelines.pop(name, None)
            self._survivor.pop(name, None)
        for _, key in component.events:
            self.quarantined.pop(key, None)

    # --- what each event does -----------------------------------------------------------------------------------------

    def _apply(self, event: GraphEvent) -> None:
        subjects = event.subjects.split(BETWEEN_SUBJECTS) if event.subjects else []
        for subject in subjects:
            self._meet(subject, event.time_us)
        match event.kind:
            case GraphKind.LINK:
                self._link(event, subjects[0])
            case GraphKind.UNLINK:
                self._timeline(event).unlink(event.time_us)
            case GraphKind.RECYCLE:
                self._timeline(event).recycle(event.time_us)
            case GraphKind.JOIN if not self._is_believed(event) and event.cause not in self._confirmed:
                self._put_aside(event, (subjects[0], event.household), self._too_uncertain(event))
            case GraphKind.JOIN:
                self._move(subjects[0], self._seen(event.household, event.time_us))
            case GraphKind.LEAVE:
                here = self.households[self.household_of(subjects[0])]
                if here.subjects != {subjects[0]} or here.ids != {subjects[0]}:  # not yet in one of its own
                    self._move(subjects[0], self._seen(new_household(event), event.time_us))
            case GraphKind.MERGE:
                self._merge(event)
            case GraphKind.SPLIT:
                self._split(event, subjects)
            case GraphKind.CLOSE:
                household = self._seen(event.household, event.time_us)
                self.households[household].closed_us = event.time_us
            case GraphKind.UNMERGE | GraphKind.CONFIRM:
                pass  # what they say holds whenever it was said
            case _:
                assert_never(event.kind)

    def _meet(self, subject: str, time_us: int) -> None:
        """A subject that nobody spoke of before lives in a household of its own."""
        self._touched.add(subject)
        if subject not in self.home:
            self.home[subject] = subject
            self.households[self._seen(subject, time_us)].subjects.add(subject)

    def _seen(self, household: str, time_us: int) -> str:
        """Return the id that stands of a household that an event speaks of."""
        standing = self.standing(household)
        if standing not in self.households:
            self.households[standing] = Household(time_us, {standing})
        self._touched.add(standing)
        return standing

    def _timeline(self, event: GraphEvent) -> Timeline:
        self._touched.add(event.identifier)
        timeline = self.timelines.setdefault(event.identifier, Timeline())
        timeline.spoken_of_us.add(event.time_us)
        if timeline.holder is not None:
            self._touched.add(self.household_of(timeline.holder))
        return timeline

    def _link(self, event: GraphEvent, subject: str) -> None:
        timeline, rules = self._timeline(event), self.rules
        if not self._is_believed(event):
            timeline.inferred.append((event.time_us, subject, self._believed_ppm(event)))
            self.held.setdefault(subject, set()).add(event.identifier)
            return
        household = self.household_of(subject)
        after_us = event.time_us - rules.seen_within_us
        seen = {self.standing(one) for time_us, one in timeline.seen if time_us > after_us} | {household}
        if len(seen) > rules.households_most and event.cause not in self._confirmed:
            why = f"would be in {len(seen)} households within {rules.seen_within_us // 86_400_000_000} days"
            self._put_aside(event, (event.identifier, subject), f"{why}; {rules.households_most} are the most")
            return
        timeline.seen.append((event.time_us, household))
        timeline.link(event.time_us, subject)
        self.held.setdefault(subject, set()).add(event.identifier)
        self._touched.add(household)

    def _move(self, subject: str, household: str) -> None:
        before = self.household_of(subject)
        self._touched |= {before, household}
        self.households[before].subjects.discard(subject)
        self.households[household].subjects.add(subject)
        self.home[subject] = household

    def _split(self, event: GraphEvent, subjects: Iterable[str]) -> None:
        before = self._seen(event.household, event.time_us)
        moving = [one for one in subjects if self.household_of(one) == before]
        if moving:
            household = self._seen(new_household(event), event.time_us)
            for subject in moving:
                self._move(subject, household)

    def _merge(self, event: GraphEvent) -> None:
        if event.cause in self._unmerged:
            return
        ours, theirs = self._seen(event.household, event.time_us), self._seen(event.other, event.time_us)
        if ours == theirs:
            return
        if not self._is_believed(event) and event.cause not in self._confirmed:
            self._put_aside(event, (ours, theirs), self._too_uncertain(event))
            return
        count = sum(is_member(one) for side in (ours, theirs) for one in self.households[side].subjects)
        if count > self.rules.members_most and event.cause not in self._confirmed:
            self._put_aside(
                event, (ours, theirs), f"would have {count} members; {self.rules.members_most} are the most"
            )
            return
        stays, goes = sorted((ours, theirs), key=lambda one: (self.households[one].first_seen_us, one))
        gone, kept = self.households.pop(goes), self.households[stays]
        kept.ids |= gone.ids
        kept.subjects |= gone.subjects
        if gone.closed_us is None or kept.closed_us is None:
            kept.closed_us = None  # somebody lives there
        self._survivor[goes] = stays

    def _believed_ppm(self, event: GraphEvent) -> int:
        """Return what `GraphRules.believed_ppm` does, without a walk through all rules."""
        return min(event.probability_ppm, self._worth_ppm.get(event.evidence, CERTAIN))

    def _is_believed(self, event: GraphEvent) -> bool:
        return self._believed_ppm(event) >= self.rules.certain_ppm

    def _too_uncertain(self, event: GraphEvent) -> str:
        believed = self._believed_ppm(event) / CERTAIN
        return f"{event.evidence} is right with {believed:g}; {self.rules.certain_ppm / CERTAIN:g} is believed"

    def _put_aside(self, event: GraphEvent, about: tuple[str, ...], why: str) -> None:
        self.quarantined[event.key] = Quarantined(
            cause=event.cause, kind=event.kind, time_us=event.time_us, about=about, why=why
        )


def names_of(event: GraphEvent) -> set[str]:
    """Return all that an event speaks of: events that share a name may depend on one another."""
    names = {event.identifier, event.household, event.other, *event.subjects.split(BETWEEN_SUBJECTS)}
    names.discard("")
    for name in [one for one in names if FROM in one]:
        # The household of a span of an identifier's time is nobody's but the identifier's.
        whose = name.rpartition(FROM)[0]
        if whose and normalised(whose) == whose:
            names.add(whose)
    if event.kind in (GraphKind.LEAVE, GraphKind.SPLIT):
        names.add(new_household(event))
    if event.kind in (GraphKind.LINK, GraphKind.MERGE, GraphKind.UNMERGE, GraphKind.CONFIRM):
        names.add(_of_cause(event.cause))
    return names


def _of_cause(cause: str) -> str:
    """Return a name that all events of a cause speak of."""
    return f"{_CAUSE}{cause}"


def is_cause(name: str) -> bool:
    """Return whether a name is that of a cause: it ties events together, and is no name of anybody."""
    return name.startswith(_CAUSE)


def new_household(event: GraphEvent) -> str:
    """Return the id of the household that an event makes."""
    return NEW_HOUSEHOLD + hashlib.blake2b(event.key, digest_size=10).hexdigest()
