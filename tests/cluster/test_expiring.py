"""Laws: what has expired, or soon does, is told with its file and its time, in good time and not always; so is a list
of revoked certificates that is out of date, and a file that cannot be read.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cluster.expiring import expiring
from serving.tls import TlsFiles
from tests.cluster.conftest import Run
from tests.parts.certificates import authority, written

DAY = timedelta(days=1)


def told(folder: Path, *, now: datetime, age: timedelta = DAY, life: timedelta = 90 * DAY) -> list[str]:
    paper = authority().issue("server", age=age, life=life)
    key, certificate = written(folder / "key", paper.key_pem), written(folder / "server.pem", paper.pem)
    return list(expiring(TlsFiles(certificate=certificate, key=key), now))


@pytest.mark.parametrize(
    ("life", "after", "says"),
    [
        (90 * DAY, 75 * DAY, None),
        (90 * DAY, 77 * DAY, "CN=server in {file} expires at "),
        (90 * DAY, 91 * DAY, "CN=server in {file} has expired at "),
        (90 * DAY, -2 * DAY, "holds from "),
        (3 * DAY, 1.9 * DAY, None),
        (3 * DAY, 2.1 * DAY, " expires at "),
    ],
)
def test_it_is_told_in_good_time(tmp_path: Path, life: timedelta, after: timedelta, says: str | None):
    lines = told(tmp_path, now=datetime.now(UTC) - DAY + after, life=life)
    assert len(lines) == (says is not None)
    assert says is None or says.format(file=tmp_path / "server.pem") in lines[0]


def test_the_authority_of_clients_and_a_list_that_is_out_of_date_are_told_too(tmp_path: Path):
    clients, server = authority("clients"), authority().issue("server", life=90 * DAY)
    files = TlsFiles(
        certificate=written(tmp_path / "server.pem", server.pem),
        key=written(tmp_path / "key", server.key_pem),
        client_ca=written(tmp_path / "clients.pem", clients.pem),
        revoked=written(tmp_path / "revoked.pem", clients.revoked()),
    )
    now = datetime.now(UTC)
    assert list(expiring(files, now)) == []
    late = list(expiring(files, now + 2 * DAY))
    assert len(late) == 2
    assert f"{tmp_path}/clients.pem has expired" in late[0]
    assert f"{tmp_path}/revoked.pem is out of date" in late[1]
    written(tmp_path / "revoked.pem", b"nothing")
    assert "is no list of revoked certificates" in next(iter(expiring(files, now)))
    (tmp_path / "server.pem").unlink()
    assert list(expiring(files, now)) == [f"{tmp_path}/server.pem cannot be read: No such file or directory"]


def test_the_doctor_tells(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HEARTH_DISK_FREE_BYTES_MIN", "0")
    paper = authority().issue("server", age=2 * DAY, life=DAY)
    monkeypatch.setenv("HEARTH_TLS_CERTIFICATE", str(written(tmp_path / "server.pem", paper.pem)))
    monkeypatch.setenv("HEARTH_TLS_KEY", str(written(tmp_path / "server.key", paper.key_pem)))
    ended = run("doctor")
    assert f"WEAK  security: certificate CN=server in {tmp_path / 'server.pem'} has expired" in ended.out
    assert ended.code == 1
