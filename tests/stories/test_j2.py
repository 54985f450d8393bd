"""J2, unified inbound, exactly, with the playbook we ship; and read your writes.

Laws: whoever asks, wherever, is answered from the same state with the same action id, on every channel that can carry
it; what was declined on one channel, and its family, is on no channel in any call that starts afterwards; what was
accepted is withdrawn everywhere, the outbox included; households of the control group are left alone; an acknowledged
signal is in the features of the next decision, in 1,000 of 1,000 trials.
"""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from hearth.v1 import decision_pb2, household_pb2
from tests.actors.harness import DAY, HOUR, MINUTE, MONDAY, SECOND, Hearth, SettableClock, in_loop, running, signal
from tests.stories.telco import (
    INBOUND,
    J2,
    MEMBER,
    S1,
    Streamer,
    controlled,
    family_of,
    first_for,
    live_through,
    telco,
)

CONTACTS = {
    "app": "app.session_started",
    "web": "web.visit",
    "ivr": "ivr.call_started",
    "agent": "call_centre.contact",
    "store": "store.visit",
    "ussd": "",
}

HOUSEHOLDS = [f"household-{number}" for number in range(80)]
TREATED = [name for name in HOUSEHOLDS if not controlled(name, J2)]


async def town(hearth: Hearth) -> None:
    """Let the households differ: products, habits, troubles."""
    chance = np.random.default_rng(20)
    made = []
    for name in HOUSEHOLDS:

        def add(kind: str, member: str = MEMBER, name: str = name, **fields: float | str | bool) -> None:
            made.append(signal(f"{name}-{len(made)}", name, kind, MONDAY, member=member, fields=fields))

        for product in ("mobile", "broadband", "content", "smart_home", "gaming"):
            if chance.integers(2):
                add("billing.product_activated", "", product=product)
        if chance.integers(2):
            add("wallet.activated")
        if chance.integers(3) == 0:
            add("network.outage", "", minutes=29.0)  # too short for a moment of its own
        if chance.integers(3) == 0:
            add("call_centre.complaint")
        if chance.integers(2):
            add("network.data_session", megabytes=6_000.0)
        if chance.integers(3) == 0:
            add("partner.purchase", amount_minor=900.0, partner="fuel_station")
        for _ in range(int(chance.integers(7))):
            add("network.gaming_session", minutes=180.0, evening=True)
        for number in range(int(chance.integers(6))):
            add("network.device_seen_home", "", device=f"device-{number}")
        add("billing.bill_issued", "", amount_minor=float(chance.integers(1_000, 30_000)))
    await hearth.ingest(*made)


async def contact(hearth: Hearth, name: str, channel: str, number: int = 0) -> decision_pb2.DecideResponse:
    """Turn up on a channel."""
    now_us = hearth.clock.now_us()
    kind = CONTACTS[channel]
    signals = [signal(f"{name}-{channel}{number}-{now_us}", name, kind, now_us, member=MEMBER)] if kind else []
    return await hearth.decide(name, *signals, member=MEMBER, channel=channel)


def features(record: household_pb2.DecisionRecord) -> dict[str, float]:
    return {one.name: one.value for one in record.features}


@in_loop
async def test_every_channel_is_answered_from_the_same_state_with_the_same_action_id(tmp_path: Path):
    async with running(tmp_path, SettableClock(), plan=telco()) as hearth:
        await town(hearth)
        chance = np.random.default_rng(7)
        seen = set()
        for name in TREATED:
            order = [INBOUND[index] for index in chance.permutation(len(INBOUND))]
            first = await contact(hearth, name, order[0])
            record = await hearth.explain(name, first.decision_id)
            # What a moment brought up before, such as an outage, stands.
            slate = (await hearth.explain(name, record.stands)).slate if record.stands else record.slate
            assert len(slate) > 0, "in this town there is something for everyone"
            for channel in order[1:]:
                # Mere questions: a contact's signal would be one more thing that is known.
                answer = await hearth.decide(name, member=MEMBER, channel=channel)
                wanted = first_for(channel, slate)
                assert answer.action.action_id == (wanted.action_id if wanted else "")
                assert answer.reasons[0] == "SLATE_STANDS"
                assert answer.HasField("action") == (wanted is not None)
                if wanted is not None:
                    assert answer.action.treatment.channel == channel
                    assert (answer.action.offer, answer.action.price_minor) == (wanted.offer, wanted.price_minor)
                    seen.add(wanted.offer)
                else:
                    assert "CHANNEL_CANNOT_CARRY" in answer.reasons
                assert features(await hearth.explain(name, answer.decision_id)) == features(record)
        assert len(seen) >= 5, "these households get different answers"


@in_loop
async def test_what_was_declined_on_one_channel_is_on_none_in_any_later_call_nor_is_its_family(tmp_path: Path):
    clock = SettableClock()
    async with running(tmp_path, clock, plan=telco()) as hearth:
        await town(hearth)
        for number, name in enumerate(TREATED):
            where = INBOUND[number % len(INBOUND)]
            first = await contact(hearth, name, where)
            if not first.HasField("action"):
                continue
            before = {one.decision_id for one in await hearth.decisions(name)}
            declined = await hearth.decline(name, first.action.action_id, member=MEMBER, channel=where)
            assert (declined.effective, declined.status) == (True, decision_pb2.ACTION_STATUS_DECLINED)
            later = await asyncio.gather(*(contact(hearth, name, channel, 1) for channel in INBOUND))
            for answer in later:
                assert answer.action.action_id != first.action.action_id
                assert answer.action.offer != first.action.offer
                assert answer.action.family != first.action.family or not answer.HasField("action")
            for answer in await hearth.decisions(name):
                if answer.decision_id not in before:
                    assert first.action.family not in {family_of(action.offer) for action in answer.slate}


@pytest.mark.parametrize(
    ("after_us", "family_is_back", "offer_is_back"),
    [
        (7 * DAY - SECOND, False, False),
        (7 * DAY, True, False),
        (90 * DAY - SECOND, True, False),
        (90 * DAY, True, True),
    ],
)
@in_loop
async def test_a_declined_offer_stays_away_its_days_and_its_family_its_own(
    tmp_path: Path, after_us: int, family_is_back: bool, offer_is_back: bool
):
    clock = SettableClock()
    name = TREATED[0]
    async with running(tmp_path, clock, plan=telco()) as hearth:
        first = await contact(hearth, name, "app")
        declined, family = first.action.offer, first.action.family
        others = {offer.name for offer in telco().offers if offer.family == family and offer.name != declined}
        await hearth.decline(name, first.action.action_id, member=MEMBER)
        clock.pass_us(after_us)
        await contact(hearth, name, "app", 1)
        vetoes = {one.offer: set(one.vetoes) for one in (await hearth.explain(name)).candidates}
        away = {"DECLINED_OFFER", "DECLINED_FAMILY"}
        assert bool(vetoes[declined] & away) == (not offer_is_back)
        assert {bool(vetoes[offer] & away) for offer in others & vetoes.keys()} == {not family_is_back}


@in_loop
async def test_what_was_accepted_is_withdrawn_everywhere(tmp_path: Path):
    async with running(tmp_path, SettableClock(), plan=telco()) as hearth:
        await town(hearth)
        for number, name in enumerate(TREATED):
            where = INBOUND[number % len(INBOUND)]
            first = await contact(hearth, name, where)
            if not first.HasField("action"):
                continue
            slate = {action.action_id for action in (await hearth.explain(name, first.decision_id)).slate}
            accepted = await hearth.accept(name, first.action.action_id, member=MEMBER, channel=where)
            assert (accepted.effective, accepted.status) == (True, decision_pb2.ACTION_STATUS_ACCEPTED)
            assert not {action.action_id for action in (await hearth.get(name)).live_actions} & slate
            for channel in INBOUND:
                answer = await contact(hearth, name, channel, 1)
                assert answer.action.action_id not in slate
            again = await hearth.accept(name, first.action.action_id, member=MEMBER, channel="web")
            assert (again.effective, again.status) == (False, decision_pb2.ACTION_STATUS_ACCEPTED)


@pytest.mark.parametrize("outcome", ["accept", "decline"])
@in_loop
async def test_an_outcome_on_an_inbound_channel_stops_what_waits_to_be_sent(tmp_path: Path, outcome: str):
    clock = SettableClock()
    streamers = [Streamer(household=f"s{number}", pack="film_box", segment="standard") for number in range(20)]
    treated = [one for one in streamers if not controlled(one.household, S1)]
    async with running(tmp_path, clock, plan=telco()) as hearth:
        await live_through(hearth, [one for streamer in streamers for one in streamer.history(0, 12)])
        clock.at_us = MONDAY + 12 * DAY
        now_us = clock.now_us()
        await hearth.ingest(
            *(one.signal("yes", "app.consent_changed", now_us, marketing=True) for one in streamers),
            *(one.balance_check(number, now_us + number) for one in streamers for number in range(3)),
        )
        await hearth.until(lambda: hearth.counter("pending") == 0)
        assert hearth.counter("outbox") == len(treated)
        for streamer in treated:
            waiting = (await hearth.explain(streamer.household)).slate[0]
            inbound = await contact(hearth, streamer.household, "agent")
            assert inbound.action.action_id == waiting.action_id
            report = hearth.accept if outcome == "accept" else hearth.decline
            assert (await report(streamer.household, waiting.action_id, member=MEMBER, channel="agent")).effective
        assert (hearth.counter("outbox"), hearth.counter("withdrawn")) == (0, len(treated))
        async with hearth.subscribed("push", "sms") as deliveries:
            waiting_for_one = asyncio.ensure_future(anext(deliveries))
            for _ in range(30):
                await hearth.turn()
            assert not waiting_for_one.done()
            waiting_for_one.cancel()
            await asyncio.wait([waiting_for_one])


@in_loop
async def test_households_of_the_control_group_are_decided_on_and_left_alone_on_every_channel(tmp_path: Path):
    left_alone = [name for name in HOUSEHOLDS if controlled(name, J2)]
    assert 0 < len(left_alone) < len(HOUSEHOLDS) / 4
    async with running(tmp_path, SettableClock(), plan=telco()) as hearth:
        await town(hearth)
        for name in left_alone:
            for channel in INBOUND:
                answer = await contact(hearth, name, channel)
                assert not answer.HasField("action")
                assert answer.reasons[0] == "CONTROL_GROUP"
                assert (await hearth.explain(name, answer.decision_id)).withheld
            assert list((await hearth.get(name)).live_actions) == []


@in_loop
async def test_whoever_opted_out_is_left_alone_on_every_channel_from_then_on(tmp_path: Path):
    async with running(tmp_path, SettableClock(), plan=telco()) as hearth:
        await town(hearth)
        for name in TREATED[:30]:
            assert (await contact(hearth, name, "app")).HasField("action")
            await hearth.ingest(signal(f"{name}-out", name, "app.opted_out", MONDAY, member=MEMBER))
            for channel in INBOUND:
                answer = await contact(hearth, name, channel, 1)
                assert not answer.HasField("action"), channel


@in_loop
async def test_many_channels_at_once_agree(tmp_path: Path):
    """One answer for all, also when all ask in the same instant, while signals, declines and accepts come in."""
    async with running(tmp_path, SettableClock(), plan=telco()) as hearth:
        await town(hearth)

        async def one_household(number: int, name: str) -> None:
            answers = await asyncio.gather(*(contact(hearth, name, channel) for channel in INBOUND))
            slates = {one.decision_id: one.slate for one in await hearth.decisions(name)}
            made = [slate for slate in slates.values() if slate]
            assert len(made) == 1
            for channel, answer in zip(INBOUND, answers, strict=True):
                wanted = first_for(channel, made[0])
                assert answer.action.action_id == (wanted.action_id if wanted else "")
            shown = next((answer.action for answer in answers if answer.HasField("action")), None)
            if shown is not None and number % 2:
                await hearth.decline(name, shown.action_id, member=MEMBER)
                later = await asyncio.gather(*(contact(hearth, name, channel, 1) for channel in INBOUND))
                assert shown.offer not in {answer.action.offer for answer in later}

        await asyncio.gather(*(one_household(number, name) for number, name in enumerate(TREATED)))


TRIALS = 1_000

WRITES = {
    "member.data_megabytes_30d": ("network.data_session", {"megabytes": 7.0}, 7.0),
    "member.gaming_minutes_7d": ("network.gaming_session", {"minutes": 3.0, "evening": False}, 3.0),
    "member.topups_30d": ("billing.topup", {"amount_minor": 500.0}, 1.0),
    "member.app_sessions_30d": ("app.session_started", {}, 1.0),
    "household.partner_purchases": ("partner.purchase", {"amount_minor": 1.0, "partner": "cinema"}, 1.0),
}


@in_loop
async def test_an_acknowledged_signal_is_in_the_features_of_the_next_decision(tmp_path: Path):
    """1,000 of 1,000, over households, partitions and features, many households at once."""
    clock = SettableClock()
    names = [f"reader-{number}" for number in range(50)]
    rounds = TRIALS // len(names)
    async with running(tmp_path, clock, plan=telco(), partitions=(0, 1, 2, 3)) as hearth:
        held = 0

        async def trial(number: int, name: str) -> None:
            nonlocal held
            feature = list(WRITES)[number % len(WRITES)]
            kind, fields, amount = WRITES[feature]
            now_us = clock.now_us()
            sent = await hearth.ingest(signal(f"{name}-{number}", name, kind, now_us, member=MEMBER, fields=fields))
            assert sent.counts.applied == 1
            answer = await hearth.decide(name, member=MEMBER, channel=INBOUND[number % len(INBOUND)])
            record = await hearth.explain(name, answer.decision_id)
            times_before = (number // len(WRITES)) + 1
            assert features(record)[feature] == times_before * amount
            held += 1

        for number in range(rounds):
            clock.pass_us(MINUTE if number % 4 else HOUR)
            await asyncio.gather(*(trial(number, name) for name in names))
        assert held == TRIALS
