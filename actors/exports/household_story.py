"""The story of one household, from the log alone: what it did, what its journeys did, what was said and answered."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from actors.exports.journey_standing import NewestSignal
from actors.exports.point_in_time import LogTooShort, Start
from actors.log.contract import Offset, RecordKind, StoredRecord
from actors.records import codec
from actors.records.signals import decode_signals
from household.decision import Decision
from household.events import EventBatch, Status
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


def told(
    start: Start, records: Iterable[StoredRecord], household: bytes, *, until_us: int | None, decision_id: str = ""
) -> HouseholdStory:
    """Fold a partition's log up to a time, and tell what concerns a household.

    Args:
        start: folded on.
        records: of the partition, in log order; those before the start are passed over.
        household: its key.
        until_us: what was recorded later is not told; None for all there is.
        decision_id: of the decision to be found; empty for the newest.

    Raises:
        LogTooShort: the records begin behind the start.
        PayloadUnreadable, PlanUnreadable, and what reading the records raises.
    """
    teller, is_first = _Teller(household, decision_id), True
    replay = start.replay
    for stored in records:
        if stored.offset < start.position:
            continue
        if is_first and stored.offset > start.position and replay.state is None:
            raise LogTooShort(f"it begins at offset {stored.offset}")
        is_first = False
        if until_us is not None and not replay.stream_clock and stored.record.stamp_us > until_us:
            break
        if stored.record.kind is RecordKind.SIGNALS:
            batch = decode_signals(stored.record.payload, replay.now.plan)
            if replay.stream_clock and until_us is not None and batch.count and int(batch.times_us[0]) > until_us:
                break
            applied = replay.fold_signals(batch, stored.record.stamp_us)
            replay.fold_count += 1
            teller.signals(replay.now, batch, applied.statuses.tolist())
        else:
            teller.record(replay.state, stored)
            replay.fold(stored)
        if replay.state is not None:
            teller.look(replay.state)
    teller.story.state = replay.state
    return teller.story


class _Teller:
    """Sees what each record changes for the household."""

    def __init__(self, household: bytes, decision_id: str) -> None:
        self._household, self._decision_id = household, decision_id
        self.story = HouseholdStory()
        self._where: dict[tuple[str, int, int], tuple[str, Ending]] = {}
        self._actions: dict[str, tuple[str, int]] = {}
        self._moments: set[str] = set()

    def _add(self, time_us: int, kind: LineKind, text: str, *, journey: str = "", member: str = "") -> None:
        self.story.lines.append(StoryLine(time_us=time_us, kind=kind, member=member, journey=journey, text=text))

    def signals(self, state: PartitionState, batch: EventBatch, statuses: list[int]) -> None:
        """Tell the signals of a batch that are the household's."""
        for row, status in enumerate(statuses):
            if status != Status.APPLIED or batch.types[row] < 0 or batch.households[row] != self._household:
                continue
            name, time_us = state.plan.event_types[int(batch.types[row])].name, int(batch.times_us[row])
            values = tuple(float(one) for one in batch.values[:, row])
            before = self.story.seen.get(name)
            if before is None or before.time_us <= time_us:
                self.story.seen[name] = NewestSignal(time_us=time_us, fields=values)
            self._add(time_us, LineKind.SIGNAL, name, member=batch.members[row].decode(errors="backslashreplace"))

    def record(self, state: PartitionState | None, stored: StoredRecord) -> None:
        """Tell a decision of the household; it is about to be folded."""
        if state is None or stored.record.kind is not RecordKind.DECISION:
            return
        if self._household not in stored.record.payload or stored.record.epoch < state.epoch:
            return
        read = codec.decode_decision(stored.record.payload)
        decision = read.decision
        if decision.household != self._household:
            return
        if decision.slate:
            self.story.decisions[decision.decision_id] = decision
        if self._decision_id in ("", decision.decision_id):
            self.story.newest = (stored.offset, read, state.plan)
        what = ", ".join(one.offer for one in decision.slate[:1]) or "nothing"
        if decision.withheld:
            what = f"{what} withheld"
        elif decision.answered:
            what = f"answered {decision.channel} with {what}"
        elif decision.send_channel:
            what = f"{what} to go out on {decision.send_channel}"
        because = ", ".join(decision.reasons)
        journey = decision.slate[0].journey if decision.slate else next((one.journey for one in decision.moments), "")
        member = decision.member.decode(errors="backslashreplace")
        text = f"{what}, decision {decision.decision_id}: {because}"
        self._add(decision.decided_us, LineKind.DECIDED, text, journey=journey, member=member)

    def look(self, state: PartitionState) -> None:
        """Tell what has changed of the household's journeys and actions."""
        row, _ = state.find(self._household)
        if row == NO_HOUSEHOLD:
            return
        self._look_at_instances(state, row)
        self._look_at_moments(state, row)
        self._look_at_actions(state, row)

    def _look_at_instances(self, state: PartitionState, row: int) -> None:
        for one in state.together(state.instances, row):
            key, now = (one.journey, one.member, one.number), (one.step, one.ending)
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
                self.story.fired.setdefault(one.journey, {})[_lane(state.plan, one.journey, one.member)] = one.time_us
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


def _name(state: PartitionState, member: int) -> str:
    return "" if member == NO_MEMBER else state.members.key(member).decode(errors="backslashreplace")
