"""The section `journeys`: which moment leads to which offers."""

from collections.abc import Iterable

from household.plan import NONE, Channel, ContactClass, Journey, Scope, Trigger
from playbooks.conditions import NO_PROGRAM, Conditions
from playbooks.diagnostics import suggestion
from playbooks.flows import FlowSetting, read_flow
from playbooks.offers import Offers, read_purpose, read_tags
from playbooks.reading import Reader, resolve
from playbooks.vocabulary import ALL, Vocabulary
from written.problems import Problems
from written.yaml_tree import Entry, Scalar


class Journeys:
    """Reads journeys against everything they refer to."""

    def __init__(
        self,
        *,
        vocabulary: Vocabulary,
        conditions: Conditions,
        channels: tuple[Channel, ...],
        families: tuple[str, ...],
        offers: Offers,
        problems: Problems,
    ) -> None:
        self._vocabulary = vocabulary
        self._conditions = conditions
        self._channels = channels
        self._families = families
        self._offers = offers
        self._problems = problems

    def read(self, top: Reader) -> tuple[Journey, ...]:
        """Read the section; journeys keep the order in which they are written."""
        return tuple(self._journey(entry) for entry in top.entries("journeys"))

    def _journey(self, entry: Entry) -> Journey:
        reader = Reader(entry.value, f"journey '{entry.key}'", self._problems, place=entry.place)
        if reader.has("trigger") == reader.has("contact"):
            which = "both a trigger and" if reader.has("trigger") else "neither a trigger nor"
            wrong = f"{reader.what} has {which} a contact"
            right = "give it a 'trigger:' (it starts by itself) or 'contact:' events (the member comes to us)"
            self._problems.add(entry.place, wrong, right)
        contact = self._vocabulary.resolve_events(reader.names("contact"), self._problems)
        offers = dict.fromkeys(self._offers.resolve(reader.names("offers"), self._problems))
        offers.update(dict.fromkeys(self._standing(reader.names("families"))))
        trigger = self._trigger(reader)
        setting = FlowSetting(
            vocabulary=self._vocabulary,
            conditions=self._conditions,
            resolve_offers=lambda names: self._offers.resolve(names, self._problems),
            problems=self._problems,
        )
        flow = read_flow(reader, trigger, setting)
        if flow is not None:
            for key in ("offers", "families", "contact"):
                if reader.has(key):
                    wrong = f"{reader.what} has states and '{key}' besides"
                    self._problems.add(reader.key_place(key), wrong, "name offers in the states that act")
            offers = dict.fromkeys(index for step in flow.steps if step.act is not None for index in step.act.offers)
        journey = Journey(
            name=entry.key,
            title=reader.text("title"),
            trigger=trigger,
            contact_events=contact,
            offers=tuple(offers),
            control_share=reader.share("control"),
            outbound=self._outbound(reader, tuple(offers)),
            contact_class=str(reader.choice("contact_class", ContactClass) or ""),
            purpose=read_purpose(reader),
            tags=read_tags(reader),
            flow=flow,
        )
        reader.finish()
        return journey

    def _trigger(self, journey: Reader) -> Trigger | None:
        reader = journey.reader("trigger", f"the trigger of {journey.what}")
        if reader is None:
            return None
        events = self._vocabulary.resolve_events(reader.names("on", required=True), self._problems)
        has_states = journey.has("states")
        when = reader.scalar("when", required=not has_states)
        program = NONE if has_states else NO_PROGRAM
        if has_states and reader.has("cooldown"):
            wrong = f"{reader.what} has a cooldown, and the journey states"
            self._problems.add(reader.key_place("cooldown"), wrong, "write 'again: 7d' in the journey")
        if when is not None:
            program = self._conditions.about_moment(when, f"'when' of {journey.what}", self._vocabulary.types(events))
        trigger = Trigger(
            events=events,
            program=program,
            cooldown_us=reader.duration_us("cooldown", zero=True),
            scope=reader.choice("scope", Scope) or Scope.HOUSEHOLD,
        )
        reader.finish()
        return trigger

    def _standing(self, families: Iterable[Scalar]) -> tuple[int, ...]:
        """Return the standing offers of families."""
        listed = list(families)
        chosen = {family.text for family in listed}
        if chosen == {ALL}:
            chosen = set(self._families)
        for family in listed:
            if family.text not in (ALL, *self._families):
                right = suggestion(family.text, self._families, what="families")
                self._problems.add(family.place, f"family '{family.text}' is not defined", right)
        offers = self._offers.offers
        return tuple(index for index, offer in enumerate(offers) if offer.standing and offer.family in chosen)

    def _outbound(self, journey: Reader, offers: tuple[int, ...]) -> tuple[int, ...]:
        index_by_name = {channel.name: index for index, channel in enumerate(self._channels)}
        names = journey.names("outbound")
        treated = {treatment.channel for index in offers for treatment in self._offers.offers[index].treatments}
        for name in names:
            channel = index_by_name.get(name.text)
            if channel is None:
                continue
            if not self._channels[channel].outbound:
                sendable = [one.name for one in self._channels if one.outbound]
                wrong = f"{journey.what} would speak on '{name.text}', which is not outbound"
                self._problems.add(name.place, wrong, f"the outbound channels are {', '.join(sendable) or 'none'}")
            elif offers and channel not in treated:
                wrong = f"{journey.what} would speak on '{name.text}', for which none of its offers has a treatment"
                self._problems.add(name.place, wrong, "add the treatment, or remove the channel")
        return resolve(names, index_by_name, what="channel", plural="channels", problems=self._problems)
