"""One expectation of a rehearsal, held against what came."""

import math
from typing import TYPE_CHECKING

from household.money import amount_text
from household.tables.instances import Ending
from playbooks.rehearsing.script import Expectation
from playbooks.rehearsing.world import Doing, Happening
from written.problems import Place, Problem

if TYPE_CHECKING:
    from playbooks.rehearsing.playing import Playing

_DID = frozenset({Doing.ENTERED, Doing.EXITED, Doing.SAID, Doing.ANSWERED, Doing.WITHHELD, Doing.TAKEN_BACK})


_BY_CONTACT = frozenset({Doing.ANSWERED, Doing.WITHHELD, Doing.DECIDED})


def is_about(one: Happening, journey: str) -> bool:
    """Return whether something is a journey's; what only a contact brought up carries none, and is anybody's."""
    return not journey or one.journey == journey or (not one.journey and one.doing in _BY_CONTACT)


class Unexpected(Exception):
    """Something came otherwise than expected."""

    def __init__(self, place: Place, wrong: str, right: str = "") -> None:
        super().__init__(wrong)
        self.problem = Problem(place, wrong, right)


class Judging:
    """One expectation, held against what came."""

    def __init__(self, playing: "Playing", step: Expectation) -> None:
        self._playing, self._step = playing, step
        since = playing.since()
        self._own = [one for one in since if is_about(one, step.journey)]
        self._since = since

    def judge(self) -> None:
        """Go on if all is as expected.

        Raises:
            Unexpected: it is not.
        """
        step = self._step
        if step.is_nothing:
            did = [
                one for one in self._own if one.doing in _DID and not (one.doing is Doing.ANSWERED and not one.offer)
            ]
            if did:
                self._wrong("nothing")
        if step.entered is not None and any(one.doing is Doing.ENTERED for one in self._own) != step.entered:
            self._wrong("that somebody enters" if step.entered else "that nobody enters")
        if step.exited is not None:
            reasons = [one.reasons[0] for one in self._own if one.doing is Doing.EXITED]
            if step.exited not in reasons:
                self._wrong(f"that it exits: {step.exited}")
        if step.state is not None or step.until is not None:
            self._state()
        self._said("said", Doing.SAID, step.said)
        self._said("withheld", Doing.WITHHELD, step.withheld)
        self._said("taken back", Doing.TAKEN_BACK, step.taken_back)
        self._answer()
        if step.because:
            seen = self._own if step.answered is None else self._since
            given = {reason for one in seen for reason in one.reasons}
            missing = [one for one in step.because if one not in given]
            if missing:
                self._wrong(
                    f"the reason {', '.join(missing)}", f"the reasons were {', '.join(sorted(given)) or 'none'}"
                )
        for name, feature, value in step.known:
            self._known(name, feature, value)

    def _state(self) -> None:
        step = self._step
        instances = self._playing.instances(step.journey)
        one = instances[-1] if instances else None
        if step.state is not None and (one is None or one.step != step.state):
            self._wrong(f"state '{step.state}'")
        if step.until is not None:
            wanted_us = self._playing.instant(step.until, step.place)
            if one is None or one.ending is not Ending.LIVE or one.due_us != wanted_us:
                self._wrong(f"that it waits until {self._playing.at(wanted_us)}")

    def _said(self, word: str, doing: Doing, wanted: tuple[str, ...] | None) -> None:
        if wanted is None:
            return
        came = [one for one in self._own if one.doing is doing]
        if [one.offer for one in came] != list(wanted):
            self._wrong(f"{', '.join(wanted) or 'nothing'} {word}")
        for one in came:
            if doing is not Doing.TAKEN_BACK:
                self._about(word, one)

    def _answer(self) -> None:
        step = self._step
        if step.answered is None:
            return
        answers = [one for one in self._since if one.doing is Doing.ANSWERED]
        if not answers:
            self._wrong(
                f"the answer {step.answered or 'nothing'}", "nobody has asked since: write '- ask: …' before it"
            )
        if answers[-1].offer != step.answered:
            self._wrong(f"the answer {step.answered or 'nothing'}")
        self._about("the answer", answers[-1])

    def _about(self, word: str, one: Happening) -> None:
        step, currency = self._step, self._playing.plan.currency
        if step.channel and one.channel != step.channel:
            self._wrong(f"{one.offer} {word} on {step.channel}")
        if step.member and one.member != step.member:
            self._wrong(f"{one.offer} {word} to {step.member}")
        if step.price_minor is not None and one.price_minor != step.price_minor:
            came = amount_text(one.price_minor, currency)
            self._wrong(f"{one.offer} for {amount_text(step.price_minor, currency)}", f"it is for {came}")
        if step.same_as and one.action_id != self._playing.called(step.same_as):
            self._wrong(f"the very action that was called '{step.same_as}'", "it is another one")

    def _known(self, name: str, feature: int, value: float | None) -> None:
        member = self._step.member or self._playing.world.first_member
        reading = self._playing.world.reading(feature, member)
        if (value is None) != math.isnan(reading) or (
            value is not None and not math.isclose(reading, value, rel_tol=1e-9)
        ):
            wanted = "unknown" if value is None else f"{value:g}"
            came = "unknown" if math.isnan(reading) else f"{reading:g}"
            self._wrong(f"{name} to be {wanted}", f"it is {came}")

    def _wrong(self, wanted: str, came: str = "") -> None:
        raise Unexpected(self._step.place, self._playing.told(f"expected {wanted}"), came or self._what_came())

    def _what_came(self) -> str:
        seen = self._own if self._step.answered is None else self._since
        parts = [f"{self._playing.at(one.time_us)} {_words(one)}" for one in seen if one.doing in _DID]
        where = []
        for journey in dict.fromkeys([self._step.journey] if self._step.journey else []):
            for one in self._playing.instances(journey)[-1:]:
                if one.ending is Ending.LIVE:
                    where.append(f"{journey} is in '{one.step}' until {self._playing.at(one.due_us)}")
                else:
                    where.append(f"{journey} ended in '{one.step}': {one.ending.value}")
        return "what came: " + ("; ".join(parts) or "nothing") + ("; " + "; ".join(where) if where else "")


def _words(one: Happening) -> str:
    match one.doing:
        case Doing.ENTERED:
            return f"entered {one.journey}"
        case Doing.EXITED:
            return f"exited {one.journey}: {one.reasons[0]}"
        case Doing.SAID:
            return f"said {one.offer} on {one.channel}"
        case Doing.ANSWERED:
            return f"answered {one.offer or 'nothing'} on {one.channel}"
        case Doing.WITHHELD:
            return f"withheld {one.offer} on {one.channel}"
        case Doing.TAKEN_BACK:
            return f"took back {one.offer}" + (f": {one.reasons[0]}" if one.reasons else "")
        case Doing.DECIDED:
            return "decided"
