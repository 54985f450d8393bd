"""Laws of recorded arms: by RPC, in decisions and in the export they are one and the same; a restart, a snapshot and a
new playbook leave them as they are; who asks is told their arm.
"""

from functools import partial
from pathlib import Path

from actors.exports.assignments import assignment_tables
from actors.exports.log_export import export_table
from actors.log.reading import read_only_logs
from actors.snapshots.store import snapshot_store
from household.experiments.drawing import drawn_arm
from tests.actors.harness import SettableClock, corner, in_loop, running
from tests.actors.test_decider import visit

HOUSEHOLDS = [f"home-{number}" for number in range(12)]

CONTACT = "contact: {contact: [visit], families: all}"


def experiments(control: str, *, salt: str) -> tuple[str, str]:
    one = f"{{layer: universal, control: {control}, salt: {salt}, arms: {{half: 30%}}}}"
    return "journeys:", f"experiments:\n  all_of_it: {one}\njourneys:"


@in_loop
async def test_arms_are_one_and_the_same_wherever_they_are_read(tmp_path: Path):
    before = corner(experiments("40%", salt="first"), (CONTACT, CONTACT.replace("all}", "all, control: 30%}")))
    after = corner(experiments("69%", salt="second"))
    clock = SettableClock()
    named = {"snapshots": tmp_path / "snapshots", "partitions": (0, 1)}
    by_rpc: dict[str, list[tuple[object, ...]]] = {}

    async def arms(hearth, household: str) -> list[tuple[object, ...]]:
        return [
            (one.experiment, one.layer, one.arm, one.share_bp, one.salt, one.playbook_version, one.reason)
            for one in (await hearth.get(household)).assignments
        ]

    async with running(tmp_path / "log", clock, plan=before, **named) as hearth:
        for household in HOUSEHOLDS:
            answer = await hearth.decide(household, visit(household), member="m")
            record = await hearth.explain(household)
            assert answer.arms == {one.experiment: one.arm for one in record.arms}
            assert record.withheld == ("control" in answer.arms.values()) == bool(record.ghosts)
            assert ("CONTROL_GROUP" in answer.reasons) == record.withheld
            by_rpc[household] = await arms(hearth, household)
            drawn = [(one.name, drawn_arm(before, one, household.encode()).name) for one in before.all_experiments]
            assert [(one[0], one[2]) for one in by_rpc[household]] == drawn
        assert {arm for found in by_rpc.values() for _, _, arm, *_ in found} == {"control", "half", "treated"}
        await hearth.snapshot()

    async with running(tmp_path / "log", clock, plan=after, **named) as hearth:
        for household in HOUSEHOLDS:
            again = await hearth.decide(household, visit(household), member="m")
            assert await arms(hearth, household) == by_rpc[household]
            universal = by_rpc[household][0][2]
            assert not again.arms or again.arms["all_of_it"] == universal
            assert ("CONTROL_GROUP" in again.reasons) == (universal == "control")

    read = partial(read_only_logs, tmp_path / "log")
    for snapshots in (None, snapshot_store(str(tmp_path / "snapshots"))):
        exported = [row for table in assignment_tables(read, snapshots) for row in table.to_pylist()]
        found = {
            household: [
                (
                    row["experiment"],
                    row["layer"],
                    row["arm"],
                    round(10_000 * row["share"]),
                    row["salt"],
                    row["version"],
                    row["reason"],
                )
                for row in exported
                if row["household"] == household
            ]
            for household in HOUSEHOLDS
        }
        assert found == by_rpc
        assert all(row["time"] is not None for row in exported)
    decisions = [row for table in export_table(read, "decisions") for row in table.to_pylist()]
    assert all(bool(row["ghosts"]) == row["withheld"] for row in decisions)
    assert {one["arm"] for row in decisions for one in row["arms"]} == {"control", "half", "treated"}
