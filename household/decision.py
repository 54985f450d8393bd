"""Moments and decisions: the values that decide makes, the log keeps and apply folds.

All of them are made and never changed. What is made for each decision is not frozen: that would cost several times as
much as to make it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from household.later import later
from household.tables.arms import Assignment
from household.tables.contract import Bytes, MemberRow, PlanName, Text, TimeUs
from household.terms import Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A trigger that became true; pending until a decision that names it is folded."""

    moment_id: Text
    """household / journey / instance / event id: the same for the same cause, live and in replay."""
    journey: PlanName
    member: MemberRow
    """Row of the member whose event fired it, or NO_MEMBER."""
    event_id: Bytes
    event_type: PlanName
    """Empty where time brought it about, or what an instance heard before."""
    time_us: TimeUs
    step: PlanName = later("")
    """The state, of a journey with states, that acts. Not in records: its id names it."""
    until_us: TimeUs = later(0)
    """Of such a one: from when on nothing is said any more. Not in records."""


@dataclass(slots=True, kw_only=True)
class Candidate:
    """One offer that was weighed."""

    offer: str
    score: float | None
    """P(accept); None if vetoed before scoring."""
    value_minor: float | None
    """Expected value in minor units: the sum of its terms."""
    vetoes: tuple[str, ...]
    """What speaks against it, the first first."""
    terms: Terms | None = later(None)
    """Of its value; None where it has none, and before they were kept."""


@dataclass(slots=True, kw_only=True)
class SlateAction:
    """One ranked action; each channel shows the first it can carry."""

    action_id: str
    offer: str
    journey: str
    """Whose moment brought it up; empty when the contact alone did."""
    price_minor: int
    valid_until_us: int
    is_personal: bool = later(False)
    """The member's own, whom the decision names; otherwise it is the household's, the same for whoever asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """An action of an earlier slate that no longer holds, and is taken back by this decision."""

    action_id: str
    reason: str
    """The veto that fell, or PRICE_CHANGED or OFFER_GONE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleNote:
    """A rule of the contact policy that spoke against an action, and what would have to pass for it not to."""

    rule: str
    effect: str
    """block, hold or next_channel."""
    offer: str
    channel: str
    contacts: tuple[str, ...]
    """Ids of the actions whose contacts count, what ceases to count first first; empty where others' do."""
    passes_us: int
    """The first instant at which the rule would let it pass; 0 where time alone does not bring that about."""


@dataclass(slots=True, kw_only=True)
class ScarcePrice:
    """A budget that some of what was weighed would use, as it was then."""

    budget: str
    price_minor: float
    """Of a unit."""
    share: int
    """Of the partition, in the window."""
    left: int
    """Of that, before this decision."""
    used: int
    """By what this decision gave out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ghost:
    """An exposure that would have been, were the household in no control group."""

    offer: str
    journey: str
    """Whose moment brought it up; empty when the contact alone did."""
    channel: str
    """On which it would have been shown or sent."""
    time_us: int
    """When: at the decision, or when a held action would have had its turn."""
    experiments: tuple[str, ...]
    """By whose control groups it was withheld."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowScores:
    """What a model version in shadow said of the candidates that were scored; nothing was decided by it."""

    model_version: str
    scores: tuple[float, ...]
    """P(accept) of each candidate that has a score, in their order."""
    term: str = later("")
    """A value of household.plan.ValueTerm where it is another than acceptance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TermScores:
    """What the model of another term than acceptance said of the candidates that were scored."""

    term: str
    """A value of household.plan.ValueTerm."""
    model_version: str
    """What scored, or `prior`."""
    scores: tuple[float, ...]
    """Of each candidate that has a score, in their order; empty where nothing is assumed in a model's place."""
    scored_by: str
    """A value of household.scoring.Way."""
    degraded: bool
    why: str
    """For people; empty unless degraded."""


@dataclass(slots=True, kw_only=True, eq=False)
class Decision:
    """One decision as it is recorded; everything needed to explain it, to train on it and to derive it again."""

    decision_id: str
    request_id: str
    """Empty for one that no request asked for."""
    household: bytes
    member: bytes
    channel: str
    """The channel that asked; empty for one that no request asked for."""
    decided_us: int
    moments: tuple[Moment, ...]
    """Settled by this decision."""
    plan_version: str
    model_version: str
    """What scored, or `prior`."""
    schema_hash: str
    degraded: bool
    """The scores of acceptance are worse than they should be; `is_degraded` is of all terms."""
    withheld: bool
    propensity: float
    reasons: tuple[str, ...]
    candidates: Sequence[Candidate]
    slate: tuple[SlateAction, ...]
    """Best first; empty for nothing."""
    stands: str
    """Id of an earlier decision whose slate still stands and is served again; empty for a new slate."""
    answered: str
    """Id of the action that the asking channel was given; empty for none."""
    send_channel: str
    """Outbound channel on which the first action is sent; empty for none."""
    send_before_us: int
    local_minute_of_week: int
    state_vector: NDArray[np.float32]
    """(scored features,) as the model saw them."""
    request_hash: bytes = later(b"")
    """Of the body of the request that asked; empty where none did, or before it was kept."""
    withdrawals: tuple[Withdrawal, ...] = later(())
    send_not_before_us: int = later(0)
    """Held until then, since something speaks against sending earlier; 0 for at once, as far as time is concerned."""
    fallback_channels: tuple[str, ...] = later(())
    """Where it is sent next, in this order, when a gateway could not deliver it on `send_channel`."""
    rules: tuple[RuleNote, ...] = later(())
    """What rules of the contact policy spoke against, of candidates and of the first action."""
    scored_by: str = later("")
    """Which way the scores came, a value of household.scoring.Way; empty when nothing was scored."""
    arms: tuple[Assignment, ...] = later(())
    """Of the experiments that it hung on. What is met for the first time has its `decided_us`, and is recorded."""
    ghosts: tuple[Ghost, ...] = later(())
    """Exposure that was withheld."""
    shadows: tuple[ShadowScores, ...] = later(())
    """Of each version in shadow; one that failed to score is not among them."""
    scarce: tuple[ScarcePrice, ...] = later(())
    """What was scarce, and what this decision takes of it."""
    events_seen: int = later(-1)
    """Events of its partition, from the first on, that were folded when its features were read; -1 where that was not
    kept. What stands between them and its own record it has not seen."""
    scored_channel: str = later("")
    """The channel that the first action was scored for, where it is to go out on another; empty otherwise."""
    term_scores: tuple[TermScores, ...] = later(())
    """Of each other term of values for which the playbook names a model, or assumes something."""

    @property
    def is_degraded(self) -> bool:
        """Whether any of its scores is worse than it should be."""
        return self.degraded or any(one.degraded for one in self.term_scores)
