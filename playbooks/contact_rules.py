"""The rules of the section `contact_policy`, and its policy packs: scope, selector, limit, window, effect."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from household.plan import (
    NONE,
    Channel,
    ContactClass,
    ContactRule,
    CountedWhen,
    Effect,
    EventType,
    Feature,
    FeatureKind,
    Journey,
    Limit,
    Offer,
    RuleScope,
    Selector,
    Span,
)
from household.traits import purposes_of
from playbooks.conditions import Conditions
from playbooks.diagnostics import suggestion
from playbooks.reading import DURATION_HELP, Reader, describe, money_help, price, resolve
from playbooks.values import UNIT_US, duration_us
from written.problems import Problems
from written.yaml_tree import Entry

MOST_MAX = 1_000_000_000

LIMITS = {
    "most": Limit.COUNT,
    "cost": Limit.COST,
    "gap": Limit.GAP,
    "families": Limit.FAMILIES,
    "never_with": Limit.NEVER_WITH,
    "not_after": Limit.NOT_AFTER,
    "capacity": Limit.CAPACITY,
    "refusals": Limit.SILENCE,
}
"""How each limit is written."""

_CALENDAR = {Span.MINUTE, Span.DAY, Span.WEEK, Span.MONTH}

_DAY_US = UNIT_US["d"]
_LONGEST_US = {Span.MINUTE: _DAY_US, Span.DAY: 2 * _DAY_US, Span.WEEK: 8 * _DAY_US, Span.MONTH: 32 * _DAY_US}
"""A little longer than any: clocks are put back, members have zones of their own."""

_TOLD_LATE_US = 30 * _DAY_US
"""How much later than its hand-over a contact may be delivered or seen, and still count from then on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSetting:
    """What rules refer to."""

    channels: tuple[Channel, ...]
    families: tuple[str, ...]
    offers: tuple[Offer, ...]
    journeys: tuple[Journey, ...]
    event_types: tuple[EventType, ...]
    conditions: Conditions
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenRules:
    """What is written."""

    in_force: tuple[ContactRule, ...] = ()
    remembered_us: int = 0


def read_rules(policy: Reader, setting: RuleSetting, problems: Problems) -> WrittenRules:
    """Read `rules` and `packs` of the contact policy."""
    written: list[ContactRule] = []
    in_force: list[ContactRule] = []
    places: dict[str, str] = {}
    for entry in policy.entries("rules"):
        rule = _checked_name(entry, places, "", problems) and _rule(entry, setting, problems)
        if rule:
            written.append(rule)
            in_force.append(rule)
    for pack in policy.entries("packs"):
        reader = Reader(pack.value, f"policy pack '{pack.key}'", problems, place=pack.place)
        is_on = reader.flag("on", False)
        entries = reader.entries("rules")
        if not entries:
            problems.add(pack.place, f"{reader.what} has no rules", "add 'rules:', or remove it")
        for entry in entries:
            rule = _checked_name(entry, places, pack.key, problems) and _rule(entry, setting, problems)
            if rule:
                written.append(rule)
                in_force += [replace(rule, pack=pack.key)] if is_on else []
        reader.finish()
    kept = [_remembered_us(rule, setting) for rule in written]
    return WrittenRules(in_force=tuple(in_force), remembered_us=max(kept, default=0))


def _checked_name(entry: Entry, places: dict[str, str], pack: str, problems: Problems) -> bool:
    """Report a name that another rule has: reasons name rules."""
    if entry.key in places:
        where = f"in policy pack '{places[entry.key]}'" if places[entry.key] else "among the rules"
        problems.add(entry.place, f"contact rule '{entry.key}' is already defined {where}", "rename one of the two")
    places.setdefault(entry.key, pack)
    return True


def _remembered_us(rule: ContactRule, setting: RuleSetting) -> int:
    kept_us = rule.window_us if rule.span is Span.SLIDING else _LONGEST_US[rule.span]
    kept_us += rule.silence_us
    if rule.counted_when is not CountedWhen.HANDED:
        kept_us += _TOLD_LATE_US
    if rule.reserves:
        # As long as an action may be held.
        windows = [event.action_window_us for event in setting.event_types]
        kept_us += max([*windows, *(offer.valid_us for offer in setting.offers)], default=0)
    return max(kept_us, _DAY_US)


def _rule(entry: Entry, setting: RuleSetting, problems: Problems) -> ContactRule | None:
    reader = Reader(entry.value, f"contact rule '{entry.key}'", problems, place=entry.place)
    written = [key for key in LIMITS if reader.has(key)]
    if len(written) != 1:
        wrong = f"{reader.what} has {'no limit' if not written else 'several limits: ' + ', '.join(written)}"
        problems.add(entry.place, wrong, f"write one of {', '.join(LIMITS)}")
        return None
    limit = LIMITS[written[0]]
    reading = _Reading(reader, limit, setting)
    span, window_us = reading.window()
    when = reader.scalar("when")
    rule = ContactRule(
        name=entry.key,
        scope=reading.scope(),
        limit=limit,
        what=reading.selector("of"),
        other=reading.selector(written[0]) if limit in (Limit.NEVER_WITH, Limit.NOT_AFTER) else Selector(),
        most=reading.most(written[0]),
        span=span,
        window_us=window_us,
        silence_us=reader.duration_us("silence", 1, required=True) if limit is Limit.SILENCE else 0,
        counted_when=reader.choice("counts", CountedWhen) or CountedWhen.HANDED,
        effect=reader.choice("effect", Effect) or Effect.HOLD,
        inbound=reader.flag("inbound", False),
        reserves=reader.flag("reserve", False),
        condition=NONE if when is None else setting.conditions.about_household(when, f"'when' of {reader.what}"),
    )
    reading.check(rule)
    reader.finish()
    if limit is Limit.SILENCE and not reader.has("window"):
        rule = replace(rule, window_us=rule.silence_us)
    return rule


class _Reading:
    """Reads the parts of one rule."""

    def __init__(self, reader: Reader, limit: Limit, setting: RuleSetting) -> None:
        self._reader, self._limit, self._setting = reader, limit, setting
        self._problems = reader.problems

    def scope(self) -> RuleScope:
        """Return whose contacts count together; of a capacity those of all."""
        scope = self._reader.choice("scope", RuleScope, required=self._limit is not Limit.CAPACITY)
        return scope or RuleScope.HOUSEHOLD

    def most(self, key: str) -> int:
        """Return the number that a limit names."""
        reader = self._reader
        match self._limit:
            case Limit.COUNT | Limit.FAMILIES:
                return reader.whole(key, 0, least=0, most=1_000)
            case Limit.CAPACITY:
                return reader.whole(key, 0, least=0, most=MOST_MAX)
            case Limit.SILENCE:
                return reader.whole(key, 1, least=1, most=1_000)
            case Limit.COST:
                scalar = reader.scalar(key)
                minor = None if scalar is None else price(scalar.text, self._setting.currency)
                if scalar is not None and minor is None:
                    wrong = f"'{key}' of {reader.what} is {describe(scalar)}"
                    self._problems.add(scalar.place, wrong, money_help(self._setting.currency))
                return minor or 0
            case Limit.GAP | Limit.NEVER_WITH | Limit.NOT_AFTER:
                return 0

    def window(self) -> tuple[Span, int]:
        """Return how the window lies, and how long a sliding one is."""
        reader, limit = self._reader, self._limit
        if limit is Limit.GAP:
            if reader.has("window"):
                wrong = f"{reader.what} has a window beside its gap"
                self._problems.add(reader.key_place("window"), wrong, "remove it: the gap says how far apart")
            return Span.SLIDING, reader.duration_us("gap", 1)
        scalar = reader.scalar("window", required=limit is not Limit.SILENCE)
        if scalar is None:
            return Span.SLIDING, 1
        known = self._known_spans()
        if scalar.text in known:
            return Span(scalar.text), 0
        found_us = duration_us(scalar.text)
        if limit is Limit.CAPACITY or not found_us:
            help_text = "" if limit is Limit.CAPACITY else DURATION_HELP
            words = " or ".join(sorted(known))
            right = f"write {words}" if not help_text else f"{help_text}{', or ' + words if words else ''}"
            self._problems.add(scalar.place, f"'window' of {reader.what} is {describe(scalar)}", right)
            return (Span.DAY if limit is Limit.CAPACITY else Span.SLIDING), 1
        return Span.SLIDING, found_us

    def _known_spans(self) -> set[str]:
        match self._limit:
            case Limit.CAPACITY:
                return {Span.MINUTE, Span.DAY}
            case Limit.NOT_AFTER | Limit.SILENCE | Limit.GAP:
                return set()
            case Limit.COUNT | Limit.COST | Limit.FAMILIES | Limit.NEVER_WITH:
                return {Span.DAY, Span.WEEK, Span.MONTH}

    def selector(self, key: str) -> Selector:
        """Return which contacts are meant; all where nothing is written."""
        return read_selector(self._reader, key, self._setting)

    def check(self, rule: ContactRule) -> None:
        """Report what does not go together."""
        reader = self._reader

        def wrong(key: str, what: str, right: str) -> None:
            self._problems.add(reader.key_place(key), f"{reader.what} {what}", right)

        if rule.limit is not Limit.SILENCE and reader.has("silence"):
            wrong("silence", "is silent after nothing", "write 'refusals:', or remove 'silence'")
        if rule.limit in (Limit.CAPACITY, Limit.SILENCE):
            is_counted_later = rule.counted_when is not CountedWhen.HANDED
            for key, is_written in (("reserve", rule.reserves), ("counts", is_counted_later)):
                if is_written:
                    wrong(key, f"counts no contacts of a household, so '{key}' means nothing", f"remove '{key}'")
        if rule.limit is Limit.CAPACITY and rule.inbound:
            wrong("inbound", "is a capacity: only what we send uses it", "remove 'inbound'")
        if rule.limit is Limit.CAPACITY and not rule.what.channels:
            wrong("of", "is a capacity of no channel", "add 'of: {channels: …}'")
        exempt = {ContactClass.LEGAL, ContactClass.SECURITY}
        if rule.what.classes and exempt.issuperset(rule.what.classes) and rule.limit is not Limit.NEVER_WITH:
            named = ", ".join(rule.what.classes)
            right = "name other classes, or remove it"
            wrong("of", f"speaks against {named} alone, which no rule may keep back", right)


def read_selector(whole: Reader, key: str, setting: RuleSetting) -> Selector:
    """Return which actions a key of something means; all where nothing is written."""
    reader, problems = whole.reader(key, f"'{key}' of {whole.what}"), whole.problems
    if reader is None:
        return Selector()

    def known(key: str, what: str, choices: Iterable[str]) -> tuple[str, ...]:
        found, names = [], {str(one) for one in choices}
        for name in reader.names(key):
            if name.text in names:
                found.append(name.text)
            else:
                right = suggestion(name.text, names, what=key)
                problems.add(name.place, f"{what} '{name.text}' is not defined", right)
        return tuple(found)

    channels = {channel.name: index for index, channel in enumerate(setting.channels)}
    tags = {tag for part in (setting.offers, setting.journeys) for one in part for tag in one.tags}
    selector = Selector(
        channels=resolve(reader.names("channels"), channels, what="channel", plural="channels", problems=problems),
        classes=known("classes", "class", ContactClass),
        families=known("families", "family", setting.families),
        journeys=known("journeys", "journey", (one.name for one in setting.journeys)),
        tags=known("tags", "tag", tags),
        purposes=known("purposes", "purpose", purposes_of(setting.offers, setting.journeys)),
    )
    reader.finish()
    return selector


def feature_named(
    reader: Reader, key: str, features: Mapping[str, int], kinds: tuple[Feature, ...], *, must_be_enum: bool = False
) -> int:
    """Return the index of the profile feature that a key names; NONE where it is absent or wrong, which is reported."""
    scalar = reader.scalar(key)
    if scalar is None:
        return NONE
    index = features.get(scalar.text)
    if index is None:
        right = suggestion(scalar.text, features, what="features")
        reader.problems.add(scalar.place, f"feature '{scalar.text}' is not defined", right)
        return NONE
    feature = kinds[index]
    if feature.kind is not FeatureKind.PROFILE or (must_be_enum and not feature.values):
        what = "profile over a field with a list of values" if must_be_enum else "profile"
        wrong = f"'{key}' of {reader.what} names '{scalar.text}', which is no {what}"
        reader.problems.add(scalar.place, wrong, f"name a feature of 'kind: profile'{_listing(must_be_enum)}")
        return NONE
    return index


def _listing(must_be_enum: bool) -> str:
    return " whose field lists names such as Europe/Berlin" if must_be_enum else ""
