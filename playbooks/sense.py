"""Warnings for sense: what compiles and is still hardly meant. Each with its place, what is wrong, what would be right.

A warning is said only where the playbook itself shows that something has no effect, or cannot be as it is written.
What may well be meant, and is only worth knowing, is an information.
"""

from household.columns.program import Op
from household.money import minor_digits
from household.plan import NONE, ContactCap, Journey, Offer, Plan, Program
from playbooks.answer_sense import AnswerSense
from playbooks.condition_sense import ConditionSense
from playbooks.contact_rule_sense import ContactRuleSense
from playbooks.control_sense import ControlSense
from playbooks.journey_sense import JourneySense
from playbooks.offers import Offers
from playbooks.remarks import Check, Remarks, Written, duration, some
from playbooks.satisfiable import terms_of
from playbooks.values import UNIT_US
from playbooks.vocabulary import ALL
from written.yaml_tree import YamlMapping

FAR_APART = 100
"""An amount so many times another is in another unit: cents for euros."""

RATHER_FAR_APART = 20
"""The same, where one is written with decimals and the other without."""

DAY_US = UNIT_US["d"]

NOON, NIGHT = 12 * 60, 3 * 60
"""Minutes of the day at which nobody minds, and everybody does."""

DAY_MINUTES, LEAST_LOUD_MINUTES = 24 * 60, 60

MUCH_EXPLORED = 0.5


def remarks_on(plan: Plan, tree: YamlMapping, offers: Offers) -> Remarks:
    """Return what a playbook that compiles makes one wonder."""
    written = Written(tree)
    remarks = Remarks()
    key_by_offer = {index: key for key, group in offers.group_by_name.items() for index in group}
    for check in (ConditionSense, _Money, _Reach, AnswerSense, JourneySense, ControlSense, _Policy, _Days, _Unused):
        check(plan, written, key_by_offer, remarks).look()
    return remarks


class _Money(Check):
    """Amounts in another unit than those beside them, and what is never worth making."""

    def look(self) -> None:
        for key, offer in self.offers():
            self._scale(key, offer)
            self._segment_prices(key, offer)
            self._worth(key, offer)
        self._costly_channels()

    def _scale(self, key: str, offer: Offer) -> None:
        price, margin = offer.price_minor, offer.margin_minor
        if not price or not margin:
            return
        larger, smaller = ("price", "margin") if price > margin else ("margin", "price")
        times = max(price, margin) / min(price, margin)
        is_mixed = "." not in self.written.text("offers", key, larger) and "." in self.written.text(
            "offers", key, smaller
        )
        if times < FAR_APART and not (is_mixed and times >= RATHER_FAR_APART and not self._has_like(offer, times)):
            return
        self.warn(
            f"the {larger} of offer '{key}', {self.amount(max(price, margin))}, is {times:,.0f} times its {smaller}, "
            f"{self.amount(min(price, margin))}",
            self._in_one_unit(max(price, margin)),
            "offers", key, larger,
        )  # fmt: skip

    def _has_like(self, offer: Offer, times: float) -> bool:
        """Return whether another offer's price and margin are as far apart in the same direction."""
        is_price = offer.price_minor > offer.margin_minor
        return any(
            (other.price_minor > other.margin_minor) == is_price
            and max(other.price_minor, other.margin_minor) * 2 >= times * min(other.price_minor, other.margin_minor)
            for other in self.plan.offers
            if other.name != offer.name and other.price_minor and other.margin_minor
        )

    def _in_one_unit(self, minor: int) -> str:
        currency, digits = self.plan.currency, minor_digits(self.plan.currency)
        if not digits:
            return f"write both in whole {currency}, which has no decimals"
        meant = self.amount(minor // 10**digits)
        return f"amounts are in {currency}, not in its smallest units: write {meant} if that is meant"

    def _costly_channels(self) -> None:
        """A contact that costs more than it can be expected to bring: nothing is ever sent."""
        for number, channel in enumerate(self.plan.channels):
            sent = {offer for one in self.plan.journeys if number in one.outbound for offer in one.offers}
            offers = [self.plan.offers[index] for index in sent]
            said = [one for one in offers if any(treatment.channel == number for treatment in one.treatments)]
            best = max(
                (one.prior_acceptance * one.brings_minor * one.lever - one.cost_minor for one in said), default=None
            )
            cost = channel.cost_minor
            if cost and best is not None and best <= cost:
                self.warn(
                    f"a contact on '{channel.name}' costs {self.amount(cost)}, and no offer is expected to earn more "
                    f"there (at best {self.amount(int(best))}): nothing is sent",
                    self._in_one_unit(channel.cost_minor), "channels", channel.name, "cost",
                )  # fmt: skip

    def _segment_prices(self, key: str, offer: Offer) -> None:
        price = offer.price_minor
        for number, special in enumerate(offer.segment_prices):
            name = self.plan.segments[special.segment].name
            keys = ("offers", key, "segment_prices", name)
            margin = offer.margin_minor
            if not price and margin and special.price_minor >= FAR_APART * margin:
                wrong = (
                    f"the price of offer '{key}' for '{name}', {self.amount(special.price_minor)}, is "
                    f"{special.price_minor / margin:,.0f} times its margin, {self.amount(margin)}"
                )
                self.warn(wrong, self._in_one_unit(special.price_minor), *keys)
            if special.price_minor and price:
                larger, smaller = max(special.price_minor, price), min(special.price_minor, price)
                if larger >= RATHER_FAR_APART * smaller:
                    wrong = (
                        f"the price of offer '{key}' for '{name}', {self.amount(special.price_minor)}, is far from its "
                        f"price, {self.amount(price)}: {larger / smaller:,.0f} times"
                    )
                    self.warn(wrong, self._in_one_unit(larger), *keys)
            if special.price_minor == price and number == len(offer.segment_prices) - 1:
                wrong = f"the price of offer '{key}' for '{name}' is its price anyway"
                self.warn(wrong, "remove it, or write another price", *keys)

    def _worth(self, key: str, offer: Offer) -> None:
        best = offer.brings_minor * offer.lever
        if not offer.prior_acceptance:
            wrong = f"offer '{key}' is never made: its prior is 0, so nothing is ever learned of it"
            self.warn(wrong, "write the share that you expect to accept", "offers", key, "prior")
        elif offer.prior_acceptance == 1.0:
            wrong = f"the prior of offer '{key}' is 100 %: everyone would accept it"
            self.warn(wrong, "write 1% if one in a hundred is meant", "offers", key, "prior")
        if best <= offer.cost_minor and not self.plan.models.value:
            what = "its lever is 0" if not offer.lever else f"it earns {self.amount(offer.brings_minor)}"
            wrong = f"offer '{key}' is never worth making: {what} and costs {self.amount(offer.cost_minor)}"
            which = "lever" if not offer.lever else "margin" if offer.increment_minor is None else "increment"
            self.warn(wrong, f"write a {which} above what it costs", "offers", key, which)
        models = self.plan.models
        if offer.retains and not models.churn and models.churn_prior is None:
            wrong = f"offer '{key}' retains, and nothing tells who leaves, so it counts as any other"
            self.warn(wrong, "name a model of churn: 'models: {churn: NAME}'", "offers", key, "retains")
        if offer.brings_minor > offer.margin_minor:
            wrong = (
                f"the increment of offer '{key}', {self.amount(offer.brings_minor)}, is more than its margin, "
                f"{self.amount(offer.margin_minor)}: more than all that it earns would not have come anyway"
            )
            self.warn(wrong, "write an increment from 0 to the margin", "offers", key, "increment")


class _Reach(Check):
    """Offers that nothing brings up or carries, triggers beside the point, journeys that measure nothing."""

    def look(self) -> None:
        journeys_by_offer: dict[int, list[Journey]] = {index: [] for index in range(len(self.plan.offers))}
        for journey in self.plan.journeys:
            for offer in journey.offers:
                journeys_by_offer[offer].append(journey)
            self._journey(journey)
        for index, journeys in journeys_by_offer.items():
            self._offer(self.key_by_offer[index], self.plan.offers[index], journeys)
        self._unsaid(journeys_by_offer)

    def _offer(self, key: str, offer: Offer, journeys: list[Journey]) -> None:
        bringing = [one for one in journeys if one.trigger is not None or offer.standing]
        if not journeys:
            right = "name it under 'offers' of a journey"
            right += ", or its family under 'families'" if offer.standing else "; 'families' takes standing offers only"
            self.warn(f"nothing brings up offer '{key}': no journey has it", right, "offers", key)
        elif not bringing:
            names = ", ".join(f"'{one.name}'" for one in journeys)
            wrong = (
                f"nothing brings up offer '{key}': {names} begins with a contact, and that brings up standing offers"
            )
            self.warn(wrong, "write 'standing: true', or let a journey with a trigger have it", "offers", key)
        elif not any(self._carries(one, offer) for one in bringing):
            spoken = ", ".join(self.plan.channels[one.channel].name for one in offer.treatments)
            wrong = f"no channel carries offer '{key}': it has words for {spoken}, where none of its journeys speaks"
            right = "add a treatment for a channel where members ask, or that channel to 'outbound' of the journey"
            self.warn(wrong, right, "offers", key, "treatments")
        for journey in bringing:
            self._validity(key, offer, journey)

    def _carries(self, journey: Journey, offer: Offer) -> bool:
        channels = self.plan.channels
        return any(one.channel in journey.outbound or channels[one.channel].inbound for one in offer.treatments)

    def _validity(self, key: str, offer: Offer, journey: Journey) -> None:
        for event in journey.trigger.events if journey.trigger is not None and journey.flow is None else ():
            window_us = self.plan.event_types[event].action_window_us
            if offer.valid_us < window_us:
                self.warn(
                    f"offer '{key}' is valid for {duration(offer.valid_us)}, less than the {duration(window_us)} for "
                    f"which '{self.plan.event_types[event].name}' of journey '{journey.name}' is worth acting on",
                    "let it be valid for longer, or shorten the action window", "offers", key, "valid",
                )  # fmt: skip
                return

    def _journey(self, journey: Journey) -> None:
        keys = ("journeys", journey.name)
        if not journey.offers:
            wrong = f"journey '{journey.name}' brings up no offer"
            self.warn(wrong, "name offers, or families that have standing ones", *keys)
        if journey.trigger is None:
            if journey.outbound:
                wrong = f"journey '{journey.name}' begins with a contact and is answered there: nothing is sent"
                self.warn(wrong, "remove 'outbound'", *keys, "outbound")
            return
        if journey.offers and not any(self._carries(journey, self.plan.offers[offer]) for offer in journey.offers):
            wrong = f"journey '{journey.name}' has no channel: it sends on none, and its offers have words for no other"
            self.warn(wrong, "name channels under 'outbound'", *keys)
        self._trigger(journey)

    def _trigger(self, journey: Journey) -> None:
        trigger = journey.trigger
        assert trigger is not None, "asked of triggers only"
        if trigger.program == NONE:
            return
        terms = list(terms_of(self.tree(trigger.program)))
        read = [self.plan.features[int(term.arg)] for term in terms if term.op is Op.FEATURE]
        if not read or any(term.op is Op.FIELD for term in terms):
            return
        if self.written.text("journeys", journey.name, "trigger", "on") == ALL:
            return
        moving = {event for feature in read for event in (*feature.events, *feature.off_events)}
        idle = [self.plan.event_types[event].name for event in trigger.events if event not in moving]
        if idle:
            instead = sorted(self.plan.event_types[event].name for event in moving)
            self.warn(
                f"journey '{journey.name}' is looked at after each {some(idle)}, of which 'when' reads nothing",
                f"name what changes it ({some(instead)}), or let 'when' read what is named",
                "journeys", journey.name, "trigger", "on",
            )  # fmt: skip

    def _unsaid(self, journeys_by_offer: dict[int, list[Journey]]) -> None:
        """Words for channels on which no journey of the offer speaks."""
        idle: dict[int, dict[str, None]] = {}
        for index, journeys in journeys_by_offer.items():
            key, offer = self.key_by_offer[index], self.plan.offers[index]
            sending = [one for one in journeys if one.trigger is not None]
            for treatment in offer.treatments:
                channel = self.plan.channels[treatment.channel]
                if channel.inbound or not journeys or any(treatment.channel in one.outbound for one in sending):
                    continue
                if sending:
                    names = ", ".join(f"'{one.name}'" for one in sending)
                    wrong = (
                        f"the words of offer '{key}' for '{channel.name}' are never said: {names} does not speak there"
                    )
                    right = f"add '{channel.name}' to 'outbound', or remove the words"
                    self.warn(wrong, right, "offers", key, "treatments", channel.name)
                else:
                    idle.setdefault(treatment.channel, {})[key] = None
        for number, keys in idle.items():
            name = self.plan.channels[number].name
            who = f"{len(keys)} offers have" if len(keys) > 1 else f"offer '{next(iter(keys))}' has"
            wrong = f"{who} words for '{name}' that are never said: no journey sends them unasked"
            right = "a journey with a trigger and this channel under 'outbound' would"
            self.inform(wrong, right, "channels", name)


class _Policy(Check):
    """Caps, quiet hours and declines that protect nobody, or everybody from everything."""

    def look(self) -> None:
        plan = self.plan
        for cap in plan.policy.caps:
            self._cap(cap)
        ContactRuleSense(self).look()
        has_quiet_hours = plan.policy.quiet_from_minute != plan.policy.quiet_to_minute
        quiet = [one for one in plan.channels if one.quiet_hours]
        if has_quiet_hours and self._is_quiet(NOON) and not self._is_quiet(NIGHT):
            wrong = "the quiet hours are those of the day: we would speak at night"
            self.warn(wrong, "swap 'from' and 'to'", "contact_policy", "quiet_hours")
        loud = (plan.policy.quiet_from_minute - plan.policy.quiet_to_minute) % DAY_MINUTES
        if has_quiet_hours and loud < LEAST_LOUD_MINUTES:
            wrong = f"the quiet hours leave {loud} min of a day: next to nothing is ever sent"
            self.warn(wrong, "let them end earlier, or begin later", "contact_policy", "quiet_hours")
        if has_quiet_hours and not any(one.outbound for one in quiet):
            wrong = "no outbound channel keeps the quiet hours"
            self.warn(wrong, "write 'quiet_hours: true' for those that shall", "contact_policy", "quiet_hours")
        for channel in quiet:
            if not has_quiet_hours:
                wrong = f"channel '{channel.name}' keeps quiet hours, and there are none"
                right = 'add \'quiet_hours: {from: "21:00", to: "09:00"}\' to the contact policy'
                self.warn(wrong, right, "channels", channel.name, "quiet_hours")
            elif not channel.outbound:
                wrong = f"channel '{channel.name}' keeps quiet hours, and we never send there"
                self.warn(wrong, "remove 'quiet_hours'", "channels", channel.name, "quiet_hours")
        if plan.policy.decline_family_us > plan.policy.decline_offer_us:
            wrong = "a declined offer stays away for a shorter time than its family does, which it belongs to"
            self.warn(wrong, "swap 'offer' and 'family'", "contact_policy", "decline")
        if plan.arbitration.exploration > MUCH_EXPLORED:
            wrong = f"{plan.arbitration.exploration:.0%} of the decisions are taken at random"
            self.warn(wrong, "5% is usual", "arbitration", "exploration")

    def _is_quiet(self, minute: int) -> bool:
        start, end = self.plan.policy.quiet_from_minute, self.plan.policy.quiet_to_minute
        return start <= minute < end if start <= end else minute >= start or minute < end

    def _cap(self, cap: ContactCap) -> None:
        keys = ("contact_policy", "caps", cap.name)
        if cap.most == 0:
            wrong = f"contact cap '{cap.name}' is 0: nothing is ever sent on its channels"
            self.warn(wrong, "write how many contacts are right, or take the channels out of 'outbound'", *keys, "most")
        sending = {channel for journey in self.plan.journeys for channel in journey.outbound}
        idle = [channel for channel in cap.channels if not self.plan.channels[channel].outbound]
        for channel in idle:
            name = self.plan.channels[channel].name
            wrong = f"contact cap '{cap.name}' counts '{name}', where nothing is sent unasked"
            self.warn(wrong, "take it out: only what we send is a contact", *keys, "channels")
        if not sending.intersection(cap.channels) and len(idle) < max(len(cap.channels), 1) and self.plan.journeys:
            wrong = f"contact cap '{cap.name}' limits nothing: no journey sends on its channels"
            self.warn(wrong, "add a channel to 'outbound' of a journey, or remove the cap", *keys, "channels")
        elif not cap.channels:
            wrong = f"contact cap '{cap.name}' limits nothing: there is no outbound channel"
            self.warn(wrong, "remove it", *keys)


class _Days(Check):
    """Buckets that people may take for days of their own."""

    def look(self) -> None:
        zone = self.plan.policy.time_zone
        daily = [
            feature.name
            for feature in self.plan.features
            if feature.window != NONE and self.plan.windows[feature.window].bucket_us % DAY_US == 0
        ]
        if daily and zone not in ("UTC", "Etc/UTC"):
            self.inform(
                f"the days that {some(daily)} count by begin at midnight UTC, not in {zone}",
                "choose a smaller bucket where that matters",
                "features", daily[0],
            )  # fmt: skip


class _Unused(Check):
    """What is defined and nothing refers to. It may be for later: information only."""

    def look(self) -> None:
        plan = self.plan
        trees = [self.tree(program) for program in range(len(plan.programs))]
        terms = [term for tree in trees for term in terms_of(tree)]
        code_of = {one.name: (plan.programs[one.program].ops, plan.programs[one.program].args) for one in plan.segments}
        priced = {plan.segments[one.segment].name for offer in plan.offers for one in offer.segment_prices}
        of_products = {f"has_{family}" for product in plan.products for family in product.families}
        for name, code in code_of.items():
            own = {index for index, one in enumerate(plan.programs) if (one.ops, one.args) == code}
            used = any(index not in own and _holds(plan.programs[index], code) for index in range(len(plan.programs)))
            if not used and name not in priced | of_products and not self._is_whole_condition(own):
                self.inform(f"segment '{name}' is used nowhere", "remove it if it is not for later", "segments", name)
        read = {int(term.arg) for term in terms if term.op is Op.FEATURE}
        for index, feature in enumerate(plan.features):
            if index not in read and not feature.scored:
                wrong = f"feature '{feature.name}' is used nowhere: no condition reads it, and models must not see it"
                self.inform(wrong, "remove it if it is not for later", "features", feature.name)
        carried = {use.field for event in plan.event_types for use in event.fields}
        for index, one in enumerate(plan.fields):
            if index not in carried:
                wrong = f"field '{one.name}' is carried by no event"
                self.inform(wrong, "name it under 'fields' of an event, or remove it", "fields", one.name)
        for family in plan.families:
            if not any(offer.family == family for offer in plan.offers):
                self.inform(f"family '{family}' has no offer", "remove it if it is not for later", "families")
        used_items = {offer.item for offer in plan.offers}
        for index, item in enumerate(plan.inventory):
            if index not in used_items:
                wrong = f"no offer uses item '{item.name}'"
                self.inform(wrong, f"write 'item: {item.name}' at one, or remove it", "inventory", item.name)

    def _is_whole_condition(self, programs: set[int]) -> bool:
        """Return whether a condition is that segment and nothing else."""
        plan = self.plan
        conditions = [one.consent for one in plan.channels] + [one.eligible for one in plan.offers]
        conditions += [one.trigger.program for one in plan.journeys if one.trigger is not None]
        conditions += [plan.policy.objection, plan.policy.fraud]
        return any(program in programs for program in conditions)


def _holds(program: Program, code: tuple[tuple[int, ...], tuple[float, ...]]) -> bool:
    """Return whether a program has this code within."""
    ops, args, length = program.ops, program.args, len(code[0])
    return any(
        ops[start : start + length] == code[0] and args[start : start + length] == code[1]
        for start in range(len(ops) - length + 1)
    )
