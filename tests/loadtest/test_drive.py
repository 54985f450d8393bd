"""Laws of the driver: every signal arrives once, in its household's order, whatever fails; breaches are seen."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hearth.v1 import delivery_pb2
from loadtest.conversation import Curiosity
from loadtest.driving import Drive, DriveSettings
from loadtest.gateway import GaveUp
from loadtest.lanes import Asking, is_asking, lane_of, step_of
from loadtest.tally import Latencies, Promise
from loadtest.town import Town
from loadtest.town.signals import joined, nothing
from tests.loadtest.fake_hearth import FakeHearth, Faults, running, started

CURIOUS = Curiosity(other_channel_percent=100, explain_percent=100)


def driven(town: Town, hearth: FakeHearth, **settings: Any) -> dict[str, Any]:
    async def run() -> dict[str, Any]:
        server, address = await started(hearth)
        try:
            wanted: dict[str, Any] = {
                "ask_share": 1.0,
                "batch_rows": 500,
                "curiosity": CURIOUS,
                "settle_s": 0.05,
            } | settings
            return await Drive(town, DriveSettings(target=address, **wanted)).run()
        finally:
            await server.stop(None)

    return asyncio.run(run())


def town_rows(town: Town) -> int:
    return sum(piece.count for piece in town.pieces(100_000))


def test_every_signal_arrives_once(hamlet: Town, hearth_of):
    hearth = hearth_of()
    report = driven(hamlet, hearth)

    bought = report["signals"]["in"] - town_rows(hamlet)
    assert report["signals"]["in"] == report["signals"]["applied"] == len(hearth.rows)
    assert 0 <= bought <= report["outcomes"].get("convert", 0)
    assert report["violations"] == 0
    assert report["failures"] == {}
    assert report["decisions"]["total"] == len(hearth.decided)


def test_each_household_keeps_its_order(hamlet: Town, hearth_of):
    hearth = hearth_of()
    driven(hamlet, hearth, curiosity=Curiosity(other_channel_percent=0, explain_percent=0))

    times: dict[str, list[int]] = defaultdict(list)
    for household, _, kind, time_us in hearth.rows:
        if kind not in ("billing.product_activated", "wallet.activated"):  # what was bought comes when it comes
            times[household].append(time_us)
    assert len(times) == hamlet.households
    assert all(earlier <= later for one in times.values() for earlier, later in pairwise(one))


def test_what_is_unavailable_is_tried_again_under_the_same_ids(hamlet: Town, hearth_of):
    hearth = hearth_of(Faults(unavailable_first=9))
    report = driven(hamlet, hearth)

    assert report["retries"] == {"UNAVAILABLE": 9}
    assert report["failures"] == {}
    assert len(hearth.rows) == len(hearth.seen) - sum(hearth.reports.values())
    assert report["signals"]["in"] == len(hearth.rows)
    assert report["promises"]["every_signal_accounted_for"]["violations"] == 0


@pytest.mark.parametrize(
    ("fault", "promise"),
    [
        (Faults(id_per_channel=True), "same_action_on_all_channels"),
        (Faults(forgets_declines=True), "declined_never_offered_again"),
        (Faults(forgets_accepts=True), "accepted_withdrawn_everywhere"),
        (Faults(no_reasons=True), "answers_well_formed"),
        (Faults(loses_rows=True), "every_signal_accounted_for"),
        (Faults(stale_features=True), "read_your_writes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_promise_is_seen(hamlet: Town, hearth_of, fault: Faults, promise: str):
    report = driven(hamlet, hearth_of(fault))

    assert report["promises"][promise]["violations"] > 0
    assert report["promises"][promise]["examples"]
    assert {name for name, one in report["promises"].items() if one["violations"]} <= {promise}


def test_a_failed_decide_is_counted_and_the_town_lives_on(hamlet: Town, hearth_of):
    report = driven(hamlet, hearth_of(Faults(fails_every=10)))

    assert report["failures"]["Decide INTERNAL"] > 0
    assert report["signals"]["in"] >= 0.9 * town_rows(hamlet)


def test_deliveries_are_acknowledged_each_time_and_answered_once(hamlet: Town, hearth_of):
    hearth = hearth_of()
    hearth.offers = ()
    for number in range(5):
        delivery = delivery_pb2.SubscribeResponse(household=f"H{number:06d}", member="M1", decision_id=f"D{number}")
        delivery.action.action_id, delivery.action.offer = f"out-{number}", "content_start"
        delivery.action.treatment.channel = "sms"
        hearth.outbox[f"out-{number}"] = delivery
        hearth.offer_by_action[f"out-{number}"] = "content_start"
    report = driven(hamlet, hearth)

    assert sorted(hearth.acked) == [f"out-{number}" for number in range(5)]
    assert report["deliveries"]["redelivered"] >= 5
    assert report["deliveries"]["acks"]["effective"] == 5
    assert hearth.reports["OUTCOME_IMPRESSION"] <= 5


def test_the_open_model_asks_at_its_own_rate(hamlet: Town, hearth_of):
    report = driven(hamlet, hearth_of(), ask_share=0.1, decide_rate=200.0, speed=2_000.0)

    due = sum(report["open_model"].get(name, 0) for name in ("asked", "not_started", "nobody_yet"))
    assert report["open_model"]["asked"] > 0
    assert 200 * report["elapsed_s"] - 2 <= due <= 200 * (report["elapsed_s"] + 1)


def test_the_chosen_speed_is_kept(hamlet: Town, hearth_of):
    report = driven(hamlet, hearth_of(), speed=1_000.0)

    assert report["signals"]["per_s"] < 1.2 * 1_000


async def unanswered(town: Town) -> None:
    await Drive(town, DriveSettings(target="127.0.0.1:1", connect_s=0.2)).run()


def test_nobody_there_is_an_error_that_names_it(hamlet: Town):
    with pytest.raises(GaveUp, match="no connection within"):
        asyncio.run(unanswered(hamlet))


def test_a_step_divides_a_household_at_its_first_question(town: Town):
    signals = next(piece for piece in town.pieces(4_000) if piece.times_us[0] >= town.start_us)
    asking = Asking(share=1.0)
    done, held = [], signals
    while held.count:
        step = step_of(town, held, asking)
        assert not is_asking(town, step.before, asking).any()
        assert is_asking(town, step.contacts, asking).all()
        assert len(np.unique(step.contacts.households)) == step.contacts.count
        assert step.before.count + step.contacts.count + step.after.count == held.count
        done += [step.before, step.contacts]
        held = step.after
    arrived = joined(done)
    for household in np.unique(signals.households):
        expected = signals.ids[signals.households == household]
        assert np.array_equal(arrived.ids[arrived.households == household], expected)
    assert joined([]).count == nothing().count == 0


def test_lanes_are_about_equal():
    counts = Counter(lane_of(np.arange(10_000, dtype=np.int32), 4).tolist())

    assert sorted(counts) == [0, 1, 2, 3]
    assert max(counts.values()) < 1.1 * min(counts.values())


def test_percentiles_are_latencies_that_occurred():
    latencies = Latencies()
    for ms in range(1, 101):
        latencies.add(ms / 1_000)

    assert latencies.percentiles() == {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 100.0, "max": 100.0}
    assert Latencies().percentiles() == {}


def test_all_violations_count_and_five_are_shown():
    promise = Promise()
    for number in range(9):
        promise.hold(number % 2 == 0 or number < 0, f"example {number}")

    assert (promise.trials, promise.violations) == (9, 4)
    assert promise.examples == ["example 1", "example 3", "example 5", "example 7"]


def command(address: str, *more: str) -> list[str]:
    return [sys.executable, "-m", "loadtest.drive", "--target", address, "--json-lines", *more]


def environment(repository: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{repository}{os.pathsep}{repository / 'protos'}"}


def test_the_command_prints_progress_and_a_last_report(hearth_of, repository: Path):
    with running(hearth_of()) as address:
        arguments = command(address, "--households", "15", "--days", "1", "--speed", "1500", "--strict")
        done = subprocess.run(
            arguments, env=environment(repository), capture_output=True, text=True, timeout=60, check=False
        )

    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert [list(line) for line in lines] == [["progress"]] * (len(lines) - 1) + [["report"]]
    assert lines[-1]["report"]["signals"]["in"] == lines[-1]["report"]["signals"]["applied"] > 0


def test_sigterm_ends_the_command_with_a_report(hearth_of, repository: Path):
    with running(hearth_of()) as address:
        arguments = command(address, "--households", "50", "--days", "30", "--speed", "1500")
        process = subprocess.Popen(arguments, env=environment(repository), stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=20)

    report = json.loads(rest.splitlines()[-1])["report"]
    assert "progress" in json.loads(first)
    assert process.returncode == 0
    assert report["stopped_early"] is True
    assert report["signals"]["in"] == report["signals"]["applied"]
