"""What passes between a member and Hearth: the member comes to a channel, is shown something, and answers, or does not.

Everything on the way is checked against what Hearth promises; breaches are counted, never raised.
"""

import asyncio
import zlib
from collections import Counter
from dataclasses import dataclass, field

from hearth.v1 import decision_pb2, delivery_pb2, household_pb2, signal_pb2
from household.plan import Plan
from loadtest.gateway import Gateway, GaveUp
from loadtest.tally import Tally
from loadtest.town import Answer, Reaction, Town
from loadtest.witness import holds_signal, readings, witnesses

OUTCOME = {
    Reaction.ACCEPT: decision_pb2.OUTCOME_ACCEPT,
    Reaction.DECLINE: decision_pb2.OUTCOME_DECLINE,
}
CONVERTS_AFTER_US = 20_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One time that a member comes to a channel."""

    id: str
    """Event id of the signal that says so; every request id of the conversation derives from it."""
    household: str
    member: str
    channel: str
    time_us: int
    signal: signal_pb2.Signal | None
    """Sent along with the question, if the question is to carry it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curiosity:
    """How often, of 100 contacts, something is asked only to check a promise."""

    other_channel_percent: int = 10
    explain_percent: int = 2


@dataclass(slots=True)
class Memory:
    """What gateways together know to be settled, and since when."""

    declined_at: dict[tuple[str, str], tuple[float, int]] = field(default_factory=dict)
    """(household, offer) → loop time of the acknowledgement, event time until which it holds."""
    accepted_at: dict[str, float] = field(default_factory=dict)
    """action id → loop time of the acknowledgement."""
    changes: Counter[str] = field(default_factory=Counter)
    """Reports begun or acknowledged per household: unchanged means that nothing came between two questions."""


def chance_percent(what: str, key: str) -> int:
    """Return a number from 0 to 99 that depends on the key alone."""
    return zlib.crc32(f"{what}:{key}".encode()) % 100


def microseconds(seconds: int, nanos: int) -> int:
    """Return a protobuf timestamp as microseconds."""
    return seconds * 1_000_000 + nanos // 1_000


class Conversations:
    """All conversations of a run: one gateway, one memory, one tally."""

    def __init__(self, gateway: Gateway, town: Town, tally: Tally, curiosity: Curiosity) -> None:
        self._gateway = gateway
        self._town = town
        self._tally = tally
        self._curiosity = curiosity
        self._memory = Memory()
        self._inbound = tuple(channel.name for channel in town.plan.channels if channel.inbound)

    async def contact(self, contact: Visit) -> None:
        """Play one contact to its end. A call that fails for good ends it; the failure is counted."""
        try:
            await self._contact(contact)
        except GaveUp:
            return

    async def _contact(self, contact: Visit) -> None:
        answer = await self.ask(contact, f"d-{contact.id}", contact.channel, due=None)
        if contact.signal is not None and chance_percent("explain", contact.id) < self._curiosity.explain_percent:
            await self._check_explained(contact, answer)
        if not answer.HasField("action"):
            return
        if chance_percent("other", contact.id) < self._curiosity.other_channel_percent:
            await self._check_other_channel(contact, answer)
        reaction = self._town.answer(contact.household, contact.member, answer.action, contact.channel, contact.time_us)
        # The town is sent in batches, so a partition may be ahead of this member: nobody reacts to what was not
        # yet decided.
        decided_us = microseconds(answer.decided_at.seconds, answer.decided_at.nanos)
        await self._respond(contact, answer.action, reaction, since_us=max(contact.time_us, decided_us))
        if (
            reaction.reaction in OUTCOME
            and chance_percent("after", contact.id) < 5 * self._curiosity.other_channel_percent
        ):
            other = self._another_channel(contact, answer.action)
            if other:
                await self.ask(contact, f"a-{contact.id}", other, due=None, carries_signal=False)

    async def ask(
        self, contact: Visit, request_id: str, channel: str, *, due: float | None, carries_signal: bool = True
    ) -> decision_pb2.DecideResponse:
        """Ask Decide and count the answer; latency runs from `due`, or from now if it is due now.

        Raises:
            GaveUp: no answer came.
        """
        signals = [contact.signal] if contact.signal is not None and carries_signal else []
        request = decision_pb2.DecideRequest(
            request_id=request_id, household=contact.household, member=contact.member, channel=channel, signals=signals
        )
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer = await self._gateway.decide(request)
        self._tally.decide.add(loop.time() - (began if due is None else due))
        self._count(request, answer)
        self._check_settled(contact, answer, began)
        return answer

    def _count(self, request: decision_pb2.DecideRequest, answer: decision_pb2.DecideResponse) -> None:
        decisions = self._tally.decisions
        has_action = answer.HasField("action")
        decisions.total += 1
        decisions.nothing += not has_action
        decisions.degraded += answer.degraded
        decisions.by_channel[request.channel] += 1
        decisions.by_action[answer.action.offer if has_action else "(nothing)"] += 1
        decisions.by_reason[answer.reasons[0].split(":")[0] if answer.reasons else ""] += 1
        decisions.by_model[answer.model_version] += 1
        decisions.playbooks.add(answer.playbook_version)
        self._tally.well_formed.hold(
            _is_well_formed(request, answer),
            f"{request.request_id}: {list(answer.reasons)} {answer.action.action_id!r}",
        )
        if request.signals:
            accounted = self._tally.signals.add(len(request.signals), answer.signal_counts, answer.rejections)
            self._tally.accounted.hold(accounted, f"{request.request_id}: {answer.signal_counts}")

    def _check_settled(self, contact: Visit, answer: decision_pb2.DecideResponse, began: float) -> None:
        """What was declined or accepted before this question began must not be offered by its answer."""
        if not answer.HasField("action") or answer.action.status != decision_pb2.ACTION_STATUS_LIVE:
            return
        action = answer.action
        example = f"{contact.household}: {action.offer} as {action.action_id} on {action.treatment.channel}"
        declined = self._memory.declined_at.get((contact.household, action.offer))
        decided_us = microseconds(answer.decided_at.seconds, answer.decided_at.nanos)
        if declined is not None and declined[0] <= began:
            self._tally.declined_again.hold(decided_us >= declined[1], example)
        elif self._memory.changes[contact.household]:
            self._tally.declined_again.trials += 1
        accepted = self._memory.accepted_at.get(action.action_id)
        self._tally.accepted_again.hold(accepted is None or accepted > began, example)

    async def _check_explained(self, contact: Visit, answer: decision_pb2.DecideResponse) -> None:
        """The features of the decision must hold the signal that came with the question."""
        assert contact.signal is not None
        if answer.signal_counts.applied != 1:
            return
        explained = await self._gateway.explain(contact.household, answer.decision_id)
        found = readings(explained.decision.features)
        decided_us = microseconds(answer.decided_at.seconds, answer.decided_at.nanos)
        for feature in witnesses(self._town.plan, contact.signal.type):
            if feature.name not in found and explained.found:
                continue
            kept = holds_signal(feature, found.get(feature.name), decided_us - contact.time_us)
            self._tally.read_your_writes.hold(
                kept, f"{contact.household}: {feature.name} = {found.get(feature.name)} after {contact.signal.type}"
            )

    async def _check_other_channel(self, contact: Visit, first: decision_pb2.DecideResponse) -> None:
        """Another channel that can carry the action must be given the same one."""
        channel = self._another_channel(contact, first.action)
        if not channel:
            return
        changes = self._memory.changes[contact.household]
        second = await self.ask(contact, f"o-{contact.id}", channel, due=None, carries_signal=False)
        expires_us = microseconds(first.action.valid_until.seconds, first.action.valid_until.nanos)
        decided_us = microseconds(second.decided_at.seconds, second.decided_at.nanos)
        if self._memory.changes[contact.household] != changes or decided_us >= expires_us:
            return
        self._tally.same_action.hold(
            second.action.action_id == first.action.action_id,
            f"{contact.household}/{contact.member}: {first.action.action_id!r} on {contact.channel}, "
            f"{second.action.action_id!r} on {channel}",
        )

    def _another_channel(self, contact: Visit, action: decision_pb2.Action) -> str:
        """Return an inbound channel that can carry the action too; empty if there is none."""
        carrying = carried_by(self._town.plan, action.offer)
        others = [name for name in self._inbound if name != contact.channel and (name in carrying or not carrying)]
        return others[zlib.crc32(contact.id.encode()) % len(others)] if others else ""

    async def delivered(self, delivery: delivery_pb2.SubscribeResponse, now_us: int) -> None:
        """Take over an outbound action, send it, and report what the member does; a redelivery is only acknowledged."""
        self._tally.deliveries += 1
        self._tally.redeliveries += delivery.attempt > 1
        action = delivery.action
        channel = action.treatment.channel
        self._tally.deliveries_by_channel[channel] += 1
        request = delivery_pb2.AckRequest(
            request_id=f"k-{action.action_id}-{channel}",
            household=delivery.household,
            action_id=action.action_id,
            channel=channel,
            delivered=True,
        )
        try:
            acked = await self._gateway.ack(request)
            self._tally.acks["effective" if acked.effective else acked.reason or "ineffective"] += 1
            if not acked.effective:
                return
            contact = Visit(
                id=action.action_id,
                household=delivery.household,
                member=delivery.member,
                channel=channel,
                time_us=now_us,
                signal=None,
            )
            reaction = self._town.answer(delivery.household, delivery.member, action, channel, now_us)
            await self._respond(contact, action, reaction, since_us=now_us)
        except GaveUp:
            return

    async def _respond(self, contact: Visit, action: decision_pb2.Action, answer: Answer, *, since_us: int) -> None:
        if answer.is_seen:
            await self._report(contact, action, decision_pb2.OUTCOME_IMPRESSION, since_us + answer.seen_after_us)
        if answer.reaction not in OUTCOME:
            return
        time_us = since_us + answer.reacts_after_us
        settled = await self._report(contact, action, OUTCOME[answer.reaction], time_us)
        if settled and answer.reaction is Reaction.ACCEPT and answer.converts:
            await self._report(contact, action, decision_pb2.OUTCOME_CONVERT, time_us + CONVERTS_AFTER_US)
            await self._consequence(contact, action, time_us + CONVERTS_AFTER_US)

    async def _consequence(self, contact: Visit, action: decision_pb2.Action, time_us: int) -> None:
        """What was bought is activated: billing or the wallet says so."""
        signal = self._town.consequence(contact.household, contact.member, action, time_us)
        if signal is not None:
            answer = await self._gateway.ingest_signals([signal])
            accounted = self._tally.signals.add(1, answer.counts, answer.rejections)
            self._tally.accounted.hold(accounted, f"{signal.event_id}: {answer.counts}")

    async def _report(
        self, contact: Visit, action: decision_pb2.Action, outcome: decision_pb2.Outcome, time_us: int
    ) -> bool:
        name = decision_pb2.Outcome.Name(outcome).removeprefix("OUTCOME_").lower()
        request = decision_pb2.ReportRequest(
            request_id=f"r-{contact.id}-{name}",
            household=contact.household,
            member=contact.member,
            action_id=action.action_id,
            outcome=outcome,
            channel=contact.channel,
        )
        request.time.FromMicroseconds(time_us)
        self._memory.changes[contact.household] += 1
        answer = await self._gateway.report(request)
        self._memory.changes[contact.household] += 1
        self._tally.outcomes[name] += 1
        if not answer.effective:
            self._tally.ineffective[f"{name}: {answer.reason}"] += 1
            return False
        self._remember(contact.household, action, outcome, time_us)
        return True

    def _remember(
        self, household: str, action: decision_pb2.Action, outcome: decision_pb2.Outcome, time_us: int
    ) -> None:
        acked = asyncio.get_running_loop().time()
        if outcome == decision_pb2.OUTCOME_DECLINE:
            until_us = time_us + self._town.plan.policy.decline_offer_us
            self._memory.declined_at[household, action.offer] = (acked, until_us)
        elif outcome == decision_pb2.OUTCOME_ACCEPT:
            self._memory.accepted_at[action.action_id] = acked


def carried_by(plan: Plan, offer: str) -> frozenset[str]:
    """Return the channels that have a treatment for an offer; empty for an offer that the plan does not know."""
    index = plan.offer_by_name.get(offer)
    if index is None:
        return frozenset()
    return frozenset(plan.channels[treatment.channel].name for treatment in plan.offers[index].treatments)


def _is_well_formed(request: decision_pb2.DecideRequest, answer: decision_pb2.DecideResponse) -> bool:
    if not answer.decision_id or not answer.reasons or not all(answer.reasons):
        return False
    if not answer.HasField("action"):
        return True
    action = answer.action
    is_ours = action.treatment.channel == request.channel and bool(action.action_id) and bool(action.offer)
    if answer.repeated_request or action.status != decision_pb2.ACTION_STATUS_LIVE:
        return is_ours
    return is_ours and (action.valid_until.seconds, action.valid_until.nanos) > (
        answer.decided_at.seconds,
        answer.decided_at.nanos,
    )


def feature_lines(features: list[household_pb2.FeatureValue]) -> list[str]:
    """Return readings for people, one line each."""
    return [f"{one.name} = {one.label or (one.value if one.HasField('value') else 'unknown')}" for one in features]
