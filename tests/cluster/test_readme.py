"""Laws of the README's "Use it": what it types works as typed, by day and by night, on the files that come with it; the
household it asks for is there and has something to be told.
"""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cluster.config import HearthConfig
from cluster.data_dir import announce, hold
from household.deciding.arbitration import is_control
from household.plan import Plan
from loadtest.shipped import SHIPPED_PLAYBOOK
from playbooks.compiler import compile_playbook
from tests.actors.harness import SettableClock
from tests.cluster.conftest import Run
from tests.cluster.real_hearth import RealHearth, running
from tests.readme import REPOSITORY, readme_commands

OF_A_WHOLE_HEARTH = ("up", "status", "doctor", "backup", "verify")
"""Those that need more than an edge and a shard: tests/end_to_end/test_up.py runs them."""


@pytest.fixture
def plan() -> Plan:
    return compile_playbook(SHIPPED_PLAYBOOK)


NOON, NIGHT = datetime(2026, 3, 4, 11, tzinfo=UTC), datetime(2026, 3, 4, 23, tzinfo=UTC)


@pytest.fixture(params=[NOON, NIGHT], ids=["noon", "night"])
def hearth(
    request: pytest.FixtureRequest, run: Run, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RealHearth]:
    """One on ./hearth-data of an empty folder that has of the repository what the README names."""
    del run
    now: datetime = request.param
    monkeypatch.setattr("cluster.commands.ingest.utc_now", lambda: now)
    (tmp_path / "playbooks").symlink_to(REPOSITORY / "playbooks")
    shutil.copytree(REPOSITORY / "docs" / "samples", tmp_path / "docs" / "samples")
    data_dir = tmp_path / "hearth-data"
    config = HearthConfig(data_dir=data_dir, partition_count=2)
    clock = SettableClock(int(now.timestamp()) * 1_000_000)
    with running(data_dir, plan, clock=clock) as one, hold(config) as path:
        announce(path, address=one.address)
        yield one


def test_what_the_readme_types_works_on_the_files_that_come_with_it(hearth: RealHearth, run: Run):
    told: dict[str, str] = {}
    for arguments in readme_commands():
        if arguments[0] in OF_A_WHOLE_HEARTH:
            continue
        if arguments[:2] == ["rejects", "list"]:
            hearth.settle()
        ended = run(*arguments)
        assert ended.code == 0, (arguments, ended.err)
        told[" ".join(arguments[:2] if arguments[0] in ("rejects", "log", "playbook") else arguments[:1])] = ended.out

    assert set(told) == {"ingest", "decide", "explain", "rejects list", "playbook check", "kpis", "log export"}
    assert "topup_series_plus" in told["decide"]
    assert "topup_series_plus" in told["explain"]
    assert "UNKNOWN_TYPE" in told["rejects list"]
    assert "decisions in decisions.parquet" in told["log export"]


def test_the_households_of_the_samples_are_treated(plan: Plan):
    lines = (REPOSITORY / "docs" / "samples" / "signals.csv").read_text().splitlines()[1:]
    households = {line.split(",")[1] for line in lines}
    asked = {command[1] for command in readme_commands() if command[0] in ("decide", "explain")}
    assert asked <= households
    journeys = {journey.name for journey in plan.journeys}
    assert not [household for household in households if is_control(plan, household.encode(), journeys)]
