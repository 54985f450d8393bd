"""The section `experiments`: who is left untreated, or treated in which way, so that the difference can be measured."""

from collections.abc import Sequence

from household.plan import Arm, Experiment, Journey, Layer
from household.plan.experiments import ALL_BP, CONTROL, TREATED
from playbooks.offers import Offers
from playbooks.reading import Reader, describe, resolve
from playbooks.values import share
from written.problems import Problems
from written.yaml_tree import Entry, Scalar

_SHARE_HELP = "write a share in whole hundredths of a percent, such as 5% or 0.25%"

_NAMES_OF_LAYER = {
    Layer.UNIVERSAL: None,
    Layer.PROGRAMME: "journeys",
    Layer.JOURNEY: "journeys",
    Layer.ACTION: "offers",
    Layer.REWARD: "offers",
}
"""The key by which an experiment of a layer says what it is about; of a universal one there is nothing to say."""


def read_experiments(
    top: Reader, journeys: Sequence[Journey], offers: Offers, salt: str, problems: Problems
) -> tuple[Experiment, ...]:
    """Read the section; experiments keep the order in which they are written. Each has a salt of its own."""
    found: list[Experiment] = []
    for entry in top.entries("experiments"):
        one = _experiment(entry, journeys, offers, salt, problems)
        if one is None:
            continue
        _check_beside(one, found, entry, journeys, problems)
        found.append(one)
    return tuple(found)


def _experiment(
    entry: Entry, journeys: Sequence[Journey], offers: Offers, salt: str, problems: Problems
) -> Experiment | None:
    reader = Reader(entry.value, f"experiment '{entry.key}'", problems, place=entry.place)
    layer = reader.choice("layer", Layer, required=True)
    arms = _arms(reader)
    own_salt = reader.text("salt", f"{salt}/{entry.key}")
    named_journeys, named_offers = reader.names("journeys"), reader.names("offers")
    index_by_name = {journey.name: index for index, journey in enumerate(journeys)}
    about_journeys = resolve(named_journeys, index_by_name, what="journey", plural="journeys", problems=problems)
    about_offers = tuple(dict.fromkeys(offers.resolve(named_offers, problems)))
    reader.finish()
    if layer is None:
        return None
    wanted = _NAMES_OF_LAYER[layer]
    for key, names in (("journeys", named_journeys), ("offers", named_offers)):
        if names and key != wanted:
            wrong = f"{reader.what} of the layer '{layer.value}' names {key}"
            problems.add(reader.key_place(key), wrong, f"remove '{key}'" + (f", or name {wanted}" if wanted else ""))
    if wanted is not None and layer is not Layer.REWARD and not reader.has(wanted):
        wrong = f"{reader.what} of the layer '{layer.value}' says not what it is about"
        problems.add(entry.place, wrong, f"add '{wanted}: …'")
    return Experiment(
        name=entry.key, layer=layer, salt=own_salt, arms=arms, journeys=about_journeys, offers=about_offers
    )


def _arms(reader: Reader) -> tuple[Arm, ...]:
    """Return control, then the arms that are written, then what is left of all households as treated."""
    control = reader.scalar("control", required=True)
    arms = [Arm(name=CONTROL, share_bp=0 if control is None else _share_bp(reader, "control", control))]
    for entry in reader.entries("arms"):
        if entry.key in (CONTROL, TREATED):
            wrong = f"an arm of {reader.what} is called '{entry.key}'"
            reader.problems.add(entry.place, wrong, "write its share as 'control:'; the rest is treated by itself")
            continue
        if not isinstance(entry.value, Scalar):
            wrong = f"arm '{entry.key}' of {reader.what} is {describe(entry.value)}"
            reader.problems.add(entry.place, wrong, _SHARE_HELP)
            continue
        arms.append(Arm(name=entry.key, share_bp=_share_bp(reader, entry.key, entry.value)))
    total_bp = sum(arm.share_bp for arm in arms)
    if total_bp > ALL_BP:
        wrong = f"the arms of {reader.what} are {total_bp / 100:g}% of all households together"
        place = reader.key_place("arms" if reader.has("arms") else "control")
        reader.problems.add(place, wrong, "write shares that come to 100% or less; the rest is treated")
        return (arms[0], Arm(name=TREATED, share_bp=ALL_BP - arms[0].share_bp))
    if total_bp < ALL_BP:
        arms.append(Arm(name=TREATED, share_bp=ALL_BP - total_bp))
    return tuple(arms)


def _share_bp(reader: Reader, key: str, scalar: Scalar) -> int:
    part = share(scalar.text)
    if part is None:
        reader.problems.add(scalar.place, f"'{key}' of {reader.what} is {describe(scalar)}", _SHARE_HELP)
        return 0
    share_bp = round(part * ALL_BP)
    if abs(part * ALL_BP - share_bp) > 1e-6:
        wrong = f"'{key}' of {reader.what} is {describe(scalar)}, no whole number of basis points"
        reader.problems.add(scalar.place, wrong, _SHARE_HELP)
    return share_bp


def _check_beside(
    one: Experiment, others: Sequence[Experiment], entry: Entry, journeys: Sequence[Journey], problems: Problems
) -> None:
    """Report what cannot be drawn beside what there is already."""
    for other in others:
        if other.salt == one.salt:
            wrong = f"experiments '{other.name}' and '{one.name}' have one salt: they draw the same households"
            problems.add(entry.place, wrong, "give each a salt of its own, or leave it out")
    for journey in journeys:
        if journey.control_share == 0.0:
            continue
        if one.layer is Layer.JOURNEY and journeys.index(journey) in one.journeys:
            wrong = f"journey '{journey.name}' has a control group of its own and experiment '{one.name}'"
            problems.add(entry.place, wrong, "remove one of the two")
        elif one.name == journey.name:
            wrong = f"experiment '{one.name}' has the name of a journey with a control group of its own"
            problems.add(entry.place, wrong, "give it another name: arms are recorded by it")
