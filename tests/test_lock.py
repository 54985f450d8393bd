"""Laws: the locks pin every package by hash, name no host and no path, and hold one version of each package."""

import re
from pathlib import Path

import pytest

PINNED = re.compile(r"^([a-z0-9._-]+)==(\S+)", re.MULTILINE)


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-uv.lock"])
def test_the_lock_is_exact_and_names_no_place(repository: Path, name: str):
    text = (repository / name).read_text()

    entries = re.split(r"\n(?=[a-z0-9])", text.split("make lock\n", 1)[1])
    packages = [package for package, _ in PINNED.findall(text)]

    assert "://" not in text
    assert not re.search(r"(^|\s)/", text)
    assert all("--hash=sha256:" in entry for entry in entries)
    assert len(packages) == len(set(packages)) == len(entries)
