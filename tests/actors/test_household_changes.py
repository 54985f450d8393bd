"""Laws: who belongs to a household shows, with identifiers masked; what people change is an event in their name."""

from pathlib import Path

import pytest

from serving.access.principal import Principal
from serving.access.rights import Role
from tests.actors.doors import Doors, graph, of
from tests.actors.harness import MONDAY, in_loop, running, signal
from wire.failures import CallFailed, InvalidRequest
from wire.partitions import partition_of

PHONE, OLD = "msisdn:+447700900123", "msisdn:+447700900199"
EARLIER = MONDAY - 10

APPROVER = Principal(name="token:olga", roles=frozenset((Role.APPROVER,)))


async def told_of_a_home(doors: Doors) -> None:
    await doors.told(
        graph("link", "g1", MONDAY, identifier=PHONE, subject="member:anna"),
        graph("link", "g2", MONDAY, identifier=OLD, subject="member:anna"),
        graph("unlink", "g3", MONDAY + 1, identifier=OLD),
        graph("link", "g4", MONDAY, identifier="device:d9", subject="line:sim-7"),
        graph("join", "g5", EARLIER, subject="member:anna", household="H1"),
        graph("join", "g6", EARLIER, subject="line:sim-7", household="H1"),
        graph("merge", "g7", MONDAY, "H1", other="H0", cause="crm"),
        of(PHONE, "out", "opt_out", MONDAY),
        signal("v", "H1", "visit", MONDAY, member="ben"),
    )


@in_loop
async def test_a_household_shows_who_belongs_to_it_and_what_it_holds(tmp_path: Path):
    async with running(tmp_path) as hearth:
        doors = Doors(hearth)
        await told_of_a_home(doors)

        shown = [await doors.get(**whom) for whom in ({"household": "H1"}, {"household": "H0"}, {"identifier": PHONE})]

        assert all(one.known for one in shown)
        assert [one.household for one in shown] == ["H1", "H1", "H1"]
        home = shown[0]
        assert shown[1] == shown[2] == home
        assert list(home.aliases) == ["H0"]
        assert [one.name for one in home.subjects] == ["line:sim-7", "member:anna"]
        anna = home.subjects[1]
        assert [(one.identifier, one.HasField("until")) for one in anna.identifiers] == [
            ("msisdn:…23", False),
            ("msisdn:…99", True),
        ]
        assert sorted(one.member for one in home.members) == ["anna", "ben", "sim-7"]
        assert not home.orphan
        assert PHONE not in str(home)


@in_loop
async def test_identifiers_are_whole_for_an_auditor_only(tmp_path: Path):
    async with running(tmp_path) as hearth:
        await told_of_a_home(Doors(hearth))
        auditor = Doors(hearth, Principal(name="token:audit", roles=frozenset((Role.AUDITOR,))))

        whole = await auditor.get(household="H1", whole_identifiers=True)

        assert whole.subjects[1].identifiers[0].identifier == PHONE
        with pytest.raises(CallFailed) as refused:
            await Doors(hearth, APPROVER).get(household="H1", whole_identifiers=True)
        assert refused.value.reason == "ROLE_NOT_PERMITTED"


@in_loop
async def test_an_orphan_shows_as_one_and_masked_once_graph_events_spoke_of_it(tmp_path: Path):
    async with running(tmp_path) as hearth:
        doors = Doors(hearth)
        await doors.told(
            graph("link", "g1", MONDAY, identifier=PHONE, subject="member:anna"),
            graph("unlink", "g2", MONDAY + 1, identifier=PHONE),
            of(PHONE, "v", "visit", MONDAY + 2),
        )

        told = await doors.get(identifier=PHONE)

        assert told.orphan
        assert told.household.startswith("msisdn:…23#")
        assert PHONE not in str(told)


@in_loop
async def test_a_person_merges_and_takes_it_back_and_the_log_has_the_name(tmp_path: Path):
    async with running(tmp_path / "log") as hearth:
        doors = Doors(hearth, APPROVER)
        await doors.told(signal("v1", "H1", "visit", MONDAY), signal("v2", "H2", "visit", MONDAY))
        before = await hearth.household_digests()

        merged = await doors.change(
            request_id="m", merge={"household": "H1", "other": "H2", "cause": "call-7"}, note="she rang"
        )

        assert (merged.effective, merged.reason, merged.cause, merged.household) == (True, "", "call-7", "H1")
        assert (await doors.get(household="H2")).household == "H1"
        again = await doors.change(request_id="m", merge={"household": "H1", "other": "H2", "cause": "call-7"})
        assert (again.effective, again.reason) == (False, "DUPLICATE")
        anew = await doors.change(merge={"household": "H1", "other": "H2"})
        assert (anew.effective, anew.reason) == (False, "ONE_HOUSEHOLD")
        evidence = await hearth.in_state(lambda state: [one.evidence for one in state.graph.membership.events.values()])
        assert "by token:olga: she rang" in evidence

        for cause in ("call-7", anew.cause):
            assert (await doors.change(unmerge=cause)).effective
        assert (await doors.get(household="H2")).household == "H2"
        assert await hearth.household_digests() == before
        digests = await hearth.household_digests()
        copy = hearth.disk_copy(tmp_path / "copy")
    async with running(copy) as hearth:
        assert await hearth.household_digests() == digests


@in_loop
async def test_what_nobody_knows_changes_nothing_and_says_so(tmp_path: Path):
    async with running(tmp_path) as hearth:
        doors = Doors(hearth)
        await doors.told(signal("v1", "H1", "visit", MONDAY))
        digest = await hearth.digest()

        told = [
            await doors.change(merge={"household": "H1", "other": "H7"}),
            await doors.change(merge={"household": "H7", "other": "H1"}),
            await doors.change(unmerge="no such"),
            await doors.change(confirm="no such"),
        ]

        assert [(one.effective, one.reason) for one in told] == [
            (False, "UNKNOWN_HOUSEHOLD"),
            (False, "UNKNOWN_HOUSEHOLD"),
            (False, "UNKNOWN_CAUSE"),
            (False, "UNKNOWN_CAUSE"),
        ]
        assert all("H7" in one.detail for one in told[:2])
        assert await hearth.digest() == digest
        for wrong in ({}, {"merge": {"household": "H1"}}, {"unmerge": ""}):
            with pytest.raises(InvalidRequest):
                await doors.change(**wrong)


@in_loop
async def test_what_is_too_much_waits_in_a_list_until_a_person_confirms_it(tmp_path: Path):
    async with running(tmp_path) as hearth:
        doors = Doors(hearth, APPROVER)
        subjects = [(f"member:m{n}", "H1" if n < 7 else "H2") for n in range(13)]
        await doors.told(
            *(graph("join", f"j{n}", EARLIER, subject=one, household=home) for n, (one, home) in enumerate(subjects))
        )
        waits = await doors.change(merge={"household": "H1", "other": "H2", "cause": "big"})

        assert (waits.effective, waits.reason) == (False, "QUARANTINED")
        assert "13 members; 12 are the most" in waits.detail
        listed = await doors.quarantine()
        assert listed.total == 1
        (one,) = listed.quarantine
        assert (one.cause, one.kind, sorted(one.about)) == ("big", "merge", ["H1", "H2"])
        assert one.evidence == "by token:olga"
        assert [two.cause for two in (await doors.get(household="H2")).quarantine] == ["big"]
        assert not (await doors.get(household="member:m0")).aliases

        assert (await doors.change(confirm="big")).effective
        assert (await doors.quarantine()).total == 0
        assert len((await doors.get(household="H2")).subjects) == 13


@in_loop
async def test_partitions_are_found_by_cause_and_what_lies_apart_comes_together(tmp_path: Path):
    async with running(tmp_path, partitions=range(4), partition_count=4) as hearth:
        doors = Doors(hearth)
        names = [f"H{n}" for n in range(40)]
        home = {name: partition_of(name.encode(), 4) for name in names}
        apart = next(name for name in names if home[name] != home["H0"])
        beside = next(name for name in names[1:] if home[name] == home["H0"])
        await doors.told(*(signal(f"v{name}", name, "visit", MONDAY) for name in names))

        told = await doors.change(merge={"household": "H0", "other": apart})
        assert (told.effective, told.reason) == (True, "")
        assert (await doors.get(household=apart)).household == (await doors.get(household="H0")).household
        assert (await doors.change(merge={"household": "H0", "other": beside, "cause": "c"})).effective
        assert (await doors.change(unmerge="c")).effective
        assert (await doors.get(household=beside)).household == beside
