"""Laws of tests/chaos/test_disorder.py, on a stream of seconds; told there."""

from pathlib import Path

import pytest

from household.columns.dedupe import DedupeWindow
from household.digest import household_digests, state_digest
from household.events import Status
from tests.actors.harness import DAY, corner, in_loop
from tests.chaos import disorder
from tests.chaos.disorder import LATENESS_7D, QUIET, judge, run_through_shard, seven_days, stream

COUNT = 4_000


@in_loop
async def test_a_disordered_poisoned_stream_leaves_the_state_the_oracle_has(tmp_path: Path):
    drawn, plan = stream(1, COUNT), seven_days()
    said, digests, states = await run_through_shard(tmp_path, drawn, plan)
    judged = judge(tmp_path / "log", plan, [one.signal for one in drawn.arrivals])
    disorder.assert_rejects(tmp_path / "rejects", judged)
    assert said["received"] == len(drawn.arrivals) == sum(judged.received.values())
    assert said["applied"] == judged.total(Status.APPLIED)
    assert said["duplicate"] == judged.total(Status.DUPLICATE) > 0.05 * COUNT
    assert said["late"] == judged.total(Status.LATE) > 0
    assert said["rejected"] == len(judged.rejected) > 0.005 * COUNT
    for partition, replay in judged.replays.items():
        assert state_digest(replay.now) == states[partition]
    assert {k: v for replay in judged.replays.values() for k, v in household_digests(replay.now).items()} == digests


@in_loop
async def test_neighbours_of_poison_know_what_they_know_without_it(tmp_path: Path):
    drawn, plan = stream(2, COUNT), corner(QUIET, LATENESS_7D)
    _, poisoned, _ = await run_through_shard(tmp_path / "poisoned", drawn, plan)
    _, clean, _ = await run_through_shard(tmp_path / "clean", drawn.without_poison(), plan)
    neighbours = clean.keys() - {name.encode() for name in drawn.poisoned}
    assert len(neighbours) > 40
    assert {key: poisoned[key] for key in neighbours} == {key: clean[key] for key in neighbours}


@in_loop
async def test_negative_control_a_window_shorter_than_the_lateness_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    make_room = DedupeWindow.make_room
    monkeypatch.setattr(DedupeWindow, "make_room", lambda self, oldest_us: make_room(self, oldest_us + 6 * DAY))
    drawn, plan = stream(1, COUNT), seven_days()
    await run_through_shard(tmp_path, drawn, plan)
    with pytest.raises(AssertionError):
        judge(tmp_path / "log", plan, [one.signal for one in drawn.arrivals])
