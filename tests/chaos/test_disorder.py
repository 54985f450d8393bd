"""10 % duplicates, shuffled within 1,000, late by up to 7 days, 1 % poison (bad bytes, NaN, infinities, future dates,
missing fields, unknown types, oversize ids, 1 MB fields, wrong Arrow types, garbage).

Laws: the state is what the oracle has of the events in the order of the log, for every household and as of several
times, live as after a replay; in = applied + duplicate + late + rejected in every partition, against the number of rows
sent; every rejected row is kept once with its reason and nothing else is; what is refused as a whole leaves no
trace; households that no poison names have, to the last bit, what they have in a run without poison; and all of
it holds through the public port of a real Hearth, over a kill of everything in the middle.
Negative controls: a window of known ids a day long instead of seven, and one that forgets all whenever it may. Both
must be found. (That no reject is kept twice or lost over crashes is tests/actors/test_rejects.py.)
"""

import asyncio
import time
from pathlib import Path

import grpc
import pytest

from actors.log.reading import read_only_logs
from hearth.v1 import signal_pb2, signal_pb2_grpc
from household.columns.dedupe import DedupeWindow
from household.digest import household_digests, state_digest
from household.events import NOT_REJECTED, Status
from household.plan import Plan
from playbooks.compiler import compile_playbook
from serving.totals import counts_by_name
from tests.actors.harness import CORNER, DAY, MINUTE, SECOND, SettableClock, corner
from tests.chaos import disorder
from tests.chaos.disorder import LATENESS_7D, QUIET, Judged, Said, judge, run_through_shard, seven_days, stream
from tests.cluster import real_hearth
from tests.end_to_end import hearth_process

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

COUNT = 40_000
CONTROL_COUNT = 8_000
PUBLIC_COUNT = 10_000


def through_shard(folder: Path, drawn: disorder.Stream, plan: Plan) -> tuple[Said, dict[bytes, str], dict[int, str]]:
    return asyncio.run(run_through_shard(folder, drawn, plan, batch_size=400))


def assert_answers(said: Said, judged: Judged, sent: int) -> None:
    told = {name: judged.total(Status[name.upper()]) for name in ("applied", "duplicate", "late")}
    assert said == told | {"received": sent, "rejected": len(judged.rejected)}
    assert sent == sum(judged.received.values())


@pytest.mark.parametrize("plan", [seven_days(), corner()], ids=["lateness-7d", "lateness-1d"])
def test_the_state_is_what_the_oracle_has(tmp_path: Path, plan: Plan, capsys: pytest.CaptureFixture[str]):
    drawn = stream(11, COUNT)
    started_s = time.monotonic()
    said, digests, states = through_shard(tmp_path, drawn, plan)
    judged = judge(tmp_path / "log", plan, [one.signal for one in drawn.arrivals])
    disorder.assert_rejects(tmp_path / "rejects", judged)
    assert_answers(said, judged, len(drawn.arrivals))
    assert said["duplicate"] > 0.03 * COUNT
    assert said["late"] > 0.03 * COUNT if plan.clock.lateness_us == DAY else 0 < said["late"] < 0.1 * COUNT
    # The oracle knows no graph, of which alone the last one comes.
    expected = set(Status) - NOT_REJECTED - {Status.ACROSS_PARTITIONS}
    assert {reason for _, reason in judged.rejected} == {status.name for status in expected}
    for partition, replay in judged.replays.items():
        assert state_digest(replay.now) == states[partition]
    assert {k: v for replay in judged.replays.values() for k, v in household_digests(replay.now).items()} == digests
    with capsys.disabled():
        print(f"\n{dict(said)}, moments {sum(len(one.moments) for one in judged.oracles.values())}, ", end="")
        print(f"{len(digests)} households equal the oracle, {time.monotonic() - started_s:.0f} s")


def test_neighbours_of_poison_know_what_they_know_without_it(tmp_path: Path):
    drawn, plan = stream(12, COUNT // 2, households=400), corner(QUIET, LATENESS_7D)
    said, poisoned, _ = through_shard(tmp_path / "poisoned", drawn, plan)
    _, clean, _ = through_shard(tmp_path / "clean", drawn.without_poison(), plan)
    neighbours = clean.keys() - {name.encode() for name in drawn.poisoned}
    assert said["rejected"] > 0
    assert len(neighbours) == 395
    assert {key: poisoned[key] for key in neighbours} == {key: clean[key] for key in neighbours}
    judge(tmp_path / "poisoned" / "log", plan, [one.signal for one in drawn.arrivals])


@pytest.mark.parametrize("forgets_after_us", [DAY, 0], ids=["a day instead of seven", "all"])
def test_negative_control_a_window_that_forgets_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgets_after_us: int
):
    make_room = DedupeWindow.make_room
    sooner_us = 7 * DAY - forgets_after_us
    monkeypatch.setattr(DedupeWindow, "make_room", lambda self, oldest_us: make_room(self, oldest_us + sooner_us))
    drawn, plan = stream(13, CONTROL_COUNT), seven_days()
    through_shard(tmp_path, drawn, plan)
    with pytest.raises(AssertionError):
        judge(tmp_path / "log", plan, [one.signal for one in drawn.arrivals])


def test_it_holds_through_the_public_port_of_an_edge(tmp_path: Path):
    plan = corner(QUIET, LATENESS_7D)
    drawn = stream(15, PUBLIC_COUNT)
    clock = SettableClock(drawn.arrivals[0].at_us)
    said = Said()
    with real_hearth.running(tmp_path, plan, clock=clock) as hearth:
        disorder.garbage_on_the_port(hearth.address)
        for at_us, signals in drawn.batches(250):
            clock.at_us = max(clock.at_us, at_us)
            said += ingest(hearth.address, signals)
        disorder.garbage_on_the_port(hearth.address)
        hearth.settle()
    judged = judge(tmp_path / "log", plan, [one.signal for one in drawn.arrivals])
    disorder.assert_rejects(tmp_path / "rejects", judged)
    assert_answers(said, judged, len(drawn.arrivals))


def test_it_holds_through_the_public_port_over_a_kill(tmp_path: Path):
    book = tmp_path / "corner.yaml"
    book.write_text(CORNER.replace(*LATENESS_7D).replace(*QUIET))
    now_us = time.time_ns() // 1_000
    drawn = stream(14, PUBLIC_COUNT, ends_us=now_us - now_us % MINUTE - 10 * MINUTE)
    sent = [one.signal for one in drawn.arrivals]
    data_dir = tmp_path / "data"
    said = Said()
    options = ("--playbook", str(book), "--partitions", "4")
    with hearth_process.running(data_dir, *options) as hearth:
        disorder.garbage_on_the_port(hearth.address)
        said += ingest(hearth.address, sent[: len(sent) // 2])
        disorder.garbage_on_the_port(hearth.address)
        hearth.process.kill()
        hearth.process.wait()
        assert hearth.left_behind() == []
    with hearth_process.running(data_dir, *options) as hearth:
        said += ingest(hearth.address, sent[len(sent) // 2 :])
        listed = hearth_process.command("rejects", "list", "--limit", "1", "--json", "--data-dir", str(data_dir))
        assert listed.returncode == 0, listed.stderr
        assert hearth.stop() == 0
    judged = judge(data_dir / "log", compile_playbook(book), sent)
    disorder.assert_rejects(data_dir / "rejects", judged)
    assert_answers(said, judged, len(sent))
    assert judged.total(Status.APPLIED) > PUBLIC_COUNT / 2, "what was sent had to be within the lateness"
    newest = max(stored.record.stamp_us for _, stored in read_only_logs(data_dir / "log"))
    assert newest > now_us - SECOND, "the owner's clock is the machine's"


def ingest(address: str, signals: list[signal_pb2.Signal]) -> Said:
    """Send signals in batches small enough for a few 1 MB fields; return what was answered."""
    said = Said()
    with grpc.insecure_channel(address, options=[("grpc.max_send_message_length", -1)]) as channel:
        stub = signal_pb2_grpc.SignalServiceStub(channel)
        for start in range(0, len(signals), 250):
            request = signal_pb2.IngestRequest(signals=signals[start : start + 250])
            said.update(counts_by_name(stub.Ingest(request, timeout=60).counts))
    return said
