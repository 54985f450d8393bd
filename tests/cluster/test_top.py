"""Laws of `hearth top`: rates are what was counted between two looks at the same owner; the busiest come first; a
latency is that of between the looks; where nothing is counted it says what would count it.
"""

import io
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from rich.console import Console

from actors.partition.heat import HEAT, HOT_HOUSEHOLD
from actors.partition.telemetry import ShardTelemetry
from cluster.commands.top import Look, _shown, top, view
from cluster.errors import CommandFailed
from cluster.exposition import Exposition
from cluster.metrics import shard_points
from cluster.scrape import Scraped, parsed
from hearth.v1 import decision_pb2, decision_pb2_grpc, signal_pb2, signal_pb2_grpc
from tests.actors.harness import MONDAY, SettableClock, corner, signal
from tests.cluster.real_hearth import running


def partition(shard: str, **more: Any) -> dict[str, Any]:
    zero = dict.fromkeys(("households", "received", "decisions", "pending", "outbox", "waiting_bytes", "log_tail"), 0)
    return zero | {"shard": shard, "epoch": 1} | more


def state(*partitions: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"partitions": {str(number): one for number, one in enumerate(partitions)}, "down": {}, **more}


def page(*took_ms: int) -> Scraped:
    numbers = ShardTelemetry()
    for ms in took_ms:
        numbers.decide_ns.record(ms * 1_000_000)
    shown = Exposition(dict)
    shown.take("shard-0", shard_points(numbers))
    registry = CollectorRegistry()
    registry.register(shown)
    return parsed(generate_latest(registry).decode())


def text(seen: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(_shown(seen))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_rates_are_between_two_looks_and_the_busiest_partition_comes_first():
    before = Look(10.0, state(partition("shard-0", received=100), partition("shard-1", received=50)), None)
    now = Look(12.0, state(partition("shard-0", received=110), partition("shard-1", received=250, decisions=8)), None)
    seen = view(now, before)

    assert [(one["partition"], one["signals_per_s"], one["decisions_per_s"]) for one in seen["partitions"]] == [
        (1, 100.0, 4.0),
        (0, 5.0, 0.0),
    ]
    assert [(one["shard"], one["partitions"], one["signals_per_s"]) for one in seen["shards"]] == [
        ("shard-0", 1, 5.0),
        ("shard-1", 1, 100.0),
    ]


def test_a_partition_with_another_owner_has_no_rate_yet_and_so_has_the_first_look():
    before = Look(10.0, state(partition("shard-0", received=1_000)), None)
    now = Look(12.0, state(partition("shard-1", received=10, epoch=2)), None)
    assert view(now, before)["partitions"][0]["signals_per_s"] is None
    assert view(now, None)["partitions"][0]["signals_per_s"] is None


def test_a_latency_is_of_what_was_decided_between_the_looks():
    slow, then_fast = page(*[900] * 50), page(*[900] * 50, *[2] * 100)
    one = state(partition("shard-0"))
    first, second = Look(1.0, one, slow), Look(3.0, one, then_fast)
    assert view(first, None)["shards"][0]["decide_p99_ms"] == 1_000.0
    assert view(second, first)["shards"][0]["decide_p99_ms"] == 2.0
    assert view(second, second)["shards"][0]["decide_p99_ms"] is None


def test_what_is_down_lags_or_is_not_counted_is_said():
    seen = view(
        Look(1.0, state(partition("shard-0"), capture={"usage": {"lag": 1_234}}) | {"down": {"7": "no disk"}}, None),
        None,
    )
    said = text(seen)
    assert "partition 7 is down: no disk" in said
    assert "usage: lag 1,234" in said
    assert "HEARTH_METRICS_PORT" in said
    assert "HEARTH_METRICS_PORT" not in text(view(Look(1.0, state(partition("shard-0")), page(1)), None))


def test_households_that_have_more_than_their_part_are_shown_by_pseudonym():
    hot = {HEAT: 6_000, HOT_HOUSEHOLD + "~ab": 4_500, HOT_HOUSEHOLD + "~cd": 600}
    hotter = {HEAT: 9_000, HOT_HOUSEHOLD + "~ef": 9_000}
    one = state(partition("shard-0", **hot), partition("shard-1", **hotter), partition("shard-0", **{HEAT: 60}))
    seen = view(Look(1.0, one, None), None)
    assert [(one["household"], one["partition"], one["per_s"], one["share"]) for one in seen["hot_households"]] == [
        ("~ef", 1, 150.0, 1.0),
        ("~ab", 0, 75.0, 0.75),
        ("~cd", 0, 10.0, 0.1),
    ]
    assert "~ab" in text(seen)
    assert "75%" in text(seen)
    assert "hot household" not in text(view(Look(1.0, state(partition("shard-0")), None), None))


def test_a_shard_counts_who_is_asked_and_told_of(tmp_path: Path):
    with (
        running(tmp_path / "data", corner(), clock=SettableClock()) as hearth,
        grpc.insecure_channel(hearth.address) as to,
    ):
        decisions, signals = decision_pb2_grpc.DecisionServiceStub(to), signal_pb2_grpc.SignalServiceStub(to)
        for number in range(20):
            request = decision_pb2.DecideRequest(request_id=f"r{number}", household="asked", channel="app")
            decisions.Decide(request, timeout=10)
            told = [signal(f"e{number}", "told", "visit", MONDAY + number, member="m")]
            signals.Ingest(signal_pb2.IngestRequest(signals=told), timeout=10)
        owners = [owned.owner for owned in hearth.shard._owned.values()]
        for now_s in (0.0, 1e12):
            for owner in owners:
                owner.heat.look(now_s)
    assert {one.name for owner in owners for one in owner.heat.hottest} == {b"asked", b"told"}


def test_no_hearth_is_told(tmp_path):
    with pytest.raises(CommandFailed, match="no Hearth runs"):
        top(tmp_path, every_s=0.5, is_once=True, as_json=False)
