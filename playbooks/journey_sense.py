"""Warnings for sense about journeys: acts that can never happen in time, or only to whom nothing reaches; entries that
feed on themselves; journeys that offer what excludes each other.
"""

from collections.abc import Iterator

from household.events import RESERVED_TYPES
from household.plan import (
    END,
    EXEMPT_CLASSES,
    NONE,
    Again,
    ContactClass,
    Flow,
    Journey,
    JourneyStep,
    Limit,
    Selector,
    StepKind,
)
from household.traits import traits_of
from playbooks.flow_shape import leads_to
from playbooks.remarks import Check, duration, some
from playbooks.values import UNIT_US

MINUTE_US, DAY_MINUTES = UNIT_US["m"], 24 * 60


class JourneySense(Check):
    """Journeys that do not do what they say."""

    def look(self) -> None:
        for journey in self.plan.journeys:
            if journey.trigger is not None:
                self._own_effect(journey)
            if journey.outbound:
                self._fallback(journey)
            if journey.flow is not None:
                self._slots(journey, journey.flow)
                self._quiet(journey, journey.flow)
        self._exclusions()

    # --- in time ------------------------------------------------------------------------------------------------------

    def _slots(self, journey: Journey, flow: Flow) -> None:
        """Slots that are over before anybody can have come there."""
        earliest_us = _earliest_us(flow)
        for index, step in enumerate(flow.steps):
            if step.slot is None or index not in earliest_us or earliest_us[index] <= step.slot.to_us:
                continue
            wrong = (
                f"the slot of state '{step.name}' of journey '{journey.name}' is always over: it ends "
                f"{duration(step.slot.to_us)} after the entry, and the shortest way there takes "
                f"{duration(earliest_us[index])}"
            )
            right = "let it end later, or shorten what comes before"
            self.warn(wrong, right, "journeys", journey.name, "states", step.name, "slot")

    def _quiet(self, journey: Journey, flow: Flow) -> None:
        """Acts that begin and end within the quiet hours, whenever an instance came."""
        policy, plan = self.plan.policy, self.plan
        quiet = (policy.quiet_to_minute - policy.quiet_from_minute) % DAY_MINUTES
        channels = [plan.channels[channel] for channel in journey.outbound]
        is_exempt = bool(journey.contact_class) and ContactClass(journey.contact_class) in EXEMPT_CLASSES
        if not quiet or not channels or is_exempt or not all(channel.quiet_hours for channel in channels):
            return
        for index, step in enumerate(flow.steps):
            if step.act is None:
                continue
            lasts = (step.act.within_us + step.act.hold_us) // MINUTE_US
            minutes = set(_minutes_of_arrival(flow, index))
            begins = [(minute - policy.quiet_from_minute) % DAY_MINUTES for minute in minutes if minute != NONE]
            if not begins or NONE in minutes or any(begin + lasts >= quiet for begin in begins):
                continue
            from_minute, to_minute = policy.quiet_from_minute, policy.quiet_to_minute
            wrong = (
                f"state '{step.name}' of journey '{journey.name}' begins at {_clock(min(minutes))} and ends within the "
                f"quiet hours, {_clock(from_minute)} to {_clock(to_minute)}: it never says anything"
            )
            right = "let it begin at another time, or write 'hold:' that lasts until the quiet hours are over"
            self.warn(wrong, right, "journeys", journey.name, "states", step.name.removesuffix(".act"))

    # --- who is reached -----------------------------------------------------------------------------------------------

    def _fallback(self, journey: Journey) -> None:
        """Journeys that speak on one channel, and do nothing else where that one does not carry."""
        if len(journey.outbound) > 1:
            return
        name = self.plan.channels[journey.outbound[0]].name
        keys = ("journeys", journey.name, "outbound")
        if journey.flow is None:
            wrong = f"journey '{journey.name}' speaks on '{name}' alone: whom that does not reach hears nothing"
            self.inform(wrong, "name another channel behind it", *keys)
            return
        alone = [step.name for step in journey.flow.steps if step.act is not None and step.act.failed == END]
        if alone:
            wrong = (
                f"journey '{journey.name}' speaks on '{name}' alone, and {some(alone)} {_says(alone)} not where "
                "those go whom it does not reach: they end with an error"
            )
            self.warn(wrong, "name another channel behind it, or write 'failed:' in those states", *keys)

    # --- who enters ---------------------------------------------------------------------------------------------------

    def _own_effect(self, journey: Journey) -> None:
        """Triggers on what a journey's own offers bring about."""
        trigger, flow = journey.trigger, journey.flow
        assert trigger is not None, "asked of triggers only"
        names = {self.plan.event_types[event].name for event in trigger.events}
        own = [name for name in RESERVED_TYPES if name in names]
        is_bounded = trigger.cooldown_us > 0 if flow is None else bool(flow.entries_most) or flow.again is Again.ONCE
        if not own or not journey.offers or is_bounded or len(names) == len(self.plan.event_types):
            return
        wrong = f"journey '{journey.name}' enters by {some(own)}, which its own offers bring about: it feeds on itself"
        right = "name what happens to the member, or bound it: 'entries: {most: 1, window: 30d}'"
        if flow is None:
            right = "name what happens to the member, or bound it: 'cooldown: 30d'"
        self.warn(wrong, right, "journeys", journey.name, "trigger", "on")

    # --- two at once --------------------------------------------------------------------------------------------------

    def _exclusions(self) -> None:
        """Journeys whose instances may be under way at once and offer what excludes each other, whichever comes first.

        Of moments that are weighed and over, the more valuable goes first.
        """
        journeys = [one for one in self.plan.journeys if one.flow is not None]
        for place, one in enumerate(journeys):
            for other in journeys[place + 1 :]:
                pair = next(self._excluding(one, other), None)
                if pair is None or self._is_ordered(one, other):
                    continue
                wrong = (
                    f"journeys '{one.name}' and '{other.name}' may each offer what excludes the other's "
                    f"({self._key(pair[0])} and {self._key(pair[1])}), and nothing says which goes first"
                )
                right = (
                    f"say so in a contact rule: 'of: {{journeys: {other.name}}}, not_after: {{journeys: {one.name}}}', "
                    "or offer them in one journey"
                )
                self.warn(wrong, right, "journeys", other.name)

    def _excluding(self, one: Journey, other: Journey) -> Iterator[tuple[int, int]]:
        offers = self.plan.offers
        for mine in one.offers:
            for theirs in other.offers:
                if mine != theirs and (theirs in offers[mine].excludes or mine in offers[theirs].excludes):
                    yield mine, theirs

    def _is_ordered(self, one: Journey, other: Journey) -> bool:
        for rule in self.plan.policy.rules:
            if rule.limit in (Limit.NEVER_WITH, Limit.NOT_AFTER):
                ways = ((rule.what, rule.other), (rule.other, rule.what))
                if any(self._means(mine, one) and self._means(theirs, other) for mine, theirs in ways):
                    return True
        return False

    def _means(self, selector: Selector, journey: Journey) -> bool:
        """Return whether a rule means all that a journey offers."""
        if selector == Selector():
            return False
        for offer in journey.offers:
            traits = traits_of(self.plan, self.plan.offers[offer].name, journey.name)
            wanted = (
                (selector.classes, {traits.contact_class}),
                (selector.families, {traits.family}),
                (selector.journeys, {traits.journey}),
                (selector.purposes, {traits.purpose}),
                (selector.tags, set(traits.tags)),
            )
            if any(names and own.isdisjoint(names) for names, own in wanted):
                return False
        return True

    def _key(self, offer: int) -> str:
        return f"'{self.key_by_offer[offer]}'"


def _says(names: list[str]) -> str:
    return "say" if len(names) > 1 else "says"


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _earliest_us(flow: Flow) -> dict[int, int]:
    """Return how soon after its entry an instance can be in each state that it can be in."""
    earliest, open_ones = {0: 0}, [0]
    while open_ones:
        index = open_ones.pop()
        step, at_us = flow.steps[index], earliest[index]
        for target, after_us in _ways(step, at_us):
            if target != END and after_us < earliest.get(target, after_us + 1):
                earliest[target] = after_us
                open_ones.append(target)
    return earliest


def _ways(step: JourneyStep, at_us: int) -> Iterator[tuple[int, int]]:
    """Yield where a state leads, and how soon after the entry."""
    match step.kind:
        case StepKind.WAIT:
            assert step.timer is not None
            yield from ((wait.target, at_us) for wait in step.waits)
            yield step.target, at_us + step.timer.after_us
        case StepKind.SLOT:
            assert step.slot is not None
            if at_us <= step.slot.to_us:
                yield step.target, max(at_us, step.slot.from_us)
            yield step.missed, max(at_us, step.slot.to_us)
        case _:
            yield from ((target, at_us) for target in leads_to(step))


def _minutes_of_arrival(flow: Flow, index: int) -> Iterator[int]:
    """Yield at which minutes of the local day a state begins; NONE for any."""
    earliest_us, seen, open_ones = _earliest_us(flow), {index}, [index]
    while open_ones:
        here = open_ones.pop()
        if here == 0:
            yield NONE
        for place, step in enumerate(flow.steps):
            if here not in leads_to(step):
                continue
            match step.kind:
                case StepKind.WAIT:
                    assert step.timer is not None
                    if any(wait.target == here for wait in step.waits):
                        yield NONE
                    if step.target == here:
                        yield step.timer.minute if step.timer.minute != NONE else _at_midnight(step)
                case StepKind.BRANCH | StepKind.SLOT if _is_passed(step, here, earliest_us.get(place, 0)):
                    if place not in seen:
                        seen.add(place)
                        open_ones.append(place)
                case _:
                    yield NONE


def _is_passed(step: JourneyStep, target: int, earliest_us: int) -> bool:
    """Return whether a state leads on at once, whenever one comes there."""
    return step.slot is None or (step.target == target and step.slot.from_us <= earliest_us)


def _at_midnight(step: JourneyStep) -> int:
    """Return when a wait without a time of day is over: as a day begins, if it is for a weekday."""
    assert step.timer is not None
    return 0 if step.timer.weekday != NONE else NONE
