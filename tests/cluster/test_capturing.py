"""The connectors of a run.

Laws: one that failed or says nothing is made anew, after a pause that grows and is forgotten once it ran well; whoever
watches is told why; each has a member name of its own; all are told to stop before any is waited for; a file that is
wrong is refused before anything starts, and named.
"""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from cluster.capturing import PAUSE_S_MAX, Captures, check_connectors, connectors_of_run
from cluster.errors import UsageWrong
from tests.cluster.conftest import Run
from tests.intake.test_decoders import MAPPING

PLAIN = {"topics": ["ops.wallet"], "bootstrap": "127.0.0.1:1", "format": "protobuf"}


class SettableMonotonic:
    at_s = 1_000.0

    def __call__(self) -> float:
        return self.at_s


@dataclass
class FakeConnector:
    """Says what the test has it say, and keeps what it was told."""

    now: dict[str, object] = field(default_factory=lambda: {"state": "running", "read": 0})
    told: list[str] = field(default_factory=list)
    journal: list[str] = field(default_factory=list)

    def status(self) -> dict[str, object]:
        return self.now

    def make_anew(self) -> None:
        self.told.append("made anew")

    def tell_to_stop(self) -> None:
        self.journal.append("told")

    def await_stopped(self, timeout_s: float) -> None:
        self.journal.append(f"awaited {timeout_s:g}")


class Watching(Captures):
    """Looks when the test says so."""

    def __init__(self, **connectors: FakeConnector) -> None:
        self.clock = SettableMonotonic()
        self.said: list[str] = []
        super().__init__(tell=self.said.append, monotonic_s=self.clock)
        self._thread = NoThread()  # type: ignore[assignment]
        self.start(connectors)

    def looks(self, after_s: float) -> None:
        self.clock.at_s += after_s
        self.look()


class NoThread:
    def start(self) -> None: ...


def pauses(watching: Watching, connector: FakeConnector, count: int) -> list[float]:
    """Let it fail again and again, looking every half second; return how long it took each time."""
    found = []
    for made in range(len(connector.told), len(connector.told) + count):
        passed_s = 0.0
        watching.looks(0.0)
        while len(connector.told) == made:
            watching.looks(0.5)
            passed_s += 0.5
            assert passed_s <= 2 * PAUSE_S_MAX
        found.append(passed_s)
    return found


@pytest.mark.parametrize("state", ["failed", "silent"])
def test_one_that_failed_is_made_anew_after_a_pause_that_grows(state: str):
    connector = FakeConnector({"state": state})
    watching = Watching(one=connector)
    assert pauses(watching, connector, 7) == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_one_that_ran_long_enough_is_made_anew_as_at_first():
    connector, other = FakeConnector({"state": "failed"}), FakeConnector()
    watching = Watching(one=connector, other=other)
    assert pauses(watching, connector, 3) == [1.0, 2.0, 4.0]
    connector.now = {"state": "running"}
    watching.looks(PAUSE_S_MAX - 1)
    connector.now = {"state": "failed"}
    assert pauses(watching, connector, 1) == [8.0], "it did not run long enough"
    connector.now = {"state": "running"}
    watching.looks(PAUSE_S_MAX)
    connector.now = {"state": "failed"}
    assert pauses(watching, connector, 1) == [1.0]
    assert other.told == []


def test_one_that_came_back_by_itself_is_left_alone():
    connector = FakeConnector({"state": "silent"})
    watching = Watching(one=connector)
    watching.looks(0.0)
    connector.now = {"state": "running", "read": 7}
    watching.looks(5.0)
    assert connector.told == []
    assert watching.report() == {"one": {"state": "running", "read": 7}}


def test_why_it_failed_is_told_once_each_time():
    connector = FakeConnector({"state": "failed", "trouble": "Kafka: no such topic"})
    watching = Watching(one=connector)
    for _ in range(3):
        watching.looks(0.4)
    assert watching.said == ["warning: one has failed and is made anew in 1 s: Kafka: no such topic"]


def test_all_are_told_to_stop_before_any_is_waited_for():
    journal: list[str] = []
    watching = Watching(one=FakeConnector(journal=journal), other=FakeConnector(journal=journal))
    watching.stop(8.0)
    assert journal == ["told", "told", "awaited 8", "awaited 8"]
    connector = FakeConnector({"state": "failed"})
    watching = Watching(one=connector)
    watching.stop(8.0)
    watching.looks(60.0)
    watching.looks(60.0)
    assert connector.told == [], "nothing is made anew any more"


def test_each_connector_has_a_member_name_of_its_own(tmp_path: Path):
    path = written(tmp_path, PLAIN, PLAIN | {"member": "mine"}, PLAIN)
    found = connectors_of_run(path)
    assert {name: one.member for name, one in found.items()} == {
        "capture-0": "hearth-capture-0",
        "capture-1": "mine",
        "capture-2": "hearth-capture-2",
    }
    twice = written(tmp_path, PLAIN, PLAIN | {"member": "hearth-capture-0"})
    with pytest.raises(UsageWrong, match=r"connectors\.1\.member: hearth-capture-0 is that of connectors\.0"):
        connectors_of_run(twice)
    written(tmp_path, PLAIN, PLAIN | {"member": "hearth-capture-0", "group": "another"})
    assert len(connectors_of_run(twice)) == 2


def written(folder: Path, *entries: dict[str, object]) -> Path:
    path = folder / "capture.yaml"
    path.write_text(yaml.safe_dump({"connectors": list(entries)}))
    return path


def test_a_mapping_is_looked_for_beside_the_file_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "ops.yaml").write_text(yaml.safe_dump(MAPPING))
    path = written(tmp_path / "etc", {**PLAIN, "format": "json", "mapping": "ops.yaml"})
    monkeypatch.chdir(tmp_path)
    (found,) = connectors_of_run(path.relative_to(tmp_path)).values()
    assert found.mapping == str(tmp_path / "etc" / "ops.yaml")
    pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    check_connectors(path)


def test_up_refuses_a_wrong_file_before_anything_starts(run: Run, tmp_path: Path):
    pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    (tmp_path / "bad.yaml").write_text("files: 7")
    good = {**PLAIN, "format": "json"}
    for entry, told in (
        ({**good, "mapping": "nowhere.yaml"}, "connectors.1: there is no mapping file nowhere.yaml"),
        ({**good, "mapping": "bad.yaml"}, "connectors.1: mapping "),
        ({**PLAIN, "topic": "x"}, "connectors.1.topic: Extra inputs"),
        ({**PLAIN, "kafka": {"no.such.setting": 1}}, "connectors.1: the Kafka client refuses its settings"),
    ):
        path = written(tmp_path, PLAIN, entry)
        ended = run("up", "--capture", path)
        assert (ended.code, ended.out) == (2, "")
        assert told in ended.err
        assert str(path) in ended.err
    assert "cannot be read" in run("up", "--capture", "none.yaml").err
    assert not (tmp_path / "hearth-data").exists()
