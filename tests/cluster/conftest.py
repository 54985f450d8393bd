"""A fake Hearth, and the `hearth` command run in this process."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster.cli import main
from tests.cluster.fake_hearth import FakeHearth, serving


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its one line of JSON."""
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out)


Run = Callable[..., Outcome]


@pytest.fixture
def hearth() -> Iterator[FakeHearth]:
    """A fake Hearth that answers."""
    with serving(FakeHearth()) as fake:
        yield fake


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `hearth` with these arguments in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run_command(*arguments: object) -> Outcome:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        code = ended.value.code
        outcome = Outcome(code if isinstance(code, int) else 0, captured.out, captured.err)
        assert "Traceback" not in outcome.err
        return outcome

    return run_command
