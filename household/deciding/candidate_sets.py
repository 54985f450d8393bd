"""The sets of candidates that come up under one plan, each laid out when it first does."""

from collections.abc import Mapping, Sequence

from household.deciding.candidate_columns import CandidateColumns
from household.experiments.coverage import Coverage
from household.plan import NONE, Journey, Plan

_KEPT_MOST = 4_096


class CandidateSets:
    """The sets of candidates that came up under one plan."""

    def __init__(self, plan: Plan, coverage: Coverage) -> None:
        """Take a plan, and its experiments; sets are laid out when they come up."""
        self._plan, self._coverage = plan, coverage
        self._known: dict[tuple[object, ...], CandidateColumns] = {}

    def of(self, journeys: Sequence[tuple[Journey, bool]], channel: int) -> CandidateColumns:
        """Return what journeys bring up on a channel. A moment's offers come alone; a contact's where it has none.

        Args:
            journeys: each with whether a moment brings it up.
            channel: that asks; NONE for none.
        """
        key = (channel, *((journey.name, journey.offers, of_moment) for journey, of_moment in journeys))
        found = self._known.get(key)
        if found is None:
            contacts = tuple(journey.name for journey, of_moment in journeys if not of_moment)
            found = self._keep(key, self._brought_up(journeys), channel, contacts)
        return found

    def with_others(self, known: CandidateColumns, others: Mapping[int, str], channel: int) -> CandidateColumns:
        """Return the same with other offers, each with its journey, behind them."""
        key = (channel, known.contact_journeys, *known.journey_by_offer.items(), *others.items())
        found = self._known.get(key)
        if found is None:
            found = self._keep(key, known.journey_by_offer | dict(others), channel, known.contact_journeys)
        return found

    def of_slate(self, entries: Sequence[tuple[str, str]]) -> CandidateColumns:
        """Return actions of a slate, each by its offer and journey, without those whose offer is gone."""
        key = tuple(entries)
        found = self._known.get(key)
        if found is None:
            known = {self._plan.offer_by_name.get(offer, NONE): journey for offer, journey in entries}
            found = self._keep(key, {offer: journey for offer, journey in known.items() if offer != NONE}, NONE)
        return found

    def _keep(
        self,
        key: tuple[object, ...],
        journey_by_offer: Mapping[int, str],
        channel: int,
        contact_journeys: tuple[str, ...] = (),
    ) -> CandidateColumns:
        if len(self._known) >= _KEPT_MOST:
            self._known.clear()
        made = CandidateColumns(self._plan, self._coverage, journey_by_offer, channel, contact_journeys)
        self._known[key] = made
        return made

    def _brought_up(self, journeys: Sequence[tuple[Journey, bool]]) -> dict[int, str]:
        by_moment = {offer: journey.name for journey, of_moment in journeys if of_moment for offer in journey.offers}
        if by_moment:
            return by_moment
        return {
            offer: ""
            for journey, of_moment in journeys
            if not of_moment
            for offer in journey.offers
            if self._plan.offers[offer].standing
        }
