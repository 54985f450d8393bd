"""Laws: `hearth up --capture` moves what is on an operator's topic into the log, each event once and its offset
committed, though the connector's process is killed meanwhile; `hearth status` tells how far it is. Skipped where no
broker can be had.
"""

import json
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from cluster.data_dir import read_status
from tests.end_to_end.hearth_process import Hearth, command, running
from tests.end_to_end.test_up import START_US
from tests.parts.kafka_broker import shared_broker

pytestmark = [pytest.mark.ray, pytest.mark.chaos, pytest.mark.timeout(300)]

WITHIN_S = 90
PARTITIONS = 3
TOPIC = "ops.sessions"


def publish(bootstrap: str, numbers: range) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": bootstrap})
    for number in numbers:
        message = {"id": f"e{number}", "at": START_US // 1_000 + number, "who": f"home-{number % 7}"}
        producer.produce(TOPIC, json.dumps(message).encode(), partition=number % PARTITIONS)
    assert producer.flush(WITHIN_S) == 0


def committed(bootstrap: str) -> int:
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "hearth-e2e"})
    try:
        places = [TopicPartition(TOPIC, partition) for partition in range(PARTITIONS)]
        return sum(max(place.offset, 0) for place in consumer.committed(places, timeout=WITHIN_S))
    finally:
        consumer.close()


def total(hearth: Hearth, name: str) -> int:
    state = read_status(hearth.data_dir) or {"partitions": {}}
    return sum(int(one.get(name, 0)) for one in state["partitions"].values())


def wait_for(hearth: Hearth, count: int) -> None:
    """Poll the status file, a real process writes it, until so many events are applied."""
    deadline_s = time.monotonic() + WITHIN_S
    while total(hearth, "applied") < count:
        assert time.monotonic() < deadline_s, f"{total(hearth, 'applied')} of {count}: {read_status(hearth.data_dir)}"
        time.sleep(0.1)


def until_running(hearth: Hearth) -> dict[str, Any]:
    """Poll `hearth status`, which is some seconds old, until the connector runs again; return what it says of it."""
    deadline_s = time.monotonic() + WITHIN_S
    while True:
        said = json.loads(command("status", "--data-dir", str(hearth.data_dir), "--json").stdout)
        (told,) = said["state"]["capture"].values()
        if told["state"] == "running":
            return told
        assert time.monotonic() < deadline_s, told


def connector_process(hearth: Hearth) -> psutil.Process:
    every = psutil.Process(hearth.process.pid).children(recursive=True)
    (found,) = [one for one in every if "ray::CaptureActor" in " ".join(one.cmdline())]
    return found


def test_a_topic_is_captured_once_though_the_connector_is_killed(tmp_path: Path):
    from confluent_kafka.admin import AdminClient, NewTopic

    bootstrap = shared_broker().bootstrap
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(WITHIN_S)
    section = {
        "match": "ops.*",
        "event_id": {"column": "id"},
        "type": "app.balance_check",
        "household": {"column": "who"},
        "time": {"column": "at", "unit": "ms"},
        "fields": {},
    }
    (tmp_path / "ops.yaml").write_text(yaml.safe_dump({"files": [section]}))
    entry = {"topics": [TOPIC], "bootstrap": bootstrap, "mapping": "ops.yaml", "group": "hearth-e2e"}
    (tmp_path / "capture.yaml").write_text(yaml.safe_dump({"connectors": [entry]}))
    publish(bootstrap, range(200))

    options = ("--clock", "stream", "--shards", "1", "--partitions", "2", "--capture", str(tmp_path / "capture.yaml"))
    with running(tmp_path / "data", *options) as hearth:
        wait_for(hearth, 200)
        connector_process(hearth).kill()
        publish(bootstrap, range(200, 400))
        wait_for(hearth, 400)
        told = until_running(hearth)
        assert told["topics"] == [TOPIC]
        assert "capture-0 (ops.sessions) running" in command("status", "--data-dir", str(hearth.data_dir)).stdout
        # What was acknowledged when the connector died may have been sent again.
        assert total(hearth, "received") - total(hearth, "duplicate") == 400
        assert hearth.stop() == 0
        assert hearth.left_behind() == []
    assert committed(bootstrap) == 400
