"""Law: of the earlier holder of a number its next one starts with nothing: no surface shows, spends, counts or inherits
anything of hers, whoever she was (a member, or nobody that is known), and whether the number is told by its own text.
"""

import asyncio
from pathlib import Path

import pytest

from hearth.v1 import decision_pb2, signal_pb2
from tests.actors.doors import Doors, graph, of
from tests.actors.harness import HOUR, MONDAY, SECOND, Hearth, SettableClock, corner, in_loop, running

PHONE = "msisdn:+447700900123"
LATER = MONDAY + HOUR
EVERY_WAY = ({"identifier": PHONE}, {"household": PHONE})
"""A number is asked for as what it is, and by who takes its text for a household's key."""


def of_the_earlier_holder() -> list[signal_pb2.Signal]:
    return [
        of(PHONE, "c", "consent", MONDAY, fields={"marketing": True}),
        *(of(PHONE, f"p{n}", "pay", MONDAY, fields={"amount": 5.0, "pack": "kids"}) for n in range(3)),
        of(PHONE, "v", "visit", MONDAY),
        of(PHONE, "k1", "check", MONDAY),
        of(PHONE, "k2", "check", MONDAY),
    ]


async def lived(hearth: Hearth, doors: Doors, holder: str) -> dict[str, str]:
    """Let an earlier holder live with the number; return what is known of her by ids."""
    if holder:
        await doors.told(graph("link", "g0", MONDAY, identifier=PHONE, subject=holder))
    await doors.told(*of_the_earlier_holder())
    await hearth.until(lambda: hearth.counter("decisions") >= 1)
    shown = await doors.decide(identifier=PHONE, request_id="hers")
    assert shown.action.action_id
    declined = await doors.decide(identifier=PHONE, channel="web", request_id="hers-2")
    await doors.report(
        identifier=PHONE,
        request_id="told",
        action_id=declined.action.action_id,
        outcome=decision_pb2.OUTCOME_DECLINE,
        channel="web",
        time=declined.decided_at,
    )
    newest = await doors.decide(identifier=PHONE, request_id="hers-3")
    return {"action_id": newest.action.action_id or shown.action.action_id, "decision_id": newest.decision_id}


def readings(told) -> dict[str, float]:
    values = [*told.features, *(one for member in told.members for one in member.features)]
    return {one.name: one.value for one in values if one.HasField("value")}


@pytest.mark.parametrize("next_holder", ["", "member:ben"])
@pytest.mark.parametrize("holder", ["", "member:anna"])
@in_loop
async def test_the_next_holder_of_a_number_starts_with_nothing(tmp_path: Path, holder: str, next_holder: str):
    clock = SettableClock()
    async with running(tmp_path / "log", clock, plan=corner()) as hearth:
        doors = Doors(hearth)
        hers = await lived(hearth, doors, holder)
        before = await doors.get(identifier=PHONE)
        assert readings(before)["household.payments"] == 3.0
        clock.at_us = LATER
        await doors.told(graph("recycle", "g1", LATER - 2, identifier=PHONE))
        if next_holder:
            await doors.told(graph("link", "g2", LATER - 1, identifier=PHONE, subject=next_holder))

        # Before a signal of the next holder, and after.
        for fresh in (False, True):
            if fresh:
                await doors.told(of(PHONE, "fresh", "visit", LATER))
            for whom in EVERY_WAY:
                await nothing_is_seen(doors, whom, hers, holder, decided=fresh)

        if holder:
            # What was hers stays hers, whole.
            kept = await doors.get(household=holder)
            assert readings(kept)["household.payments"] == 3.0
            assert hers["decision_id"] in {one.decision_id for one in await doors.decisions(household=holder)}
        digests = await hearth.household_digests()
        copy = hearth.disk_copy(tmp_path / "copy")
    async with running(copy, clock, plan=corner()) as hearth:
        assert await hearth.household_digests() == digests
        for whom in EVERY_WAY:
            await nothing_is_seen(Doors(hearth), whom, hers, holder, decided=True)


async def nothing_is_seen(
    doors: Doors, whom: dict[str, str], hers: dict[str, str], holder: str, *, decided: bool
) -> None:
    told = await doors.get(**whom)
    if told.known:
        assert readings(told).get("household.payments", 0.0) == 0.0
        assert readings(told).get("member.checks_7d", 0.0) == 0.0
        assert "member.marketing" not in readings(told)
        assert not told.products
        assert not told.pending
        assert hers["action_id"] not in {one.action_id for one in told.live_actions}
        assert not told.assignments
        assert holder not in {one.name for one in told.subjects} or not holder
    assert hers["decision_id"] not in {one.decision_id for one in await doors.decisions(**whom)}
    assert not (await doors.explain(decision_id=hers["decision_id"], **whom)).found
    # A retry of her request is no answer of hers.
    again = await doors.decide(request_id="hers-3" if "identifier" in whom else "as a household", **whom)
    assert not again.repeated_request or again.decision_id != hers["decision_id"]
    assert again.action.action_id != hers["action_id"]
    # Nothing of hers is spent.
    spent = await doors.report(action_id=hers["action_id"], outcome=decision_pb2.OUTCOME_ACCEPT, channel="app", **whom)
    assert (spent.effective, spent.reason) == (False, "ACTION_OF_ANOTHER_HOUSEHOLD")
    assert spent.status == decision_pb2.ACTION_STATUS_UNSPECIFIED
    acknowledged = await doors.ack(action_id=hers["action_id"], delivered=True, channel="push", **whom)
    assert not acknowledged.effective


@in_loop
async def test_what_was_to_be_sent_to_an_orphan_goes_to_no_next_holder(tmp_path: Path):
    """A gateway would send it to the number: to whoever has it by then."""
    clock = SettableClock()
    async with running(tmp_path, clock) as hearth:
        doors = Doors(hearth)
        await doors.told(*of_the_earlier_holder())
        await hearth.until(lambda: hearth.counter("outbox") == 1)
        clock.at_us = MONDAY + SECOND
        await doors.told(graph("recycle", "g1", clock.at_us, identifier=PHONE))

        async with hearth.subscribed("push", "sms") as deliveries:
            coming = asyncio.ensure_future(anext(deliveries))
            await hearth.until(lambda: hearth.counter("outbox") == 0)
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)

        assert hearth.counter("withdrawn") == 1


@in_loop
async def test_what_is_sent_to_a_subject_is_sent_under_its_own_name(tmp_path: Path):
    """However its signals named it: the number may mean another by the time it is sent."""
    clock = SettableClock()
    async with running(tmp_path, clock) as hearth:
        doors = Doors(hearth)
        await doors.told(graph("link", "g0", MONDAY, identifier=PHONE, subject="member:anna"), *of_the_earlier_holder())
        await hearth.until(lambda: hearth.counter("outbox") == 1)
        clock.at_us = MONDAY + SECOND
        await doors.told(graph("recycle", "g1", clock.at_us, identifier=PHONE))

        async with hearth.subscribed("push") as deliveries:
            sent = await anext(deliveries)

        assert (sent.household, sent.member) == ("member:anna", "anna")
        assert (await doors.ack(household="member:anna", action_id=sent.action.action_id, delivered=True)).effective


@in_loop
async def test_arms_are_drawn_anew_for_the_next_holder(tmp_path: Path):
    experiments = "\nexperiments: {all: {layer: universal, control: 50%}}\n"
    plan = corner(("journeys:\n", f"{experiments}journeys:\n"))
    clock = SettableClock()
    async with running(tmp_path, clock, plan=plan) as hearth:
        doors = Doors(hearth)
        arms = set()
        for n in range(24):
            clock.at_us = MONDAY + n * HOUR // 60
            await doors.told(
                graph("recycle", f"r{n}", clock.at_us, identifier=PHONE), of(PHONE, f"v{n}", "visit", clock.at_us)
            )
            assert not (await doors.get(identifier=PHONE)).assignments
            await doors.decide(identifier=PHONE)
            arms.update(one.arm for one in (await doors.get(identifier=PHONE)).assignments)
        assert arms == {"control", "treated"}
