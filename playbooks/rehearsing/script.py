"""A rehearsal as it is written: whose story it is, what happens when, and what is to come of it."""

from dataclasses import dataclass
from enum import StrEnum

from written.problems import Place


class Base(StrEnum):
    """From where a time is counted."""

    START = "start"
    """Of the rehearsal."""
    BEFORE = "before"
    """The step before."""
    DUE = "due"
    """When what the journey's instance waits for is over."""
    DAY = "day"
    """A calendar day, at a minute."""
    WEEKDAY = "weekday"
    """The next such weekday after the step before, at a minute."""
    CLOCK = "clock"
    """The next time after the step before at which clocks show a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """A time, in the playbook's time zone."""

    base: Base = Base.BEFORE
    ordinal: int = 0
    """Of a DAY: of the proleptic Gregorian calendar. Of a WEEKDAY: from Monday, 0."""
    minute: int = 0
    """Of the local day."""
    shift_us: int = 0
    text: str = ""
    """As it was written; empty where none was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """Something happens, once or several times."""

    place: Place
    at: When
    kind: int
    """Index of its event type."""
    member: str
    values: tuple[tuple[int, float], ...] = ()
    """(field, number, as the fold has it)"""
    ago_us: int = 0
    """It happened so long before it is learned."""
    times: int = 1
    every_us: int = 0
    name: str = ""
    """By which it is sent once more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """A signal comes once more."""

    place: Place
    at: When
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A channel asks what to say; the asking is a contact."""

    place: Place
    at: When
    channel: int
    member: str
    carries: Signal | None = None
    """A signal that comes with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A gateway reports what became of an action."""

    place: Place
    at: When
    outcome: str
    offer: str = ""
    """Of the action, the newest that was said; empty for any."""
    channel: str = ""
    """On which it happened; empty for that on which it was said."""
    member: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What is to have come of it since the expectation before; what is None is not looked at."""

    place: Place
    at: When
    journey: str = ""
    """Whose doings are looked at; empty for all of them."""
    is_nothing: bool = False
    entered: bool | None = None
    state: str | None = None
    until: When | None = None
    exited: str | None = None
    said: tuple[str, ...] | None = None
    answered: str | None = None
    """Empty for an answer that is nothing."""
    withheld: tuple[str, ...] | None = None
    taken_back: tuple[str, ...] | None = None
    channel: str = ""
    member: str = ""
    price_minor: int | None = None
    because: tuple[str, ...] = ()
    call_it: str = ""
    same_as: str = ""
    known: tuple[tuple[str, int, float | None], ...] = ()
    """(feature as written, its index, its value, None for unknown)"""

    @property
    def looks(self) -> bool:
        """Whether it looks at what was done, and does not just let time pass or ask what is known."""
        parts = (self.entered, self.state, self.until, self.exited, self.said, self.answered, self.withheld)
        is_any = any(one is not None for one in (*parts, self.taken_back))
        return self.is_nothing or is_any or bool(self.because)


ScriptStep = Signal | Repeat | Question | Reply | Expectation


class GatewayManner(StrEnum):
    """What the gateway of an outbound channel does with what it is handed."""

    DELIVERS = "delivers"
    FAILS = "fails"
    SILENT = "silent"
    """It takes it, and never says what became of it."""
    ABSENT = "absent"
    """Nobody listens."""


class Variant(StrEnum):
    """In which other way a rehearsal is played, too: what is expected is the same."""

    DUPLICATES = "duplicates"
    """Each signal and each reply comes twice."""
    RESTARTS = "restarts"
    """Before each step the partition is frozen and thawed; in the end its records are folded anew."""
    VERSIONS = "versions"
    """Before each step another version of the playbook, with the same states, comes into force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """One story of one household."""

    name: str
    place: Place
    title: str
    journey: str
    """Whose doings are expected unless an expectation names another; empty for all."""
    members: tuple[str, ...]
    arm: str
    """That the household is drawn into, of the experiments about the journey; `treated` for no control group at all."""
    start_us: int
    gateways: dict[str, GatewayManner]
    """Channel → what its gateway does, of those that do not just deliver."""
    also: tuple[Variant, ...]
    steps: tuple[ScriptStep, ...]
