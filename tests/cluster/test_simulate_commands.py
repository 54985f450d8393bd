"""`hearth playbook simulate`, as typed.

Laws: a log is decided once more as it was; paths need no data directory; what cannot be simulated is refused with what
to do; households stand there by pseudonym; nothing is written to the log, and the look leaves a trace.
"""

import hashlib
from pathlib import Path

import grpc
import pytest

from hearth.v1 import decision_pb2, decision_pb2_grpc
from household.decide import decide
from playbooks.compiler import TELCO
from tests.actors.harness import SettableClock, corner, signal
from tests.cluster.conftest import Run
from tests.cluster.real_hearth import running

MINUTE = 60_000_000


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory of households that visit, and are told something."""
    folder = tmp_path_factory.mktemp("simulated")
    clock = SettableClock()
    with running(folder / "data", corner(), clock=clock) as hearth, grpc.insecure_channel(hearth.address) as channel:
        stub = decision_pb2_grpc.DecisionServiceStub(channel)
        for number in range(24):
            name = f"home-{number}"
            made = [signal(f"v{number}", name, "visit", clock.at_us, member="m")]
            made += [signal(f"c{number}-{one}", name, "check", clock.at_us, member="m") for one in range(number % 3)]
            asked = decision_pb2.DecideRequest(
                request_id=f"r{number}", household=name, member="m", channel="app", signals=made
            )
            stub.Decide(asked, timeout=20)
            clock.pass_us(MINUTE)
    return folder / "data"


def log_bytes(data: Path) -> dict[str, str]:
    files = sorted(one for one in (data / "log").rglob("*") if one.is_file())
    return {str(one): hashlib.sha256(one.read_bytes()).hexdigest() for one in files}


def test_a_log_is_decided_once_more_as_it_was_and_not_written_to(run: Run, lived: Path):
    before = log_bytes(lived)
    told = run("playbook", "simulate", "--data-dir", lived, "--mode", "replay", "--json")
    assert told.code == 0, told.err
    assert told.json["ok"] is True
    assert told.json["decisions"] == told.json["equal"] >= 24
    assert told.json["first_difference"] is None
    assert "all equal to the last bit" in run("playbook", "simulate", "--data-dir", lived, "--mode", "replay").out
    assert log_bytes(lived) == before
    looks = run("audit", "list", "--data-dir", lived, "--json").json["entries"]
    assert [one["did"] for one in looks].count("hearth playbook simulate") == 2


def test_a_decision_that_comes_out_otherwise_is_told_by_pseudonym(
    run: Run, lived: Path, monkeypatch: pytest.MonkeyPatch
):
    def otherwise(*arguments: object, **named: object) -> object:
        named["schema_hash"] = "another"
        return decide(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("actors.exports.redeciding.decide", otherwise)
    told = run("playbook", "simulate", "--data-dir", lived, "--mode", "replay", "--json")
    assert told.code == 1
    assert told.json["equal"] == 0
    first = told.json["first_difference"]
    assert first["field"] == "schema_hash"
    assert first["made"] == "'another'"
    assert first["household"].startswith("~")
    assert "home-" not in run("playbook", "simulate", "--data-dir", lived, "--mode", "replay").out


def test_paths_need_no_data_directory(run: Run, tmp_path: Path):
    told = run("playbook", "simulate", "--mode", "paths", "--playbook", TELCO, "--json")
    assert told.code == 0, told.err
    assert told.json["unreachable"] == 0
    one = run("playbook", "simulate", "--mode", "paths", "--journey", "j1_wallet_activation", "--seed", "3")
    assert "every state and every way is reached" in one.out
    assert "s1_low_balance" not in one.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("--mode", "paths", "--journey", "nowhere"), "has no journey 'nowhere'; it has s1_low_balance"),
        (("--mode", "paths", "--playbook", "no/such"), "there is no playbook no/such"),
        (("--mode", "replay"), "is no data directory of Hearth"),
        (("--mode", "replay", "--playbook", "telco"), "leave --playbook out"),
    ],
)
def test_what_cannot_be_simulated_is_refused(run: Run, arguments: tuple[str, ...], wanted: str):
    told = run("playbook", "simulate", *arguments)
    assert told.code == 2
    assert wanted in told.err


def test_a_playbook_with_mistakes_is_refused_with_its_mistakes(run: Run, tmp_path: Path):
    (tmp_path / "bad.yaml").write_text("playbook: {name: bad}\njourneys: {j: {offers: nothing}}\n")
    told = run("playbook", "simulate", "--mode", "paths", "--playbook", "bad.yaml")
    assert told.code == 2
    assert "bad.yaml:2:" in told.err
    assert "nothing is simulated" in told.err
