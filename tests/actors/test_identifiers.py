"""Laws: an identifier in the place of a household means whoever holds it, in every call, and never anybody else."""

import asyncio
from pathlib import Path

import pytest

from hearth.v1 import decision_pb2
from tests.actors.doors import Doors, graph, of
from tests.actors.harness import HOUR, MONDAY, SECOND, ScriptedScorer, SettableClock, in_loop, running
from wire.failures import InvalidRequest

PHONE, MAIL = "msisdn:+447700900123", "email:anna@example.org"
WRITTEN = "MSISDN: 00 44 (7700) 900-123"
UNKNOWN = "UNKNOWN_HOUSEHOLD"


@in_loop
async def test_a_decision_asked_for_by_an_identifier_is_its_holders_however_it_is_written(tmp_path: Path):
    async with running(tmp_path) as hearth:
        doors = Doors(hearth)
        await doors.told(
            graph("link", "g1", MONDAY, identifier=PHONE, subject="member:anna"), of(PHONE, "v", "visit", MONDAY)
        )

        asked = [await doors.decide(identifier=name) for name in (PHONE, WRITTEN)]
        by_name = await doors.decide(household="member:anna", member="anna")

        assert asked[0].action.action_id
        assert {answer.action.action_id for answer in (*asked, by_name)} == {asked[0].action.action_id}
        assert (await doors.decide(identifier=MAIL)).reasons == [UNKNOWN]


@in_loop
async def test_a_household_that_only_graph_events_name_is_asked_by_its_id(tmp_path: Path):
    async with running(tmp_path) as hearth:
        doors = Doors(hearth)
        await doors.told(
            graph("link", "g1", MONDAY, identifier=PHONE, subject="member:anna"),
            graph("join", "g2", MONDAY, subject="member:anna", household="H"),
            of(PHONE, "v", "visit", MONDAY),
        )

        by_id, by_phone = await doors.decide(household="H", member="anna"), await doors.decide(identifier=PHONE)

        assert by_id.action.action_id == by_phone.action.action_id != ""
        assert (await doors.get(household="H")).household == "H"
        assert (await doors.decide(household="H2")).reasons == [UNKNOWN]


@in_loop
async def test_an_identifier_that_nobody_holds_is_a_household_of_its_own_with_the_signals_of_the_question(
    tmp_path: Path,
):
    async with running(tmp_path) as hearth:
        doors = Doors(hearth)

        answer = await doors.decide(identifier=PHONE, signals=[of(WRITTEN, "v", "visit", MONDAY)])

        assert answer.signal_counts.applied == 1
        assert answer.action.action_id
        told = await doors.get(identifier=PHONE)
        assert told.known
        assert told.orphan
        assert answer.action.action_id in {one.action_id for one in told.live_actions}


@in_loop
async def test_a_retry_gets_the_recorded_decision_though_the_orphan_was_adopted_meanwhile(tmp_path: Path):
    async with running(tmp_path) as hearth:
        doors = Doors(hearth)
        await doors.told(of(PHONE, "v", "visit", MONDAY))
        first = await doors.decide(identifier=PHONE, request_id="once")
        await doors.told(graph("link", "g", MONDAY, identifier=PHONE, subject="member:anna"))

        again = await doors.decide(identifier=PHONE, request_id="once")

        assert again.repeated_request
        assert (again.decision_id, again.action.action_id) == (first.decision_id, first.action.action_id)


@in_loop
async def test_a_decision_under_way_while_a_number_is_recycled_is_not_the_next_holders(tmp_path: Path):
    clock = SettableClock()
    async with running(tmp_path, clock) as hearth:
        doors, scorer = Doors(hearth), ScriptedScorer()
        await hearth.use(scorer)
        await doors.told(of(PHONE, "v", "visit", MONDAY))
        scorer.hold()
        asked = asyncio.create_task(doors.decide(identifier=PHONE))
        await scorer.asked.wait()
        clock.at_us = MONDAY + SECOND
        await doors.told(graph("recycle", "g", clock.at_us, identifier=PHONE))
        scorer.free.set()

        assert (await asked).reasons == [UNKNOWN]
        assert await doors.decisions(identifier=PHONE) == []


@in_loop
async def test_reports_and_acknowledgements_by_an_identifier_reach_its_holders_actions_only(tmp_path: Path):
    clock = SettableClock()
    async with running(tmp_path, clock) as hearth:
        doors = Doors(hearth)
        await doors.told(
            graph("link", "g1", MONDAY, identifier=PHONE, subject="member:anna"),
            graph("link", "g2", MONDAY, identifier=MAIL, subject="member:ben"),
            of(PHONE, "v", "visit", MONDAY),
        )
        shown = await doors.decide(identifier=PHONE)
        told = {"action_id": shown.action.action_id, "outcome": decision_pb2.OUTCOME_ACCEPT, "channel": "app"}

        by_another = await doors.report(identifier=MAIL, **told)
        assert (by_another.effective, by_another.reason) == (False, "ACTION_OF_ANOTHER_HOUSEHOLD")
        acknowledged = await doors.ack(identifier=MAIL, action_id=shown.action.action_id, delivered=True)
        assert acknowledged.reason == "ACTION_OF_ANOTHER_HOUSEHOLD"

        mine = await doors.report(identifier=WRITTEN, request_id="r", **told)
        assert (mine.effective, mine.status) == (True, decision_pb2.ACTION_STATUS_ACCEPTED)
        again = await doors.report(identifier=PHONE, request_id="r", **told)
        assert (again.effective, again.repeated_request) == (False, True)


@in_loop
async def test_a_report_under_another_key_of_the_household_says_what_became_of_it(tmp_path: Path):
    """Not that it is another household's: it is one."""
    async with running(tmp_path) as hearth:
        doors = Doors(hearth)
        await doors.told(
            *(graph("merge", "g", MONDAY, "h1", other="h2", cause="c") for _ in range(1)),
            of("member:anna", "v", "visit", MONDAY),
            graph("join", "j", MONDAY, subject="member:anna", household="h1"),
        )
        shown = await doors.decide(household="member:anna", member="anna")
        told = {"action_id": shown.action.action_id, "channel": "app"}
        assert (await doors.report(household="h2", outcome=decision_pb2.OUTCOME_DECLINE, **told)).effective

        again = await doors.report(household="h2", outcome=decision_pb2.OUTCOME_DECLINE, **told)

        assert again.reason == "ACTION_NOT_LIVE"


@pytest.mark.parametrize(
    ("named", "field"),
    [
        ({"identifier": "no kind"}, "identifier"),
        ({"identifier": "msisdn:abc"}, "identifier"),
        ({"identifier": PHONE, "household": "h"}, "identifier"),
        ({"identifier": PHONE, "member": "anna"}, "member"),
        ({}, "household"),
    ],
)
@in_loop
async def test_what_names_nobody_or_two_is_refused_by_its_field(tmp_path: Path, named: dict[str, str], field: str):
    async with running(tmp_path) as hearth:
        doors = Doors(hearth)
        with pytest.raises(InvalidRequest, match=field):
            await doors.decide(**named)
        with pytest.raises(InvalidRequest, match=field):
            await doors.report(action_id="a", outcome=decision_pb2.OUTCOME_CLICK, **named)


@in_loop
async def test_signals_of_a_question_name_its_identifier_and_nothing_else(tmp_path: Path):
    async with running(tmp_path) as hearth:
        doors = Doors(hearth)
        for wrong in (of(MAIL, "v", "visit", MONDAY), of("", "v", "visit", MONDAY)):
            with pytest.raises(InvalidRequest, match=r"signals\[0\]"):
                await doors.decide(identifier=PHONE, signals=[wrong])


@in_loop
async def test_what_is_known_by_identifiers_outlives_a_restart(tmp_path: Path):
    clock = SettableClock()
    async with running(tmp_path / "log", clock) as hearth:
        doors = Doors(hearth)
        await doors.told(
            of(PHONE, "v", "visit", MONDAY),
            graph("link", "g", MONDAY + HOUR // 60, identifier=PHONE, subject="member:anna"),
        )
        shown = await doors.decide(identifier=PHONE, request_id="once")
        digests = await hearth.household_digests()
        copy = hearth.disk_copy(tmp_path / "copy")
    async with running(copy, clock) as hearth:
        assert await hearth.household_digests() == digests
        again = await Doors(hearth).decide(identifier=PHONE, request_id="once")
        assert (again.repeated_request, again.action.action_id) == (True, shown.action.action_id)
