"""What the experiments of a plan are about: which of them an offer meets that these journeys bring up."""

from collections.abc import Collection, Iterable, Iterator, Sequence

from household.plan import ContactClass, Draw, Experiment, Layer, Plan
from household.traits import class_of

_NEVER_WITHHELD = {ContactClass.LEGAL, ContactClass.SECURITY}
"""What has to be said, whoever is in control of what."""

_EXEMPT_OF_ALL = {*_NEVER_WITHHELD, ContactClass.SERVICE}
"""What a household in universal control meets."""


class Coverage:
    """The experiments of a plan, by what they are about."""

    def __init__(self, plan: Plan) -> None:
        """Take those that the plan declares, and the control groups of its journeys."""
        self.experiments = plan.all_experiments
        self._plan = plan
        self._known: dict[tuple[int, tuple[str, ...]], tuple[Experiment, ...]] = {}
        self._of_journey = {
            plan.journeys[one.journeys[0]].name: one for one in self.experiments if one.draw is Draw.OF_JOURNEY
        }

    @property
    def has_journeys_own(self) -> bool:
        """Whether any journey has a control group of its own."""
        return bool(self._of_journey)

    def of(self, offer: int, journeys: Sequence[str]) -> tuple[Experiment, ...]:
        """Return the experiments that an offer meets.

        Args:
            offer: index of it.
            journeys: names of those that bring it up.
        """
        key = (offer, tuple(journeys))
        found = self._known.get(key)
        if found is None:
            classes = {class_of(self._plan, offer, name) for name in journeys or ("",)}
            found = tuple(one for one in self.experiments if self._is_about(one, offer, classes, journeys))
            self._known[key] = found
        return found

    def of_journeys(self, names: Iterable[str]) -> Iterator[Experiment]:
        """Yield the control groups that these journeys have of their own."""
        for name in names:
            if name in self._of_journey:
                yield self._of_journey[name]

    def is_never_withheld(self, offer: int, journey: str) -> bool:
        """Return whether an offer is said to households in control, too, whatever its journey."""
        return class_of(self._plan, offer, journey) in _NEVER_WITHHELD

    def _is_about(self, experiment: Experiment, offer: int, classes: Collection[str], journeys: Sequence[str]) -> bool:
        if not _NEVER_WITHHELD.isdisjoint(classes):
            return False
        match experiment.layer:
            case Layer.UNIVERSAL:
                return _EXEMPT_OF_ALL.isdisjoint(classes)
            case Layer.PROGRAMME | Layer.JOURNEY:
                return any(self._plan.journeys[index].name in journeys for index in experiment.journeys)
            case Layer.ACTION:
                return offer in experiment.offers
            case Layer.REWARD:
                return offer in experiment.offers if experiment.offers else ContactClass.REWARD in classes


def bringing(plan: Plan, names: Sequence[str], offer: int) -> tuple[str, ...]:
    """Return which of these journeys bring up an offer."""
    return tuple(
        name
        for name in names
        if name in plan.journey_by_name and offer in plan.journeys[plan.journey_by_name[name]].offers
    )
