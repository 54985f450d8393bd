"""How components that change their partition fold: at where they leave, at where they come, and at who asked for it."""

from collections.abc import Sequence
from dataclasses import replace

from household.graph.telling import take_in
from household.plan import EventTimeUs, Plan
from household.relocation.births import key_of, rank_of
from household.relocation.carrying import put_in, taken_out
from household.relocation.component import component_of, size_of
from household.relocation.notes import Came, RelocationNote, event_of
from household.relocation.packing import plan_of, under_plan
from household.relocation.places import all_here, note_away, root_of
from household.relocation.whereabouts import is_here
from household.state import NEVER_US, PartitionState
from household.tables.relocations import HERE, Arrival, Departure, NamePlace

LARGEST_BYTES = 32 << 20
"""About as much goes at once, and no component that is larger goes at all: a record of a log has twice that room."""


def fold_relocations(state: PartitionState, note: RelocationNote, *, stamp_us: int) -> None:
    """Fold what became of components; what is no news changes nothing.

    Args:
        state: changed in place.
        note: what is told.
        stamp_us: of the record.
    """
    for came in note.came:
        if is_next(state, came):
            _come(state, came)
    for data in note.events:
        event = event_of(data)
        if not state.graph.known(event.key) and all_here(state, event):
            take_in(state, replace(event, learned_us=state.now_us))
    named: dict[int, list[tuple[str, str]]] = {}
    for out in note.outs:
        named.setdefault(out.target, []).extend(out.named)
    if named:
        number = _next_number(state, stamp_us)
        for target, ones in named.items():  # each has one departure in a record
            _leave(state, target, ones, number)
    for done in note.done:
        state.departures.remove(done.number, done.target)
    for key in note.told:
        state.waiting.remove(key)


def news(state: PartitionState, note: RelocationNote) -> RelocationNote:
    """Return what of a note would change anything."""
    events = [(data, event_of(data)) for data in note.events]
    came: list[Came] = []
    newest: dict[int, int] = {}
    left_out, room = set[int](), LARGEST_BYTES
    for one in sorted(note.came, key=lambda one: one.number):
        if one.source in left_out or has_come(state, one) or one.number <= newest.get(one.source, -1):
            continue
        if room <= 0 or not is_next(state, one):
            left_out.add(one.source)  # with what follows: it comes in order, or would never come
            continue
        came.append(one)
        newest[one.source] = one.number
        room -= len(one.data)
    outs = [replace(out, named=tuple(named for named in out.named if may_leave(state, *named))) for out in note.outs]
    return RelocationNote(
        came=tuple(came),
        events=tuple(data for data, event in events if not state.graph.known(event.key) and all_here(state, event)),
        outs=tuple(out for out in outs if out.named),
        done=tuple(one for one in note.done if (one.number, one.target) in state.departures),
        told=tuple(key for key in note.told if key in state.waiting),
    )


def read_under(note: RelocationNote, logged: Plan, plan: Plan, *, now_us: int) -> RelocationNote:
    """Return a note of a log as whoever folds that under another plan reads it: what came is carried into that plan.

    It is what was known by the log's own plans, as in a snapshot of that log; what only the other would have kept
    begins anew with it.

    Args:
        note: of the log.
        logged: in force there.
        plan: under which it is folded.
        now_us: event time at which it comes, µs.

    Raises:
        ComponentUnreadable
    """
    if plan.version == logged.version or not note.came:
        return note
    came = [
        # What was refused there, as of another plan yet, is refused here.
        replace(one, data=under_plan(one.data, logged, plan, now_us=EventTimeUs(now_us)))
        if plan_of(one.data) == logged.version
        else one
        for one in note.came
    ]
    return replace(note, came=tuple(came))


def may_leave(state: PartitionState, name: str, root: str) -> bool:
    """Return whether a component may go to where a name lies: only towards what comes before all that it is tied to.

    So no two that want it elsewhere send it to and fro.
    """
    until_us = state.uncoded_until_us
    if until_us != NEVER_US and until_us >= state.now_us - state.plan.clock.lateness_us:
        return False
    if not is_here(state, key_of(name)):
        return False
    return rank_of(root) < rank_of(root_of(state, name)) and size_of(state, component_of(state, name)) <= LARGEST_BYTES


def is_next(state: PartitionState, came: Came) -> bool:
    """Return whether a departure has not come yet, and may: it is read under the plan in force alone."""
    return not has_come(state, came) and plan_of(came.data) == state.plan.version


def has_come(state: PartitionState, came: Came) -> bool:
    """Return whether a departure has come."""
    arrival = state.arrivals.get(came.source)
    return arrival is not None and came.number <= arrival.number


def _come(state: PartitionState, came: Came) -> None:
    names = put_in(state, came.data)
    for name, root in names.items():
        state.places.put(NamePlace(key_of(name), HERE, root))
    note_away(state, map(key_of, names), is_away=False)
    state.arrivals.put(Arrival(came.source, came.number))


def _next_number(state: PartitionState, stamp_us: int) -> int:
    """Return the number of what leaves now: by time, as a log that was cut off, or restored, gives offsets again."""
    newest = state.arrivals.get(state.partition)
    number = stamp_us if newest is None else max(stamp_us, newest.number + 1)
    state.arrivals.put(Arrival(state.partition, number))
    return number


def _leave(state: PartitionState, target: int, named: Sequence[tuple[str, str]], number: int) -> None:
    names: dict[str, str] = {}
    components, room = [], LARGEST_BYTES
    for name, root in named:
        # An event of this very record may have tied it to more; what is left out here is asked for again.
        if name not in names and room > 0 and may_leave(state, name, root):
            component = component_of(state, name)
            components.append(component)
            names.update(dict.fromkeys(component.names, root))
            room -= size_of(state, component)
    if not components:
        return
    data = taken_out(state, components, names)
    for name, root in names.items():
        state.places.put(NamePlace(key_of(name), target, root))
    note_away(state, map(key_of, names), is_away=True)
    state.departures.put(Departure(number, target, data))
