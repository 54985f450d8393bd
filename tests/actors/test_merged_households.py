"""Laws of a household that is known under several keys: it has one answer, whichever of them asks, and when."""

import asyncio
from pathlib import Path

from actors.partition.lineup import Canary, Lineup
from household.deciding.hand_over import next_step
from household.delivery import DeliveryStep
from tests.actors.harness import DAY, MONDAY, Hearth, SettableClock, corner, in_loop, running, signal
from tests.actors.test_delivery import to_send
from tests.actors.test_lineup import Versioned

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


async def merge(hearth: Hearth, *keys: str) -> None:
    """Let these be one household with the first."""
    for key in keys[1:]:
        told = {"other": key, "cause": f"merger-{key}"}
        await hearth.ingest(signal(f"g-{key}", keys[0], "hearth.graph.merge", hearth.clock.now_us(), fields=told))


@in_loop
async def test_whichever_key_a_report_names_it_is_of_the_household(tmp_path: Path):
    async with running(tmp_path) as hearth:
        action_id = await to_send(hearth, "h1")
        for key in ("h2", "h9"):
            await hearth.ingest(signal(f"v-{key}", key, "visit", MONDAY, member="m"))
        await merge(hearth, "h1", "h2")
        assert (await hearth.accept("h2", action_id)).effective
        assert (await hearth.accept("h2", action_id)).reason == "ACTION_NOT_LIVE"
        assert (await hearth.accept("h9", action_id)).reason == "ACTION_OF_ANOTHER_HOUSEHOLD"


@in_loop
async def test_what_bounced_late_is_given_back_whichever_key_tells(tmp_path: Path):
    clock = SettableClock(MONDAY)
    async with running(tmp_path, clock, plan=corner(("sms], window: 1d", "sms], window: 7d"))) as hearth:
        async with hearth.subscribed("push") as push:
            action_id = await to_send(hearth, "h1")
            await anext(push)
            assert (await hearth.ack("h1", action_id)).effective
        await hearth.ingest(signal("v", "h2", "visit", MONDAY, member="m"))
        await merge(hearth, "h1", "h2")
        for _ in range(2):  # it expires, and is forgotten
            clock.pass_us(2 * DAY)
            await hearth.tick()
        assert await hearth.in_state(lambda state: (len(state.actions), len(state.contacts))) == (0, 1)
        assert (await hearth.ack("h2", action_id, delivered=False)).effective
        assert await hearth.in_state(lambda state: len(state.contacts)) == 0


@in_loop
async def test_a_member_who_is_known_under_two_keys_has_one_answer_of_their_own(tmp_path: Path):
    number, anna = "msisdn:+441", "member:anna"

    def heard(name: str, kind: str, **fields: object):
        made = signal(name, "", kind, MONDAY, fields=fields)
        made.identifier = number
        return made

    async with running(tmp_path) as hearth:
        told = {"identifier": number, "subject": anna}
        await hearth.ingest(signal("g", anna, "hearth.graph.link", MONDAY, fields=told))
        await hearth.ingest(heard("c", "consent", marketing=True), heard("1", "check"), heard("2", "check"))
        await hearth.until(lambda: hearth.counter("pending") == 0)
        (made,) = (await hearth.explain(number)).slate

        answer = await hearth.decide(anna, member="anna")

        assert (answer.action.action_id, "SLATE_STANDS" in answer.reasons) == (made.action_id, True)


@in_loop
async def test_members_who_are_named_alike_in_two_households_are_not_the_same_once_these_are_one(tmp_path: Path):
    async with running(tmp_path) as hearth:
        await to_send(hearth, "h1")
        await hearth.ingest(signal("v", "h2", "visit", MONDAY, member="m"))
        await merge(hearth, "h1", "h2")
        assert (await hearth.decide("h2", member="m")).action.offer != "topup"
        assert (await hearth.decide("h1", member="m")).action.offer == "topup"


@in_loop
async def test_one_model_decides_for_a_household_whichever_key_it_is_asked_by(tmp_path: Path):
    async with running(tmp_path) as hearth:
        names = [f"h{number}" for number in range(12)]
        await hearth.ingest(*(signal(f"v-{name}", name, "visit", MONDAY, member="m") for name in names))
        await merge(hearth, *names)
        canary = Canary(version="v2", share=0.5, scorer=Versioned("v2", 0.5))
        await hearth.use_lineup(Lineup(champion=Versioned("v1", 0.5), canary=canary))
        versions = set()
        for name in names:
            visited = signal(f"w-{name}", name, "visit", MONDAY, member="m")
            answer = await hearth.decide(name, visited, member="m")
            versions.add(answer.model_version)
            await hearth.decline(name, answer.action.action_id, member="m")
        assert len(versions - {"prior", ""}) == 1
