"""`hearth playbook simulate --mode counterfactual`, as typed, over the log of a real shard.

Laws: the playbook of the log itself changes nothing and is worth what it brought; a trigger that fires later contacts
exactly those no longer who had not come so far, one that fires sooner exactly those newly who had; what was never said,
or not for that price, is refused and it is said for whom; too small an effective sample is refused; nothing is written.
"""

from pathlib import Path

import grpc
import numpy as np
import pytest

from hearth.v1 import decision_pb2, decision_pb2_grpc, signal_pb2, signal_pb2_grpc
from tests.actors.harness import CORNER, SettableClock, corner, signal
from tests.chaos.cluster_processes import until
from tests.cluster.conftest import Outcome, Run
from tests.cluster.real_hearth import running
from tests.cluster.test_models_commands import accept
from tests.cluster.test_simulate_commands import log_bytes

HOUSEHOLDS = 120
MINUTE, DAY = 60_000_000, 86_400_000_000
CHANGES = (("families: [mobile, content, care]", "arbitration: {exploration: 40%}\nfamilies: [mobile, content, care]"),)
FEW = ("--min-effective-sample", "20")


def checks_of(number: int) -> int:
    """Return how often a household checks: 0 to 3."""
    return number % 4


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory: households check so often, with a moment at the 2nd; then they ask, and some accept."""
    folder = tmp_path_factory.mktemp("counterfactual")
    clock, draw = SettableClock(), np.random.default_rng(1)
    plan = corner(*CHANGES)
    with running(folder / "data", plan, clock=clock) as hearth, grpc.insecure_channel(hearth.address) as channel:
        asking, telling = decision_pb2_grpc.DecisionServiceStub(channel), signal_pb2_grpc.SignalServiceStub(channel)
        clock.pass_us(12 * 60 * MINUTE)
        for number in range(HOUSEHOLDS):
            name, at_us = f"home-{number}", clock.at_us
            told = [signal(f"{name}-m", name, "consent", at_us, member="ann", fields={"marketing": True})]
            told += [signal(f"{name}-c{one}", name, "check", at_us, member="ann") for one in range(checks_of(number))]
            assert not telling.Ingest(signal_pb2.IngestRequest(signals=told), timeout=20).rejections
        until(lambda: not any(one["pending"] for one in hearth.report().values()), within_s=30, what="nothing pends")
        clock.pass_us(3 * DAY)
        for number in range(HOUSEHOLDS):
            name = f"home-{number}"
            visit = signal(f"{name}-v", name, "visit", clock.at_us, member="ann")
            asked = asking.Decide.future(
                decision_pb2.DecideRequest(
                    request_id=name, household=name, member="ann", channel="app", signals=[visit]
                ),
                timeout=20,
            )
            liked = "films" if number % 2 else "phone"
            if draw.random() < (0.8 if asked.result().action.offer == liked else 0.1):
                assert asking.Report(accept(name, asked, clock.at_us), timeout=20).effective
        clock.pass_us(2 * DAY)
        last = signal("last", "home-0", "visit", clock.at_us, member="ann")
        asking.Decide(
            decision_pb2.DecideRequest(
                request_id="last", household="home-0", member="ann", channel="web", signals=[last]
            )
        )
    return folder / "data"


def simulated(run: Run, lived: Path, folder: Path, *changes: tuple[str, str], more: tuple[str, ...] = FEW) -> Outcome:
    text = CORNER
    for old, new in (*CHANGES, *changes):
        assert old in text
        text = text.replace(old, new)
    (folder / "other.yaml").write_text(text)
    return run(
        "playbook",
        "simulate",
        "--data-dir",
        lived,
        "--mode",
        "counterfactual",
        "--playbook",
        "other.yaml",
        "--json",
        *more,
    )


def test_the_playbook_of_the_log_changes_nothing(run: Run, lived: Path, tmp_path: Path):
    before = log_bytes(lived)
    told = simulated(run, lived, tmp_path)
    assert told.code == 0, told.err
    contacts, value = told.json["contacts"], told.json["value"]
    checking = sum(checks_of(number) >= 2 for number in range(HOUSEHOLDS))
    assert (contacts["both"], contacts["newly"], contacts["no_longer"]) == (checking, 0, 0)
    assert told.json["before"] == told.json["after"]
    assert told.json["after"]["sent_by_class"] == {"offer": checking}
    # Who asked, and moments that nobody asked about; what came of the last is not known yet.
    assert value["decisions"] == HOUSEHOLDS + checking
    assert value["left_out"] == {"window open": 1}
    assert value["overlap"]["largest_weight"] == 1.0
    for one in value["difference"].values():
        assert one["low"] < 0 < one["high"]
    assert told.json["logged_versions"] == [told.json["version"]]
    assert log_bytes(lived) == before


@pytest.mark.parametrize(("least", "newly", "no_longer"), [(3, 0, 1), (1, 1, 0)])
def test_a_trigger_that_fires_sooner_or_later(
    run: Run, lived: Path, tmp_path: Path, least: int, newly: int, no_longer: int
):
    told = simulated(run, lived, tmp_path, ("member.checks_7d >= 2", f"member.checks_7d >= {least}"))
    contacts, quarter = told.json["contacts"], HOUSEHOLDS // 4
    assert (contacts["newly"], contacts["no_longer"]) == (newly * quarter, no_longer * quarter)
    kind = "newly" if newly else "no_longer"
    assert contacts[f"{kind}_by_journey"] == {"low": quarter}
    some = contacts[f"{kind}_sampled"]
    assert len(some) == 20
    for one in some:
        assert one["household"].startswith("~")
        assert (one["journey"], one["offer"], one["channel"]) == ("low", "topup", "push")
        assert "BEST_VALUE" in one["reasons"]
        assert one["otherwise"] == []
    assert "home-" not in told.out
    assert told.json["after"]["moments"]["low"] - told.json["before"]["moments"]["low"] == quarter * (newly - no_longer)
    if newly:
        assert told.json["value"]["without_counterpart"] == {"low": quarter}
    else:
        assert told.json["value"]["says_nothing"] == quarter


def test_a_cap_that_is_hit_is_told(run: Run, lived: Path, tmp_path: Path):
    told = simulated(run, lived, tmp_path, ("window: 1d, most: 1", "window: 1d, most: 0"))
    assert told.json["contacts"]["no_longer"] == HOUSEHOLDS // 2
    assert told.json["before"]["caps_hit"] == {}
    assert told.json["after"]["caps_hit"]["CONTACT_CAP"] >= HOUSEHOLDS // 2
    some = told.json["contacts"]["no_longer_sampled"]
    assert all("CONTACT_CAP" in one["otherwise"] for one in some)


@pytest.mark.parametrize(
    ("change", "action"),
    [
        (("price: 4.99", "price: 5.99"), "films (at another price)"),
        (("treatments: {app: Films}", "treatments: {app: See films}"), "films (in other words)"),
    ],
)
def test_what_nobody_was_ever_told_is_refused_and_it_is_said_for_whom(
    run: Run, lived: Path, tmp_path: Path, change: tuple[str, str], action: str
):
    told = simulated(run, lived, tmp_path, change)
    assert told.code == 1
    assert told.json["value"]["refusal"]["reason"] == "never chosen"
    assert told.json["value"]["dr"] is None
    never = {one["action"]: one for one in told.json["value"]["never_chosen"]}
    assert never[action]["households"] >= HOUSEHOLDS // 2
    assert all(one.startswith("~") for one in never[action]["some"])
    assert "the data cannot tell" in told.err
    people = run(
        "playbook", "simulate", "--data-dir", lived, "--mode", "counterfactual", "--playbook", "other.yaml", *FEW
    )
    assert f"propensity 0: {action}" in people.out
    assert "nothing here knows that" in people.out


def test_too_small_an_effective_sample_is_refused(run: Run, lived: Path, tmp_path: Path):
    told = simulated(run, lived, tmp_path, more=("--min-effective-sample", "1000"))
    assert told.code == 1
    assert told.json["value"]["refusal"]["reason"] == "effective sample too small"
    assert "1000 are needed" in told.json["value"]["refusal"]["why"]
    assert told.json["contacts"]["both"] > 0, "what needs no estimate is told all the same"


def test_another_preference_is_valued(run: Run, lived: Path, tmp_path: Path):
    told = simulated(
        run, lived, tmp_path, ("phone: {family: care, margin: 1", "phone: {family: care, lever: 9, margin: 1")
    )
    assert told.code == 0, told.err
    value = told.json["value"]
    assert 20 <= value["overlap"]["effective_sample"] < value["decisions"]
    assert value["overlap"]["largest_weight"] > 1.5
    # Of those who ask, half like phones: 0.73 · 0.8 + 0.27 · 0.1, and 0.73 · 0.1 + 0.13 · 0.8 + 0.13 · 0.1.
    # Nobody accepts what was sent.
    truth = (0.614 + 0.193) / 2 * HOUSEHOLDS / value["decisions"]
    one = value["dr"]["accepted"]
    assert one["low"] < truth < one["high"]


def test_what_cannot_be_simulated_is_refused(run: Run, lived: Path, tmp_path: Path):
    nowhere = run("playbook", "simulate", "--data-dir", tmp_path / "nowhere", "--mode", "counterfactual")
    assert (nowhere.code, "is no data directory of Hearth" in nowhere.err) == (2, True)
    unknown = run("playbook", "simulate", "--data-dir", lived, "--mode", "counterfactual", "--playbook", "ffff")
    assert (unknown.code, "there is no playbook ffff" in unknown.err) == (2, True)
