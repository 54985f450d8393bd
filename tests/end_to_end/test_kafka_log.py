"""Laws: `hearth up --log kafka://…` answers as with files, and what it was told holds after it is started again; its
folder keeps no log; what is on Kafka is exported and learned from beside it. Skipped where no broker can be had.
"""

import json
from pathlib import Path

import pyarrow.parquet
import pytest

from actors.kafka import kafka_store
from hearth.v1 import signal_pb2
from tests.end_to_end.hearth_process import command, running
from tests.end_to_end.test_up import START_US, Client, a_signal, life_before
from tests.parts.kafka_broker import shared_broker

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


def test_what_was_told_holds_after_a_restart_on_the_log_on_kafka(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HEARTH_SPARE_SHARD_COUNT", "0")
    url = f"kafka://{shared_broker().bootstrap}/up?replicas=1&min_insync=1"
    options = ("--clock", "stream", "--log", url, "--shards", "1", "--partitions", "4")
    with running(tmp_path / "data", *options) as hearth:
        client = Client(hearth.address)
        ingested = client.signals.Ingest(_request(life_before()), timeout=20)
        assert ingested.counts.applied == 15
        strange = client.signals.Ingest(_request([a_signal("no.such_type", START_US)]), timeout=20)
        assert strange.counts.rejected == 1
        decided = client.decide("balance", "ussd", a_signal("app.balance_check", START_US + 86_400_000_000))
        exported = command(
            *("log", "export", "--kind", "decisions", "--out", str(tmp_path / "decisions.parquet"), "--json"),
            HEARTH_LOG=url,
        )
        told = json.loads(exported.stdout)
        assert (told["rows"], told["complete_since"]) == (1, None)
        (row,) = pyarrow.parquet.read_table(tmp_path / "decisions.parquet").to_pylist()
        assert row["decision_id"] == decided.decision_id
        signals = command(
            *("log", "export", "--kind", "signals", "--out", str(tmp_path / "signals.parquet"), "--log", url, "--json")
        )
        assert json.loads(signals.stdout)["rows"] == 17
        trained = command("models", "train", "--log", url, "--data-dir", str(tmp_path / "data"))
        assert trained.returncode == 1
        assert "1 usable decisions, 500 needed" in trained.stderr or "too little to learn from" in trained.stderr
        assert hearth.stop() == 0
    assert not (tmp_path / "data" / "log").exists()
    assert set(kafka_store(url).partitions()) == {0, 1, 2, 3}
    assert len(kafka_store(url.replace("/up?", "/up-rejects?")).partitions()) == 1

    with running(tmp_path / "data", *options) as hearth:
        again = Client(hearth.address).decide("balance", "ussd")
        assert again.repeated_request
        assert again.decision_id == decided.decision_id


def _request(signals):
    return signal_pb2.IngestRequest(signals=signals)
