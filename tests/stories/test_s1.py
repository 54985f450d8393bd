"""S1, low balance, exactly, with the playbook we ship.

A prepaid member with an active wallet who streams every evening checks her balance. Laws: at the second check nothing;
at the third within seven days, in the same request, the top-up with the streaming pack she uses most, at her segment's
price; a third check seven days after the first, or later, nothing. Households of the control group are decided on,
recorded and left alone.
"""

import asyncio
from pathlib import Path

import pytest

from hearth.v1 import decision_pb2
from tests.actors.harness import DAY, HOUR, MONDAY, SECOND, Hearth, SettableClock, in_loop, running
from tests.stories.telco import (
    INBOUND,
    MEMBER,
    PACKS,
    PRICE_MINOR,
    S1,
    Streamer,
    carriers,
    controlled,
    live_through,
    telco,
)

STREAMERS = [
    Streamer(household=f"{segment}-{pack}-{number}", pack=pack, segment=segment)
    for segment in PRICE_MINOR
    for pack in PACKS
    for number in range(4)
]
TREATED = [one for one in STREAMERS if not controlled(one.household, S1)]
LEFT_ALONE = [one for one in STREAMERS if controlled(one.household, S1)]

FIRST_CHECK = MONDAY + 10 * DAY


async def ask(hearth: Hearth, streamer: Streamer, number: int, time_us: int) -> decision_pb2.DecideResponse:
    """Check the balance in the app: the question carries the check that asks."""
    hearth.clock.at_us = max(hearth.clock.at_us, time_us)
    return await hearth.decide(
        streamer.household, streamer.balance_check(number, time_us), member=MEMBER, channel="app"
    )


async def ask_all(hearth: Hearth, number: int, time_us: int) -> dict[str, decision_pb2.DecideResponse]:
    answers = await asyncio.gather(*(ask(hearth, one, number, time_us) for one in STREAMERS))
    return dict(zip((one.household for one in STREAMERS), answers, strict=True))


async def up_to_the_third_check(hearth: Hearth, after_us: int) -> dict[str, decision_pb2.DecideResponse]:
    """Play the story for all households, the third check `after_us` after the first; return its answers."""
    evenings = 17
    history = [one for streamer in STREAMERS for one in streamer.history(0, evenings)]
    await live_through(hearth, (one for one in history if one.time.ToMicroseconds() <= FIRST_CHECK))
    for number, time_us in ((1, FIRST_CHECK), (2, FIRST_CHECK + DAY)):
        await live_through(hearth, (one for one in history if FIRST_CHECK < one.time.ToMicroseconds() <= time_us))
        for answer in (await ask_all(hearth, number, time_us)).values():
            assert not answer.HasField("action")
            assert list(answer.reasons) == ["NO_CANDIDATES"]
    third = FIRST_CHECK + after_us
    rest = [one for one in history if FIRST_CHECK + DAY < one.time.ToMicroseconds() <= third]
    await live_through(hearth, rest)
    return await ask_all(hearth, 3, third)


@pytest.mark.parametrize("after_us", [2 * DAY, 7 * DAY - SECOND, 7 * DAY - 1])
@in_loop
async def test_the_third_check_within_seven_days_is_answered_with_her_pack_at_her_price(tmp_path: Path, after_us: int):
    assert len(TREATED) > 40
    async with running(tmp_path, SettableClock(), plan=telco()) as hearth:
        answers = await up_to_the_third_check(hearth, after_us)
        for streamer in TREATED:
            action = answers[streamer.household].action
            assert action.offer == f"topup_{streamer.pack}"
            assert (action.price_minor, action.currency) == (PRICE_MINOR[streamer.segment], "EUR")
            assert action.journey == S1
            assert action.treatment.channel == "app"
            assert dict(action.treatment.parameters) == {"action": "one_tap_topup", "streaming_pack": streamer.pack}
            assert f"MOMENT:{S1}" in answers[streamer.household].reasons
        # One record settled each moment; nothing was left to be sent besides.
        assert (hearth.counter("moments"), hearth.counter("pending")) == (len(STREAMERS), 0)
        assert hearth.counter("decisions") == 3 * len(STREAMERS)
        assert hearth.counter("outbox") == 0


@pytest.mark.parametrize("after_us", [7 * DAY, 7 * DAY + SECOND])
@in_loop
async def test_a_third_check_seven_days_after_the_first_is_answered_with_nothing(tmp_path: Path, after_us: int):
    async with running(tmp_path, SettableClock(), plan=telco()) as hearth:
        answers = await up_to_the_third_check(hearth, after_us)
        assert [name for name, answer in answers.items() if answer.HasField("action")] == []
        assert (hearth.counter("moments"), hearth.counter("decisions")) == (0, 3 * len(STREAMERS))


@in_loop
async def test_households_of_the_control_group_are_decided_on_recorded_and_left_alone(tmp_path: Path):
    assert 0 < len(LEFT_ALONE) < len(STREAMERS) / 4
    async with running(tmp_path, SettableClock(), plan=telco()) as hearth:
        answers = await up_to_the_third_check(hearth, 2 * DAY)
        for streamer in LEFT_ALONE:
            answer = answers[streamer.household]
            assert not answer.HasField("action")
            assert answer.reasons[0] == "CONTROL_GROUP"
            record = await hearth.explain(streamer.household, answer.decision_id)
            assert record.withheld
            assert record.slate[0].offer == f"topup_{streamer.pack}"
        assert hearth.counter("withheld") == len(LEFT_ALONE)


@in_loop
async def test_what_was_decided_is_explained_with_what_was_known(tmp_path: Path):
    async with running(tmp_path, SettableClock(), plan=telco()) as hearth:
        answers = await up_to_the_third_check(hearth, 2 * DAY)
        for streamer in TREATED[::7]:
            record = await hearth.explain(streamer.household, answers[streamer.household].decision_id)
            known = {one.name: (one.value, one.label) for one in record.features}
            assert known["member.balance_checks_7d"][0] == 3
            assert known["member.line_type"][1] == "prepaid"
            assert known["member.wallet_active"][0] == 1
            assert known["member.evening_streams"][0] >= 4
            assert known["member.top_streaming_pack"][1] == streamer.pack
            assert [moment.journey for moment in record.moments] == [S1]
            vetoes = {one.offer: list(one.vetoes) for one in record.candidates}
            assert vetoes == {f"topup_{pack}": ([] if pack == streamer.pack else ["NOT_ELIGIBLE"]) for pack in PACKS}


@in_loop
async def test_the_fourth_check_repeats_what_stands_and_makes_nothing_new(tmp_path: Path):
    async with running(tmp_path, SettableClock(), plan=telco()) as hearth:
        third = await up_to_the_third_check(hearth, 2 * DAY)
        fourth = await ask_all(hearth, 4, FIRST_CHECK + 2 * DAY + HOUR)
        for streamer in TREATED:
            assert fourth[streamer.household].action.action_id == third[streamer.household].action.action_id
        assert hearth.counter("moments") == len(STREAMERS)


@in_loop
async def test_all_channels_that_can_carry_it_show_the_same_and_an_accept_ends_it_everywhere(tmp_path: Path):
    async with running(tmp_path, SettableClock(), plan=telco()) as hearth:
        third = await up_to_the_third_check(hearth, 2 * DAY)
        for streamer in TREATED:
            shown = third[streamer.household].action
            assert {*INBOUND, "push", "sms"} == carriers(shown.offer)
            for channel in INBOUND:
                answer = await hearth.decide(streamer.household, member=MEMBER, channel=channel)
                assert (answer.action.action_id, answer.action.treatment.channel) == (shown.action_id, channel)
            accepted = await hearth.accept(streamer.household, shown.action_id, member=MEMBER, channel="ussd")
            assert accepted.effective
            assert accepted.status == decision_pb2.ACTION_STATUS_ACCEPTED
            for channel in INBOUND:
                answer = await hearth.decide(streamer.household, member=MEMBER, channel=channel)
                assert answer.action.action_id != shown.action_id


@in_loop
async def test_without_wallet_or_prepaid_line_or_evenings_nothing_happens(tmp_path: Path):
    def lacking(name: str, without: str) -> list:
        streamer = Streamer(household=name, pack="film_box", segment="standard")
        return [one for one in streamer.history(0, 12) if without not in one.type]

    names = {"no-wallet": "wallet.activated", "no-line": "profile_updated", "no-evenings": "streaming_session"}
    async with running(tmp_path, SettableClock(), plan=telco()) as hearth:
        await live_through(hearth, [one for name, without in names.items() for one in lacking(name, without)])
        for number in range(1, 4):
            for name in names:
                streamer = Streamer(household=name, pack="film_box", segment="standard")
                answer = await ask(hearth, streamer, number, MONDAY + 12 * DAY + number * HOUR)
                assert not answer.HasField("action")
        assert hearth.counter("moments") == 0


@in_loop
async def test_her_moment_is_hers_nobody_else_at_home_uses_it_up(tmp_path: Path):
    streamer = TREATED[0]
    async with running(tmp_path, SettableClock(), plan=telco()) as hearth:
        await live_through(hearth, streamer.history(0, 12))
        for number in (1, 2):
            await ask(hearth, streamer, number, FIRST_CHECK + number * DAY)
        third = FIRST_CHECK + 3 * DAY
        hearth.clock.at_us = third
        # The owner of the partition decides her moment by itself, or her own next question does; never his.
        await asyncio.gather(
            hearth.ingest(streamer.balance_check(3, third)),
            hearth.decide(streamer.household, member="HIM", channel="app"),
        )
        his = await hearth.decide(streamer.household, member="HIM", channel="app")
        hers = await hearth.decide(streamer.household, member=MEMBER, channel="app")
        assert his.action.offer != f"topup_{streamer.pack}"
        assert hers.action.offer == f"topup_{streamer.pack}"


@in_loop
async def test_a_check_stamped_by_a_clock_a_little_ahead_is_seen_by_the_question_it_comes_with(tmp_path: Path):
    streamer = TREATED[0]
    async with running(tmp_path, SettableClock(), plan=telco()) as hearth:
        await live_through(hearth, streamer.history(0, 12))
        for number in (1, 2):
            await ask(hearth, streamer, number, FIRST_CHECK + number * DAY)
        now = FIRST_CHECK + 3 * DAY
        hearth.clock.at_us = now
        ahead = streamer.balance_check(3, now + 30 * SECOND)
        answer = await hearth.decide(streamer.household, ahead, member=MEMBER, channel="app")
        record = await hearth.explain(streamer.household, answer.decision_id)
        assert answer.action.offer == f"topup_{streamer.pack}"
        assert {one.name: one.value for one in record.features}["member.balance_checks_7d"] == 3
