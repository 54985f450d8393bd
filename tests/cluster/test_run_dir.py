"""Laws: what a killed run leaves in the temporary directory is removed by the next start, and nothing else is; a path
that is too long for the sockets of a run is refused at once, with what would do.
"""

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.run_dir import (
    OWNER_NAME,
    SOCKET_BELOW,
    SOCKET_PATH_BYTES_MAX,
    TemporaryDirectoryUnusable,
    check_temporary_directory,
    run_dir,
    shared,
    sweep,
)

ROOT = Path(__file__).parents[2]

OWNER = """
from cluster.run_dir import run_dir
with run_dir() as folder:
    (folder / "ray").mkdir()
    print(folder, flush=True)
    input()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield tmp_path
    monkeypatch.setattr(tempfile, "tempdir", None)


class Owner:
    """Another process that has a run's folder."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.folder = Path(self.process.stdout.readline().strip())

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def owner(temporary: Path) -> Iterator[Owner]:
    one = Owner()
    yield one
    one.kill()


def test_what_a_killed_run_left_is_removed(owner: Owner):
    assert sweep() == [], "it is in use"
    owner.kill()
    assert owner.folder.exists()

    assert sweep() == [owner.folder]
    assert not owner.folder.exists()


def test_a_run_that_finds_the_disk_full_leaves_nothing(temporary: Path, monkeypatch: pytest.MonkeyPatch):
    def full(_: int, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    tempfile.gettempdir()  # there was room at the first run
    monkeypatch.setattr("cluster.run_dir.os.write", full)
    with pytest.raises(TemporaryDirectoryUnusable, match="No space left"), run_dir():
        pass
    assert list(temporary.iterdir()) == []


def test_a_run_that_outlives_its_supervisor_keeps_its_folder(owner: Owner):
    with shared(owner.folder):
        owner.kill()
        assert sweep() == []
    assert sweep() == [owner.folder]


def test_a_process_that_has_the_id_of_a_dead_one_keeps_nothing(owner: Owner):
    owner.kill()
    (owner.folder / OWNER_NAME).write_text(f"{os.getpid()} 1.0\n")

    assert sweep() == [owner.folder]


def test_nothing_else_is_touched(temporary: Path):
    (temporary / "hearth-data").mkdir()
    (temporary / "hearth-ray.lock").touch()
    (temporary / "hearth-mine" / "ray").mkdir(parents=True)
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / OWNER_NAME).write_text("1 1.0\n")
    (temporary / "hearth-link").symlink_to(elsewhere)
    (temporary / "hearth-begun").mkdir()
    (temporary / "hearth-begun" / OWNER_NAME).touch()
    before = sorted(temporary.rglob("*"))

    assert sweep() == []
    assert sorted(temporary.rglob("*")) == before


def test_a_folder_goes_with_its_run(temporary: Path):
    with run_dir() as folder:
        assert folder.parent == temporary
        assert sweep() == []
    assert not folder.exists()


@pytest.mark.parametrize("is_long", [False, True])
def test_a_temporary_directory_is_taken_up_to_what_its_sockets_may_be(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, is_long: bool
):
    longest = SOCKET_PATH_BYTES_MAX - len(f"/hearth-12345678/{SOCKET_BELOW}")
    # Two bytes for one sign: what counts are bytes.
    folder = Path("/" + "ä" * ((longest - 1) // 2) + "x" * ((longest - 1) % 2 + is_long))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    assert len(os.fsencode(folder)) == longest + is_long

    if not is_long:
        check_temporary_directory()
        return
    with pytest.raises(TemporaryDirectoryUnusable, match=f"{longest} at most; set TMPDIR to a shorter one"):
        check_temporary_directory()
