"""Who belongs together in the town, and how that changes: moves, marriages, divorces, children leaving, numbers.

Drawn day by day, each from its own seed: more days add happenings at the end and change none before. What is true is
known here; what a source tells of it, late and sometimes wrongly, is loadtest/town/crm.py.
"""

from bisect import bisect_right
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from loadtest.town.people import Home, People, Persona
from loadtest.town.rhythm import US_PER_DAY

TOGETHER_MOST = 8
"""People whom a marriage brings together, at most."""

IDLE_DAYS = 2
"""After so many days a number that was given up is given to somebody else."""


class HappeningKind(StrEnum):
    """What happens to people."""

    MOVE = "move"
    """A member moves in with another household."""
    MARRIAGE = "marriage"
    """Two households are one from then on."""
    DIVORCE = "divorce"
    """Of two or more one moves out, with her line."""
    CHILD_LEAVES = "child leaves"
    NEW_NUMBER = "new number"
    """A member gives her number up and gets another."""
    RECYCLED_NUMBER = "recycled number"
    """A number that was given up is another member's from then on."""
    SHARED_PHONE = "shared phone"
    """A member uses another's device now and then."""


PER_DAY: dict[HappeningKind, float] = {
    HappeningKind.MOVE: 0.004,
    HappeningKind.MARRIAGE: 0.002,
    HappeningKind.DIVORCE: 0.002,
    HappeningKind.CHILD_LEAVES: 0.002,
    HappeningKind.NEW_NUMBER: 0.006,
    HappeningKind.SHARED_PHONE: 0.004,
}
"""Per household and day, of our choice: often enough for a small town to see all of it in a week."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyChange:
    """Something that changed who belongs together, or what they are known by."""

    time_us: int
    kind: HappeningKind
    person: int = -1
    """Index of the member it is about, or who moved out."""
    home: int = -1
    """Where she lived, or the household that stays."""
    other: int = -1
    """The household that she moved to, or that is the other's from now on; of a shared phone, whose it is."""
    number: int = -1
    """The number that is hers from now on."""
    gone: int = -1
    """The one that was."""


class Families:
    """The households of a town by what is true of them."""

    def __init__(self, *, seed: int, people: People, start_us: int, days: int, pace: float = 1.0) -> None:
        """Let so many days pass. `pace`: a factor on how often anything happens."""
        self.people = people
        self._seed, self._start_us, self._pace = seed, start_us, pace
        self.home_of = people.household.astype(int).tolist()
        """Of each member, the household she lives in at the end: below `households` one that was there at first."""
        self._home_count = len(people.home)
        self._into: dict[int, int] = {}
        self._next_number = people.size
        self.numbers: list[list[tuple[int, int]]] = [[(-(2**62), person)] for person in range(people.size)]
        """Of each member, her numbers: from when on, and which."""
        self._given_up: list[tuple[int, int, int]] = []
        self.happenings: list[FamilyChange] = []
        for day in range(days):
            self._live(day)

    def standing(self, home: int) -> int:
        """Return which household one is by now."""
        while home in self._into:
            home = self._into[home]
        return home

    def has_line(self, person: int) -> bool:
        """Return whether a member has a line of her own: of younger children every other has none."""
        people = self.people
        return bool(people.persona[person] != Persona.CHILD or people.number[person] % 2 == 0)

    def number_at(self, person: int, time_us: int) -> int:
        """Return the number that a member has at a time."""
        spans = self.numbers[person]
        return spans[bisect_right(spans, (time_us, 2**62)) - 1][1]

    def holders(self) -> dict[int, int]:
        """Return who has each number at the end."""
        return {spans[-1][1]: person for person, spans in enumerate(self.numbers) if self.has_line(person)}

    def together(self) -> set[frozenset[int]]:
        """Return who lives together at the end."""
        found: dict[int, set[int]] = {}
        for person, home in enumerate(self.home_of):
            found.setdefault(self.standing(home), set()).add(person)
        return {frozenset(persons) for persons in found.values()}

    # --- days ---------------------------------------------------------------------------------------------------------

    def _live(self, day: int) -> None:
        draw = np.random.default_rng([self._seed, 41, day])
        due: list[tuple[int, HappeningKind]] = []
        for kind, rate in PER_DAY.items():
            count = draw.poisson(rate * self._pace * len(self.people.home))
            due += [(int(time_us), kind) for time_us in draw.integers(0, US_PER_DAY, count)]
        begins_us = self._start_us + day * US_PER_DAY
        for idle_us, number, was in [one for one in self._given_up if one[0] < begins_us + US_PER_DAY]:
            self._given_up.remove((idle_us, number, was))
            self._recycle(max(idle_us, begins_us), number, was, draw)
        for time_us, kind in sorted(due):
            self._happen(begins_us + time_us, kind, draw)
        self.happenings.sort(key=lambda one: one.time_us)

    def _happen(self, time_us: int, kind: HappeningKind, draw: np.random.Generator) -> None:
        person = int(draw.integers(self.people.size))
        home = self.standing(self.home_of[person])
        lives = [one for one, where in enumerate(self.home_of) if self.standing(where) == home]
        other = self.standing(int(draw.integers(len(self.people.home))))
        match kind:
            case HappeningKind.MOVE if other != home:
                self._moved(time_us, kind, person, home, other)
            case HappeningKind.MARRIAGE if other != home and home < len(self.people.home):
                theirs = sum(self.standing(where) == other for where in self.home_of)
                if 1 <= theirs <= TOGETHER_MOST - len(lives):
                    self._into[other] = home
                    self._note(FamilyChange(time_us=time_us, kind=kind, home=home, other=other))
            case HappeningKind.DIVORCE if len(lives) > 1:
                self._moved(time_us, kind, person, home, self._new_home())
            case HappeningKind.CHILD_LEAVES:
                children = [one for one in lives if self.people.persona[one] == Persona.CHILD]
                if children and len(lives) > 1 and self.people.home[self.people.household[children[0]]] == Home.FAMILY:
                    self._moved(time_us, kind, children[0], home, self._new_home())
            case HappeningKind.NEW_NUMBER if self.has_line(person):
                self._renumber(time_us, person)
            case HappeningKind.SHARED_PHONE:
                owner = int(draw.integers(self.people.size))
                self._note(FamilyChange(time_us=time_us, kind=kind, person=person, other=owner))
            case _:
                pass

    def _new_home(self) -> int:
        self._home_count += 1
        return self._home_count - 1

    def _moved(self, time_us: int, kind: HappeningKind, person: int, home: int, other: int) -> None:
        self.home_of[person] = other
        self._note(FamilyChange(time_us=time_us, kind=kind, person=person, home=home, other=other))

    def _renumber(self, time_us: int, person: int) -> None:
        since_us, gone = self.numbers[person][-1]
        if since_us >= time_us:
            return
        number, self._next_number = self._next_number, self._next_number + 1
        self.numbers[person].append((time_us, number))
        self._given_up.append((time_us + IDLE_DAYS * US_PER_DAY, gone, person))
        told = FamilyChange(time_us=time_us, kind=HappeningKind.NEW_NUMBER, person=person, number=number, gone=gone)
        self._note(told)

    def _recycle(self, time_us: int, number: int, was: int, draw: np.random.Generator) -> None:
        person = int(draw.integers(self.people.size))
        since_us, gone = self.numbers[person][-1]
        if person == was or not self.has_line(person) or since_us >= time_us:
            return
        self.numbers[person].append((time_us, number))
        kind = HappeningKind.RECYCLED_NUMBER
        self._note(FamilyChange(time_us=time_us, kind=kind, person=person, number=number, gone=gone))

    def _note(self, happening: FamilyChange) -> None:
        self.happenings.append(happening)
