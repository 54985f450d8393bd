"""From the tables to walks and back: what one household, or member, has of one journey, moved on and kept.

Where nothing earlier was learned, a lane goes on from where it is. Where something was, all of it is walked anew from
where it was when that could still be: so whatever order things are learned in, it stands where it would stand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from household.journeys.acting import taken_back, taken_back_of, to_say
from household.journeys.consequences import Consequence, begun
from household.journeys.course import MERGED, NEVER_FORGOTTEN_US, Course, way_key
from household.journeys.standing_still import is_paused, standing_us
from household.journeys.visits import visits_of, visits_text
from household.journeys.walk import Lane, Walk
from household.plan import END, WhenMerged
from household.state import NO_MEMBER, PartitionState
from household.subjects import zone_of
from household.tables.heard import Heard
from household.tables.instances import NEVER_US, Ending, Instance


@dataclass(slots=True, kw_only=True)
class _Found:
    """What the tables hold of a lane."""

    instances: list[tuple[int, Instance]]
    heard: list[Heard]
    owners: list[int]


def lane_member(course: Course, member: int) -> int:
    """Return whose the lane is that an event of a member is about: the member's, or the household's."""
    return member if course.is_members else NO_MEMBER


def moved_on(
    state: PartitionState, course: Course, household: int, member: int, *, since_us: int | None, is_joined: bool = False
) -> list[Consequence]:
    """Let a lane take in what has been heard, and what is due by the newest of it or by the newest tick.

    Args:
        state: whose tables of journeys are changed.
        course: the journey.
        household: row of the household.
        member: row of the member whose lane it is; NO_MEMBER for the household's.
        since_us: time of what has just been heard; None where time has passed only.
        is_joined: whether households have just become one: then instances give way.
    """
    rows, instances = state.rows_together(household), _instances(state, course, household, member)
    # As a rule nobody is inside, and what was heard by those who are lets nobody enter: then none of it is looked at.
    if not instances and not any(state.heard.has_name(row, "listener", course.entries) for row in rows):
        return []
    found = _found(state, course, household, member, instances)
    if not instances and not any(one.listener in course.entries for one in found.heard):
        return []
    lane = _lane(state, course, found, household, member)
    known = [one for _, one in found.instances]
    if since_us is None:
        lane.walks, first = [_walk(course, owner, one) for owner, one in found.instances], len(lane.heard)
    elif all(max(one.since_us, one.ended_us) < since_us for one in known):
        lane.walks = [_walk(course, owner, one) for owner, one in found.instances]
        first = next(place for place, one in enumerate(lane.heard) if one.time_us >= since_us)
    else:
        lane.walks, first = _base_walks(course, found.instances), 0
    until_us = max(state.tidied_us, lane.heard[-1].time_us if lane.heard else state.tidied_us)
    lane.run(first, until_us)
    effects = _stored(state, lane, found)
    at_us = max([until_us, *(walk.based_us for walk in lane.walks if walk.is_live)])
    if is_joined and _gave_way(state, lane, at_us):
        effects += moved_on(state, course, household, member, since_us=at_us)
    return effects


def _gave_way(state: PartitionState, lane: Lane, at_us: int) -> bool:
    """Let instances of households that have become one give way, as declared; return whether any does."""
    merged = lane.course.flow.merged
    live = [walk for walk in lane.walks if walk.is_live]
    if merged is WhenMerged.KEEP_BOTH or len({walk.owner for walk in live}) < 2:
        return False
    by_key: dict[int, list[Walk]] = {}
    for walk in sorted(live, key=lambda one: (one.entered_us, one.number)):
        by_key.setdefault(walk.correlation, []).append(walk)
    kept = 1 if merged is WhenMerged.KEEP_OLDER else 0
    giving = [walk for alike in by_key.values() if len(alike) > 1 for walk in alike[kept:]]
    for walk in giving:
        _hear(state, lane, f"{lane.course.name}:{MERGED}", walk.owner, walk.number, at_us)
    return bool(giving)


def put_elsewhere(
    state: PartitionState,
    course: Course,
    household: int,
    member: int,
    targets: Mapping[tuple[int, int], int],
    *,
    enters_anew: bool,
) -> list[Consequence]:
    """Let instances of a lane go to other states, as another playbook says; return what that brings about.

    Args: as of `moved_on`, and
        targets: (owner, number) → state, or END.
        enters_anew: times after the entry are counted from now on.
    """
    instances = [
        (owner, one) for owner, one in _instances(state, course, household, member) if (owner, one.number) in targets
    ]
    found = _found(state, course, household, member, instances)
    lane = _lane(state, course, found, household, member)
    lane.walks = [_walk(course, owner, one) for owner, one in found.instances]
    for walk in lane.walks:
        if enters_anew:
            walk.entered_us = state.now_us
        lane.put(walk, targets[(walk.owner, walk.number)], state.now_us)
    return _stored(state, lane, found, are_put=True)


def settled(state: PartitionState, course: Course, household: int, member: int, *, horizon_us: int) -> None:
    """Let what was heard before an instant be taken in for good: nothing earlier can be learned any more."""
    instances = _instances(state, course, household, member)
    if not instances:
        return
    found = _found(state, course, household, member, instances)
    lane = _lane(state, course, found, household, member)
    by_key = {(owner, one.number): one for owner, one in found.instances}
    is_later = any(max(one.since_us, one.ended_us) >= horizon_us for one in by_key.values())
    lane.walks = (
        _base_walks(course, found.instances) if is_later else [_walk(course, *pair) for pair in found.instances]
    )
    lane.run(0 if is_later else len(lane.heard), horizon_us - 1)
    for walk in lane.walks:
        one = by_key.get((walk.owner, walk.number))
        if one is not None and one.based_us < horizon_us:
            # Who ended in a state that there is no more is where he was.
            was = one.base_step if is_later else one.step
            base = replace(
                one,
                base_step=was if walk.step == END else course.steps[walk.step].name,
                base_since_us=walk.since_us,
                base_due_us=walk.due_us,
                base_visits=visits_text(course, walk),
                based_us=horizon_us,
            )
            state.instances.put(base, owner=walk.owner)


# --- from the tables --------------------------------------------------------------------------------------------------


def _members(state: PartitionState, household: int, member: int) -> set[int]:
    return set(state.graph.member_rows(household, member)) if member != NO_MEMBER else {NO_MEMBER}


def _instances(state: PartitionState, course: Course, household: int, member: int) -> list[tuple[int, Instance]]:
    members = _members(state, household, member)
    return [
        (row, one)
        for row in state.rows_together(household)
        for one in state.instances.of(row)
        if one.journey == course.name and one.member in members
    ]


def _found(
    state: PartitionState, course: Course, household: int, member: int, instances: list[tuple[int, Instance]]
) -> _Found:
    members = _members(state, household, member)
    heard = [
        (one, row)
        for row in state.rows_together(household)
        for one in state.heard.of_names(row, "listener", course.told)
        if not course.is_members or one.member in members
    ]
    # Whatever is kept first: behind an event what came of it, also where that lies in another row of the household.
    last = len(course.place_of)
    heard.sort(key=lambda pair: (pair[0].time_us, pair[0].event, course.place_of.get(pair[0].listener, last)))
    return _Found(instances=instances, heard=[one for one, _ in heard], owners=[row for _, row in heard])


def _lane(state: PartitionState, course: Course, found: _Found, household: int, member: int) -> Lane:
    def holds(program: int, walk: Walk, at_us: int) -> bool:
        return bool(state.conditions(np.array([program]), walk.owner, walk.entrant, at_us)[0] == 1.0)

    said = {
        (row, act.number)
        for row in state.rows_together(household)
        for act in state.acts.of(row)
        if act.journey == course.name and act.was_said
    }
    return Lane(
        course=course,
        member=member,
        walks=[],
        heard=found.heard,
        owners=found.owners,
        zone=zone_of(state, household, member),
        holds=holds,
        version=state.plan.version,
        is_paused=is_paused(state, course.name),
        sticks=frozenset(said),
        horizon_us=max((one.based_us for _, one in found.instances), default=0),
    )


def _walk(course: Course, owner: int, one: Instance) -> Walk:
    """Return an instance as it is."""
    return Walk(
        owner=owner,
        number=one.number,
        correlation=one.correlation,
        version=one.version,
        entered_us=one.entered_us,
        entrant=one.entrant,
        step=course.step_by_name.get(one.step, END),
        since_us=one.since_us,
        due_us=one.due_us if one.ending is Ending.LIVE else NEVER_US,
        visits=(visits := visits_of(course, one.visits, one.step))[0],
        former_visits=visits[1],
        based_us=one.based_us,
        ending=one.ending,
        ended_us=one.ended_us,
    )


def _base_walks(course: Course, instances: Sequence[tuple[int, Instance]]) -> list[Walk]:
    """Return the instances that were there when nothing before could be learned any more, as they were then."""
    return [
        Walk(
            owner=owner,
            number=one.number,
            correlation=one.correlation,
            version=one.version,
            entered_us=one.entered_us,
            entrant=one.entrant,
            step=course.step_by_name.get(one.base_step, END),
            since_us=one.base_since_us,
            due_us=one.base_due_us,
            visits=(visits := visits_of(course, one.base_visits, one.base_step))[0],
            former_visits=visits[1],
            based_us=one.based_us,
            # What had ended by then has not changed since.
            ending=one.ending if _has_ended_by_base(one) else Ending.LIVE,
            ended_us=one.ended_us if _has_ended_by_base(one) else 0,
        )
        for owner, one in instances
        if one.based_us
    ]


def _has_ended_by_base(one: Instance) -> bool:
    return one.ending is not Ending.LIVE and one.ended_us < one.based_us


# --- and back ---------------------------------------------------------------------------------------------------------


def _stored(state: PartitionState, lane: Lane, found: _Found, *, are_put: bool = False) -> list[Consequence]:
    """Keep where a lane's instances are; return what that brings about.

    Args:
        state: changed.
        lane: as it was walked.
        found: what there was before.
        are_put: a state of the same name, at the same time, may be another.
    """
    course = lane.course
    before = {(owner, one.number): one for owner, one in found.instances}
    walks = {(walk.owner, walk.number): walk for walk in lane.walks}
    effects: list[Consequence] = []
    for (owner, number, step, at_us), way in lane.ways.items():
        _hear(state, lane, way_key(course.name, course.steps[step].name, way), owner, number, at_us)
    for key, one in before.items():
        if key not in walks:
            state.instances.remove(key[0], one.journey, one.member, one.number)
            effects += taken_back_of(state, one, key[0])
    for key, walk in walks.items():
        old = before.get(key)
        row = _row(state, course, walk, old)
        if row == old and not are_put:
            continue
        state.instances.put(row, owner=walk.owner)
        effects += taken_back(state, course, key, walk)
        if (act := to_say(state, course, walk, row.member)) is not None:
            state.acts.put(act, owner=walk.owner)
            effects.append(begun(course, walk, act))
    return effects


def _hear(state: PartitionState, lane: Lane, key: str, owner: int, number: int, at_us: int) -> None:
    """Keep what a lane brought about itself, so that it is the same however often it is walked."""
    state.heard.put(
        Heard(
            listener=key,
            time_us=at_us,
            member=lane.member,
            correlation=0,
            about=number,
            visit=0,
            # Behind what it follows from, which may not have been counted yet.
            event=max([state.number(state.counters.received), *(one.event for one in lane.heard)]),
            keep_until_us=at_us + state.plan.clock.lateness_us + 1,
        ),
        owner=owner,
    )


def _row(state: PartitionState, course: Course, walk: Walk, old: Instance | None) -> Instance:
    due_us = standing_us(walk.due_us, walk.since_us) if is_paused(state, course.name) else walk.due_us
    if not walk.is_live:
        kept_us = course.kept_us(state.plan.clock.lateness_us)
        due_us = NEVER_US if kept_us == NEVER_FORGOTTEN_US else walk.ended_us + kept_us
    return Instance(
        journey=course.name,
        member=old.member if old is not None else lane_member(course, walk.entrant),
        number=walk.number,
        correlation=walk.correlation,
        version=walk.version if old is None else old.version,
        entered_us=walk.entered_us,
        entrant=walk.entrant,
        step=old.step if walk.step == END and old is not None else course.steps[walk.step].name,
        since_us=walk.since_us,
        due_us=due_us,
        visits=visits_text(course, walk),
        base_step="" if old is None else old.base_step,
        base_since_us=0 if old is None else old.base_since_us,
        base_due_us=0 if old is None else old.base_due_us,
        base_visits=b"" if old is None else old.base_visits,
        based_us=0 if old is None else old.based_us,
        ending=walk.ending,
        ended_us=walk.ended_us,
    )
