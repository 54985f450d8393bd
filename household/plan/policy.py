"""The sections `playbook`, `channels`, `contact_policy`, `arbitration`, `graph`: what every decision respects."""

from dataclasses import dataclass

from household.later import later
from household.plan.contact_rules import ContactRule
from household.plan.references import NONE, Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTimeRules:
    """The event-time rules of the fold."""

    lateness_us: int = 86_400_000_000
    """Events older than now − this are late."""
    future_us: int = 300_000_000
    """Events newer than the owner's stamp + this are rejected. One less far ahead counts, on the wall clock, as now."""
    request_window_us: int = 86_400_000_000
    """How long a request_id is remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A way to reach a member."""

    name: str
    inbound: bool
    """The member asks there."""
    outbound: bool
    """We may send there unasked."""
    consent: int = NONE
    """Program that must be true for any contact on it; NONE needs none. An error or unknown counts as no."""
    cost_minor: int = 0
    quiet_hours: bool = False
    groups: tuple[str, ...] = later(())
    """Groups of subscribers that each get every action, the one whose acknowledgement settles first.

    Empty: all subscribers share, whatever group they name.
    """
    address: int = later(NONE)
    """Feature that is a member's address on it; NONE where a member's is taken to be one of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactCap:
    """At most `most` contacts on these channels within a rolling window."""

    name: str
    scope: Scope
    channels: tuple[int, ...]
    window_us: int
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactPolicy:
    """What protects the member from us."""

    caps: tuple[ContactCap, ...] = ()
    quiet_from_minute: int = 0
    """Local minute of the day; equal to `quiet_to_minute` means no quiet hours."""
    quiet_to_minute: int = 0
    time_zone: str = "UTC"
    decline_offer_us: int = 7_776_000_000_000
    decline_family_us: int = 604_800_000_000
    rules: tuple[ContactRule, ...] = later(())
    """Those that are switched on; all must hold, and all caps."""
    remembered_us: int = later(0)
    """How long what rules count is kept: the longest window of all that are written, switched on or not. 0 where there
    are none: then nothing is kept for them."""
    member_time_zone: int = later(NONE)
    """Feature whose value is the name of the member's time zone; NONE, and where it is unknown: the operator's."""
    line: int = later(NONE)
    """Feature that is a member's line; NONE where a member is taken to have one."""
    objection: int = later(NONE)
    """Program: while it is true, nothing but what is legally required goes out; NONE for never."""
    fraud: int = later(NONE)
    """Program: while it is true, offers and rewards are made to nobody; NONE for never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arbitration:
    """How the best of several is chosen."""

    exploration: float = 0.0
    """Share of decisions that take a uniformly random action among those worth taking; its propensity is recorded."""
    slate_length: int = 5
    salt: str = "hearth"
    prior_weight: int = later(0)
    """How many showings an offer's prior is worth beside its score, over all partitions; 0: scores count as they are,
    and nothing is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkingRule:
    """How much an evidence is worth, whoever tells of it: same account, same payer, shared device …"""

    evidence: str
    """As graph events name it."""
    probability_ppm: int
    """That whoever it links belongs together, in millionths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphRules:
    """The section `graph`: what is believed of who belongs together without a person's word."""

    members_most: int = 12
    """A merge that would make more members is quarantined."""
    households_most: int = 3
    """An identifier in more households than this within `seen_within_us` is quarantined."""
    seen_within_us: int = 2_592_000_000_000
    certain_ppm: int = 900_000
    """Links below this probability, in millionths, make nobody a member."""
    linking: tuple[LinkingRule, ...] = later(())
    """By evidence; what has no rule is worth what it says of itself."""

    def believed_ppm(self, evidence: str, told_ppm: int) -> int:
        """Return how probable it is what a graph event says, in millionths: as it says and its evidence is worth."""
        return min((told_ppm, *(one.probability_ppm for one in self.linking if one.evidence == evidence)))
