"""Laws: two streams with known answers go through the whole of Hearth and come out exactly.

The household fold (first 100,000 events; `make bench` runs all two million), and the real calls and texts of the
Copenhagen Networks Study, where they are at hand.
"""

import csv
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import grpc
import pytest

from cluster.config import shipped_playbook
from hearth.v1 import household_pb2, household_pb2_grpc
from tests.end_to_end.hearth_process import command, running

pytestmark = [pytest.mark.ray, pytest.mark.chaos, pytest.mark.timeout(300)]


# The fold itself is held to this answer in tests/loadtest/test_household_fold.py.
def test_the_household_fold_gives_the_known_answer() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "loadtest.bench", "fold", "--events", "100000", "--json"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert (told["events"], told["fired"], told["checksum"]) == (100_000, 772, "0ba18ce029fc01eb")


@pytest.fixture
def cns(shared: Path) -> Path:
    folder = shared / "data" / "streams" / "cns"
    if not folder.is_dir():
        pytest.skip(f"the Copenhagen data is absent: {folder}")
    return folder


def test_real_calls_and_texts_are_counted_once_however_often_they_come(cns: Path, tmp_path: Path) -> None:
    files = [str(cns / "sms.csv"), str(cns / "calls.csv")]
    with (cns / "sms.csv").open(newline="") as stream:
        texts = Counter(row["sender"] for row in csv.DictReader(stream))
    with (cns / "calls.csv").open(newline="") as stream:
        calls = Counter(row["caller"] for row in csv.DictReader(stream) if row["duration"] != "-1")
    options = ["--clock", "stream", "--playbook", str(shipped_playbook("cns"))]

    with running(tmp_path / "data", *options) as hearth:
        ingest = ["ingest", "--mapping", "cns", "--target", hearth.address, "--json", *files]
        first, second = (json.loads(command(*ingest).stdout) for _ in range(2))
        channel = grpc.insecure_channel(hearth.address)
        households = household_pb2_grpc.HouseholdServiceStub(channel)
        for sender in sorted(texts | calls):
            known = households.Get(household_pb2.GetRequest(household=f"U{sender}"), timeout=10)
            found = {feature.name: feature.value for feature in known.features}
            assert found["household.texts_sent"] == texts[sender]
            assert found["household.calls_made"] == calls[sender]

    assert first["applied"] == first["sent"] == 27_933
    assert second["duplicate"] == second["sent"] == 27_933
    assert second["applied"] == 0
