"""The story of one household, from the logs alone: what it did, what its journeys did, what was said and answered.

Each log tells it while the household lay in its partition.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from actors.exports.across_partitions import HOPS_MOST, OnItsWay, next_place, on_its_way
from actors.exports.journey_standing import NewestSignal
from actors.exports.point_in_time import LogTooShort, Start
from actors.log.contract import Offset, PartitionId, RecordKind, StoredRecord
from actors.records import codec
from actors.records.signals import decode_signals
from household.decision import Decision
from household.events import EventBatch, Status
from household.graph.persons import name_of
from household.plan import Plan
from household.state import NO_HOUSEHOLD, NO_MEMBER, PartitionState
from household.tables.instances import Ending


class LineKind(StrEnum):
    """What sort of thing a line of the story tells."""

    SIGNAL = "signal"
    ENTERED = "entered"
    MOVED = "moved"
    EXITED = "exited"
    MOMENT = "moment"
    DECIDED = "decided"
    HANDED = "handed"
    SETTLED = "settled"
    """An action was accepted, declined or withdrawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoryLine:
    """One thing that happened."""

    time_us: int
    kind: LineKind
    member: str
    journey: str
    text: str


@dataclass(slots=True, kw_only=True)
class HouseholdStory:
    """What the log tells of a household up to a time."""

    lines: list[StoryLine] = field(default_factory=list)
    seen: dict[str, NewestSignal] = field(default_factory=dict)
    """Event type → its newest signal."""
    fired: dict[str, dict[int, int]] = field(default_factory=dict)
    """Journey → row of a member, or NO_MEMBER → when a moment of it arose last."""
    state: PartitionState | None = None
    """As of then; None where the log had no playbook yet."""
    newest: tuple[Offset, codec.DecisionRecord, Plan] | None = None
    """The decision that is asked for, or the newest one, and the playbook that it was made under."""
    decisions: dict[str, Decision] = field(default_factory=dict)
    """By id, those that made a slate."""


Opened = tuple[Start, Iterable[StoredRecord]]
"""Where a partition's fold begins, and its records in log order; those before the start are passed over."""


def told(
    first: PartitionId,
    opened: Callable[[PartitionId], Opened | None],
    household: bytes,
    *,
    until_us: int | None,
    decision_id: str = "",
) -> HouseholdStory:
    """Fold logs up to a time, each while a household lay in its partition, and tell what concerns it.

    Args:
        first: the partition in which it lay at first, by its name.
        opened: opens a partition's log; None for one that has none.
        household: its key.
        until_us: what was recorded later is not told; None for all there is.
        decision_id: of the decision to be found; empty for the newest.

    Raises:
        LogTooShort: records begin behind their start.
        PayloadUnreadable, PlanUnreadable, and what reading the records raises.
    """
    teller = _Teller(household, decision_id)
    folds = dict[PartitionId, _Fold]()
    partition, way = first, None
    for _ in range(HOPS_MOST):
        fold = folds.get(partition)
        if fold is None:
            found = opened(partition)
            fold = folds[partition] = _Fold(*(found or (Start(), ())), until_us=until_us)
        if way is not None and not fold.goes_until(way.has_come):
            # It had not come by then; what left is what was known of it.
            teller.story.state = way.state
            break
        target = fold.tell(teller)
        state = teller.story.state = fold.state
        if target is None or state is None:
            break
        partition, way = target, fold.way
    teller.end()
    return teller.story


class _Fold:
    """The fold of one partition, which stops where a household goes on to another."""

    def __init__(self, start: Start, records: Iterable[StoredRecord], *, until_us: int | None) -> None:
        self._replay, self._start, self._until_us = start.replay, start, until_us
        self._records = self._up_to(records)
        self.way: OnItsWay | None = None
        """What left with the household, when it did last."""

    @property
    def state(self) -> PartitionState | None:
        return self._replay.state

    def goes_until(self, is_so: Callable[[PartitionState], bool]) -> bool:
        """Fold on, and tell nothing, until something is so of the state; return whether it came to be."""
        while self.state is None or not is_so(self.state):
            stored = next(self._records, None)
            if stored is None:
                return False
            self._replay.fold(stored)
        return True

    def tell(self, teller: "_Teller") -> PartitionId | None:
        """Fold on and tell, until the household leaves; return where to, None where it does not."""
        replay = self._replay
        if replay.state is not None:
            teller.comes(replay.state)
        for stored in self._records:
            if stored.record.kind is RecordKind.SIGNALS:
                batch = decode_signals(stored.record.payload, replay.now.plan)
                applied = replay.fold_signals(batch, stored.record.stamp_us)
                replay.fold_count += 1
                teller.signals(replay.now, batch, applied.statuses.tolist())
            else:
                teller.record(replay.state, stored)
                replay.fold(stored)
            if replay.state is None:
                continue
            if stored.record.kind is RecordKind.RELOCATION and (target := teller.left_for(replay.state)) is not None:
                self.way = on_its_way(replay.state, teller.household)
                return target
            teller.look(replay.state)
        # A log that begins behind a snapshot may tell of no departure, and the snapshot of where it went.
        return None if replay.state is None else teller.left_for(replay.state)

    def _up_to(self, records: Iterable[StoredRecord]) -> Iterator[StoredRecord]:
        """Yield what was recorded by then."""
        replay, until_us, is_first = self._replay, self._until_us, True
        for stored in records:
            if stored.offset < self._start.position:
                continue
            if is_first and stored.offset > self._start.position and replay.state is None:
                raise LogTooShort(f"it begins at offset {stored.offset}")
            is_first = False
            if until_us is not None and not replay.stream_clock and stored.record.stamp_us > until_us:
                return
            if replay.stream_clock and until_us is not None and stored.record.kind is RecordKind.SIGNALS:
                batch = decode_signals(stored.record.payload, replay.now.plan)
                if batch.count and int(batch.times_us[0]) > until_us:
                    return
            yield stored


class _Teller:
    """Sees what each record changes for the household."""

    def __init__(self, household: bytes, decision_id: str) -> None:
        self.household, self._decision_id = household, decision_id
        self.story = HouseholdStory()
        self._fired: dict[str, dict[bytes | None, int]] = {}
        """As `fired` of the story, by key of a member: rows are another partition's."""
        self._where: dict[tuple[str, bytes | None, int], tuple[str, Ending]] = {}
        self._actions: dict[str, tuple[str, int]] = {}
        self._moments: set[str] = set()

    def _add(self, time_us: int, kind: LineKind, text: str, *, journey: str = "", member: str = "") -> None:
        self.story.lines.append(StoryLine(time_us=time_us, kind=kind, member=member, journey=journey, text=text))

    def signals(self, state: PartitionState, batch: EventBatch, statuses: list[int]) -> None:
        """Tell the signals of a batch that are the household's, whichever name of it they came under."""
        names_any = bool(batch.identifiers.offsets.shape[0])
        for row, status in enumerate(statuses):
            if status != Status.APPLIED or batch.types[row] < 0:
                continue
            key = batch.households[row]
            if names_any and (identifier := batch.identifiers[row]):
                key = state.graph.place_of(identifier.decode(), int(batch.times_us[row]))[0]
            if not self._is_theirs(state, key):
                continue
            name, time_us = state.plan.event_types[int(batch.types[row])].name, int(batch.times_us[row])
            values = tuple(float(one) for one in batch.values[:, row])
            before = self.story.seen.get(name)
            if before is None or before.time_us <= time_us:
                self.story.seen[name] = NewestSignal(time_us=time_us, fields=values)
            self._add(time_us, LineKind.SIGNAL, name, member=batch.members[row].decode(errors="backslashreplace"))

    def _is_theirs(self, state: PartitionState, key: bytes) -> bool:
        """Return whether a key is one of those that the household is known by in this partition now."""
        if key == self.household:
            return True
        if not state.graph or (row := state.find(self.household)[0]) == NO_HOUSEHOLD:
            return False
        return state.find(key)[0] in state.rows_together(row)

    def record(self, state: PartitionState | None, stored: StoredRecord) -> None:
        """Tell a decision of the household; it is about to be folded."""
        if state is None or stored.record.kind is not RecordKind.DECISION:
            return
        if stored.record.epoch < state.epoch or not (state.graph or self.household in stored.record.payload):
            return
        read = codec.decode_decision(stored.record.payload)
        decision = read.decision
        if not self._is_theirs(state, decision.household):
            return
        if decision.slate:
            self.story.decisions[decision.decision_id] = decision
        if self._decision_id in ("", decision.decision_id):
            self.story.newest = (stored.offset, read, state.plan)
        what = ", ".join(one.offer for one in decision.slate[:1]) or "nothing"
        if decision.withheld:
            what = f"{what} withheld"
        elif decision.answered:
            what = f"answered {decision.channel} with {self._given(decision)}"
        elif decision.send_channel:
            what = f"{what} to go out on {decision.send_channel}"
        because = ", ".join(decision.reasons)
        journey = decision.slate[0].journey if decision.slate else next((one.journey for one in decision.moments), "")
        member = name_of(state, decision.household, decision.member)
        text = f"{what}, decision {decision.decision_id}: {because}"
        self._add(decision.decided_us, LineKind.DECIDED, text, journey=journey, member=member)

    def _given(self, decision: Decision) -> str:
        """Return what the channel that asked was given, of the decision's own slate or of the one that stands."""
        maker = self.story.decisions.get(decision.stands) if decision.stands else decision
        given = [one.offer for one in maker.slate if one.action_id == decision.answered] if maker is not None else []
        return f"{given[0] if given else decision.answered}{', which stood' if decision.stands else ''}"

    def left_for(self, state: PartitionState) -> PartitionId | None:
        """Return the partition for which the household has left this one; None where it lies here."""
        return next_place(state, self.household)

    def comes(self, state: PartitionState) -> None:
        """Go on with another partition's state."""
        if self.left_for(state) is None:
            self.look(state)

    def end(self) -> None:
        """Put into the story what is told by rows of the state that it ends with."""
        state = self.story.state
        row = NO_HOUSEHOLD if state is None else state.find(self.household)[0]
        if state is None or row == NO_HOUSEHOLD:
            return
        rows: dict[bytes | None, int] = {None: NO_MEMBER}
        for together in state.rows_together(row):
            rows |= {state.members.key(child): child for child in state.members.children(together)}
        for journey, by_key in self._fired.items():
            self.story.fired[journey] = {rows[key]: at_us for key, at_us in by_key.items() if key in rows}

    def look(self, state: PartitionState) -> None:
        """Tell what has changed of the household's journeys and actions."""
        row, _ = state.find(self.household)
        if row == NO_HOUSEHOLD:
            return
        self._look_at_instances(state, row)
        self._look_at_moments(state, row)
        self._look_at_actions(state, row)

    def _look_at_instances(self, state: PartitionState, row: int) -> None:
        for one in state.together(state.instances, row):
            key, now = (one.journey, _key(state, one.member), one.number), (one.step, one.ending)
            before = self._where.get(key)
            if before == now:
                continue
            self._where[key] = now
            member = _name(state, one.entrant)
            if before is None:
                self._add(
                    one.entered_us, LineKind.ENTERED, f"entered {one.journey}", journey=one.journey, member=member
                )
            if one.ending is Ending.LIVE:
                text = f"in '{one.step}'"
                self._add(one.since_us, LineKind.MOVED, text, journey=one.journey, member=member)
            else:
                text = f"out of {one.journey} in '{one.step}': {one.ending.value}"
                self._add(one.ended_us, LineKind.EXITED, text, journey=one.journey, member=member)

    def _look_at_moments(self, state: PartitionState, row: int) -> None:
        for one in state.together(state.pending, row):
            if one.moment_id in self._moments:
                continue
            self._moments.add(one.moment_id)
            if not one.step:
                lane = _key(state, _lane(state.plan, one.journey, one.member))
                self._fired.setdefault(one.journey, {})[lane] = one.time_us
                member = _name(state, one.member)
                self._add(one.time_us, LineKind.MOMENT, f"moment of {one.journey}", journey=one.journey, member=member)

    def _look_at_actions(self, state: PartitionState, row: int) -> None:
        for slate in state.together(state.slates, row):
            for entry in slate.decision.slate:
                self._actions.setdefault(entry.action_id, ("live", 0))
        for action_id, (status, handed_us) in list(self._actions.items()):
            action = state.actions.get(action_id)
            if action is None:
                del self._actions[action_id]
                continue
            now = (str(action.status), action.handed_us)
            if now == (status, handed_us):
                continue
            self._actions[action_id] = now
            member = _name(state, action.member)
            if action.handed_us != handed_us and action.handed_us:
                channel = state.plan.channels[action.channel].name
                text = f"{action.offer} handed over on {channel}"
                self._add(action.handed_us, LineKind.HANDED, text, journey=action.journey, member=member)
            if str(action.status) != status:
                text = f"{action.offer} {action.status}" + (f": {action.why}" if action.why else "")
                self._add(action.settled_us, LineKind.SETTLED, text, journey=action.journey, member=member)


def _lane(plan: Plan, journey: str, member: int) -> int:
    trigger = plan.journeys[plan.journey_by_name[journey]].trigger if journey in plan.journey_by_name else None
    return member if trigger is not None and trigger.scope.value == "member" else NO_MEMBER


def _key(state: PartitionState, member: int) -> bytes | None:
    return None if member == NO_MEMBER else state.members.key(member)


def _name(state: PartitionState, member: int) -> str:
    return "" if member == NO_MEMBER else state.members.key(member).decode(errors="backslashreplace")
