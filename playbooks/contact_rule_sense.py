"""What makes one wonder about contact rules: those that let nothing pass, or that are about nothing."""

from household.plan import NONE, ContactRule, Effect, Limit, Selector
from household.traits import Traits, traits_of
from playbooks.remarks import Check


class ContactRuleSense:
    """Looks at the rules in force."""

    def __init__(self, check: Check) -> None:
        self._check = check
        plan = check.plan
        brought = [(offer, journey.name) for journey in plan.journeys for offer in journey.offers]
        self._said = [(traits_of(plan, plan.offers[offer].name, journey), offer) for offer, journey in brought]

    def look(self) -> None:
        """Say what there is to say of each."""
        for rule in self._check.plan.policy.rules:
            packed = ("packs", rule.pack, "rules", rule.name) if rule.pack else ("rules", rule.name)
            self._rule(rule, ("contact_policy", *packed))

    def _rule(self, rule: ContactRule, keys: tuple[str, ...]) -> None:
        warn, what = self._check.warn, f"contact rule '{rule.name}'"
        if rule.limit in (Limit.COUNT, Limit.FAMILIES, Limit.CAPACITY) and rule.most == 0 and rule.condition == NONE:
            wrong = f"{what} is 0: nothing that it means ever goes out"
            warn(wrong, "write how many are right, or a condition under 'when'", *keys)
        for side, selector in (("of", rule.what), (rule.limit.value, rule.other)):
            if selector != Selector() and self._said and not any(_is_meant(selector, one) for one, _ in self._said):
                wrong = f"{what} limits nothing: no offer of a journey is what '{side}' means"
                warn(wrong, "let an offer or a journey be of that class, family, tag or purpose", *keys, side)
        if rule.limit is Limit.COST and rule.condition == NONE:
            self._cost(rule, what, keys)
        if rule.reserves and not any(one.effect is Effect.HOLD for one in self._check.plan.policy.rules):
            has_quiet_hours = any(one.quiet_hours for one in self._check.plan.channels)
            if not has_quiet_hours:
                warn(f"{what} reserves places, and nothing is ever held", "remove 'reserve'", *keys, "reserve")

    def _cost(self, rule: ContactRule, what: str, keys: tuple[str, ...]) -> None:
        """Warn of a budget that pays for no contact at all."""
        plan = self._check.plan
        costs = [
            plan.offers[offer].cost_minor + plan.channels[treatment.channel].cost_minor
            for traits, offer in self._said
            if _is_meant(rule.what, traits)
            for treatment in plan.offers[offer].treatments
            if plan.channels[treatment.channel].outbound
            and (not rule.what.channels or treatment.channel in rule.what.channels)
        ]
        if costs and min(costs) > rule.most:
            spent, least = self._check.amount(rule.most), self._check.amount(min(costs))
            wrong = f"{what} never lets anything pass: it allows {spent}, and no contact costs less than {least}"
            self._check.warn(wrong, "write a larger amount", *keys, "cost")


def _is_meant(selector: Selector, traits: Traits) -> bool:
    wanted = (
        (selector.classes, {traits.contact_class}),
        (selector.families, {traits.family}),
        (selector.journeys, {traits.journey}),
        (selector.purposes, {traits.purpose}),
        (selector.tags, set(traits.tags)),
    )
    return all(not names or not own.isdisjoint(names) for names, own in wanted)
