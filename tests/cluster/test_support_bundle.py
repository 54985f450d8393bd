"""Laws of `hearth support-bundle`: secrets and identifiers that lie in settings, status and logs are not in it; what
helps is; nobody but its owner may read it; nothing is written over.
"""

import errno
import json
import tarfile
from pathlib import Path

import pytest

from cluster.commands.support_bundle import support_bundle
from cluster.config import HearthConfig
from cluster.errors import CommandFailed
from cluster.installation import installation_of
from cluster.redaction import redacted, redacted_all
from wire.installation import Installation

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"
CANARIES = ("+447946090017", "alice@example.com", "H000123", "hunter2", JWT, "c0ffee" * 8, "447946090018")


def written(folder: Path, **settings: object) -> dict[str, str]:
    out = folder / "bundle.tar.gz"
    assert support_bundle(HearthConfig(data_dir=folder / "data", **settings), out=out, as_json=True) == 0  # type: ignore[arg-type]
    with tarfile.open(out) as bundle:
        return {
            name.partition("/")[2]: bundle.extractfile(name).read().decode()  # type: ignore[union-attr]
            for name in bundle.getnames()
        }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    logs = tmp_path / "data" / "logs"
    logs.mkdir(parents=True)
    event = f"refused {CANARIES[0]} of {CANARIES[1]} at H000123 with Bearer {JWT} and password=hunter2 {CANARIES[5]}"
    trace = "Traceback (most recent call last):\n  File \"/x/fold.py\", line 3, in f\n    y[key]\nKeyError: 'H000123'"
    line = {"event": event, "level": "error", "time": "2026-11-22T10:00:00Z", "exception": trace, "surprise": "hunter2"}
    (logs / "shard-0.log").write_text(f"{json.dumps(line)}\nhalf a line with hunter2\n")
    (logs / "ray.out").write_text("hunter2 and H000123")
    (tmp_path / "data" / "access.json").write_text('{"callers": "hunter2"}')
    return tmp_path


def test_no_canary_of_settings_and_logs_is_in_it_and_what_helps_is(folder: Path):
    found = written(
        folder,
        token=JWT,
        metadata_url="postgresql+psycopg://hearth:hunter2@db:5432/hearth",
        otel_endpoint="http://u:hunter2@127.0.0.1:4318",
    )
    whole = "\n".join(found.values())

    assert [canary for canary in CANARIES if canary in whole] == []
    assert installation_of(folder / "data").derived("pseudonym").hex() not in whole
    assert (folder / "data" / "installation.key").read_text().strip() not in whole
    assert set(found) == {"settings.json", "versions.json", "doctor.json", "status.json", "logs/shard-0.log"}
    assert json.loads(found["settings.json"])["metadata_url"] == "postgresql+psycopg://[removed]@db:5432/hearth"
    (line,) = [json.loads(one) for one in found["logs/shard-0.log"].splitlines()]
    assert line["exception"] == '  File "/x/fold.py", line 3, in f\nKeyError'
    assert line["event"].startswith("refused ~")
    assert json.loads(found["versions.json"])["ray"]


def test_the_same_identifier_is_the_same_pseudonym_here_and_another_elsewhere():
    here, elsewhere = Installation(b"a" * 32), Installation(b"b" * 32)
    assert redacted("H000123 and H000123", here) == " and ".join([here.pseudonym("H000123")] * 2)
    assert redacted("H000123", here) != redacted("H000123", elsewhere)


def test_names_of_things_counts_and_times_stay_as_they_are():
    text = "partition 3 of shard-0 at offset 1234, 2026-11-22T10:00:00.123456Z, 127.0.0.1:7077, version 3.2.0, 0.0012 s"
    assert redacted(text, Installation(b"a" * 32)) == text


def test_keys_of_a_status_are_redacted_too():
    told = redacted_all({"alice@example.com": [{"x": "+447946090017"}, 5]}, Installation(b"a" * 32))
    assert "alice" not in json.dumps(told)
    assert "4479" not in json.dumps(told)


def test_half_of_one_is_not_left_behind_on_a_full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def full(self: tarfile.TarFile, *_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(tarfile.TarFile, "addfile", full)
        with pytest.raises(CommandFailed, match=r"bundle.tar.gz cannot be written: No space left"):
            written(folder)
    assert written(folder)


def test_only_its_owner_reads_it_and_nothing_is_written_over(folder: Path):
    written(folder)
    assert (folder / "bundle.tar.gz").stat().st_mode & 0o077 == 0
    with pytest.raises(CommandFailed, match="cannot be written"):
        written(folder)
    with pytest.raises(CommandFailed, match="no data directory"):
        support_bundle(HearthConfig(data_dir=folder / "nowhere"), out=folder / "x.tar.gz", as_json=True)
