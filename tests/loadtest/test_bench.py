"""Laws of the benches: read-your-writes finds a stale answer; the fixed rate is kept; a dead Hearth is an error."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from household.plan import Plan
from loadtest import server
from loadtest.bench import _asked_openly, counted_event, read_your_writes
from loadtest.gateway import Gateway
from loadtest.server import HearthFailed, RunningHearth, running_hearth
from loadtest.tally import Promise
from loadtest.town import MONDAY_US, Town
from tests.loadtest.fake_hearth import FakeHearth, Faults, started


def trials_against(hearth: FakeHearth, plan: Plan, trials: int) -> tuple[Promise, list[str]]:
    async def run() -> tuple[Promise, list[str]]:
        running, address = await started(hearth)
        gateway = Gateway(address)
        try:
            return await read_your_writes(gateway, plan, trials=trials, run="T", start_us=MONDAY_US)
        finally:
            await gateway.close()
            await running.stop(None)

    return asyncio.run(run())


def test_the_event_counted_needs_no_fields(plan: Plan):
    event = plan.event_types[plan.event_type_by_name[counted_event(plan)]]

    assert not any(use.required for use in event.fields)


def test_read_your_writes_holds_where_every_signal_is_seen(plan: Plan, hearth_of):
    promise, failures = trials_against(hearth_of(), plan, trials=700)

    assert (promise.trials, promise.violations, failures) == (700, 0, [])


def test_read_your_writes_finds_every_stale_answer(plan: Plan, hearth_of):
    promise, failures = trials_against(hearth_of(Faults(stale_features=True)), plan, trials=50)

    assert (promise.trials, promise.violations, failures) == (50, 50, [])


def test_a_trial_without_an_answer_is_a_failure_and_no_violation(plan: Plan, hearth_of):
    promise, failures = trials_against(hearth_of(Faults(fails_every=1)), plan, trials=3)

    assert (promise.trials, promise.violations) == (0, 0)
    assert failures == ["Decide: INTERNAL: a defect"] * 3


def test_the_open_model_asks_exactly_rate_times_seconds(town: Town, hearth_of):
    async def run() -> tuple[int, int]:
        running, address = await started(hearth_of())
        gateway = Gateway(address)
        latencies, failures = await _asked_openly(gateway, town, rate=200, seconds=0.5)
        await gateway.close()
        await running.stop(None)
        return len(latencies.ms), failures

    assert asyncio.run(run()) == (100, 0)


def hearth_that(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(server, "hearth_command", lambda: [sys.executable, "-c", code])


async def entered(folder: Path) -> RunningHearth:
    async with running_hearth(folder / "data", folder / "playbook") as running:
        return running


def test_a_hearth_that_is_ready_is_stopped_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    ready = json.dumps({"ready": True, "address": "127.0.0.1:7", "pid": 5})
    hearth_that(monkeypatch, f"import signal; print({ready!r}, flush=True); signal.pause()")

    assert asyncio.run(entered(tmp_path)) == RunningHearth(address="127.0.0.1:7", pid=5)


def test_a_hearth_that_dies_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    hearth_that(monkeypatch, "import sys; sys.exit('the port is in use')")

    with pytest.raises(HearthFailed, match="the port is in use"):
        asyncio.run(entered(tmp_path))
