"""What another playbook would have chosen in each decision of a log, beside what was chosen, how likely that was, and
what came of it: what off-policy evaluation asks for.

All before a decision is as it was: the log is folded under the other playbook, with the decisions that were made and
what became of them. What only the other playbook would have decided has no counterpart, and is counted.
"""

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from actors.exports.point_in_time import Start
from actors.exports.redeciding import scores_of
from actors.exports.redrafting import Redrafted, Redrafting, as_of
from actors.log.contract import StoredRecord
from household.contact_rules.share import CapacityShare
from household.decide import decide
from household.deciding.arbitration import ALWAYS_NOTHING_MINOR, first_propensities
from household.deciding.draft import Draft, Scores
from household.decision import Decision
from household.events import EventBatch
from household.plan import NONE, Plan
from household.scoring import schema_hash

SLATE_STOOD = "slate stood"
NOTHING_TO_CHOOSE = "nothing to choose"
WITHHELD = "withheld"
CHANNEL_GONE = "channel gone"
WOULD_STAND = "an earlier slate would stand"

OTHER_PRICE = " (at another price)"
OTHER_WORDS = " (in other words)"

ChoiceShares = tuple[tuple[str, float], ...]
"""(offer, probability that it comes first); none for nothing."""


@dataclass(slots=True, kw_only=True, eq=False)
class WeighedDecision:
    """One decision of the log that had something to choose."""

    decision_id: str
    household: bytes
    decided_us: int
    action: str
    """The offer that came first; empty for nothing."""
    propensity: float
    """With which it did."""
    logged: ChoiceShares
    """What could have come first."""
    wanted: ChoiceShares
    """What would, by the other playbook. What was not said so, or for that price, is another action."""
    context: NDArray[np.float32]
    """(scored features of its playbook,) what was known."""
    schema_hash: str
    """Of those features."""
    cost_minor: int
    """Of having made it."""
    brings_minor: dict[str, int]
    """Action id → what its acceptance brings, of the slate."""
    accepted: int = 0
    """Actions of the slate that were accepted in time."""
    earned_minor: int = 0
    """What these brought, less the cost."""
    taken: set[str] = field(default_factory=set)
    """Their ids: each counts once."""

    def take(self, action_id: str, time_us: int, window_us: int) -> bool:
        """Take an acceptance of an action of the slate; return whether it came in time."""
        is_in_time = action_id not in self.taken and 0 <= time_us - self.decided_us < window_us
        if is_in_time:
            self.accepted += 1
            self.earned_minor += self.brings_minor[action_id]
            self.taken.add(action_id)
        return is_in_time


@dataclass(slots=True, kw_only=True)
class WeighingAnew:
    """What is asked, and what was left out."""

    plan: Plan
    """The other playbook."""
    score: Callable[[Plan, Draft], Scores]
    """Of candidates that the log has no score of."""
    window_us: int
    """How long an acceptance counts."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Decisions, by reason."""
    without_counterpart: Counter[str] = field(default_factory=Counter)
    """Moments that only the other playbook has, by journey: nobody was told anything then, so nobody knows."""
    _elsewhere: dict[str, list[int]] = field(default_factory=dict)
    """Action id → when acceptances were told of it in partitions that have not decided it, but have relocations."""

    def run(self, start: Start, records: Iterable[StoredRecord], *, share: CapacityShare) -> Iterator[WeighedDecision]:
        """Yield the decisions of a partition's log, each once what came of it is known, or the log is at its end.

        Raises:
            LogTooShort: the records begin behind the start.
            PayloadUnreadable, PlanUnreadable, and what reading the records raises.
        """
        drafting = Redrafting(start, share=share, plan=self.plan)
        waiting, by_action = deque[WeighedDecision](), dict[str, WeighedDecision]()
        keep_us = self.window_us + self.plan.clock.lateness_us
        for one in drafting.run(records):
            if isinstance(one, EventBatch):
                self._take_outcomes(one, by_action, is_any_relocated=bool(len(drafting.state.places)))
                while waiting and waiting[0].decided_us + keep_us < drafting.state.now_us:
                    yield _closed(waiting.popleft(), by_action)
                continue
            weighed = self._weighed(drafting, one)
            if weighed is not None:
                waiting.append(weighed)
                by_action.update(dict.fromkeys(weighed.brings_minor, weighed))
        for weighed in waiting:
            yield _closed(weighed, by_action)

    def take_elsewhere(self, decisions: Iterable[WeighedDecision]) -> None:
        """Let decisions have what came of them in other partitions, once all were run: where their households went."""
        for one in decisions:
            for action_id in one.brings_minor.keys() & self._elsewhere.keys():
                for time_us in self._elsewhere[action_id]:
                    one.take(action_id, time_us, self.window_us)

    def _take_outcomes(
        self, batch: EventBatch, by_action: dict[str, WeighedDecision], *, is_any_relocated: bool
    ) -> None:
        for told in batch.outcomes:
            if told.outcome != "accept":
                continue
            one, time_us = by_action.get(told.action_id), int(batch.times_us[told.row])
            if one is None:
                if is_any_relocated:
                    self._elsewhere.setdefault(told.action_id, []).append(time_us)
            elif one.take(told.action_id, time_us, self.window_us):
                del by_action[told.action_id]

    def _weighed(self, drafting: Redrafting, one: Redrafted) -> WeighedDecision | None:
        decision, logged = one.decision, one.logged
        assert logged is not None, "it was stopped at"
        left_out = self._left_out(decision)
        if left_out is not None:
            self.left_out[left_out] += 1
            return None
        draft = self._draft(drafting, one)
        state = as_of(drafting.state, one.stored.record.stamp_us)
        naming = _Naming(logged, self.plan, decision, draft)
        scores = self._scores(draft, decision, naming)
        made = decide(state, draft, scores, epoch=one.stored.record.epoch, schema_hash=schema_hash(self.plan))
        # What arose by another event is the same to whoever is told of it: it is settled by this decision, too.
        ids = {moment.moment_id for moment in decision.moments}
        _forget_moments(drafting, draft, {moment.moment_id for moment in draft.moments} - ids)
        if made.stands:
            self.left_out[WOULD_STAND] += 1
            return None
        first = decision.slate[0].offer if decision.slate else ""
        return WeighedDecision(
            decision_id=decision.decision_id,
            household=decision.household,
            decided_us=decision.decided_us,
            action=first,
            propensity=decision.propensity,
            logged=choices_of(logged, decision),
            wanted=() if made.withheld else tuple((naming.of(name), p) for name, p in choices_of(self.plan, made)),
            context=np.asarray(decision.state_vector, np.float32),
            schema_hash=decision.schema_hash,
            cost_minor=_cost_minor(logged, decision),
            brings_minor={entry.action_id: naming.brings_minor(entry.offer) for entry in decision.slate},
        )

    def _left_out(self, decision: Decision) -> str | None:
        if decision.stands:
            return SLATE_STOOD
        if not any(one.score is not None and not one.vetoes for one in decision.candidates):
            return NOTHING_TO_CHOOSE
        if decision.withheld:
            return WITHHELD
        if decision.channel:
            channel = self.plan.channel_by_name.get(decision.channel, NONE)
            if channel == NONE or not self.plan.channels[channel].inbound:
                return CHANNEL_GONE
        return None

    def _draft(self, drafting: Redrafting, one: Redrafted) -> Draft:
        """Return the draft, without moments of journeys of which the log has decided nothing then."""
        settled = {moment.journey for moment in one.decision.moments}
        draft = next(drafting.drafts(one))
        extra = {moment.moment_id: moment.journey for moment in draft.moments if moment.journey not in settled}
        if extra:
            _forget_moments(drafting, draft, extra)
            self.without_counterpart.update(extra.values())
            one.early.clear()
            draft = next(drafting.drafts(one))
        return draft

    def _scores(self, draft: Draft, decision: Decision, naming: "_Naming") -> Scores:
        """Return the scores of the log, and of what it has none of, those of the model."""
        recorded, plan = scores_of(self.plan, decision), self.plan
        same = {index: score for index, score in recorded.by_offer.items() if naming.is_same(plan.offers[index].name)}
        if all(offer in same for offer in draft.to_score):
            return recorded
        made = self.score(plan, draft)
        return replace(made, by_offer={**made.by_offer, **{one: same[one] for one in draft.to_score if one in same}})


class _Naming:
    """What offers of the other playbook are called beside those of the log: what is not the same has another name."""

    def __init__(self, logged: Plan, plan: Plan, decision: Decision, draft: Draft) -> None:
        self._logged, self._plan = logged, plan
        self._priced = {one.offer: one.price_minor for one in decision.slate}
        self._prices = {plan.offers[index].name: draft.price_minor(index) for index in draft.journey_by_offer}

    def of(self, name: str) -> str:
        """Return the name of what would come first."""
        if name not in self._logged.offer_by_name:
            return name
        before = self._logged.offers[self._logged.offer_by_name[name]]
        after = self._plan.offers[self._plan.offer_by_name[name]]
        if _prices(self._logged, name) != _prices(self._plan, name) or (
            name in self._priced and self._priced[name] != self._prices.get(name, self._priced[name])
        ):
            return name + OTHER_PRICE
        words = [
            {self_plan.channels[one.channel].name: (one.text, one.parameters) for one in offer.treatments}
            for self_plan, offer in ((self._logged, before), (self._plan, after))
        ]
        shared = words[0].keys() & words[1].keys()
        return name if all(words[0][one] == words[1][one] for one in shared) else name + OTHER_WORDS

    def is_same(self, name: str) -> bool:
        """Return whether an offer is the one of the log."""
        return name in self._logged.offer_by_name and self.of(name) == name

    def brings_minor(self, name: str) -> int:
        """Return what an acceptance brings, by the other playbook where it has the offer."""
        plan = self._plan if name in self._plan.offer_by_name else self._logged
        index = plan.offer_by_name.get(name, NONE)
        return 0 if index == NONE else plan.offers[index].brings_minor


def _forget_moments(drafting: Redrafting, draft: Draft, ids: Collection[str]) -> None:
    if not ids:
        return
    state = drafting.state
    for row in state.rows_together(draft.household):
        state.pending.rewrite(row, lambda moment: None if moment.moment_id in ids else moment)


def _prices(plan: Plan, name: str) -> tuple[int, tuple[tuple[str, int], ...]]:
    offer = plan.offers[plan.offer_by_name[name]]
    return offer.price_minor, tuple((plan.segments[one.segment].name, one.price_minor) for one in offer.segment_prices)


def choices_of(plan: Plan, decision: Decision) -> ChoiceShares:
    """Return what could come first in a decision, each with its probability; none where nothing is worth saying."""
    worth = [
        (one.offer, one.value_minor)
        for one in decision.candidates
        if one.value_minor is not None and one.value_minor > ALWAYS_NOTHING_MINOR and not one.vetoes
    ]
    if not worth:
        return ()
    best = max(value for _, value in worth)
    tied = sum(value == best for _, value in worth)
    first, each = first_propensities(len(worth), plan.arbitration.exploration, tied=tied)
    return tuple((name, first if value == best else each) for name, value in worth)


def _cost_minor(plan: Plan, decision: Decision) -> int:
    """Return what having said the first costs; 0 where nothing was."""
    channel = decision.channel if decision.answered else decision.send_channel
    if not decision.slate or not channel:
        return 0
    offer, index = plan.offer_by_name.get(decision.slate[0].offer), plan.channel_by_name.get(channel)
    of_offer = plan.offers[offer].cost_minor if offer is not None else 0
    return of_offer + (plan.channels[index].cost_minor if index is not None else 0)


def _closed(one: WeighedDecision, by_action: dict[str, WeighedDecision]) -> WeighedDecision:
    for action_id in one.brings_minor:
        by_action.pop(action_id, None)
    one.earned_minor -= one.cost_minor
    return one
