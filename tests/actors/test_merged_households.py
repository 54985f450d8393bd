"""Laws of a household that is known under several keys: it has one answer, whichever of them asks, and when."""

import asyncio
from pathlib import Path

from household.deciding.hand_over import next_step
from household.delivery import DeliveryStep
from tests.actors.harness import MONDAY, corner, in_loop, running, signal

KEYS = ("h1", "h2", "h3")


@in_loop
async def test_asked_at_once_under_all_its_keys_a_household_gets_one_action(tmp_path: Path):
    async with running(tmp_path) as hearth:
        for key in KEYS:
            await hearth.ingest(signal(f"v-{key}", key, "visit", MONDAY, member="m"))
        for key in KEYS[1:]:
            told = {"other": key, "cause": f"merger-{key}"}
            merged = await hearth.ingest(signal(f"g-{key}", KEYS[0], "hearth.graph.merge", MONDAY, fields=told))
            assert merged.counts.applied == 1

        # While the first group is written the others wait, and are formed together.
        _, *answers = await asyncio.gather(
            hearth.decide("somebody"), *(hearth.decide(key, member="m", channel="web") for key in KEYS)
        )

        assert len({answer.action.action_id for answer in answers}) == 1
        assert answers[0].action.action_id
        standing = [answer for answer in answers if "SLATE_STANDS" in answer.reasons]
        assert len(standing) == len(KEYS) - 1
        for key in KEYS:
            again = await hearth.decide(key, member="m", channel="web")
            assert again.action.action_id == answers[0].action.action_id
            assert answers[0].action.action_id in {one.action_id for one in (await hearth.get(key)).live_actions}


@in_loop
async def test_of_actions_of_one_household_under_two_keys_one_is_handed_over(tmp_path: Path):
    """Its cap would let either go, and not both: who has been reached is told by the household, not by the key."""
    household_day = ("scope: member, channels", "scope: household, channels")
    async with running(tmp_path, plan=corner(household_day)) as hearth:
        for key in KEYS[:2]:
            consent = signal(f"c-{key}", key, "consent", MONDAY, member="m", fields={"marketing": True})
            checks = [signal(f"{n}-{key}", key, "check", MONDAY, member="m") for n in (1, 2)]
            await hearth.ingest(consent, *checks)
        await hearth.until(lambda: hearth.counter("decisions") == 2)
        assert await hearth.in_state(lambda state: len(state.outbox)) == 2
        told = {"other": KEYS[1], "cause": "merger"}
        await hearth.ingest(signal("g", KEYS[0], "hearth.graph.merge", MONDAY, fields=told))

        notes = await hearth.shard._owned[0].owner.note_deliveries(
            await hearth.in_state(lambda state: tuple(one.action_id for one in state.outbox)),
            lambda state, action_id: next_step(state, action_id, frozenset({"push", "sms"})),
        )

        assert [note.step for note in notes.values()] == [DeliveryStep.HANDED]
