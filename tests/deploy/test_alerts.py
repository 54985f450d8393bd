"""Laws: nothing fires while all is well; each alert fires once its condition is caused, in numbers that the real code
shows of it; each asks for metrics that Hearth has, and has its page in the runbook.

Prometheus's own promtool evaluates the rules over an hour made of the pages; where it cannot be had, the laws about
names and pages hold all the same.
"""

import re
import shutil
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from actors.partition.lineup import Lineup
from actors.partition.model_plane import MissingModel
from actors.partition.scoring_settings import ScoringCounters
from cluster.exposition import series_names
from cluster.metrics import INSTRUMENTS, Points
from cluster.model_notes import ModelNotes
from hearth.v1 import delivery_pb2, signal_pb2
from serving.models.findings import Note, WatchFinding, write_notes
from serving.models.in_force import ModelInForce
from tests.actors.harness import DAY, MONDAY, SECOND, in_loop, signal
from tests.cluster.test_coordinator import FakeShard, until, world
from tests.deploy.alerting import Page, alerts, firing, promtool
from tests.deploy.watched import HOMES, Watched, watched
from tests.sampling import sampled
from wire.failures import CallFailed

Hurt = Callable[[Watched], Awaitable[None]]
MILLISECOND_NS = 1_000_000


async def well(it: Watched) -> tuple[Page, Page]:
    await it.go_on()
    first = it.page()
    await it.go_on()
    return first, it.page()


async def refused(call: Awaitable[Any], *codes: grpc.StatusCode) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as wrong:
        await call
    assert not codes or wrong.value.code() in codes, wrong.value


# --- what causes each ------------------------------------------------------------------------------------------------


async def no_partition_is_told(it: Watched) -> None:
    it.own = {}
    it.monotonic_s += 10_000.0


async def lease_is_lost(it: Watched) -> None:
    it.lease.held = False


async def clock_jumps(it: Watched) -> None:
    it.clock.confirmed = False


async def shard_falls_silent(it: Watched) -> None:
    it.is_telling = False
    it.monotonic_s += 60.0


async def disk_breaks(it: Watched) -> None:
    it.disk.break_syncs()
    await refused(it.ingest())


async def nobody_owns_it(it: Watched) -> None:
    await it.shard.release(0)
    for _ in range(3):
        await refused(it.decide(), grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.FAILED_PRECONDITION)


def took(method: str, code: grpc.StatusCode, ms: int) -> Hurt:
    """What the edge sees of calls, as it is told of each."""

    async def hurt(it: Watched) -> None:
        for _ in range(20):
            it.edge.began(method, "")
            it.edge.ended(
                method=method, code=code, started_ns=0, ended_ns=ms * MILLISECOND_NS, parent="", traceparent=""
            )

    return hurt


async def appends_take_long(it: Watched) -> None:
    for _ in range(20):
        it.kept.appended([], 400 * MILLISECOND_NS)


async def source_sends_what_nobody_knows(it: Watched) -> None:
    for _ in range(3):
        await it.ingest("nonsense")


async def source_is_late(it: Watched) -> None:
    for _ in range(3):
        await it.ingest(age_us=3 * DAY)


async def signals_are_old(it: Watched) -> None:
    for _ in range(30):
        await it.ingest(age_us=600 * SECOND)


async def field_is_misspelt(it: Watched) -> None:
    await it.ingest(fields={"colour_of_the_sky": 1.0})


async def model_is_missing(it: Watched) -> None:
    async def missing() -> Lineup:
        return Lineup(champion=MissingModel("model m1 is not loaded"))

    await it.shard.use_lineup(missing)
    await it.decide(HOMES[3])


async def breaker_opens(it: Watched) -> None:
    counters = ScoringCounters()
    it.kept.scoring.append(counters)
    counters.openings += 1


async def scores_take_long(it: Watched) -> None:
    made = next(iter(it.kept.score_ns_by_model))
    for _ in range(20):
        it.kept.scored_in(made, 200 * MILLISECOND_NS)


async def model_has_drifted(it: Watched) -> None:
    it.own = it.own | found_of(it, findings=(WatchFinding.FEATURES,), age_s=10)


async def nobody_looks(it: Watched) -> None:
    it.own = it.own | found_of(it, findings=(), age_s=3 * DAY // SECOND)


def found_of(it: Watched, *, findings: tuple[WatchFinding, ...], age_s: int) -> dict[str, Points]:
    """Return what the coordinator shows of a note in the registry."""
    folder = it.folder / "models" / "acceptance"
    (folder / "v1").mkdir(parents=True)
    at = datetime(2026, 11, 28, tzinfo=UTC)
    write_notes(
        it.folder / "models", "acceptance", [Note(version="v1", at=at.isoformat(), findings=findings, verdict="")]
    )
    notes = ModelNotes(now=lambda: at + timedelta(seconds=age_s))
    return notes.points(ModelInForce(version="v1", bundle_path=str(folder / "v1")))


async def snapshots_have_no_place(it: Watched) -> None:
    shutil.rmtree(it.folder / "snapshots")
    (it.folder / "snapshots").write_text("a file where the folder was")
    await it.ingest()
    with pytest.raises(CallFailed):
        await it.snapshot()


async def snapshots_do_not_come(it: Watched) -> None:
    assert it.shard._taker is not None
    await it.ingest()
    it.shard._taker._monotonic_s = lambda: 1e9
    # So that it was given the partition long ago.


async def nobody_can_take_a_snapshot(it: Watched) -> None:
    shutil.rmtree(it.folder / "snapshots")
    (it.folder / "snapshots").write_text("a file where the folder was")
    # Known events are folded, too: to nothing.
    rows = [signal(f"many-{row}", HOMES[row % 4], "visit", MONDAY, member="M") for row in range(10_000)]
    batch = signal_pb2.IngestRequest(signals=rows)
    for _ in range(21):
        await it.signals.Ingest(batch, timeout=60)


async def rejects_do_not_fit(it: Watched) -> None:
    it.reject_disk.is_full = True
    rows = [signal(f"poison-{row}", HOMES[0], "nonsense", MONDAY, member="M") for row in range(4)]
    await it.signals.Ingest(signal_pb2.IngestRequest(signals=rows))
    rejects = it.owner.rejects
    await until(lambda: rejects.counters.failures > 0)
    rows = [signal(f"more-{row}", HOMES[0], "nonsense", MONDAY, member="M") for row in range(12)]
    await it.signals.Ingest(signal_pb2.IngestRequest(signals=rows))
    assert rejects.counters.missed > 0


async def gateway_takes_and_says_nothing(it: Watched) -> None:
    await it.signals.Ingest(
        signal_pb2.IngestRequest(
            signals=[
                signal("yes", HOMES[1], "consent", MONDAY, member="M", fields={"marketing": True}),
                *(signal(f"c-{n}", HOMES[1], "check", MONDAY + n, member="M") for n in range(3)),
            ]
        )
    )
    await anext(aiter(it.delivery.Subscribe(delivery_pb2.SubscribeRequest(channels=["push"]))))


async def outdated_owner_wrote(it: Watched) -> None:
    it.kept.decision_folded(None, is_in_force=False)  # type: ignore[arg-type] # what is void is not looked at


async def groups_came_twice(it: Watched) -> None:
    class Repeating:
        repetitions = 3

        def __init__(self, log: Any) -> None:
            self._log = log

        def __getattr__(self, name: str) -> Any:
            return getattr(self._log, name)

    it.owner._log = Repeating(it.owner._log)


DECIDE = "/hearth.v1.DecisionService/Decide"

CAUSES: dict[str, Hurt] = {
    "HearthAbsent": no_partition_is_told,
    "HearthShardSilent": shard_falls_silent,
    "HearthLeaseLost": lease_is_lost,
    "HearthClockJumped": clock_jumps,
    "HearthPartitionLost": disk_breaks,
    "HearthServerFaults": nobody_owns_it,
    "HearthOverloaded": took(DECIDE, grpc.StatusCode.RESOURCE_EXHAUSTED, 1),
    "HearthDecideSlow": took(DECIDE, grpc.StatusCode.OK, 700),
    "HearthAppendSlow": appends_take_long,
    "HearthSignalsRejected": source_sends_what_nobody_knows,
    "HearthSignalsLate": source_is_late,
    "HearthSignalsOld": signals_are_old,
    "HearthUnknownFields": field_is_misspelt,
    "HearthDecisionsDegraded": model_is_missing,
    "HearthModelPlaneAway": breaker_opens,
    "HearthModelOff": model_has_drifted,
    "HearthModelUnwatched": nobody_looks,
    "HearthModelSlow": scores_take_long,
    "HearthSnapshotsFail": snapshots_have_no_place,
    "HearthSnapshotOld": snapshots_do_not_come,
    "HearthRestartLong": nobody_can_take_a_snapshot,
    "HearthRejectsLost": rejects_do_not_fit,
    "HearthRejectsNotWritten": rejects_do_not_fit,
    "HearthActionsNotAcknowledged": gateway_takes_and_says_nothing,
    "HearthDecisionsVoid": outdated_owner_wrote,
    "HearthLogRepeats": groups_came_twice,
}
"""The coordinator's alerts have tests of their own, below."""
OF_THE_COORDINATOR = ("HearthPartitionDown", "HearthShardMissing", "HearthModelRefused")


def test_nothing_fires_while_all_is_well(tmp_path: Path):
    promtool()

    @in_loop
    async def test() -> None:
        async with watched() as it:
            assert firing(tmp_path, await well(it), None) == []

    test()


@pytest.mark.parametrize("name", sampled(CAUSES, one_in=4))
def test_an_alert_fires_once_its_condition_is_caused(name: str, tmp_path: Path):
    promtool()

    @in_loop
    async def test() -> None:
        async with watched() as it:
            before = await well(it)
            await CAUSES[name](it)
            assert name in firing(tmp_path, before, it.page())

    test()


@pytest.mark.parametrize("name", OF_THE_COORDINATOR)
def test_an_alert_of_the_coordinator_fires(name: str, tmp_path: Path):
    promtool()

    @in_loop
    async def test() -> None:
        async with watched() as it, world(tmp_path, partition_count=2) as around:
            home, spare = FakeShard("shard-0", around.metadata), FakeShard("shard-1", around.metadata)
            coordinator = around.coordinator
            await coordinator.start({"shard-0": home}, {"shard-1": spare})
            await until(lambda: all(seen.started for seen in coordinator._shards.values()))
            it.own = coordinator._numbers()
            before = await well(it)
            assert it.own["hearth.partitions.down"] == [({}, 0)]
            if name == "HearthModelRefused":
                home.refused_models.add("m2")
                await coordinator.use_model(ModelInForce(version="m2", bundle_path="x"))
                await until(lambda: coordinator._shards["shard-0"].model_trouble != "")
            else:
                for one in (home, spare):
                    one.may_start.clear()
                    around.metadata.revoke(one.die(), None)
                await until(lambda: all(seen.started is None for seen in coordinator._shards.values()))
            it.own = coordinator._numbers()
            home.may_start.set()
            spare.may_start.set()
            assert name in firing(tmp_path, before, it.page())

    test()


# --- names and pages -------------------------------------------------------------------------------------------------


def test_every_alert_has_a_test_that_causes_it():
    assert sorted(alerts()) == sorted([*CAUSES, *OF_THE_COORDINATOR])


def test_every_alert_asks_for_metrics_and_labels_that_there_are():
    known = {name for instrument in INSTRUMENTS for name in series_names(instrument)}
    for name, rule in alerts().items():
        asked = set(re.findall(r"\b(?:hearth|rpc)_[a-z_]+\b", re.sub(r"\{[^}]*\}|by \([^)]*\)", "", rule["expr"])))
        assert asked, name
        assert asked <= known, name


def test_every_alert_has_its_page_in_the_runbook_and_no_page_is_of_an_alert_that_is_gone(repository: Path):
    runbook = (repository / "docs" / "runbook.md").read_text()
    pages = re.findall(r"^### (Hearth\w+)$", runbook, re.MULTILINE)

    assert pages == list(alerts())
    for name, rule in alerts().items():
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"
        told = runbook.partition(f"### {name}\n")[2].partition("\n### ")[0]
        assert "**Means**" in told, name
        assert "**Do**" in told, name
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
