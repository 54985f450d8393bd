"""What a CRM tells of who belongs together: hours or days late, some of it twice, some of it wrongly until it notices.

Its words are graph events as docs/gateway.md has them: it knows nothing of what is behind.
"""

from dataclasses import dataclass

import numpy as np

from hearth.v1 import signal_pb2
from loadtest.town.families import Families, FamilyChange, HappeningKind
from loadtest.town.rhythm import US_PER_DAY, US_PER_HOUR, US_PER_SECOND
from loadtest.town.signals import Wire

SOURCE = "crm"
DELAY_HOURS_MEDIAN = 5.0
DELAY_LOG_SD = 1.2
DELAY_DAYS_MOST = 3.0
NOTICED_AFTER_DAYS = 1.0
"""What it told wrongly it corrects after so long, on average; sooner than `CORRECTED_DAYS_MOST`."""
CORRECTED_DAYS_MOST = 3.0
TWICE_SHARE = 0.05
SHARED_PROBABILITY = 0.6
"""That who uses another's device belongs to it: too little to make anybody a member."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrmWord:
    """A graph event, and when it is told."""

    told_us: int
    signal: signal_pb2.Signal


class Crm:
    """All that the CRM of a town tells, in the order in which it does."""

    def __init__(self, families: Families, wire: Wire, *, seed: int, start_us: int, wrong_share: float = 0.1) -> None:
        """Tell of what happened. `wrong_share`: of the happenings, how many come with something that is not true."""
        self._families, self._wire = families, wire
        self._draw = np.random.default_rng([seed, 43])
        self._told: list[CrmWord] = []
        self._count = 0
        self._named: set[int] = set(range(len(families.people.home)))
        """Households that have an id of the CRM's own."""
        self._begin(start_us)
        for happening in families.happenings:
            delay_us = min(self._draw.lognormal(np.log(DELAY_HOURS_MEDIAN), DELAY_LOG_SD), 24 * DELAY_DAYS_MOST)
            told_us = happening.time_us + int(delay_us * US_PER_HOUR)
            self._tell_of(happening, told_us)
            if self._draw.random() < wrong_share:
                self._tell_wrongly(happening, told_us)
        self.tellings = sorted(self._told, key=lambda one: (one.told_us, one.signal.event_id))
        """Those of before the start first."""

    # --- names --------------------------------------------------------------------------------------------------------

    @staticmethod
    def member(person: int) -> str:
        """Return a member as the CRM calls her."""
        return f"member:P{person}"

    @staticmethod
    def line(person: int) -> str:
        """Return her line."""
        return f"line:S{person}"

    @staticmethod
    def number(number: int) -> str:
        """Return a number as an identifier."""
        return f"msisdn:+4915{number:08d}"

    def household(self, home: int) -> str:
        """Return a household's id."""
        return self._wire.household_name(home) if home < len(self._families.people.home) else f"A{home:06d}"

    # --- telling ------------------------------------------------------------------------------------------------------

    def _begin(self, start_us: int) -> None:
        families = self._families
        for person, home in enumerate(families.people.household.tolist()):
            at_us = start_us - US_PER_DAY
            for subject in self._subjects(person):
                self._say("join", at_us, start_us, subject=subject, household=self.household(home))
            if families.has_line(person):
                self._say("link", at_us, start_us, subject=self.line(person), identifier=self.number(person))

    def _subjects(self, person: int) -> list[str]:
        return [self.member(person), *([self.line(person)] if self._families.has_line(person) else [])]

    def _tell_of(self, one: FamilyChange, told_us: int) -> None:
        at_us = one.time_us
        match one.kind:
            case HappeningKind.MOVE:
                self._tell_joined(one.person, one.other, at_us, told_us)
            case HappeningKind.DIVORCE | HappeningKind.CHILD_LEAVES:
                subjects = self._subjects(one.person)
                if one.home not in self._named or self._draw.random() < 0.5:
                    self._named.add(one.other)
                    self._tell_joined(one.person, one.other, at_us, told_us)
                elif len(subjects) == 1:
                    self._say("leave", at_us, told_us, subject=subjects[0])
                else:
                    self._say("split", at_us, told_us, household=self.household(one.home), subjects=" ".join(subjects))
            case HappeningKind.MARRIAGE:
                self._say("merge", at_us, told_us, household=self.household(one.home), other=self.household(one.other))
            case HappeningKind.NEW_NUMBER:
                self._say("unlink", at_us, told_us, identifier=self.number(one.gone))
                self._tell_linked(one, at_us, told_us)
            case HappeningKind.RECYCLED_NUMBER:
                self._say("unlink", at_us, told_us, identifier=self.number(one.gone))
                self._say("recycle", at_us, told_us, identifier=self.number(one.number))
                self._tell_linked(one, at_us + US_PER_SECOND, told_us)
            case HappeningKind.SHARED_PHONE:
                device = f"device:D{one.other}"
                self._say("link", at_us, told_us, identifier=device, subject=self.member(one.other))
                self._say(
                    "link", at_us + US_PER_SECOND, told_us, identifier=device, subject=self.member(one.person),
                    evidence="shared_device", probability=SHARED_PROBABILITY,
                )  # fmt: skip

    def _tell_joined(self, person: int, home: int, at_us: int, told_us: int) -> None:
        for subject in self._subjects(person):
            self._say("join", at_us, told_us, subject=subject, household=self.household(home))

    def _tell_linked(self, one: FamilyChange, at_us: int, told_us: int) -> None:
        self._say("link", at_us, told_us, subject=self.line(one.person), identifier=self.number(one.number))

    def _tell_wrongly(self, one: FamilyChange, told_us: int) -> None:
        """Tell what is not so, and later that it is not."""
        draw = self._draw
        noticed_us = told_us + int(min(draw.exponential(NOTICED_AFTER_DAYS), CORRECTED_DAYS_MOST) * US_PER_DAY)
        if one.number >= 0:
            if self._families.number_at(one.person, told_us + 2 * US_PER_SECOND) != one.number:
                return  # it is another's by then
            wrong = self.line(int(draw.integers(self._families.people.size)))
            self._say("link", told_us, told_us, subject=wrong, identifier=self.number(one.number))
            self._say("link", told_us + US_PER_SECOND, noticed_us, subject=self.line(one.person),
                      identifier=self.number(one.number))  # fmt: skip
            return
        first, second = (int(home) for home in draw.integers(len(self._families.people.home), size=2))
        if first != second:
            cause = f"mistake-{self._count}"
            self._say("merge", told_us, told_us, household=self.household(first), other=self.household(second),
                      cause=cause)  # fmt: skip
            self._say("unmerge", noticed_us, noticed_us, named=self.household(first), cause=cause)

    def _say(
        self, kind: str, at_us: int, told_us: int, *, named: str = "", probability: float = 1.0, **texts: str
    ) -> None:
        self._count += 1
        signal = signal_pb2.Signal(
            event_id=f"crm-{self._count:08d}", source=SOURCE, type=f"hearth.graph.{kind}", household=named
        )
        signal.time.FromMicroseconds(at_us)
        for name, text in texts.items():
            signal.fields[name].text = text
        if probability < 1.0:
            signal.fields["probability"].number = probability
        self._told.append(CrmWord(told_us=told_us, signal=signal))
        if self._draw.random() < TWICE_SHARE:
            self._told.append(CrmWord(told_us=told_us + US_PER_HOUR, signal=signal))
