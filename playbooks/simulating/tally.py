"""What came of a simulation: contacts, what spoke against some, how far journeys reached, what it cost; and the two
beside each other: who would newly be contacted, and who no longer.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from household.deciding.reasons import Reason
from household.decision import Decision
from household.delivery import DeliveryNote
from household.plan import Plan
from household.tables.instances import Ending, Instance
from household.traits import class_of

SAMPLES = 20

_POLICY = frozenset(
    {Reason.CONTACT_CAP, Reason.QUIET_HOURS, Reason.OBJECTION, Reason.NO_CONSENT, Reason.FRAUD, Reason.STALE_SIGNAL}
)
_RULES = ("RULE:", "BUDGET:")
"""Of a decision's reasons, what tells that something was kept back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidAction:
    """An action that reached somebody."""

    household: bytes
    member: bytes
    journey: str
    """Whose moment brought it up; empty when the contact alone did."""
    offer: str
    price_minor: int
    channel: str
    action_id: str
    is_sent: bool
    """It was sent; otherwise a channel asked."""
    is_first: bool
    """Nobody had been told of this very action before."""
    at_us: int
    reasons: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class SimulationCounts:
    """What can be added up over partitions."""

    decisions: int = 0
    households: int = 0
    """Who were sent something."""
    sent: Counter[str] = field(default_factory=Counter)
    """By contact class."""
    answered: Counter[str] = field(default_factory=Counter)
    """The same of what was told to channels that ask; each time counts."""
    sent_by_journey: Counter[str] = field(default_factory=Counter)
    """By journey; empty for what a contact alone brought up."""
    withheld: Counter[str] = field(default_factory=Counter)
    """From control groups, by journey."""
    against: Counter[str] = field(default_factory=Counter)
    """Decisions and hand-overs that something spoke against, by what: caps, rules, budgets and all other vetoes."""
    entered: Counter[str] = field(default_factory=Counter)
    """Instances, by journey with states."""
    reached: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Times that an instance came to a state and stayed there for a while, by journey and state."""
    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Instances that ended, by journey and how."""
    moments: Counter[str] = field(default_factory=Counter)
    """That were decided, by journey."""
    cost_minor: int = 0
    """Of all that was said: the channels' and, once for each action, the offers'."""
    channel_gone: int = 0
    """Questions from channels that the playbook has not."""
    answers_used: int = 0
    """Reports of the log that are about something that was said here as well."""
    answers_left: int = 0
    """And those that are about nothing that was."""

    def add(self, other: "SimulationCounts") -> None:
        """Add another partition's."""
        for name in ("decisions", "households", "cost_minor", "channel_gone", "answers_used", "answers_left"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("sent", "answered", "sent_by_journey", "withheld", "against", "entered", "reached", "ended"):
            getattr(self, name).update(getattr(other, name))
        self.moments.update(other.moments)


class PartitionTally:
    """What came of one partition."""

    def __init__(self, plan: Plan) -> None:
        """Begin with nothing."""
        self.counts = SimulationCounts()
        self.contacted: dict[bytes, SaidAction] = {}
        """Households that were sent something, and what first."""
        self.why: dict[bytes, dict[str, tuple[str, ...]]] = {}
        """Household → journey → the reasons of what was decided last of it."""
        self._plan = plan
        self._where: dict[tuple[int, str, int, int], tuple[str, int, Ending]] = {}
        self._costs: dict[tuple[str, str, bool], int] = {}
        self._known: dict[tuple[str, ...], tuple[str, ...]] = {}

    @property
    def channel_gone(self) -> int:
        """Questions from channels that the playbook has not."""
        return self.counts.channel_gone

    @channel_gone.setter
    def channel_gone(self, count: int) -> None:
        self.counts.channel_gone = count

    def under(self, plan: Plan) -> None:
        """Count on under another plan."""
        self._plan, self._costs = plan, {}

    def decided(self, decision: Decision) -> None:
        """Count a decision that is about to be folded."""
        counts = self.counts
        counts.decisions += 1
        vetoes = {veto for one in decision.candidates for veto in one.vetoes}
        vetoes.update(one for one in decision.reasons if one in _POLICY or one.startswith(_RULES))
        counts.against.update(vetoes)
        for ghost in decision.ghosts[:1]:
            counts.withheld[ghost.journey] += 1
        journeys = dict.fromkeys([*(one.journey for one in decision.moments), *(one.journey for one in decision.slate)])
        for moment in decision.moments:
            counts.moments[moment.journey] += 1
        if journeys:
            reasons = self._known.setdefault(decision.reasons, decision.reasons)
            self.why.setdefault(decision.household, {}).update(dict.fromkeys(journeys, reasons))

    def kept_back(self, note: DeliveryNote) -> None:
        """Count what was taken back when its turn came."""
        if note.reason:
            self.counts.against[note.reason] += 1

    def said(self, said: SaidAction) -> None:
        """Count something that reached somebody."""
        counts, plan = self.counts, self._plan
        index = plan.offer_by_name.get(said.offer)
        name = "" if index is None else class_of(plan, index, said.journey)
        (counts.sent if said.is_sent else counts.answered)[name] += 1
        counts.cost_minor += self._cost_minor(said)
        if said.is_sent:
            counts.sent_by_journey[said.journey] += 1
            if said.household not in self.contacted:
                self.contacted[said.household] = said
                counts.households += 1

    def _cost_minor(self, said: SaidAction) -> int:
        key = (said.offer, said.channel, said.is_first)
        if key not in self._costs:
            offer, channel = self._plan.offer_by_name.get(said.offer), self._plan.channel_by_name.get(said.channel)
            of_offer = self._plan.offers[offer].cost_minor if offer is not None and said.is_first else 0
            self._costs[key] = of_offer + (self._plan.channels[channel].cost_minor if channel is not None else 0)
        return self._costs[key]

    def knows(self, row: int, one: Instance) -> None:
        """Take an instance as it came from another partition, where it was counted."""
        self._where[row, one.journey, one.member, one.number] = one.step, one.since_us, one.ending

    def take_out(self, households: Iterable[bytes], other: "PartitionTally") -> None:
        """Count households that changed their partition in another tally, which has them of all partitions."""
        for key in households:
            other.why.setdefault(key, {}).update(self.why.get(key, {}))
            said = self.contacted.pop(key, None)
            if said is None:
                continue
            self.counts.households -= 1
            known = other.contacted.get(key)
            other.counts.households += known is None
            other.contacted[key] = said if known is None or said.at_us < known.at_us else known

    def moved(self, row: int, one: Instance) -> None:
        """Count that an instance of a household, by its row, is kept as it is now."""
        counts = self.counts
        key, now = (row, one.journey, one.member, one.number), (one.step, one.since_us, one.ending)
        before = self._where.get(key)
        if before == now:
            return
        self._where[key] = now
        if before is None:
            counts.entered[one.journey] += 1
        if before is None or before[:2] != now[:2]:
            counts.reached[one.journey, one.step] += 1
        if one.ending is not Ending.LIVE and (before is None or before[2] is Ending.LIVE):
            counts.ended[one.journey, one.ending.value] += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledHousehold:
    """Somebody who would be contacted under one playbook and not under the other."""

    household: bytes
    said: SaidAction
    """What first."""
    why_not: tuple[str, ...]
    """What the other playbook's decision of the same journey says; empty where there was none."""

    @property
    def drawn_at(self) -> bytes:
        """Where it lies among those that are drawn: the same whoever asks, and in whatever order."""
        return hashlib.blake2b(self.household, key=b"simulated", digest_size=8).digest()


@dataclass(slots=True, kw_only=True)
class ContactsCompared:
    """Two playbooks beside each other, over the same log."""

    both: int = 0
    newly: int = 0
    no_longer: int = 0
    newly_sampled: list[SampledHousehold] = field(default_factory=list)
    no_longer_sampled: list[SampledHousehold] = field(default_factory=list)
    newly_by_journey: Counter[str] = field(default_factory=Counter)
    no_longer_by_journey: Counter[str] = field(default_factory=Counter)

    def take(self, before: PartitionTally, after: PartitionTally, *, samples: int = SAMPLES) -> None:
        """Compare what came of one partition under each."""
        self.both += len(before.contacted.keys() & after.contacted.keys())
        newly = _only(after, before)
        no_longer = _only(before, after)
        self.newly += len(newly)
        self.no_longer += len(no_longer)
        self.newly_by_journey.update(one.said.journey for one in newly)
        self.no_longer_by_journey.update(one.said.journey for one in no_longer)
        self.newly_sampled = _drawn([*self.newly_sampled, *newly], samples)
        self.no_longer_sampled = _drawn([*self.no_longer_sampled, *no_longer], samples)


def _only(here: PartitionTally, there: PartitionTally) -> list[SampledHousehold]:
    return [
        SampledHousehold(household=key, said=said, why_not=there.why.get(key, {}).get(said.journey, ()))
        for key, said in here.contacted.items()
        if key not in there.contacted
    ]


def _drawn(some: Iterable[SampledHousehold], most: int) -> list[SampledHousehold]:
    return sorted(some, key=lambda one: one.drawn_at)[:most]
