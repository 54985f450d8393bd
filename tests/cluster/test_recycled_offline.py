"""A number that is recycled, as the log tells of it: it means who has it by then, and nothing of who had it before."""

import asyncio
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hearth.v1 import signal_pb2
from tests.actors.doors import Doors, graph
from tests.actors.harness import HOUR, MINUTE, MONDAY, signal
from tests.actors.inventory_town import a_town
from tests.cluster.conftest import Run
from tests.cluster.moved_town import moved_town, plan

NUMBER = "msisdn:+441"


def by_number(event_id: str, kind: str, time_us: int, **fields: float) -> signal_pb2.Signal:
    made = signal(event_id, "", kind, time_us, fields=fields)
    made.identifier = NUMBER
    return made


def lived(data: Path) -> None:
    """Let a number be carl's, then nobody's, then dora's; each pays by it, and carl is answered."""
    (data / "log").mkdir(parents=True)
    (data / "layout.json").write_text(json.dumps({"layout": 1, "partition_count": 1, "born": "now"}))

    async def live() -> None:
        async with a_town(data / "log", shard_count=1, partition_count=1, plan=plan()) as town:
            doors = Doors(town)

            async def holds(member: str, household: str, which: str) -> None:
                now_us = town.clock.at_us
                await doors.told(
                    graph("join", f"j{which}", now_us, subject=member, household=household),
                    graph("link", f"l{which}", now_us, subject=member, identifier=NUMBER),
                )
                town.clock.at_us += MINUTE
                await doors.told(by_number(f"pay{which}", "pay", town.clock.at_us, amount=2.0))

            town.clock.at_us = MONDAY + HOUR
            await holds("member:carl", "FAM-C", "1")
            visit = by_number("visit", "visit", town.clock.at_us)
            await doors.decide(identifier=NUMBER, request_id="ask", signals=[visit])
            town.clock.at_us += HOUR
            await doors.told(graph("recycle", "r", town.clock.at_us, identifier=NUMBER))
            town.clock.at_us += HOUR
            await holds("member:dora", "FAM-D", "2")

    asyncio.run(live())


def test_the_log_tells_of_who_has_it_by_then(tmp_path: Path, run: Run):
    data = tmp_path / "data"
    lived(data)

    def timeline(whose: str, *more: str) -> list[str]:
        found = run("explain", whose, "--timeline", "--data-dir", str(data), "--json", *more)
        assert found.code == 0, found.err
        return [f"{one['kind']} {one['text']}" for one in json.loads(found.out)["timeline"]]

    assert timeline(NUMBER) == timeline("member:dora") == timeline("FAM-D") == ["signal pay"]
    carls = timeline("FAM-C")
    assert [one for one in carls if one.startswith("signal")] == ["signal pay", "signal visit"]
    assert any(one.startswith("decided") for one in carls)
    assert timeline("member:carl") == carls


def test_features_are_of_who_has_it_by_then(tmp_path: Path, run: Run):
    data = tmp_path / "data"
    lived(data)

    def payments(whose: str) -> object:
        found = run("features", whose, "--data-dir", str(data), "--json")
        assert found.code == 0, found.err
        told = json.loads(found.out)
        return {name: one["household.payments"] for name, one in told["features"].items()}

    assert payments(NUMBER) == payments("member:dora")
    assert set(payments(NUMBER).values()) == {1.0}
    assert "carl" not in payments(NUMBER)
    assert set(payments("FAM-C").values()) == {1.0}


def test_nobody_finds_the_earlier_holder_by_her_name_under_the_number(tmp_path: Path, run: Run):
    data = tmp_path / "data"
    lived(data)
    found = run("features", NUMBER, "--member", "carl", "--data-dir", str(data))
    assert found.code != 0
    assert "nothing was known of member 'carl'" in found.err
    assert run("features", NUMBER, "--member", "dora", "--data-dir", str(data)).code == 0


def test_features_of_many_are_of_who_has_it_at_each_time(tmp_path: Path, run: Run):
    data = tmp_path / "data"
    lived(data)
    times = [MONDAY + HOUR + 2 * MINUTE, MONDAY + 2 * HOUR + 2 * MINUTE, MONDAY + 4 * HOUR]
    wanted = {"household": [NUMBER] * 3, "time": pa.array(times, pa.timestamp("us", "UTC"))}
    pq.write_table(pa.table(wanted), tmp_path / "wanted.parquet")
    arguments = ["--as-of", "wanted.parquet", "--out", "out.parquet", "--playbook", str(moved_town(1).playbook)]
    made = run("models", "dataset", *arguments, "--data-dir", str(data))
    assert made.code == 0, made.err
    # Carl's and dora's; between them it was nobody's, and what was carl's is not told.
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.column("household.payments").to_pylist() == [1.0, 1.0]
    assert [int(one.timestamp() * 1e6) for one in found.column("time").to_pylist()] == [times[0], times[2]]
