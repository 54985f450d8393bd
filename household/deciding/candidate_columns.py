"""The candidates of a decision as columns, and the call that says what speaks against each, and its price.

What is the same for every household that the same journeys bring offers up for is laid out once for each plan: which
programs are asked, which of them each offer hangs on, whom it exempts, its prices. One kernel reads the features and
runs the programs (consent, objection, fraud, eligibility, segments), another fills a set of bits and a price for each
candidate.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import msgpack
import numpy as np
from numpy.typing import NDArray

from household.columns.features import Cells, read_and_run
from household.columns.layout import Rules
from household.deciding.reasons import Reason
from household.decision import Candidate
from household.experiments.coverage import Coverage, bringing
from household.kernel import kernel
from household.plan import NONE, Experiment, Plan
from household.traits import is_legal, is_suppressed
from household.weighing import OfferWorths, worths_of

if TYPE_CHECKING:
    from household.deciding.rules import Asks
    from household.scarcity import Scarcity, Uses

OBJECTION: Final = 1
NO_CONSENT: Final = 2
FRAUD: Final = 4
STALE: Final = 8
NOT_ELIGIBLE: Final = 16
ACCEPTED_OFFER: Final = 32
DECLINED_OFFER: Final = 64
DECLINED_FAMILY: Final = 128
EXCLUDED_BY: Final = 256
"""Bits of what speaks against a candidate, the first first."""

_REASONS: Final = (
    Reason.OBJECTION,
    Reason.NO_CONSENT,
    Reason.FRAUD,
    Reason.STALE_SIGNAL,
    Reason.NOT_ELIGIBLE,
    Reason.ACCEPTED_OFFER,
    Reason.DECLINED_OFFER,
    Reason.DECLINED_FAMILY,
    Reason.EXCLUDED_BY,
)

_CONSENT_AT, _OBJECTION_AT, _FRAUD_AT = 0, 1, 2
_OWN_AT = 3
"""From here on programs are those of the offers."""

_HEAD = bytes([0x90 + 5])
"""A list of five: a candidate that was weighed, in a record."""

_KEPT_MOST = 4_096
_SEEN_MOST = 512
"""Sets of vetoes of one set of candidates, some kilobytes each."""


@lru_cache(maxsize=512)
def told(bits: int) -> tuple[str, ...]:
    """Return the vetoes that bits stand for.

    >>> told(NOT_ELIGIBLE | NO_CONSENT)
    ('NO_CONSENT', 'NOT_ELIGIBLE')
    """
    # As plain texts: to hash a member of an enum takes as long as to weigh a candidate.
    return tuple(reason.value for place, reason in enumerate(_REASONS) if bits & 1 << place)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Vetoed:
    """What speaks against each of some candidates. Shared by decisions: nobody changes it."""

    vetoes: Mapping[int, tuple[str, ...]]
    """By offer, in the order of the candidates."""
    to_score: tuple[int, ...]
    """Offers that nothing speaks against."""
    score_places: NDArray[np.int64]
    """Which of the candidates those are."""
    unscored: tuple[Candidate, ...]
    """Each as a candidate that nothing was said of but this."""
    packed: tuple[bytes, ...]
    """The same, as a record has them."""
    _counts: dict[str, int] = field(default_factory=dict)

    @property
    def counts(self) -> Mapping[str, int]:
        """How many candidates each veto speaks against, that of the first first. Counted when somebody asks."""
        if not self._counts:
            self._counts.update(Counter(veto for against in self.vetoes.values() for veto in against))
        return self._counts


def _vetoed(vetoes: dict[int, tuple[str, ...]], alone: Sequence[tuple[Candidate, bytes]]) -> Vetoed:
    places = [place for place, against in enumerate(vetoes.values()) if not against]
    return Vetoed(
        vetoes=vetoes,
        to_score=tuple([offer for offer, against in vetoes.items() if not against]),
        score_places=np.array(places, np.int64),
        unscored=tuple([candidate for candidate, _ in alone]),
        packed=tuple([packed for _, packed in alone]),
    )


class _Columns(NamedTuple):
    """Candidates, for the kernel."""

    programs: NDArray[np.int64]
    """Of the asking channel's consent, objection, fraud (NONE for none), then those that offers hang on."""
    eligible: NDArray[np.int64]
    """(candidates,) place of the eligibility among the programs; NONE for everybody."""
    is_legal: NDArray[np.uint8]
    is_suppressed: NDArray[np.uint8]
    prices: NDArray[np.int64]
    """(candidates,) minor units."""
    special_start: NDArray[np.int64]
    """(candidates + 1,) where each one's special prices begin."""
    specials: NDArray[np.int64]
    """(special prices, 2) place of the segment among the programs, minor units; the first that is true holds."""


class Weights(NamedTuple):
    """What candidates are weighed by, and how they are written."""

    indices: NDArray[np.int64]
    """(candidates,) of each offer, among those of the plan."""
    has_moment: NDArray[np.bool_]
    """(candidates,) whether a moment brings each up."""
    worths: OfferWorths
    costs_minor: NDArray[np.int64]
    """(candidates,) of making each offer and of answering on the channel that asks."""
    heads: bytes
    """What each begins with in a record, end to end."""
    head_ends: NDArray[np.int64]
    """(candidates,) where those end."""
    head_bytes_most: int


class CandidateColumns:
    """What some journeys bring up on a channel, under one plan."""

    def __init__(
        self,
        plan: Plan,
        coverage: Coverage,
        journey_by_offer: Mapping[int, str],
        channel: int,
        contact_journeys: tuple[str, ...] = (),
    ) -> None:
        """Lay them out.

        Args:
            plan: whose offers they are.
            coverage: of its experiments.
            journey_by_offer: candidate offer → journey whose moment brings it up, or empty.
            channel: that asks; NONE for none.
            contact_journeys: that the contact itself started.
        """
        self.journey_by_offer = dict(journey_by_offer)
        self.channel = channel
        self.contact_journeys = contact_journeys
        self._plan, self._coverage = plan, coverage
        self.offers = tuple(plan.offers[index] for index in self.journey_by_offer)
        programs = {one.eligible for one in self.offers if one.eligible != NONE}
        programs.update(plan.segments[special.segment].program for one in self.offers for special in one.segment_prices)
        consent = NONE if channel == NONE else plan.channels[channel].consent
        asked = [consent, plan.policy.objection, plan.policy.fraud, *sorted(programs)]
        place = {program: at for at, program in enumerate(asked) if at >= _OWN_AT}
        starts = np.cumsum([0, *(len(one.segment_prices) for one in self.offers)], dtype=np.int64)
        specials = [
            (place[plan.segments[special.segment].program], special.price_minor)
            for one in self.offers
            for special in one.segment_prices
        ]
        self.arrays = _Columns(
            programs=np.array(asked, np.int64),
            eligible=np.array([place.get(one.eligible, NONE) for one in self.offers], np.int64),
            is_legal=np.array([is_legal(plan, *one) for one in self.journey_by_offer.items()], np.uint8),
            is_suppressed=np.array([is_suppressed(plan, *one) for one in self.journey_by_offer.items()], np.uint8),
            prices=np.array([one.price_minor for one in self.offers], np.int64),
            special_start=starts,
            specials=np.array(specials, np.int64).reshape(-1, 2),
        )
        self.consent = consent
        self.place_of: dict[int, int] = {index: place for place, index in enumerate(self.journey_by_offer)}
        """Of each candidate offer, which of the candidates it is."""
        self._by_bits: dict[tuple[int, ...], Vetoed] = {}
        self._unscored: dict[tuple[int, tuple[str, ...]], tuple[Candidate, bytes]] = {}
        self._using: dict[int, Uses] | None = None
        self.asks: Asks | None = None
        """The candidates as rules see them on the channel that asks, once somebody has asked."""

    @cached_property
    def brought_by(self) -> dict[int, tuple[str, ...]]:
        """Of each candidate offer the journeys: its moment's, or those that the contact started."""
        return {
            offer: (journey,) if journey else bringing(self._plan, self.contact_journeys, offer)
            for offer, journey in self.journey_by_offer.items()
        }

    @cached_property
    def met(self) -> dict[int, tuple[Experiment, ...]]:
        """Of each candidate offer the experiments that are about it."""
        return {offer: self._coverage.of(offer, journeys) for offer, journeys in self.brought_by.items()}

    @cached_property
    def met_alike(self) -> tuple[tuple[tuple[Experiment, ...], frozenset[int]], ...]:
        """The candidate offers that the same experiments are about, with these."""
        alike: dict[tuple[Experiment, ...], list[int]] = {}
        for offer, about in self.met.items():
            alike.setdefault(about, []).append(offer)
        return tuple((about, frozenset(offers)) for about, offers in alike.items() if about)

    @cached_property
    def may_be_withheld(self) -> frozenset[int]:
        """Candidate offers that a control group of a journey's own withholds."""
        is_never = self._coverage.is_never_withheld
        return frozenset(offer for offer, journey in self.journey_by_offer.items() if not is_never(offer, journey))

    @cached_property
    def weights(self) -> Weights:
        """What candidates are weighed by."""
        channel_minor = 0 if self.channel == NONE else self._plan.channels[self.channel].cost_minor
        heads = [_HEAD + msgpack.packb(one.name) for one in self.offers]
        return Weights(
            indices=np.array(list(self.journey_by_offer), np.int64),
            has_moment=np.array([bool(journey) for journey in self.journey_by_offer.values()], np.bool_),
            worths=worths_of(self.offers),
            costs_minor=np.array([one.cost_minor + channel_minor for one in self.offers], np.int64),
            heads=b"".join(heads),
            head_ends=np.cumsum([len(one) for one in heads], dtype=np.int64),
            head_bytes_most=max(map(len, heads), default=0),
        )

    def using(self, scarcity: "Scarcity") -> Mapping[int, "Uses"]:
        """Return what candidates, by place, use of budgets on the channel that asks; those that use any."""
        if self._using is None:
            found = [scarcity.uses_of(offer, journey, self.channel) for offer, journey in self.journey_by_offer.items()]
            self._using = {place: uses for place, uses in enumerate(found) if uses}
        return self._using

    def vetoed(self, bits: Sequence[int]) -> Vetoed:
        """Return candidates as they are under vetoes (candidates,): for many households at many times the same."""
        key = tuple(bits)
        known = self._by_bits.get(key)
        if known is None:
            if len(self._by_bits) >= _SEEN_MOST:
                self._by_bits.clear()
            vetoes = dict(zip(self.journey_by_offer, map(told, bits), strict=True))
            alone = [self._alone(place, against) for place, against in enumerate(vetoes.values())]
            known = self._by_bits[key] = _vetoed(vetoes, alone)
        return known

    def with_more(self, vetoed: Vetoed, more: Mapping[int, tuple[str, ...]]) -> Vetoed:
        """Return candidates with more against some of them, by offer."""
        vetoes, alone = dict(vetoed.vetoes), list(zip(vetoed.unscored, vetoed.packed, strict=True))
        for offer, against in more.items():
            place = self.place_of[offer]
            vetoes[offer] = (*vetoes[offer], *against)
            alone[place] = self._alone(place, vetoes[offer])
        return _vetoed(vetoes, alone)

    def _alone(self, place: int, vetoes: tuple[str, ...]) -> tuple[Candidate, bytes]:
        """Return a candidate that is not scored, and as a record has it: the same for everybody."""
        known = self._unscored.get((place, vetoes))
        if known is None:
            if len(self._unscored) >= _KEPT_MOST:
                self._unscored.clear()
            made = Candidate(offer=self.offers[place].name, score=None, value_minor=None, vetoes=vetoes)
            known = self._unscored[place, vetoes] = made, msgpack.packb([made.offer, None, None, vetoes])
        return known


class Looked(NamedTuple):
    """What one call found."""

    has_consent: bool
    """Whether who asks may be answered on the channel that asks."""
    has_objected: bool
    vetoes: list[int]
    """(candidates,) bits."""
    prices_minor: list[int]
    readings: NDArray[np.float64]
    """(features,); empty where nobody wanted them."""


def look(
    rules: Rules,
    cells: Cells,
    columns: CandidateColumns,
    household: int,
    member: int,
    now_us: int,
    *,
    is_denied: bool,
    reads: bool,
) -> Looked:
    """Return what there is to say of all candidates at once.

    Args:
        rules: of the plan.
        cells: of whom is asked about.
        columns: the candidates.
        household: row in `cells`.
        member: row in `cells`, or NO_MEMBER.
        now_us: as of when.
        is_denied: another of those that are one household by now denies the consent.
        reads: whether the features are read for themselves, too.
    """
    arrays = columns.arrays
    results = np.empty(arrays.programs.shape[0])
    readings = np.empty(rules.reads.shape[0] if reads else 0)
    read_and_run(rules, cells, household, member, now_us, readings, arrays.programs, results)
    vetoes, prices = np.empty(arrays.prices.shape[0], np.int64), np.empty(arrays.prices.shape[0], np.int64)
    said = _say(*arrays, results, is_denied, vetoes, prices)
    return Looked(not said & NO_CONSENT, bool(said & OBJECTION), vetoes.tolist(), prices.tolist(), readings)


@kernel
def _say(
    programs: NDArray[np.int64],
    eligible: NDArray[np.int64],
    is_legal: NDArray[np.uint8],
    is_suppressed: NDArray[np.uint8],
    base_prices: NDArray[np.int64],
    special_start: NDArray[np.int64],
    specials: NDArray[np.int64],
    results: NDArray[np.float64],
    is_denied: bool,
    vetoes: NDArray[np.int64],
    prices: NDArray[np.int64],
) -> int:
    """Fill vetoes and prices of each candidate; return OBJECTION and NO_CONSENT where there is either.

    results: (programs,) what each came to. The rest: as in `_Columns`.
    """
    said = 0
    if results[_OBJECTION_AT] == 1.0:
        said |= OBJECTION
    if is_denied or (programs[_CONSENT_AT] >= 0 and results[_CONSENT_AT] != 1.0):
        said |= NO_CONSENT
    is_suspected = results[_FRAUD_AT] == 1.0
    for i in range(vetoes.shape[0]):
        against = 0 if is_legal[i] == 1 else said
        if is_suspected and is_suppressed[i] == 1:
            against |= FRAUD
        if eligible[i] >= 0 and results[eligible[i]] != 1.0:
            against |= NOT_ELIGIBLE
        vetoes[i] = against
        prices[i] = base_prices[i]
        for j in range(special_start[i], special_start[i + 1]):
            if results[specials[j, 0]] == 1.0:
                prices[i] = specials[j, 1]
                break
    return said
