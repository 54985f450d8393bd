"""Laws of the Prometheus endpoint: it shows the numbers of every process as they are, named as Prometheus names things;
one that went silent is not shown as if it were so; nobody beyond loopback reads it unless that is said twice.
"""

import asyncio
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from actors.partition.telemetry import ShardTelemetry
from cluster import coordinator_sink, telemetry
from cluster.config import HearthConfig, load_config
from cluster.coordinator import Coordinator
from cluster.coordinator_sink import CoordinatorSink
from cluster.errors import UsageWrong
from cluster.exposition import FORGOTTEN_S, SILENT_S, Exposition, series_names
from cluster.logs import LogSettings
from cluster.metadata import sqlite_url
from cluster.metrics import INSTRUMENTS, Points, shard_points
from cluster.telemetry import Telemetry
from cluster.watching import MetricsEndpoint, TelemetrySettings, telemetry_settings
from tests.actors.harness import in_loop

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Monotonic:
    at_s = 0.0

    def __call__(self) -> float:
        return self.at_s


def series(page: str) -> Series:
    """Return what a page of Prometheus says, by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def shown(exposition: Exposition) -> Series:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in exposition.collect()
        for sample in family.samples
    }


def processes(told: Series) -> set[str]:
    return {dict(labels)["process"] for name, labels in told if name != "hearth_process_silence_seconds"}


def read(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        return answer.read().decode()


def settings(folder: Path, port: int | None) -> TelemetrySettings:
    scraped = MetricsEndpoint(host="127.0.0.1", port=port) if port is not None else None
    logs = LogSettings(folder=folder, level="info")
    return TelemetrySettings(endpoint=None, trace_share=1.0, interval_s=3_600.0, logs=logs, scraped=scraped)


async def until_shown(coordinator: Coordinator) -> str:
    for _ in range(1_000):
        if coordinator._page is not None and coordinator._page.address:
            return coordinator._page.address
        await asyncio.sleep(0.01)
    raise AssertionError("nothing listens")


def test_the_page_has_every_process_and_what_each_counted_over_http(tmp_path: Path):
    @in_loop
    async def test() -> None:
        coordinator = Coordinator(
            metadata_url=sqlite_url(tmp_path / "metadata.sqlite"),
            partition_count=3,
            plan_bytes=b"",
            lease_margin_ms=1,
            telemetry=settings(tmp_path, 0),
        )
        numbers = ShardTelemetry()
        numbers.called("Decide", 14)
        for took_ns in (400_000, 700_000_000):
            numbers.decide_ns.record(took_ns)
        await coordinator.take_numbers("shard-0", shard_points(numbers))
        address = await until_shown(coordinator)
        told = series(await asyncio.to_thread(read, address))

        assert processes(told) == {"coordinator", "shard-0"}
        assert told["hearth_partitions", (("process", "coordinator"),)] == 3
        labels = (("hearth_method", "Decide"), ("process", "shard-0"), ("rpc_response_status_code", "UNAVAILABLE"))
        assert told["hearth_shard_calls_total", labels] == 1
        buckets = {
            float(dict(labels)["le"]): value
            for (name, labels), value in told.items()
            if name == "hearth_decide_duration_seconds_bucket"
        }
        assert (buckets[0.0003], buckets[0.0005], buckets[0.5], buckets[1.0], buckets[float("inf")]) == (0, 1, 1, 2, 2)
        assert told["hearth_decide_duration_seconds_count", (("process", "shard-0"),)] == 2
        assert told["hearth_decide_duration_seconds_sum", (("process", "shard-0"),)] == pytest.approx(0.7004)
        assert (await coordinator.report())["metrics_address"] == address
        await coordinator.stop()

    test()


def test_every_number_that_a_shard_has_is_shown_under_its_declared_name():
    page = Exposition(dict)
    page.take("shard-0", shard_points(ShardTelemetry()))
    declared = {name for instrument in INSTRUMENTS for name in series_names(instrument)}
    names = {name for name, _ in shown(page)}

    assert names <= declared
    assert {"hearth_lease_held_ratio", "hearth_signals_total", "hearth_snapshot_age_seconds"} <= names


def test_what_a_silent_process_said_is_not_shown_but_its_silence_is_and_then_it_is_forgotten():
    clock = Monotonic()
    page = Exposition(dict, monotonic_s=clock)
    page.take("shard-0", shard_points(ShardTelemetry()))
    page.take("shard-1", shard_points(ShardTelemetry()))
    clock.at_s = SILENT_S + 1
    page.take("shard-1", shard_points(ShardTelemetry()))
    told = shown(page)

    assert processes(told) == {"shard-1"}
    assert told["hearth_process_silence_seconds", (("process", "shard-0"),)] == SILENT_S + 1
    clock.at_s = FORGOTTEN_S + 1
    assert {dict(labels)["process"] for _, labels in shown(page)} == {"shard-1"}


def test_a_process_sends_what_it_counts_to_the_coordinator_and_does_not_wait_for_one_that_hangs(monkeypatch):
    sent: list[tuple[str, dict[str, Points]]] = []
    answered: list[object] = []

    class Method:
        @staticmethod
        def remote(process: str, points: dict[str, Points]) -> object:
            sent.append((process, points))
            return len(sent)

    class Actor:
        take_numbers = Method

    import ray

    monkeypatch.setattr(ray, "get_actor", lambda name, namespace: Actor)
    monkeypatch.setattr(ray, "wait", lambda refs, timeout: (refs, []) if refs[0] in answered else ([], refs))
    sink = CoordinatorSink("shard-0")
    export = Telemetry("hearth-shard", "shard-0", spans=None, metrics=None, interval_s=3_600.0, show=sink)
    export.start(lambda: shard_points(ShardTelemetry()))
    export._export()
    export._export()
    assert [process for process, _ in sent] == ["shard-0"]
    answered.append(1)
    export._export()
    assert len(sent) == 2
    assert sent[1][1].keys() == shard_points(ShardTelemetry()).keys()
    answered.append(2)
    export.stop()


def test_a_coordinator_that_is_not_there_yet_costs_an_interval_and_nothing_else(monkeypatch, caplog):
    import ray

    def nobody(name: str, namespace: str) -> Any:
        raise ValueError(f"no actor {name}")

    monkeypatch.setattr(ray, "get_actor", nobody)
    export = Telemetry(
        "hearth-shard", "shard-0", spans=None, metrics=None, interval_s=3_600.0, show=CoordinatorSink("shard-0")
    )
    export._export()
    assert "metrics were not exported" in caplog.text


def test_nothing_is_counted_or_opened_unless_asked_for(tmp_path: Path):
    assert telemetry_settings(HearthConfig(data_dir=tmp_path)).is_on is False
    assert telemetry.coordinator_telemetry(settings(tmp_path, None), dict) is None
    assert telemetry._shown(settings(tmp_path, None), "shard-0") is None
    assert isinstance(telemetry._shown(settings(tmp_path, 0), "shard-0"), coordinator_sink.CoordinatorSink)
    asked = telemetry_settings(HearthConfig(data_dir=tmp_path, metrics_port=9464))
    assert (asked.is_on, asked.scraped) == (True, MetricsEndpoint(host="127.0.0.1", port=9464))


def test_a_page_beyond_loopback_has_to_be_asked_for_twice():
    with pytest.raises(UsageWrong, match=r"set plaintext_metrics_host to 0\.0\.0\.0"):
        load_config(metrics_port=9464, metrics_host="0.0.0.0")
    with pytest.raises(UsageWrong, match="once more"):
        load_config(metrics_port=9464, metrics_host="0.0.0.0", plaintext_metrics_host="127.0.0.1")
    load_config(metrics_port=9464, metrics_host="0.0.0.0", plaintext_metrics_host="0.0.0.0")
    load_config(metrics_host="0.0.0.0")
