"""Who belongs together, in plain Python: every question is answered by walking over all that was ever said.

Written from the rules of docs/decisions/0019-household-graph.md alone; nothing of household/graph is used. Slow, and
without any memory between two questions.
"""

import hashlib
import struct
from dataclasses import dataclass, field

DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Said:
    """A graph event."""

    id: bytes
    kind: str
    time_us: int
    identifier: str = ""
    subjects: tuple[str, ...] = ()
    household: str = ""
    other: str = ""
    cause: str = ""
    probability: float = 1.0

    @property
    def order(self) -> tuple[int, bytes]:
        return self.time_us, self.id

    @property
    def why(self) -> str:
        return self.cause or self.id.decode()

    @property
    def makes(self) -> str:
        """Id of the household that it makes: ~ and 20 digits of a hash of household, source and id, all counted."""
        packed = b"".join(struct.pack("<H", len(part)) + part for part in (b"", b"", self.id))
        return "~" + hashlib.blake2b(packed, digest_size=10).hexdigest()


@dataclass
class Home:
    """A household."""

    ids: dict[str, int]
    """When each of its ids was first spoken of."""
    people: set[str] = field(default_factory=set)
    closed: bool = False

    @property
    def id(self) -> str:
        return min(self.ids, key=lambda one: (self.ids[one], one))


class Reference:
    """What a set of graph events means."""

    def __init__(self, events: list[Said], *, members_most: int = 12, households_most: int = 3) -> None:
        self.members_most, self.households_most = members_most, households_most
        self.homes: list[Home] = []
        self.aside: set[bytes] = set()
        self.changes: dict[str, list[tuple[int, str | None]]] = {}
        """Per identifier: from when on it means whom (None: nobody, in a new life or not)."""
        self.new_lives: dict[str, list[int]] = {}
        """Which of its changes began one."""
        self.where: dict[str, list[tuple[int, str]]] = {}
        unmerged = {one.why for one in events if one.kind == "unmerge"}
        self.confirmed = {one.why for one in events if one.kind == "confirm"}
        for one in sorted(set(events), key=lambda said: said.order):
            if one.kind != "merge" or one.why not in unmerged:
                self._hear(one)

    # --- households ---

    def home(self, name: str, time_us: int) -> Home:
        for one in self.homes:
            if name in one.ids:
                return one
        self.homes.append(Home({name: time_us}))
        return self.homes[-1]

    def home_of(self, person: str) -> Home | None:
        return next((one for one in self.homes if person in one.people), None)

    def _move(self, person: str, home: Home) -> None:
        before = self.home_of(person)
        if before is not None:
            before.people.discard(person)
        home.people.add(person)

    def _hear(self, said: Said) -> None:
        for person in said.subjects:
            if self.home_of(person) is None:
                self.home(person, said.time_us).people.add(person)
        if said.kind == "join":
            self._move(said.subjects[0], self.home(said.household, said.time_us))
        elif said.kind == "leave":
            here = self.home_of(said.subjects[0])
            assert here is not None
            if here.people != set(said.subjects) or set(here.ids) != set(said.subjects):
                self._move(said.subjects[0], self.home(said.makes, said.time_us))
        elif said.kind == "split":
            here = self.home(said.household, said.time_us)
            for person in [one for one in said.subjects if self.home_of(one) is here]:
                self._move(person, self.home(said.makes, said.time_us))
        elif said.kind == "close":
            self.home(said.household, said.time_us).closed = True
        elif said.kind == "merge":
            ours, theirs = self.home(said.household, said.time_us), self.home(said.other, said.time_us)
            members = [one for one in ours.people | theirs.people if one.startswith("member:")]
            if ours is theirs:
                return
            if len(members) > self.members_most and said.why not in self.confirmed:
                self.aside.add(said.id)
                return
            self.homes.remove(theirs)
            ours.ids |= theirs.ids
            ours.people |= theirs.people
            ours.closed = ours.closed and theirs.closed
        elif said.kind in ("link", "unlink", "recycle"):
            self._hear_of_identifier(said)

    # --- identifiers ---

    def _hear_of_identifier(self, said: Said) -> None:
        name, changes = said.identifier, self.changes.setdefault(said.identifier, [])
        now = changes[-1][1] if changes else None
        if said.kind == "link":
            (person,) = said.subjects
            if said.probability < 0.9:
                return
            home = self.home_of(person)
            assert home is not None
            recent = [
                self.home(one, 0) for time_us, one in self.where.get(name, []) if time_us > said.time_us - 30 * DAY_US
            ]
            count = len({id(one) for one in [*recent, home]})
            if count > self.households_most and said.why not in self.confirmed:
                self.aside.add(said.id)
                return
            self.where.setdefault(name, []).append((said.time_us, home.id))
            if now != person:
                changes.append((said.time_us, person))
        elif said.kind == "unlink" and now is not None:
            changes.append((said.time_us, None))
        elif said.kind == "recycle":
            changes.append((said.time_us, None))
            self.new_lives.setdefault(name, []).append(len(changes) - 1)
            self.where[name] = []

    def owner(self, identifier: str, time_us: int) -> str:
        """Return whose facts came with an identifier at a time: a subject, or the orphan's own name."""
        if identifier.split(":")[0] in ("member", "line"):
            return identifier
        changes = self.changes.get(identifier, [])
        place = max((i for i, (from_us, _) in enumerate(changes) if from_us <= time_us), default=-1)
        holder = changes[place][1] if place >= 0 else None
        if holder is not None:
            return holder
        following = place + 1
        if following < len(changes) and following not in self.new_lives.get(identifier, []):
            adopter = changes[following][1]
            assert adopter is not None
            return adopter
        return identifier if place < 0 else f"{identifier}#{changes[place][0]}"

    def holder(self, identifier: str) -> str | None:
        changes = self.changes.get(identifier, [])
        return changes[-1][1] if changes else None

    def household(self, owner: str) -> str:
        """Return the household that has an owner's facts: a subject's, an orphan's, or those told of a household."""
        lives_in = self.home_of(owner)
        if lives_in is not None:
            return lives_in.id
        named = next((one for one in self.homes if owner in one.ids), None)
        return named.id if named is not None else owner
