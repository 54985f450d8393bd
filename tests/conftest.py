"""What all tests share: Hypothesis without deadlines, and where the real data lies, if it is here."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parents[1]

# A slow machine is no defect; the timeout of pytest stops what hangs.
settings.register_profile("hearth", deadline=None, print_blob=True)
settings.load_profile("hearth")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder of this clone."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data (HEARTH_SHARED, by default beside the clone); the test is skipped where it is absent."""
    folder = Path(os.environ.get("HEARTH_SHARED", REPOSITORY.parent / "shared")).resolve()
    if not folder.is_dir():
        pytest.skip("the real data is absent: set HEARTH_SHARED to its folder")
    return folder
