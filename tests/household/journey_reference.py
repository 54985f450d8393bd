"""Journeys with states, slowly and in plain Python: all that was heard is gone through from the start, each time.

Shares no code with what it judges. It reads a journey as a plain description (`Journey` below), remembers all that ever
happened, and knows no tables, no settled past and no way to go on from where something is.
"""

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

BERLIN = ZoneInfo("Europe/Berlin")
END = "end"
NEVER = 2**62
STANDING = 2**61
"""Above this, what is left of a time that stands still."""


@dataclass(frozen=True, kw_only=True)
class Match:
    """What an event has to be."""

    kind: str
    least: float = 0.0
    """Its amount is at least that; 0 for any."""
    look_back: int = 0
    then: str = END


@dataclass(frozen=True, kw_only=True)
class State:
    name: str
    what: str
    """wait, slot, act, split, ask or end."""
    waits: tuple[Match, ...] = ()
    after: int = 0
    minute: int = -1
    """Of the local day, at which a wait is over at the earliest `after` its beginning; -1 for any."""
    weekday: int = -1
    """From Monday, 0; -1 for any."""
    then: str = END
    within: int = 0
    repeats: bool = False
    """Of an act: what it says was said before, and nobody decides it."""
    leaves_when_blocked: bool = False
    failed: str = END
    shares: tuple[tuple[str, int], ...] = ()
    """(state, basis points) of a split."""
    asks: int = 0
    """Of an ask: whether so many of the counted events have come."""
    otherwise: str = END
    slot: tuple[int, int] = (0, 0)
    missed: str = END


@dataclass(frozen=True, kw_only=True)
class Journey:
    name: str
    states: tuple[State, ...]
    entry: Match
    entry_count: int = 0
    """Enter when so many of the counted events have come, rather than at each matching one."""
    goal: Match | None = None
    goal_count: int = 0
    """Reached when so many of the counted events have come; looked at whatever happens, while somebody is inside."""
    leave: Match | None = None
    again: str = "after_exit"
    """once, after_exit or after."""
    after: int = 0
    keyed: bool = False
    parallel: int = 1
    most: int = 0
    window: int = 0
    of_member: bool = False
    budget: int = 9
    merged: str = "keep_older"
    """keep_both, keep_older or exit."""
    changed: str = "by_name"
    """by_name, pin, drain, restart or migrate: what becomes of who is inside as this version comes into force."""
    moves: tuple[tuple[str, str, bool], ...] = ()
    """(state of the version before, state of this one, whether it begins there) of a migration."""


@dataclass(frozen=True, kw_only=True)
class Happening:
    """An event, as it was taken in."""

    time: int
    kind: str
    home: str = "home"
    member: str = ""
    key: float = 0.0
    amount: float = 0.0
    action: str = ""
    """Of a report."""


@dataclass(kw_only=True)
class Item:
    """Something that was heard."""

    time: int
    number: int
    order: int
    role: str
    """goal, leave, wait or entry of an event; outcome of an act; merged."""
    who: str = ""
    """Whose lane it is about: a household, or a household and a member."""
    home: str = ""
    key: float = 0.0
    about: int = -1
    """Number of the instance; -1 for any."""
    state: str = ""
    place: int = 0
    visit: int = 0
    outcome: str = ""
    versions: set[int] = field(default_factory=set)
    """Of those of the journey that listened for it, or came after one that did."""


@dataclass(kw_only=True)
class Run:
    """An instance."""

    number: int
    who: str
    home: str
    """Under which it entered."""
    entrant: str
    key: float
    entered: int
    state: str = ""
    since: int = 0
    due: int = NEVER
    visits: list[str] = field(default_factory=list)
    """Each visit to a state that acts, in order."""
    ending: str = ""
    ended: int = 0
    moved_by: set[int] = field(default_factory=set)
    based: int = 0
    """What was before that is settled: it takes in nothing of it any more."""
    version: int = 0
    """Of the journey, by which it goes."""

    @property
    def copy(self) -> "Run":
        return replace(self, visits=list(self.visits), moved_by=set(self.moved_by))

    def visit_of(self, state: str) -> int:
        return self.visits.count(state)


class Reference:
    """One journey, and households, each on its own until they become one."""

    def __init__(self, journey: Journey, *, lateness: int) -> None:
        self.journey, self.lateness = journey, lateness
        self.versions = [journey]
        self.carried: set[int] = set()
        """Earlier versions by which some may still go."""
        self.items: list[Item] = []
        self.count = 0
        self.was_true: dict[str, bool] = {}
        self.ticked = -NEVER
        self.runs: list[Run] = []
        self.acts: dict[tuple[int, str, int], str] = {}
        """(instance, state, visit) → pending, decided, said, silent or withdrawn."""
        self.settled: set[tuple[int, str, int]] = set()
        self.ways: dict[tuple[int, str, int], bool] = {}
        self.gone: set[int] = set()
        self.said: set[int] = set()
        """Instances of which something was said: they have entered for good."""
        self.bases: dict[int, Run] = {}
        """Instances as they were when what they had done was settled."""
        self.lane_of: dict[str, str] = {}
        """Of a household that is one with another: whose lane its own is by now."""
        self.halted = ""
        """paused or stopped."""
        self.number = 0
        """Of what was heard last."""

    # --- what comes in -----------------------------------------------------------------------------------------------

    def happens(self, event: Happening, number: int, *, about: int | None = None) -> None:
        """Take in an event that was applied, the `number`-th of all. `about`: of a report, whose action it is of."""
        journey = self.journey
        self.number = number
        inside = any(run.number not in self.gone for run in self.runs)
        if event.kind == "counted":
            self.count += 1
        who = f"{event.home}/{event.member}" if journey.of_member else self.lane_of.get(event.home, event.home)
        if journey.of_member and not event.member:
            return
        added = []

        def hear(role: str, version: int, *, state: str = "", place: int = 0, needs_key: bool = False) -> None:
            if needs_key and journey.keyed and not event.key and about is None:
                return
            item = Item(
                time=event.time,
                number=number,
                order=len(self.items),
                role=role,
                who=who,
                home=event.home,
                key=event.key if journey.keyed else 0.0,
                about=-1 if about is None else about,
                state=state,
                place=place,
                versions={version},
            )
            self.items.append(item)
            added.append((item, event.member))

        current = len(self.versions) - 1
        for version in (current, *sorted(self.carried)):
            told = self.versions[version]
            if told.goal is not None and self._fits(told.goal, event):
                hear("goal", version)
            is_own = not event.kind.startswith("hearth")
            if told.goal_count and inside and self.count >= told.goal_count and is_own:
                hear("goal", version)
            if told.leave is not None and self._fits(told.leave, event):
                hear("leave", version)
            for state in told.states:
                for place, wait in enumerate(state.waits):
                    if self._fits(wait, event):
                        hear("wait", version, state=state.name, place=place, needs_key=True)
        if self._enters(event, f"{event.home}/{who}") and not self.halted:
            hear("entry", current, needs_key=True)
            if added and added[-1][0].role == "entry":
                added[-1][0].outcome = event.member
        if added and (inside or any(one.role == "entry" for one, _ in added)):
            self._again(who)

    def _fits(self, match: Match, event: Happening) -> bool:
        return match.kind == event.kind and event.amount >= match.least

    def _enters(self, event: Happening, who: str) -> bool:
        journey = self.journey
        if event.kind != journey.entry.kind:
            return False
        if not journey.entry_count:
            return self._fits(journey.entry, event)
        is_true, was = self.count >= journey.entry_count, self.was_true.get(who, False)
        if journey.keyed:
            return is_true
        self.was_true[who] = is_true
        return is_true and not was

    def outcome(self, key: tuple[int, str, int], outcome: str, *, now: int, number: int) -> None:
        """Take in what became of an act."""
        self.number = number
        status = {"decided": "decided", "held": "decided", "said": "said"}.get(outcome, "silent")
        self.acts[key] = status
        self.settled.add(key)
        if status == "said":
            self.said.add(key[0])
        run = next((one for one in self.runs if one.number == key[0]), None)
        if run is None:
            return  # so long over that it is forgotten
        self.items.append(
            Item(
                time=now,
                number=number,
                order=len(self.items),
                role="outcome",
                who=run.who,
                home=run.home,
                about=key[0],
                state=key[1],
                visit=key[2],
                outcome=outcome,
            )
        )
        self._again(run.who)

    def tick(self, now: int) -> None:
        """Let time pass."""
        self.ticked = now
        for who in dict.fromkeys(run.who for run in self.runs):
            self._again(who)
        for run in self.runs:
            if run.ending and run.ended + self._kept() <= now:
                self.gone.add(run.number)

    # --- what changes by itself nothing of the past ------------------------------------------------------------------

    def changes(self, journey: Journey, *, now: int) -> None:
        """Let another version of the journey come into force."""
        self._settle(self.runs)
        self.items = [one for one in self.items if one.role != "entry"]
        before, old, new = self.journey, len(self.versions) - 1, len(self.versions)
        self.journey = journey
        self.versions.append(journey)
        is_other = _says(before) != _says(journey)
        rejoining = {place for place in self.carried if _says(self.versions[place]) == _says(journey)}
        self.carried -= rejoining
        if is_other and journey.changed in ("pin", "drain"):
            self.carried.add(old)
        for item in self.items:
            is_meant = not is_other or _listens_alike(item, before, journey)
            if (old in item.versions and is_meant) or not item.versions.isdisjoint(rejoining):
                item.versions.add(new)
        for run in self.bases.values():
            if run.ending:
                continue
            if run.version in rejoining and is_other:
                run.version = new
            elif run.version == old and not (is_other and journey.changed in ("pin", "drain")):
                run.version = new
                self._goes_on(run, before, journey, now, by_name=not is_other)
                # It did not go by what an earlier version heard that comes back.
                run.based = max(run.based, now + 1) if rejoining and is_other else run.based
        self._all_again()

    def _goes_on(self, run: Run, before: Journey, journey: Journey, now: int, *, by_name: bool) -> None:
        """Let a run of the version before go where the new version has it go."""
        was, names = _state(before, run.state), {one.name for one in journey.states}
        move = next((one for one in journey.moves if one[0] == run.state), None)
        if journey.changed == "restart" and not by_name:
            run.entered = now
            self._goes_to(run, journey.states[0].name, now)
        elif journey.changed == "migrate" and not by_name and move is not None:
            _, target, begins = move
            new = _state(journey, target) if target != END else None
            if target == END:
                self._end_by_word(run, "VERSION", now)
            elif new is None or begins or not _keeps_time(was, new):
                self._goes_to(run, target, now)
            elif (target, _sort_of(new)) != (run.state, _sort_of(was)):
                run.state, run.based = target, now + 1
        elif run.state not in names or _sort_of(_state(journey, run.state)) != _sort_of(was):
            self._end_by_word(run, "VERSION", now)

    def _goes_to(self, run: Run, target: str, now: int) -> None:
        self.heard = self._heard_of(run.who)
        place = sum(one.time <= now for one in self.heard) - 1
        if now != run.since:
            run.moved_by = set()
        self._move(run, target, now, place, "VERSION")
        run.moved_by, run.based = set(), max(run.since, run.ended) + 1

    def halt(self, how: str, *, now: int) -> None:
        """Pause or stop the journey, or let it go on."""
        self._settle(self.runs)
        self.items = [one for one in self.items if one.role != "entry"]
        was, self.halted = self.halted, how
        for run in self.bases.values():
            if run.ending:
                continue
            if how == "stopped":
                self._end_by_word(run, "STOPPED", now)
            elif how == "paused":
                run.due = _standing(run.due, now)
            elif was == "paused":
                run.due = now + run.due - STANDING if STANDING <= run.due < NEVER else run.due
        self._all_again()

    def become_one(self, home: str, other: str, *, are_known: bool) -> None:
        """Let two households be one from now on; if anything was heard of both, what they have done is settled."""
        if are_known and any(run.number not in self.gone for run in self.runs):
            self._settle([run for run in self.runs if run.home in (home, other)])
            self.items = [
                one for one in self.items if one.home not in (home, other) or one.role in ("outcome", "merged")
            ]
        # Who would have entered so long ago is not to enter now because the others have gone.
        over = self.ticked - self.lateness
        self.items = [one for one in self.items if one.role != "entry" or one.time >= over or not are_known]
        if self.journey.of_member:
            return
        self.lane_of[other] = home
        for one in (*self.items, *self.runs, *self.bases.values()):
            if one.who == other:
                one.who = home
        self._again(home)
        live = sorted(
            (run for run in self.runs if run.who == home and not run.ending), key=lambda run: (run.entered, run.number)
        )
        if self.journey.merged == "keep_both" or len({run.home for run in live}) < 2:
            return
        heard = [one.time for one in self.items if one.who == home]
        at = max([self.ticked, *heard, *(run.based for run in live)])
        for key in {run.key for run in live}:
            alike = [run for run in live if run.key == key]
            for run in alike[1 if self.journey.merged == "keep_older" else 0 :] if len(alike) > 1 else ():
                self.items.append(
                    Item(
                        time=at,
                        number=self.number,
                        order=len(self.items),
                        role="merged",
                        who=home,
                        home=run.home,
                        about=run.number,
                    )
                )
        self._again(home)

    def _settle(self, runs: list[Run]) -> None:
        """Let runs be gone through from where they are."""
        for run in runs:
            self.bases[run.number] = base = run.copy
            base.moved_by, base.based = set(), max(run.based, run.since + 1, run.ended + 1)

    def _end_by_word(self, run: Run, ending: str, now: int) -> None:
        self._end(run, ending, now)
        run.since, run.based = now, now + 1

    def _all_again(self) -> None:
        whos = dict.fromkeys(run.who for run in self.bases.values())
        for who in whos:
            self._again(who)

    def _kept(self) -> int:
        journey = self.journey
        if journey.again == "once":
            return NEVER
        after, window = journey.after if journey.again == "after" else 0, journey.window if journey.most else 0
        return self.lateness + 1 + max(after, window)

    # --- from the start ----------------------------------------------------------------------------------------------

    def _again(self, who: str) -> None:
        """Go through everything that was heard of one household, or member, in order of time."""
        heard = self._heard_of(who)
        until = max([self.ticked, *(one.time for one in heard)])
        self.heard = heard
        runs = [run.copy for run in self.bases.values() if run.who == who]
        self.horizon = max((run.based for run in runs), default=0)
        said = self.said
        for place, item in enumerate(heard):
            self._pass(runs, item.time)
            self._take(runs, place, item, said)
        self._pass(runs, until)
        self.runs = [one for one in self.runs if one.who != who] + runs
        self._effects(who)

    def _heard_of(self, who: str) -> list[Item]:
        return sorted((one for one in self.items if one.who == who), key=lambda one: (one.time, one.number, one.order))

    def _state_of(self, run: Run, name: str = "") -> State:
        return _state(self.versions[run.version], name or run.state)

    def state_of(self, key: tuple[int, str, int]) -> State:
        """Return the state of an act."""
        run = next(one for one in self.runs if one.number == key[0])
        return self._state_of(run, key[1])

    def _pass(self, runs: list[Run], until: int) -> None:
        if self.halted == "paused":
            return
        for run in runs:
            while not run.ending and run.due <= until:
                at, state = run.due, self._state_of(run)
                if at != run.since:
                    run.moved_by = set()
                place = sum(one.time < at for one in self.heard) - 1
                if state.what != "act":
                    self._move(run, state.then, at, place, "TIMEOUT" if state.what == "wait" else "COMPLETED")
                    continue
                told = {
                    one.outcome
                    for one in self.heard
                    if one.role == "outcome"
                    and one.time < at
                    and (one.about, one.state, one.visit) == (run.number, run.state, run.visit_of(run.state))
                }
                if "held" in told:
                    self._blocked(run, state, at, place, "POLICY")
                elif "decided" in told:
                    self._move(run, state.failed, at, place, "ERROR")
                else:
                    self._blocked(run, state, at, place, "STALE")

    def _take(self, runs: list[Run], place: int, item: Item, said: set[int]) -> None:
        if item.role == "entry":
            if item.time >= self.horizon and (item.number in said or self._may_enter(runs, item)):
                run = Run(
                    number=item.number,
                    who=item.who,
                    home=item.home,
                    entrant=item.outcome,
                    key=item.key,
                    entered=item.time,
                    version=len(self.versions) - 1,
                )
                run.since, run.moved_by = item.time, {item.number}
                runs.append(run)
                self._move(run, self.journey.states[0].name, item.time, place, "COMPLETED")
            return
        for run in runs:
            if run.ending or item.about not in (-1, run.number) or item.time < run.based:
                continue
            if item.role == "merged":
                self._end(run, "MERGED", item.time)
                continue
            if item.role in ("goal", "leave"):
                journey = self.versions[run.version]
                is_there = journey.goal or journey.goal_count if item.role == "goal" else journey.leave
                if is_there and run.version in item.versions and item.key in (0.0, run.key):
                    self._end(run, "GOAL" if item.role == "goal" else "EXIT_RULE", item.time)
            elif item.role == "wait":
                if self._is_waited_for(run, item):
                    if item.time != run.since:
                        run.moved_by = set()
                    run.moved_by.add(item.number)
                    self._move(run, self._state_of(run).waits[item.place].then, item.time, place, "COMPLETED")
            else:
                self._outcome_of(run, item, place)

    def _is_waited_for(self, run: Run, item: Item) -> bool:
        if item.role != "wait" or item.state != run.state or item.number in run.moved_by:
            return False
        if run.version not in item.versions:
            return False
        about = item.about == run.number if item.about != -1 else item.key == run.key
        waits = self._state_of(run).waits
        if item.place >= len(waits):
            return False  # of another version
        back = waits[item.place].look_back
        return about and item.time >= run.since - back

    def _outcome_of(self, run: Run, item: Item, place: int) -> None:
        journey = self.versions[run.version]
        if all(one.name != item.state or one.what != "act" for one in journey.states):
            return
        state = _state(journey, item.state)
        if item.time != run.since:
            run.moved_by = set()
        if item.outcome == "failed":
            if run.visits and run.visits[-1] == item.state and run.visit_of(item.state) == item.visit:
                self._move(run, state.failed, item.time, place, "ERROR")
        elif run.state == item.state and run.visit_of(item.state) == item.visit:
            if item.outcome in ("said", "withheld", "nothing"):
                self._move(run, state.then, item.time, place, "COMPLETED")
            elif item.outcome in ("blocked", "no_consent", "stale"):
                ending = {"blocked": "POLICY", "no_consent": "CONSENT", "stale": "STALE"}[item.outcome]
                self._blocked(run, state, item.time, place, ending)

    def _blocked(self, run: Run, state: State, at: int, place: int, ending: str) -> None:
        if state.leaves_when_blocked:
            self._end(run, ending, at)
        else:
            self._move(run, state.then, at, place, "COMPLETED")

    def _may_enter(self, runs: list[Run], item: Item) -> bool:
        journey = self.journey
        alike = [one for one in runs if one.key == item.key]
        newest = len(self.versions) - 1
        if journey.changed == "drain" and any(not one.ending and one.version != newest for one in runs):
            return False
        return (
            sum(not one.ending for one in runs) < journey.parallel
            and all(one.ending for one in alike)
            and not (journey.again == "once" and alike)
            and (journey.again != "after" or all(one.ended + journey.after <= item.time for one in alike))
            and (not journey.most or sum(one.entered > item.time - journey.window for one in runs) < journey.most)
        )

    def _move(self, run: Run, target: str, at: int, place: int, ending: str) -> None:
        """Go to a state, and on as long as that takes no time. `place`: of the last thing heard by then."""
        while True:
            if target == END:
                self._end(run, ending, at)
                return
            state = self._state_of(run, target)
            if at != run.since:
                run.moved_by = {self.heard[place].number} & run.moved_by if place >= 0 else set()
            run.state, run.since, run.due, ending = target, at, NEVER, "COMPLETED"
            if state.what == "end":
                self._end(run, "COMPLETED", at)
                return
            if state.what == "split":
                digest = hashlib.blake2b(f"{target}/{run.number}".encode(), digest_size=8).digest()
                drawn, passed = int.from_bytes(digest, "big") * 10_000 // 2**64, 0
                for name, share in state.shares:
                    passed += share
                    if drawn < passed:
                        target = name
                        break
            elif state.what == "ask":
                is_so = self.ways.setdefault((run.number, target, at), self.count >= state.asks)
                target = state.then if is_so else state.otherwise
            elif state.what == "slot":
                begin, over = run.entered + state.slot[0], run.entered + state.slot[1]
                if at < begin:
                    run.due = self._due(begin, at)
                    return
                target = state.then if at <= over else state.missed
                ending = "COMPLETED" if at <= over else "TIMEOUT"
            elif state.what == "act":
                if len(run.visits) >= self.versions[run.version].budget:
                    if state.leaves_when_blocked:
                        self._end(run, "POLICY", at)
                        return
                    target = state.then
                    continue
                run.visits.append(target)
                run.due = self._due(at + state.within, at)
                return
            else:
                run.due = self._due(_timer(state, at), at)
                item = next((one for one in self.heard[: place + 1] if self._is_waited_for(run, one)), None)
                if item is None:
                    return
                run.moved_by.add(item.number)
                target = state.waits[item.place].then

    def _due(self, due: int, at: int) -> int:
        return _standing(due, at) if self.halted == "paused" else due

    def _end(self, run: Run, ending: str, at: int) -> None:
        run.ending, run.ended, run.due = ending, at, NEVER

    # --- what comes of it --------------------------------------------------------------------------------------------

    def _effects(self, who: str) -> None:
        runs = {run.number: run for run in self.runs}
        for key, status in list(self.acts.items()):
            number, state, visit = key
            if number in self.gone and number not in runs:
                continue
            run = runs.get(number)
            is_at = run is not None and not run.ending and (run.state, run.visit_of(state)) == (state, visit)
            is_at = is_at and run is not None and self._state_of(run).what == "act"
            if status in ("pending", "decided") and not is_at:
                self.acts[key] = "withdrawn"
            if status == "said" and (run is None or run.ending not in ("", "COMPLETED", "TIMEOUT", "ERROR")):
                self.acts[key] = "withdrawn"
        for run in self.runs:
            if run.who == who and not run.ending and self._state_of(run).what == "act":
                key = (run.number, run.state, run.visit_of(run.state))
                known = self.acts.get(key)
                if known is None or (known == "withdrawn" and key not in self.settled):
                    self.acts[key] = "pending"

    def instances(self) -> list[tuple[int, str, bool, int, str, int]]:
        """(number, state, whether of an earlier version, since, ending, visits) of each that is not forgotten."""
        newest = len(self.versions) - 1
        return sorted(
            (
                run.number,
                run.state,
                not run.ending and run.version != newest,
                run.since,
                run.ending,
                len(run.visits),
            )
            for run in self.runs
            if run.number not in self.gone
        )


def _standing(due: int, now: int) -> int:
    """Return a time as it stands still: what is left of it."""
    return due if due >= STANDING else STANDING + max(0, due - now)


def _timer(state: State, at: int) -> int:
    """Return when a wait that begins at a time is over, by the clocks of Berlin."""
    if state.minute < 0 and state.weekday < 0:
        return at + state.after
    earliest = at + max(state.after, 1)
    day = datetime.fromtimestamp(earliest // 1_000_000, BERLIN).date() - timedelta(days=1)
    while True:
        found = datetime(day.year, day.month, day.day, tzinfo=BERLIN) + timedelta(minutes=max(state.minute, 0))
        due = int(found.timestamp()) * 1_000_000
        if due >= earliest and state.weekday in (-1, day.weekday()):
            return due
        day += timedelta(days=1)


def _sort_of(state: State) -> str:
    return "branch" if state.what in ("split", "ask") else state.what


def _keeps_time(was: State, new: State) -> bool:
    """Return whether one that was in a state is in another with the time that it had."""
    return {was.what, new.what} <= {"wait", "slot"} or (was.name, was.what) == (new.name, new.what)


def _state(journey: Journey, name: str) -> State:
    return next(one for one in journey.states if one.name == name)


def _listens_alike(item: Item, before: Journey, journey: Journey) -> bool:
    """Return whether two versions listen for the same where something was heard."""

    def listened(told: Journey) -> object:
        match item.role:
            case "goal":
                return told.goal_count, told.goal and (told.goal.kind, told.goal.least)
            case "leave":
                return told.leave and (told.leave.kind, told.leave.least)
            case "wait":
                waits = next((one.waits for one in told.states if one.name == item.state), ())
                return [(one.kind, one.least) for one in waits[item.place : item.place + 1]]
            case _:
                return ()

    return listened(before) == listened(journey)


def _says(journey: Journey) -> tuple[object, ...]:
    """Return what a run goes by: two versions that say the same are the same to it."""
    said = []
    for one in journey.states:
        own: tuple[object, ...] = ()
        match one.what:
            case "wait":
                own = (one.waits, one.after, one.minute, one.weekday, one.then)
            case "act":
                own = (one.within, one.then, one.leaves_when_blocked, one.failed)
            case "split":
                own = (one.shares,)
            case "ask":
                own = (one.asks, one.then, one.otherwise)
            case "slot":
                own = (one.slot, one.then, one.missed)
        said.append((one.name, one.what, own))
    goal = None if journey.goal_count else journey.goal
    return tuple(said), goal, journey.goal_count, journey.leave, journey.budget, journey.keyed
