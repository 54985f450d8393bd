"""Reading what a rehearsal expects."""

from collections.abc import Sequence

from household.tables.instances import Ending
from playbooks.diagnostics import suggestion
from playbooks.reading import Reader, describe
from playbooks.rehearsing.naming import ScriptNames, channel_of, journey_of, member_of, offer_of, when_of
from playbooks.rehearsing.script import Expectation, When
from written.yaml_tree import Entry, Listing, Nothing, Scalar

NOTHING = "nothing"


def read_expectation(reader: Reader, at: When, setting: ScriptNames) -> Expectation:
    node = reader.node("expect", required=True)
    place = reader.key_place("expect")
    if isinstance(node, Scalar) and node.text == NOTHING:
        return Expectation(place=place, at=at, journey=setting.journey, is_nothing=True)
    inner = Reader(node or Nothing(reader.place), "'expect'", setting.problems, place=place)
    journey = setting.journey
    if inner.has("journey"):
        journey = "" if inner.text("journey") == "any" else journey_of(inner, setting.plan)
    made = Expectation(
        place=place,
        at=at,
        journey=journey,
        entered=inner.flag("entered", True) if inner.has("entered") else None,
        state=_state(inner, journey, setting),
        until=when_of(inner, "until") if inner.has("until") else None,
        exited=_ending(inner),
        said=_offers(inner, "said", setting),
        answered=_answered(inner, setting),
        withheld=_offers(inner, "withheld", setting),
        taken_back=_offers(inner, "taken_back", setting),
        channel=channel.text if (channel := channel_of(inner, "on", setting)) is not None else "",
        member=member_of(inner, setting, "to") if inner.has("to") else "",
        price_minor=inner.money_minor("price", setting.plan.currency) if inner.has("price") else None,
        because=tuple(one.text for one in inner.names("because")),
        call_it=inner.text("as"),
        same_as=_label(inner, setting),
        known=_known(inner, setting),
    )
    for key in ("price", "on", "to", "as", "same_as"):
        if inner.has(key) and made.said is None and made.answered is None and made.withheld is None:
            wrong = f"'{key}' of 'expect' is about what is said, and nothing is said to be"
            setting.problems.add(inner.key_place(key), wrong, "name the offer: 'said: …' or 'answered: …'")
    inner.finish()
    return made


def _state(reader: Reader, journey: str, setting: ScriptNames) -> str | None:
    scalar = reader.scalar("state")
    if scalar is None:
        return None
    index = setting.plan.journey_by_name.get(journey)
    flow = setting.plan.journeys[index].flow if index is not None else None
    if flow is None:
        right = "write 'journey: …' of one that has states, beside it or above"
        setting.problems.add(scalar.place, "whose state it is, is not said", right)
        return None
    names = [step.name for step in flow.steps]
    if scalar.text not in names:
        right = suggestion(scalar.text, names, what="states")
        setting.problems.add(scalar.place, f"journey '{journey}' has no state '{scalar.text}'", right)
    return scalar.text


def _ending(reader: Reader) -> str | None:
    scalar = reader.scalar("exited")
    if scalar is None:
        return None
    known = [one.value.lower() for one in Ending if one is not Ending.LIVE]
    if scalar.text.lower() not in known:
        right = suggestion(scalar.text.lower(), known, what="endings")
        reader.problems.add(scalar.place, f"no instance ends with '{scalar.text}'", right)
    return scalar.text.upper()


def _offers(reader: Reader, key: str, setting: ScriptNames) -> tuple[str, ...] | None:
    if not reader.has(key):
        return None
    node = reader.node(key)
    if isinstance(node, Scalar) and node.text == NOTHING:
        return ()
    if isinstance(node, Listing) and all(isinstance(one, Scalar) for one in node.items):
        # The same may be said twice.
        return tuple(offer_of(one, setting) for one in node.items if isinstance(one, Scalar))
    return tuple(offer_of(name, setting) for name in reader.names(key))


def _answered(reader: Reader, setting: ScriptNames) -> str | None:
    scalar = reader.scalar("answered")
    if scalar is None:
        return None
    return "" if scalar.text == NOTHING else offer_of(scalar, setting)


def _label(reader: Reader, setting: ScriptNames) -> str:
    scalar = reader.scalar("same_as")
    if scalar is None:
        return ""
    known = {one.call_it for one in setting.steps if isinstance(one, Expectation) and one.call_it}
    if scalar.text not in known:
        right = suggestion(scalar.text, known, what="names") if known else "give what was said a name: 'as: …'"
        setting.problems.add(scalar.place, f"nothing before was called '{scalar.text}'", right)
    return scalar.text


def _known(reader: Reader, setting: ScriptNames) -> tuple[tuple[str, int, float | None], ...]:
    plan, found = setting.plan, []
    indices: dict[str, int] = {feature.name: index for index, feature in enumerate(plan.features)}
    for entry in reader.entries("known", named=False):
        index = indices.get(entry.key)
        if index is None:
            right = suggestion(entry.key, indices, what="features")
            setting.problems.add(entry.place, f"feature '{entry.key}' is not defined", right)
            continue
        value = _reading(entry, plan.features[index].values)
        if isinstance(entry.value, Scalar) and (value is not None or entry.value.text == "unknown"):
            found.append((entry.key, index, value))
        else:
            right = "write a number, true, false, a name that it can have, or unknown"
            setting.problems.add(entry.value.place, f"'{entry.key}' is {describe(entry.value)}", right)
    return tuple(found)


def _reading(entry: Entry, names: Sequence[str]) -> float | None:
    if not isinstance(entry.value, Scalar):
        return None
    text = entry.value.text
    if text in names:
        return float(list(names).index(text))
    if text in ("true", "false"):
        return float(text == "true")
    try:
        return float(text)
    except ValueError:
        return None
