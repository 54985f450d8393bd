"""The sections `playbook`, `channels`, `contact_policy` and `arbitration`: the frame that every decision respects."""

import re
import zoneinfo
from dataclasses import dataclass, field

from household.plan import NONE, Arbitration, Channel, ContactCap, ContactPolicy, EventTimeRules, Feature, Scope
from playbooks.conditions import Conditions
from playbooks.contact_rules import RuleSetting, feature_named, read_rules
from playbooks.diagnostics import suggestion
from playbooks.reading import Reader, check_name, describe, resolve
from written.problems import Problems
from written.yaml_tree import Entry

SLATE_LENGTH_MAX = 50
"""More ranked actions than any channel can show."""

PRIOR_WEIGHT = 100
"""Showings that an offer's prior is worth, unless the playbook says otherwise."""

PRIOR_WEIGHT_MAX = 1_000_000
"""Beyond it no score would ever count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """What the section `playbook` says."""

    name: str = "unnamed"
    currency: str = "EUR"
    time_zone: str = "UTC"
    clock: EventTimeRules = field(default_factory=EventTimeRules)


def read_heading(top: Reader, problems: Problems) -> Heading:
    """Read the section `playbook`."""
    reader = top.reader("playbook", "the section 'playbook'", required=True)
    if reader is None:
        return Heading()
    name = reader.text("name", "unnamed", required=True)
    if reader.has("name"):
        check_name(name, reader.key_place("name"), problems)
    currency = reader.text("currency", "EUR")
    if not re.fullmatch("[A-Z]{3}", currency):
        wrong = f"'currency' is '{currency}'"
        problems.add(reader.value_place("currency"), wrong, "write its three capital letters (ISO 4217), such as EUR")
        currency = "EUR"
    heading = Heading(name=name, currency=currency, time_zone=_time_zone(reader, "UTC"), clock=_clock(reader))
    reader.finish()
    return heading


OF_THE_MACHINE = frozenset({"localtime", "Factory"})
"""Names of time zones that are another one on every machine, or none."""


def _time_zone(reader: Reader, default: str) -> str:
    zone = reader.scalar("time_zone")
    if zone is None:
        return default
    known = zoneinfo.available_timezones() - OF_THE_MACHINE
    if known and zone.text not in known:
        close = suggestion(zone.text, known)
        right = close if close.startswith("did") else "write a name such as Europe/Berlin"
        reader.problems.add(zone.place, f"the time zone {describe(zone)} does not exist", right)
        return default
    return zone.text


def _clock(heading: Reader) -> EventTimeRules:
    usual = EventTimeRules()
    reader = heading.reader("clock", "'clock' of the section 'playbook'")
    if reader is None:
        return usual
    clock = EventTimeRules(
        lateness_us=reader.duration_us("lateness", usual.lateness_us, zero=True),
        future_us=reader.duration_us("future", usual.future_us, zero=True),
        request_window_us=reader.duration_us("request_window", usual.request_window_us),
    )
    reader.finish()
    return clock


def read_channels(
    top: Reader, conditions: Conditions, features: tuple[Feature, ...], currency: str, problems: Problems
) -> tuple[Channel, ...]:
    """Read the section `channels`."""
    return tuple(_channel(entry, conditions, features, currency, problems) for entry in top.entries("channels"))


def _by_name(features: tuple[Feature, ...]) -> dict[str, int]:
    return {feature.name: index for index, feature in enumerate(features)}


def _channel(
    entry: Entry, conditions: Conditions, features: tuple[Feature, ...], currency: str, problems: Problems
) -> Channel:
    reader = Reader(entry.value, f"channel '{entry.key}'", problems, place=entry.place)
    consent = reader.scalar("consent")
    channel = Channel(
        name=entry.key,
        inbound=reader.flag("inbound", False),
        outbound=reader.flag("outbound", False),
        consent=NONE if consent is None else conditions.about_household(consent, f"'consent' of {reader.what}"),
        cost_minor=reader.money_minor("cost", currency),
        quiet_hours=reader.flag("quiet_hours", False),
        groups=_groups(reader, problems),
        address=feature_named(reader, "address", _by_name(features), features),
    )
    if channel.groups and not channel.outbound:
        wrong = f"{reader.what} lists groups and is not outbound"
        problems.add(entry.place, wrong, "remove 'groups:'; only what is sent unasked goes to groups of subscribers")
    if not channel.inbound and not channel.outbound:
        wrong = f"{reader.what} is neither inbound nor outbound"
        problems.add(entry.place, wrong, "write 'inbound: true' if members ask there, 'outbound: true' if we may send")
    if channel.outbound and not reader.has("consent"):
        wrong = f"{reader.what} is outbound and asks for no consent"
        problems.add(entry.place, wrong, "add 'consent:' with a condition such as member.consent_marketing")
    reader.finish()
    return channel


def _groups(reader: Reader, problems: Problems) -> tuple[str, ...]:
    names = reader.names("groups")
    for name in names:
        check_name(name.text, name.place, problems)
    return tuple(name.text for name in names)


def read_contact_policy(
    top: Reader, setting: RuleSetting, features: tuple[Feature, ...], time_zone: str, problems: Problems
) -> ContactPolicy:
    """Read the section `contact_policy`."""
    channels = setting.channels
    usual = ContactPolicy()
    reader = top.reader("contact_policy", "the section 'contact_policy'")
    if reader is None:
        return ContactPolicy(time_zone=time_zone)
    caps = tuple(_cap(entry, channels, problems) for entry in reader.entries("caps"))
    quiet_from, quiet_to = _quiet_hours(reader, problems)
    decline = reader.reader("decline", "'decline' of the contact policy")
    decline_offer_us, decline_family_us = usual.decline_offer_us, usual.decline_family_us
    if decline:
        decline_offer_us = decline.duration_us("offer", decline_offer_us)
        decline_family_us = decline.duration_us("family", decline_family_us)
        decline.finish()
    rules = read_rules(reader, setting, problems)
    objection = reader.scalar("objection")
    fraud = reader.scalar("fraud")
    what, about = "'{}' of the contact policy", setting.conditions.about_household
    policy = ContactPolicy(
        caps=caps,
        quiet_from_minute=quiet_from,
        quiet_to_minute=quiet_to,
        time_zone=_time_zone(reader, time_zone),
        decline_offer_us=decline_offer_us,
        decline_family_us=decline_family_us,
        rules=rules.in_force,
        remembered_us=rules.remembered_us,
        member_time_zone=_member_time_zone(reader, features, problems),
        line=feature_named(reader, "line", _by_name(features), features),
        objection=NONE if objection is None else about(objection, what.format("objection")),
        fraud=NONE if fraud is None else about(fraud, what.format("fraud")),
    )
    reader.finish()
    return policy


def _member_time_zone(policy: Reader, features: tuple[Feature, ...], problems: Problems) -> int:
    index = feature_named(policy, "member_time_zone", _by_name(features), features, must_be_enum=True)
    known = zoneinfo.available_timezones() - OF_THE_MACHINE
    unknown = [] if index == NONE else [name for name in features[index].values if name not in known]
    if unknown and known:
        wrong = f"the values of '{features[index].name}' are to be time zones, and '{unknown[0]}' does not exist"
        close = suggestion(unknown[0], known)
        right = close if close.startswith("did") else "write a name such as Europe/Berlin"
        problems.add(policy.value_place("member_time_zone"), wrong, right)
        return NONE
    return index


def _cap(entry: Entry, channels: tuple[Channel, ...], problems: Problems) -> ContactCap:
    reader = Reader(entry.value, f"contact cap '{entry.key}'", problems, place=entry.place)
    index_by_name = {channel.name: index for index, channel in enumerate(channels)}
    names = reader.names("channels")
    listed = resolve(names, index_by_name, what="channel", plural="channels", problems=problems)
    cap = ContactCap(
        name=entry.key,
        scope=reader.choice("scope", Scope, required=True) or Scope.MEMBER,
        channels=listed if names else tuple(index for index, channel in enumerate(channels) if channel.outbound),
        window_us=reader.duration_us("window", 1, required=True),
        most=reader.whole("most", 0, least=0, most=1_000, required=True),
    )
    reader.finish()
    return cap


def _quiet_hours(policy: Reader, problems: Problems) -> tuple[int, int]:
    reader = policy.reader("quiet_hours", "'quiet_hours' of the contact policy")
    if reader is None:
        return 0, 0
    quiet_from, quiet_to = reader.minute_of_day("from"), reader.minute_of_day("to")
    reader.finish()
    if quiet_from is None or quiet_to is None:
        return 0, 0
    if quiet_from == quiet_to:
        problems.add(reader.place, "quiet hours that end when they begin are none", "remove them or change one time")
    return quiet_from, quiet_to


def read_arbitration(top: Reader, name: str) -> Arbitration:
    """Read the section `arbitration`; the salt defaults to the playbook's name."""
    usual = Arbitration(salt=name, prior_weight=PRIOR_WEIGHT)
    reader = top.reader("arbitration", "the section 'arbitration'")
    if reader is None:
        return usual
    arbitration = Arbitration(
        exploration=reader.share("exploration", usual.exploration),
        slate_length=reader.whole("slate", usual.slate_length, least=1, most=SLATE_LENGTH_MAX),
        salt=reader.text("salt", name),
        prior_weight=reader.whole("prior_weight", usual.prior_weight, least=0, most=PRIOR_WEIGHT_MAX),
    )
    reader.finish()
    return arbitration


def read_families(top: Reader, problems: Problems) -> tuple[str, ...]:
    """Read the section `families`."""
    names = top.names("families")
    for name in names:
        check_name(name.text, name.place, problems)
    return tuple(name.text for name in names)
