"""Laws: `hearth up --log kafka://…` answers as with files, and what it was told holds after its shard's process died;
the data directory keeps no log. Skipped where no broker can be had.
"""

import json
from pathlib import Path

import pytest

from actors.log.kafka import kafka_store
from hearth.v1 import signal_pb2
from tests.chaos.cluster_processes import Part, find, kill
from tests.end_to_end.hearth_process import command, running
from tests.end_to_end.test_up import START_US, Client, a_signal, ask_until_answered, life_before
from tests.parts.kafka_broker import shared_broker

pytestmark = [pytest.mark.ray, pytest.mark.chaos, pytest.mark.timeout(300)]

DAY_US = 86_400_000_000


def test_what_was_told_holds_on_a_log_on_kafka(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # A second start would take most of the time; a spare, some of it.
    monkeypatch.setenv("HEARTH_SPARE_SHARD_COUNT", "0")
    url = f"kafka://{shared_broker().bootstrap}/up?replicas=1&min_insync=1"
    options = ("--clock", "stream", "--log", url, "--shards", "1", "--partitions", "4")
    with running(tmp_path / "data", *options) as hearth:
        client = Client(hearth.address)
        ingested = client.signals.Ingest(signal_pb2.IngestRequest(signals=life_before()), timeout=20)
        assert ingested.counts.applied == 15
        strange = signal_pb2.IngestRequest(signals=[a_signal("no.such_type", START_US)])
        assert client.signals.Ingest(strange, timeout=20).counts.rejected == 1
        asked = ("balance", "ussd", a_signal("app.balance_check", START_US + DAY_US))
        decided = client.decide(*asked)

        kill(find(hearth.process.pid, Part.SHARD))
        again = ask_until_answered(client, *asked)
        assert again.repeated_request
        assert again.decision_id == decided.decision_id
        # Tools find the log by the data directory.
        at = ("--data-dir", str(tmp_path / "data"))
        verified = command("verify", "--json", *at)
        assert verified.returncode == 0, verified.stderr
        assert sum(one["record_count"] for one in json.loads(verified.stdout)["partitions"]) > 15
        assert hearth.stop() == 0

    listed = command("rejects", "list", "--json", *at)
    assert "UNKNOWN_TYPE" in listed.stdout
    for refused in (("backup", str(tmp_path / "copy")), ("repair",)):
        told = command(*refused, *at)
        assert told.returncode == 2, told.stdout
        assert "Kafka" in told.stderr or url in told.stderr

    assert not (tmp_path / "data" / "log").exists()
    assert set(kafka_store(url).partitions()) == {0, 1, 2, 3}
    rejected = kafka_store(url.replace("/up?", "/up-rejects?"))
    assert len(rejected.partitions()) == 1
