"""Who a household's member is, when graph events know somebody of that name who lives there.

Laws: `anna` beneath a household and the subject `member:anna` who lives in it are one person: what is told of her by
either name, or by what she holds, is known by all of them, in whatever order it is learned; beneath any other
household, and once she has left, `anna` is somebody else.
"""

from collections.abc import Iterable
from itertools import permutations
from pathlib import Path

import pytest

from hearth.v1 import decision_pb2, household_pb2
from tests.actors.doors import Doors, graph, of
from tests.actors.harness import MONDAY, SECOND, in_loop, running, signal
from wire.failures import CallFailed

PHONE, OTHER_PHONE, MAIL = "msisdn:+447700900123", "msisdn:+447700900124", "email:anna@example.org"

LIVES = (
    graph("link", "g1", MONDAY - 30 * SECOND, identifier=PHONE, subject="member:anna"),
    graph("link", "g2", MONDAY - 20 * SECOND, identifier=MAIL, subject="member:anna"),
    graph("join", "g3", MONDAY - 10 * SECOND, "h1", subject="member:anna"),
)


async def checks_of(doors: Doors, **named: str) -> dict[str, float]:
    """Return how often each member of a household has checked, by their names."""
    told = await doors.get(**named)
    found = [(one.member, checks(one.features)) for one in told.members]
    assert len(found) == len(dict(found)), "each is shown once"
    return dict(found)


def checks(features: Iterable[household_pb2.FeatureValue]) -> float:
    return next(one.value for one in features if one.name == "member.checks_7d")


@pytest.mark.parametrize("order", list(permutations(range(4))), ids=lambda order: "".join(map(str, order)))
@in_loop
async def test_what_is_told_by_any_of_her_names_is_known_by_all_of_them(order: tuple[int, ...], tmp_path: Path):
    told = [
        (signal("c1", "h1", "check", MONDAY - 8 * SECOND, member="anna"),),
        (of(PHONE, "c2", "check", MONDAY - 7 * SECOND),),
        (of(MAIL, "c3", "check", MONDAY - 6 * SECOND),),
        LIVES,
    ]
    async with running(tmp_path) as hearth:
        doors = Doors(hearth)
        for place in order:
            await doors.told(*told[place])
        for named in ({"household": "h1"}, {"identifier": PHONE}, {"identifier": MAIL}, {"identifier": "member:anna"}):
            assert await checks_of(doors, **named) == {"anna": 3.0}


@in_loop
async def test_one_action_for_her_by_all_of_her_names_and_what_she_says_by_one_holds_for_all(tmp_path: Path):
    async with running(tmp_path) as hearth:
        doors = Doors(hearth)
        await doors.told(*LIVES, signal("c1", "h1", "check", MONDAY - 8 * SECOND, member="anna"))
        await doors.told(of(PHONE, "c2", "check", MONDAY - 7 * SECOND))  # the second within a week, by another name
        asked = [
            await doors.decide(household="h1", member="anna"),
            await doors.decide(identifier=PHONE),
            await doors.decide(identifier=MAIL),
        ]
        assert asked[0].action.offer == "topup"
        assert len({one.action.action_id for one in asked}) == 1
        assert {one.action.member for one in asked} == {"anna"}

        topup = asked[0].action.action_id
        declined = await doors.report(
            identifier=MAIL, action_id=topup, outcome=decision_pb2.OUTCOME_DECLINE, channel="app"
        )
        assert declined.effective
        for named in ({"household": "h1", "member": "anna"}, {"identifier": PHONE}):
            assert (await doors.decide(**named)).action.offer != "topup"


@pytest.mark.parametrize("named", [{"household": "h1", "member": "anna"}, {"identifier": PHONE}], ids=str)
@in_loop
async def test_who_opts_out_by_one_name_is_left_alone_by_every_other(named: dict[str, str], tmp_path: Path):
    async with running(tmp_path) as hearth:
        doors = Doors(hearth)
        await doors.told(*LIVES, signal("c1", "h1", "check", MONDAY - 8 * SECOND, member="anna"))
        assert (await doors.decide(**named)).HasField("action")
        await doors.told(of(MAIL, "o1", "opt_out", MONDAY - 7 * SECOND))
        assert not (await doors.decide(**named)).HasField("action")
        await doors.told(signal("i1", "h1", "opt_in", MONDAY - 6 * SECOND, member="anna"))
        assert (await doors.decide(**named)).HasField("action")


@in_loop
async def test_what_comes_for_the_household_alone_makes_nobody_of_her(tmp_path: Path):
    async with running(tmp_path) as hearth:
        doors = Doors(hearth)
        await doors.told(*LIVES, of(PHONE, "c1", "check", MONDAY - 8 * SECOND))
        await doors.decide(household="h1", member="anna")
        before = (await doors.explain(household="h1")).decision
        await doors.told(signal("p1", "h1", "pay", MONDAY - 7 * SECOND, fields={"amount": 5.0}))
        await doors.decide(household="h1", member="anna")
        after = (await doors.explain(household="h1")).decision
        assert (checks(before.features), checks(after.features)) == (1.0, 1.0)


@in_loop
async def test_beneath_another_household_or_once_she_has_left_anna_is_somebody_else(tmp_path: Path):
    async with running(tmp_path) as hearth:
        doors = Doors(hearth)
        await doors.told(
            *LIVES,
            of(PHONE, "c1", "check", MONDAY - 8 * SECOND),
            signal("c2", "h1", "check", MONDAY - 7 * SECOND, member="anna"),
            signal("c3", "h2", "check", MONDAY - 6 * SECOND, member="anna"),
        )
        assert await checks_of(doors, household="h2") == {"anna": 1.0}
        assert await checks_of(doors, household="h1") == {"anna": 2.0}
        await doors.told(graph("leave", "g4", MONDAY - 5 * SECOND, subject="member:anna"))
        assert await checks_of(doors, household="h1") == {"anna": 1.0}
        assert await checks_of(doors, identifier=PHONE) == {"anna": 1.0}
        await doors.told(graph("join", "g5", MONDAY - 4 * SECOND, "h2", subject="member:anna"))
        assert await checks_of(doors, household="h2") == {"anna": 2.0}
        assert await checks_of(doors, household="h1") == {"anna": 1.0}


@in_loop
async def test_her_own_action_is_told_by_her_name_whatever_it_arose_by(tmp_path: Path):
    async with running(tmp_path) as hearth:
        doors = Doors(hearth)
        await doors.told(*LIVES, *(of(PHONE, f"c{n}", "check", MONDAY - n * SECOND) for n in (2, 1)))
        for named in ({"household": "h1", "member": "anna"}, {"identifier": MAIL}):
            answer = await doors.decide(**named)
            assert (answer.action.offer, answer.action.member) == ("topup", "anna")
        told = await doors.get(household="h1")
        assert [one.member for one in told.live_actions] == ["anna"]
        decided = (await doors.decisions(household="h1"))[-1]
        assert decided.member == "anna"


@in_loop
async def test_what_was_decided_for_her_beneath_a_household_stays_with_it_and_its_request_with_the_call(tmp_path: Path):
    async with running(tmp_path) as hearth:
        doors = Doors(hearth)
        await doors.told(*LIVES, signal("v1", "h1", "visit", MONDAY - 5 * SECOND))
        asked = await doors.decide(household="h1", member="anna", request_id="r1")
        assert (await doors.decide(household="h1", member="anna", request_id="r1")).decision_id == asked.decision_id
        for other in ({"channel": "web", "member": "anna"}, {"member": "ben"}):
            with pytest.raises(CallFailed, match="request_id was used"):
                await doors.decide(household="h1", request_id="r1", **other)

        await doors.told(graph("leave", "g4", MONDAY - 4 * SECOND, subject="member:anna"))
        again = await doors.decide(household="h1", member="anna", request_id="r1")
        assert again.decision_id == asked.decision_id
        assert [one.decision_id for one in await doors.decisions(household="h1")] == [asked.decision_id]


@in_loop
async def test_a_number_that_she_only_might_have_is_shown_with_its_probability(tmp_path: Path):
    async with running(tmp_path) as hearth:
        doors = Doors(hearth)
        might = graph("link", "g4", MONDAY - 5 * SECOND, identifier=OTHER_PHONE, subject="member:anna")
        might.fields["probability"].number = 0.3
        await doors.told(*LIVES, might)
        (subject,) = (await doors.get(household="h1")).subjects
        shown = [(one.identifier, round(one.probability, 6)) for one in subject.identifiers]
        assert shown == [("msisdn:…23", 1.0), ("email:…rg", 1.0), ("msisdn:…24", 0.3)]
        assert not (await doors.get(identifier=OTHER_PHONE)).known
