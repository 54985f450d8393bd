"""Families change on a real Hearth whose partitions are several: what spans them is brought together while it lives."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.hearth_process import running

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


def test_who_belongs_together_is_known_whatever_the_crm_tells_late_twice_or_wrongly(tmp_path: Path):
    with running(tmp_path / "data", "--clock", "stream", "--shards", "2") as hearth:
        arguments = ["--households", "30", "--days", "4", "--pace", "20", "--intensity", "0.3", "--json"]
        told = subprocess.run(
            [sys.executable, "-m", "loadtest.families", "--target", hearth.address, *arguments],
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert told.returncode == 0, told.stdout + told.stderr
        report = json.loads(told.stdout)
        assert report["wrong"] == []
        assert report["members"] > 50
        assert report["happenings"]["marriage"] > 0
        assert report["happenings"]["recycled number"] > 0
