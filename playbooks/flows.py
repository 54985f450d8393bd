"""The states of a journey: what is waited for, said, branched by, and where each leads."""

from collections.abc import Callable
from dataclasses import dataclass, field

from household.columns.program import Op
from household.plan import (
    END,
    NONE,
    Act,
    Again,
    BranchWay,
    Flow,
    JourneyStep,
    JourneyWait,
    Mark,
    Slot,
    StepKind,
    Timer,
    Trigger,
    WhenBlocked,
    WhenMerged,
)
from playbooks import values
from playbooks.changed import read_changed
from playbooks.conditions import Conditions
from playbooks.diagnostics import suggestion
from playbooks.flow_shape import FlowShape, StatePlaces
from playbooks.reading import Reader, describe
from playbooks.timers import read_timer
from playbooks.vocabulary import Vocabulary
from written.problems import Place, Problems
from written.yaml_tree import Entry, Listing, Node, Scalar, YamlMapping

END_WORD = "end"
"""Names no state: an instance that is led there is over."""

COUNT_MOST = 1_000

WITH_STATES = ("again", "entries", "correlate", "parallel", "goal", "exits", "merged", "owner", "budget", "changed")
"""Keys that a journey with states has, and no other."""

KEYS = ("wait", "pause", "act", "repeat", "branch", "shares")
"""Of a state: it has one of them, or is `end`."""


@dataclass(slots=True, kw_only=True)
class FlowSetting:
    """What states refer to."""

    vocabulary: Vocabulary
    conditions: Conditions
    resolve_offers: Callable[[list[Scalar]], tuple[int, ...]]
    problems: Problems


@dataclass(slots=True)
class _States:
    """The states of one journey while they are read."""

    what: str
    entries: list[Entry]
    steps: list[JourneyStep] = field(default_factory=list)
    places: list[StatePlaces] = field(default_factory=list)
    index_by_name: dict[str, int] = field(default_factory=dict)


def read_flow(journey: Reader, trigger: Trigger | None, setting: FlowSetting) -> Flow | None:
    """Read the states of a journey and all that goes with them; None where there are none."""
    if not journey.has("states"):
        for key in WITH_STATES:
            if journey.has(key):
                wrong = f"{journey.what} has '{key}' and no states"
                setting.problems.add(journey.key_place(key), wrong, "write its 'states:', or remove the key")
        return None
    return _FlowReader(journey, trigger, setting).read()


class _FlowReader:
    """Reads one journey's states."""

    def __init__(self, journey: Reader, trigger: Trigger | None, setting: FlowSetting) -> None:
        self._journey, self._trigger, self._setting = journey, trigger, setting
        self._problems = setting.problems
        self._states = _States(journey.what, journey.entries("states"))
        self._correlation = NONE

    def read(self) -> Flow | None:
        journey = self._journey
        self._correlation = self._field("correlate")
        again, after_us = self._again()
        most, window_us = self._entries()
        goal = self._mark("goal", journey.reader("goal", f"the goal of {journey.what}", required=True), "goal")
        exits = tuple(
            mark
            for entry in journey.entries("exits")
            if (mark := self._mark(entry.key, self._reader(entry), f"exit rule '{entry.key}'")) is not None
        )
        merged = journey.choice("merged", WhenMerged) or WhenMerged.KEEP_OLDER
        owner = journey.text("owner", required=True)
        budget = journey.whole("budget", 1, least=1, most=COUNT_MOST, required=True)
        for key in ("control", "contact_class", "purpose"):
            journey.node(key, required=True)
        parallel = self._parallel()
        self._read_states()
        if not self._states.steps:
            if not self._states.entries:
                self._problems.add(
                    journey.key_place("states"), f"{journey.what} has no state", "write one: 'name: {…}'"
                )
            return None
        changed, moves = read_changed(journey, self._state_named, self._problems)
        FlowShape(journey.what, self._states.steps, self._states.places, self._problems).check()
        return Flow(
            steps=tuple(self._states.steps),
            again=again,
            after_us=after_us,
            correlation=self._correlation,
            parallel=parallel,
            entries_most=most,
            entries_window_us=window_us,
            is_each=self._is_each(),
            goal=goal,
            exits=exits,
            merged=merged,
            owner=owner,
            budget_acts=budget,
            changed=changed,
            moves=moves,
        )

    # --- entering -----------------------------------------------------------------------------------------------------

    def _is_each(self) -> bool:
        """Return whether each event at which the trigger is true is one at which it becomes true."""
        trigger = self._trigger
        if trigger is None or trigger.program == NONE or self._correlation != NONE:
            return True
        programs = self._setting.conditions.programs
        return trigger.program < len(programs) and Op.FIELD in programs[trigger.program].ops

    def _again(self) -> tuple[Again, int]:
        scalar = self._journey.scalar("again")
        if scalar is None:
            return Again.AFTER_EXIT, 0
        if scalar.text in (Again.ONCE, Again.AFTER_EXIT):
            return Again(scalar.text), 0
        after_us = values.duration_us(scalar.text)
        if not after_us:
            wrong = f"'again' of {self._journey.what} is {describe(scalar)}"
            right = "write once, after_exit, or how long after the last one has ended: 90d"
            self._problems.add(scalar.place, wrong, right)
            return Again.AFTER_EXIT, 0
        return Again.AFTER, after_us

    def _entries(self) -> tuple[int, int]:
        reader = self._journey.reader("entries", f"'entries' of {self._journey.what}")
        if reader is None:
            return 0, 0
        most = reader.whole("most", 1, least=1, most=COUNT_MOST, required=True)
        window_us = reader.duration_us("window", required=True)
        reader.finish()
        return most, window_us

    def _field(self, key: str) -> int:
        name = self._journey.scalar(key)
        vocabulary = self._setting.vocabulary
        if name is None or name.text in vocabulary.wrong_fields:
            return NONE
        index = vocabulary.field_index.get(name.text)
        if index is None:
            right = suggestion(name.text, vocabulary.field_index, what="fields")
            self._problems.add(name.place, f"field '{name.text}' is not defined", right)
            return NONE
        if self._trigger is not None:
            self._must_carry(self._trigger.events, index, name.place, "its trigger")
        return index

    def _parallel(self) -> int:
        journey = self._journey
        parallel = journey.whole("parallel", 1, least=1, most=COUNT_MOST)
        if self._correlation != NONE and not journey.has("parallel"):
            wrong = f"{journey.what} may have any number of instances at a time: one for each value of its field"
            self._problems.add(journey.key_place("correlate"), wrong, "write how many at most: 'parallel: 3'")
        if self._correlation == NONE and journey.has("parallel"):
            wrong = f"{journey.what} has 'parallel' and nothing that tells its instances from each other"
            self._problems.add(journey.key_place("parallel"), wrong, "name the field: 'correlate: loan_id'")
        return parallel

    def _must_carry(self, events: tuple[int, ...], field_index: int, place: Place, who: str) -> None:
        """Report events that cannot say which instance they are about."""
        vocabulary = self._setting.vocabulary
        types = [one for one in vocabulary.types(events) if one.source != "hearth"]
        for event in vocabulary.not_carrying(types, field_index):
            name = vocabulary.fields[field_index].name
            wrong = f"event '{event.name}' of {who} does not carry '{name}', which tells the instances of "
            wrong += f"{self._journey.what} from each other"
            self._problems.add(place, wrong, "add the field to that event type, or leave the type out")

    # --- events -------------------------------------------------------------------------------------------------------

    def _reader(self, entry: Entry) -> Reader:
        return Reader(
            entry.value, f"exit rule '{entry.key}' of {self._journey.what}", self._problems, place=entry.place
        )

    def _mark(self, name: str, reader: Reader | None, what: str) -> Mark | None:
        if reader is None:
            return None
        is_of_any_event = not reader.has("on")
        events = self._events(reader, required=False)
        when = reader.scalar("when", required=is_of_any_event)
        program = self._condition(when, f"'when' of {what} of {self._journey.what}", events)
        reader.finish()
        return Mark(name=name, events=events, program=program, is_of_any_event=is_of_any_event)

    def _events(self, reader: Reader, *, required: bool) -> tuple[int, ...]:
        vocabulary = self._setting.vocabulary
        names = reader.names("on", required=required)
        if not names:
            return tuple(index for index, event in enumerate(vocabulary.events) if event.source != "hearth")
        return vocabulary.resolve_events(names, self._problems)

    def _condition(self, when: Scalar | None, what: str, events: tuple[int, ...]) -> int:
        if when is None:
            return NONE
        return self._setting.conditions.about_moment(when, what, self._setting.vocabulary.types(events))

    # --- states -------------------------------------------------------------------------------------------------------

    def _read_states(self) -> None:
        names = [entry.key for entry in self._states.entries]
        # A slot is a state before the act that is said in it.
        place = 0
        for entry in self._states.entries:
            self._states.index_by_name[entry.key] = place
            place += 2 if _has_slot(entry.value) else 1
        for entry in self._states.entries:
            if entry.key == END_WORD:
                wrong = f"a state of {self._journey.what} is called '{END_WORD}'"
                self._problems.add(entry.place, wrong, "choose another name: that word ends an instance")
        for entry in self._states.entries:
            self._state(entry, names)

    def _state(self, entry: Entry, names: list[str]) -> None:
        what = f"state '{entry.key}' of {self._journey.what}"
        if isinstance(entry.value, Scalar) and entry.value.text == END_WORD:
            return self._add(JourneyStep(name=entry.key, kind=StepKind.END), entry, {})
        reader = Reader(entry.value, what, self._problems, place=entry.place)
        kinds = [key for key in KEYS if reader.has(key)]
        if len(kinds) != 1:
            has = " and ".join(f"'{one}'" for one in kinds) if kinds else "none of " + ", ".join(KEYS)
            right = "write one of them for each state; 'end' for one that is the last"
            self._problems.add(entry.place, f"{what} has {has}", right)
            return self._add(JourneyStep(name=entry.key, kind=StepKind.END), entry, {}, is_sound=False)
        match kinds[0]:
            case "wait":
                self._wait(entry, reader)
            case "pause":
                timer = read_timer(reader.reader("pause", f"'pause' of {what}"), reader.what, self._problems)
                target = self._target(reader, "then")
                self._add(
                    JourneyStep(name=entry.key, kind=StepKind.WAIT, timer=timer, target=target), entry, _keys(reader)
                )
            case "act":
                self._act(entry, reader)
            case "repeat":
                self._repeat(entry, reader)
            case "branch":
                self._branch(entry, reader)
            case _:
                self._shares(entry, reader)
        return reader.finish()

    def _add(self, step: JourneyStep, entry: Entry, places: dict[str, Place], *, is_sound: bool = True) -> None:
        self._states.steps.append(step)
        self._states.places.append(StatePlaces(place=entry.place, keys=places, is_sound=is_sound))

    def _wait(self, entry: Entry, reader: Reader) -> None:
        node = reader.node("wait")
        items: list[Node] = list(node.items) if isinstance(node, Listing) else [] if node is None else [node]
        then = self._target(reader, "then") if not isinstance(node, Listing) else END
        waits = []
        for item in items:
            one = Reader(item, f"a wait of {reader.what}", self._problems)
            target = self._target(one, "then") if isinstance(node, Listing) else then
            events = self._events(one, required=True)
            if self._correlation != NONE and one.has("on"):
                self._must_carry(events, self._correlation, one.key_place("on"), reader.what)
            program = self._condition(one.scalar("when"), f"'when' of {reader.what}", events)
            look_back_us = one.duration_us("look_back", zero=True)
            one.finish()
            waits.append(JourneyWait(events=events, program=program, look_back_us=look_back_us, target=target))
        timeout = reader.reader("timeout", f"the timeout of {reader.what}")
        timer, target = Timer(after_us=1), END
        if timeout is None and not reader.has("timeout"):
            wrong = f"{reader.what} waits for an event, and for ever if none comes"
            self._problems.add(entry.place, wrong, "write 'timeout: {after: 7d, then: …}'")
        elif timeout is not None:
            timer, target = (
                read_timer(timeout, f"the timeout of {reader.what}", self._problems, is_last=False),
                self._target(timeout, "then"),
            )
            timeout.finish()
        self._add(
            JourneyStep(name=entry.key, kind=StepKind.WAIT, waits=tuple(waits), timer=timer, target=target),
            entry,
            _keys(reader),
        )

    def _act(self, entry: Entry, reader: Reader) -> None:
        offers = self._setting.resolve_offers(reader.names("act"))
        within_us = reader.duration_us("within", required=True)
        hold_us = reader.duration_us("hold", zero=True)
        blocked = reader.choice("blocked", WhenBlocked) or WhenBlocked.SKIP
        if not reader.has("blocked"):
            wrong = f"{reader.what} does not say what becomes of an instance whose act the contact policy keeps back"
            self._problems.add(entry.place, wrong, "write 'blocked: skip' (it goes on) or 'blocked: exit' (it ends)")
        failed = self._target(reader, "failed") if reader.has("failed") else END
        target = self._target(reader, "then")
        slot = self._slot(reader)
        act = Act(offers=offers, within_us=within_us, hold_us=hold_us, blocked=blocked, failed=failed, slot=slot)
        name, places = entry.key, _keys(reader)
        if slot is None and _has_slot(entry.value):
            self._add(JourneyStep(name=name, kind=StepKind.END), entry, places, is_sound=False)
        if slot is not None:
            missed = self._target(reader, "missed")
            inside = self._states.index_by_name[entry.key] + 1
            self._add(
                JourneyStep(name=name, kind=StepKind.SLOT, slot=slot, target=inside, missed=missed), entry, places
            )
            name = f"{entry.key}.act"
        elif reader.has("missed"):
            wrong = f"{reader.what} has 'missed' and no slot"
            self._problems.add(reader.key_place("missed"), wrong, "write its 'slot: {from: 7d, to: 14d}'")
        self._add(JourneyStep(name=name, kind=StepKind.ACT, act=act, target=target), entry, places)

    def _repeat(self, entry: Entry, reader: Reader) -> None:
        name = reader.scalar("repeat", required=True)
        within_us = reader.duration_us("within", required=True)
        hold_us = reader.duration_us("hold", zero=True)
        blocked = reader.choice("blocked", WhenBlocked) or WhenBlocked.SKIP
        failed = self._target(reader, "failed") if reader.has("failed") else END
        target = self._target(reader, "then")
        repeats, offers = 0, tuple[int, ...]()
        if name is not None and (index := self._state_named(name.text, name.place)) != END:
            node = next(one.value for one in self._states.entries if one.key == name.text)
            if isinstance(node, YamlMapping) and any(one.key == "act" for one in node.entries):
                repeats = index + (1 if _has_slot(node) else 0)
                silent = Reader(node, "", Problems())
                offers = self._setting.resolve_offers(silent.names("act"))
            else:
                wrong = f"{reader.what} repeats '{name.text}', which says nothing"
                self._problems.add(name.place, wrong, "name a state with 'act'")
        if len(self._journey.names("outbound")) < 2:
            wrong = f"{reader.what} says on another channel what was said, and {self._journey.what} has no other"
            self._problems.add(reader.key_place("repeat"), wrong, "write at least two: 'outbound: [push, sms]'")
        act = Act(offers=offers, within_us=within_us, hold_us=hold_us, blocked=blocked, failed=failed, repeats=repeats)
        self._add(JourneyStep(name=entry.key, kind=StepKind.ACT, act=act, target=target), entry, _keys(reader))

    def _slot(self, reader: Reader) -> Slot | None:
        inner = reader.reader("slot", f"the slot of {reader.what}")
        if inner is None:
            return None
        from_us, to_us = inner.duration_us("from", zero=True), inner.duration_us("to", required=True)
        if to_us and from_us > to_us:
            wrong = f"the slot of {reader.what} ends before it begins"
            self._problems.add(inner.key_place("to"), wrong, "both are counted from the entry: swap the two")
        inner.finish()
        return Slot(from_us=from_us, to_us=to_us)

    def _branch(self, entry: Entry, reader: Reader) -> None:
        node = reader.node("branch")
        items = node.items if isinstance(node, Listing) else ()
        if node is not None and not isinstance(node, Listing):
            wrong = f"'branch' of {reader.what} is {describe(node)}"
            self._problems.add(node.place, wrong, "write a list: [{when: …, then: …}]")
        ways = []
        for item in items:
            one = Reader(item, f"a way of {reader.what}", self._problems)
            when = one.scalar("when", required=True)
            target = self._target(one, "then")
            one.finish()
            if when is not None:
                program = self._setting.conditions.about_household(when, f"'when' of {reader.what}")
                ways.append(BranchWay(program=program, target=target))
        if reader.has("else"):
            ways.append(BranchWay(target=self._target(reader, "else")))
        else:
            wrong = f"{reader.what} leads nowhere where none of its conditions is true"
            self._problems.add(entry.place, wrong, "write 'else: …': where all others go")
            ways.append(BranchWay(target=END))
        self._add(JourneyStep(name=entry.key, kind=StepKind.BRANCH, ways=tuple(ways)), entry, _keys(reader))

    def _shares(self, entry: Entry, reader: Reader) -> None:
        ways = []
        listed = reader.entries("shares", named=False)
        shares = Reader(reader.node("shares") or entry.value, f"'shares' of {reader.what}", self._problems)
        for one in listed:
            share_bp = round(shares.share(one.key) * 10_000)
            ways.append(BranchWay(target=self._state_named(one.key, one.place), share_bp=share_bp))
        total = sum(way.share_bp for way in ways)
        if total != 10_000 or any(not way.share_bp for way in ways):
            wrong = f"the shares of {reader.what} are {total / 100:g} % together"
            if total == 10_000:
                wrong = f"a share of {reader.what} is nothing"
            self._problems.add(reader.key_place("shares"), wrong, "let them be 100 % together, each more than 0.01 %")
            ways = [BranchWay(target=END)]
        self._add(JourneyStep(name=entry.key, kind=StepKind.BRANCH, ways=tuple(ways)), entry, _keys(reader))

    def _target(self, reader: Reader, key: str) -> int:
        name = reader.scalar(key, required=True)
        return END if name is None else self._state_named(name.text, name.place)

    def _state_named(self, name: str, place: Place) -> int:
        if name == END_WORD:
            return END
        index = self._states.index_by_name.get(name)
        if index is None:
            right = suggestion(name, [*self._states.index_by_name, END_WORD], what="states")
            self._problems.add(place, f"{self._journey.what} has no state '{name}'", right)
            return END
        return index


def _has_slot(node: Node) -> bool:
    return isinstance(node, YamlMapping) and {"act", "slot"} <= {entry.key for entry in node.entries}


def _keys(reader: Reader) -> dict[str, Place]:
    """Return where the keys of a state stand that lead on."""
    return {key: reader.key_place(key) for key in ("then", "timeout", "failed", "missed", "else", "wait", "branch")}
