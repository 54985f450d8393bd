"""The section `offers`: what may be said, to whom, at which price and in which words on each channel.

An offer with `for_each: <enum field>` stands for one offer per value; `{field}` in its name and texts is that value.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from household.plan import NONE, Channel, ContactClass, FieldKind, Item, Offer, Segment, SegmentPrice, Treatment
from playbooks.conditions import Conditions
from playbooks.diagnostics import suggestion
from playbooks.reading import Reader, check_name, describe, money_help, price
from playbooks.vocabulary import Vocabulary
from written.problems import Place, Problems
from written.yaml_tree import Entry, Listing, Node, Nothing, Scalar, YamlMapping

TEXT_LENGTH_MAX = 2_000
"""A treatment is words on a screen, not a document."""

LEVER_MAX = 100.0
"""A business weight beyond this drowns everything else."""

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


class OfferKind(StrEnum):
    """What an offer is."""

    OFFER = "offer"
    MESSAGE = "message"
    BADGE = "badge"
    REWARD = "reward"
    ESCALATION = "escalation"


@dataclass(slots=True)
class Offers:
    """All offers, and what each name in the playbook stands for."""

    offers: list[Offer] = field(default_factory=list)
    index_by_name: dict[str, int] = field(default_factory=dict)
    group_by_name: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """A name as written, braces included, and the offers it stands for."""

    def resolve(self, names: Iterable[Scalar], problems: Problems) -> tuple[int, ...]:
        """Return the indices of offers; a name with braces stands for all that its `for_each` makes."""
        found: dict[int, None] = {}
        for name in names:
            if name.text in self.group_by_name:
                found.update(dict.fromkeys(self.group_by_name[name.text]))
            elif name.text in self.index_by_name:
                found[self.index_by_name[name.text]] = None
            else:
                right = suggestion(name.text, [*self.index_by_name, *self.group_by_name], what="offers")
                problems.add(name.place, f"offer '{name.text}' is not defined", right)
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What offers refer to."""

    vocabulary: Vocabulary
    conditions: Conditions
    segments: tuple[Segment, ...]
    channels: tuple[Channel, ...]
    families: tuple[str, ...]
    items: tuple[Item, ...]
    currency: str


@dataclass(frozen=True, slots=True)
class _Draft:
    """An offer before `excludes` can be resolved."""

    offer: Offer
    excludes: tuple[Scalar, ...]


def read_offers(top: Reader, setting: Setting, problems: Problems) -> Offers:
    """Read the section."""
    drafts: list[_Draft] = []
    offers = Offers()
    for entry in top.entries("offers", named=False):
        first = len(drafts)
        for name, node in _expanded(entry, setting.vocabulary, problems):
            check_name(name, entry.place, problems)
            if name in offers.index_by_name:
                problems.add(entry.place, f"offer '{name}' is already defined", "rename one of the two")
            offers.index_by_name.setdefault(name, len(drafts))
            drafts.append(_offer(name, replace(entry, value=node), setting, problems))
        offers.group_by_name[entry.key] = tuple(range(first, len(drafts)))
    offers.offers = [draft.offer for draft in drafts]
    _exclude(offers, drafts, problems)
    return offers


def _exclude(offers: Offers, drafts: list[_Draft], problems: Problems) -> None:
    """Resolve exclusions; they hold both ways."""
    excluded: list[set[int]] = [set() for _ in drafts]
    for index, draft in enumerate(drafts):
        for other in offers.resolve(draft.excludes, problems):
            if other != index:
                excluded[index].add(other)
                excluded[other].add(index)
    offers.offers = [
        replace(offer, excludes=tuple(sorted(others))) for offer, others in zip(offers.offers, excluded, strict=True)
    ]


def _expanded(entry: Entry, vocabulary: Vocabulary, problems: Problems) -> list[tuple[str, Node]]:
    """Return (name, content) of each offer that an entry stands for, placeholders filled."""
    each = None
    if isinstance(entry.value, YamlMapping):
        each = next((one for one in entry.value.entries if one.key == "for_each"), None)
    if each is None:
        return [(entry.key, _filled(entry.value, {}, problems))]
    if not isinstance(each.value, Scalar):
        problems.add(each.place, f"'for_each' is {describe(each.value)}", "name one field with a list of values")
        return []
    name = each.value.text
    if name in vocabulary.wrong_fields:
        return []
    index = vocabulary.field_index.get(name)
    declared = None if index is None else vocabulary.fields[index]
    if declared is None or declared.kind is not FieldKind.ENUM:
        wrong = f"'for_each' names '{name}', which is no field with a list of values"
        enums = [one.name for one in vocabulary.fields if one.kind is FieldKind.ENUM]
        problems.add(each.value.place, wrong, suggestion(name, enums, what="choices"))
        return []
    if f"{{{name}}}" not in entry.key:
        wrong = f"offer '{entry.key}' stands for several offers of one name"
        problems.add(entry.place, wrong, f"put {{{name}}} into its name: {entry.key}_{{{name}}}")
        return []
    fillings = [{name: value, f"{name}.title": _title(value)} for value in declared.values]
    return [
        (entry.key.replace(f"{{{name}}}", value), _filled(entry.value, filling, problems))
        for value, filling in zip(declared.values, fillings, strict=True)
    ]


def _title(value: str) -> str:
    """Return a value as people read it.

    >>> _title("film_plus")
    'Film Plus'
    """
    return " ".join(part.capitalize() for part in value.split("_"))


def _filled(node: Node, filling: dict[str, str], problems: Problems) -> Node:
    """Return a node with the placeholders of all its texts replaced."""
    match node:
        case YamlMapping():
            entries = (replace(one, value=_filled(one.value, filling, problems)) for one in node.entries)
            return replace(node, entries=tuple(entries))
        case Listing():
            # Lists name other offers, whose braces mean "all of them".
            return node
        case Nothing():
            return node
        case Scalar():
            return _filled_scalar(node, filling, problems)


def _filled_scalar(scalar: Scalar, filling: dict[str, str], problems: Problems) -> Scalar:
    for found in _PLACEHOLDER.finditer(scalar.text):
        if found[1] not in filling:
            right = suggestion(found[1], filling, what="placeholders") if filling else "add 'for_each:' with its field"
            problems.add(scalar.place_at(found.start()), f"the placeholder '{found[0]}' means nothing here", right)
    text = _PLACEHOLDER.sub(lambda found: filling.get(found[1], found[0]), scalar.text)
    # Places within a filled text would be wrong, so all of them are its start.
    return scalar if text == scalar.text else replace(scalar, text=text, raw="")


def _offer(name: str, entry: Entry, setting: Setting, problems: Problems) -> _Draft:
    reader = Reader(entry.value, f"offer '{entry.key}'", problems, place=entry.place)
    reader.has("for_each")
    eligible = reader.scalar("eligible")
    currency = setting.currency
    offer = Offer(
        name=name,
        kind=(reader.choice("kind", OfferKind) or OfferKind.OFFER).value,
        family=_family(reader, setting.families),
        price_minor=reader.money_minor("price", currency),
        segment_prices=_segment_prices(reader, setting),
        margin_minor=reader.money_minor("margin", currency),
        cost_minor=reader.money_minor("cost", currency),
        lever=_lever(reader),
        prior_acceptance=reader.share("prior", required=True),
        eligible=NONE
        if eligible is None
        else setting.conditions.about_household(eligible, f"'eligible' of {reader.what}"),
        standing=reader.flag("standing", False),
        valid_us=reader.duration_us("valid", Offer(name="", kind="", family="").valid_us),
        treatments=_treatments(name, reader, setting.channels),
        contact_class=str(reader.choice("contact_class", ContactClass) or ""),
        purpose=read_purpose(reader),
        tags=read_tags(reader),
        increment_minor=reader.money_minor("increment", currency) if reader.has("increment") else None,
        item=_item(reader, setting.items),
        retains=reader.flag("retains", False),
    )
    excludes = reader.names("excludes")
    reader.finish()
    return _Draft(offer, tuple(excludes))


def read_purpose(reader: Reader) -> str:
    """Return what an offer or a journey contacts for; empty where it is not written."""
    purpose = reader.scalar("purpose")
    if purpose is not None:
        check_name(purpose.text, purpose.place, reader.problems)
    return "" if purpose is None else purpose.text


def read_tags(reader: Reader) -> tuple[str, ...]:
    """Return the tags of an offer or a journey."""
    names = reader.names("tags")
    for name in names:
        check_name(name.text, name.place, reader.problems)
    return tuple(name.text for name in names)


def _lever(reader: Reader) -> float:
    lever = reader.number("lever", 1.0)
    if 0.0 <= lever <= LEVER_MAX:
        return lever
    right = f"write a weight from 0 to {LEVER_MAX:g}; 1 is neutral"
    reader.problems.add(reader.value_place("lever"), f"'lever' of {reader.what} is {lever:g}", right)
    return 1.0


def _family(reader: Reader, families: tuple[str, ...]) -> str:
    family = reader.scalar("family", required=True)
    if family is None:
        return ""
    if family.text not in families:
        right = suggestion(family.text, families, what="families")
        reader.problems.add(family.place, f"family '{family.text}' is not defined", right)
    return family.text


def _item(reader: Reader, items: tuple[Item, ...]) -> int:
    name = reader.scalar("item")
    if name is None:
        return NONE
    index_by_name = {item.name: index for index, item in enumerate(items)}
    if name.text not in index_by_name:
        right = suggestion(name.text, index_by_name, what="items") if items else "declare it under 'inventory'"
        reader.problems.add(name.place, f"item '{name.text}' is not defined", right)
    return index_by_name.get(name.text, NONE)


def _segment_prices(reader: Reader, setting: Setting) -> tuple[SegmentPrice, ...]:
    index_by_name = {segment.name: index for index, segment in enumerate(setting.segments)}
    found = []
    for entry in reader.entries("segment_prices", named=False):
        if entry.key not in index_by_name:
            right = suggestion(entry.key, index_by_name, what="segments")
            reader.problems.add(entry.place, f"segment '{entry.key}' is not defined", right)
            continue
        minor = price(entry.value.text, setting.currency) if isinstance(entry.value, Scalar) else None
        if minor is None:
            wrong = f"the price of {reader.what} for '{entry.key}' is {describe(entry.value)}"
            reader.problems.add(entry.place, wrong, money_help(setting.currency))
            continue
        found.append(SegmentPrice(segment=index_by_name[entry.key], price_minor=minor))
    return tuple(found)


def _treatments(name: str, reader: Reader, channels: tuple[Channel, ...]) -> tuple[Treatment, ...]:
    index_by_name = {channel.name: index for index, channel in enumerate(channels)}
    entries = reader.entries("treatments", named=False)
    if not entries:
        right = "add 'treatments:' with a text per channel"
        reader.problems.add(reader.key_place("treatments"), f"{reader.what} has no treatment", right)
    found = []
    for entry in entries:
        if entry.key not in index_by_name:
            right = suggestion(entry.key, index_by_name, what="channels")
            reader.problems.add(entry.place, f"{reader.what} has a treatment for channel '{entry.key}', unknown", right)
            continue
        found.append(_treatment(f"{name}.{entry.key}", index_by_name[entry.key], entry, reader))
    return tuple(found)


def _treatment(name: str, channel: int, entry: Entry, offer: Reader) -> Treatment:
    if isinstance(entry.value, Scalar):
        _check_text(entry.value.text, entry.place, offer)
        return Treatment(name=name, channel=channel, text=entry.value.text)
    reader = Reader(entry.value, f"treatment '{entry.key}' of {offer.what}", offer.problems, place=entry.place)
    text = reader.text("text", required=True)
    _check_text(text, reader.key_place("text"), offer)
    parameters = []
    for parameter in reader.entries("parameters", named=False):
        if isinstance(parameter.value, Scalar):
            parameters.append((parameter.key, parameter.value.text))
        else:
            wrong = f"parameter '{parameter.key}' is {describe(parameter.value)}"
            offer.problems.add(parameter.place, wrong, "write a single value")
    name = reader.text("name", name)
    reader.finish()
    return Treatment(name=name, channel=channel, text=text, parameters=tuple(parameters))


def _check_text(text: str, place: Place, offer: Reader) -> None:
    if len(text) > TEXT_LENGTH_MAX:
        wrong = f"a text of {offer.what} has {len(text)} characters"
        offer.problems.add(place, wrong, f"stay within {TEXT_LENGTH_MAX}")
