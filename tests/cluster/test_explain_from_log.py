"""`hearth explain --at`, `--journey`, `--timeline`: from the log alone.

Laws: as of a time only what was recorded by then counts; who is in a journey is told where and what is waited for; who
is not is told each demand that does not hold, with what it read, and what else keeps them out; a timeline has what
happened, in order; what cannot be asked is refused.
"""

from pathlib import Path

import grpc
import pytest

from hearth.v1 import decision_pb2, decision_pb2_grpc
from tests.actors.harness import MONDAY, SettableClock, signal
from tests.cluster.conftest import Run
from tests.cluster.real_hearth import running
from tests.household.journey_world import plan_of

MINUTE, HOUR, DAY = 60_000_000, 3_600_000_000, 86_400_000_000

INVITE = """
trigger: {on: wallet.topup, when: household.topups >= 2 && !segment.paying}
again: 30d
goal: {when: household.payments >= 3}
exits: {visited: {on: app.visit}}
states:
  invite: {act: shown, within: 1h, blocked: skip, then: first}
  first: {wait: {on: wallet.payment, when: event.kind == 'coffee'}, then: paid, timeout: {after: 7d, then: end}}
  paid: {pause: {after: 2d}, then: end}
"""


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory: anna of h1 enters and leaves within two days; bert of h2 never enters."""
    folder = tmp_path_factory.mktemp("explained")
    plan = plan_of(folder, INVITE, more="\nsegments: {paying: household.payments >= 1}\n", without="outbound")
    clock = SettableClock()
    with (
        running(folder / "data", plan, clock=clock, partitions=1) as hearth,
        grpc.insecure_channel(hearth.address) as channel,
    ):
        stub = decision_pb2_grpc.DecisionServiceStub(channel)

        def happens(name: str, household: str, member: str, **fields: str) -> None:
            made = signal(f"{clock.at_us}-{name}", household, name, clock.at_us, member=member, fields=fields)
            asked = decision_pb2.DecideRequest(
                request_id=f"{household}-{clock.at_us}-{name}",
                household=household,
                member=member,
                channel="app",
                signals=[made],
            )
            stub.Decide(asked, timeout=20)
            clock.pass_us(HOUR)

        happens("wallet.topup", "h1", "anna")
        happens("wallet.topup", "h2", "bert")
        happens("wallet.topup", "h1", "anna")
        clock.pass_us(HOUR)
        again = decision_pb2.DecideRequest(request_id="again", household="h1", member="anna", channel="app")
        stub.Decide(again, timeout=20)
        clock.pass_us(DAY - HOUR)
        happens("wallet.payment", "h1", "anna", kind="airport")
        happens("app.visit", "h1", "anna")
    return folder / "data"


def at(hours: float) -> str:
    return str(MONDAY + int(hours * HOUR))


def test_where_she_is_and_what_is_waited_for(run: Run, lived: Path):
    told = run("explain", "h1", "--journey", "story", "--at", at(10), "--json", "--data-dir", lived)
    assert told.code == 0, told.err
    (one,) = told.json["journeys"][0]["instances"]
    assert (one["member"], one["state"], one["ending"]) == ("anna", "first", "")
    assert one["waits_for"] == ["wallet.payment with event.kind == 'coffee'"]
    assert one["entered"] == "2025-01-06T12:00:00.000000+00:00"
    plain = run("explain", "h1", "--journey", "story", "--at", at(10), "--data-dir", lived)
    assert (
        "anna: entered 2025-01-06 13:00:00 CET, in 'first' since 2025-01-06 13:00:00 CET, until 2025-01-13" in plain.out
    )
    assert "waits for wallet.payment with event.kind == 'coffee'" in plain.out


def test_as_of_a_time_only_what_was_recorded_by_then_counts(run: Run, lived: Path):
    before = run("explain", "h1", "--journey", "story", "--at", at(1.5), "--json", "--data-dir", lived).json[
        "journeys"
    ][0]
    assert before["instances"] == []
    assert before["not_entered"] == [
        {"member": "anna", "reasons": ["household.topups >= 2 is not true: household.topups is 1"]}
    ]
    now = run("explain", "h1", "--journey", "story", "--json", "--data-dir", lived).json["journeys"][0]
    assert [(one["state"], one["ending"]) for one in now["instances"]] == [("first", "EXIT_RULE")]


def test_why_somebody_did_not_enter(run: Run, lived: Path):
    told = run("explain", "h1", "--journey", "story", "--json", "--data-dir", lived).json["journeys"][0]
    (anna,) = told["not_entered"]
    assert anna["reasons"] == [
        "!(household.payments >= 1) is not true: household.payments is 1",
        "it may be entered again from 2025-02-06T14:00:00+00:00 on",
    ]
    plain = run("explain", "h2", "--journey", "story", "--data-dir", lived)
    assert "bert is not in it, since\n    household.topups >= 2 is not true: household.topups is 1" in plain.out


def test_a_timeline_tells_what_happened_in_order(run: Run, lived: Path):
    told = run("explain", "h1", "--timeline", "--json", "--data-dir", lived).json["timeline"]
    kinds = [(one["kind"], one["text"].partition(",")[0]) for one in told]
    assert kinds[:2] == [("signal", "wallet.topup"), ("decided", "nothing")]
    story = [(one["kind"], one["text"]) for one in told if one["kind"] in ("entered", "moved", "exited", "signal")]
    assert story == [
        ("signal", "wallet.topup"),
        ("signal", "wallet.topup"),
        ("entered", "entered story"),
        ("moved", "in 'invite'"),
        ("moved", "in 'first'"),
        ("signal", "wallet.payment"),
        ("signal", "app.visit"),
        ("exited", "out of story in 'first': EXIT_RULE"),
    ]
    assert [one["time"] for one in told] == sorted(one["time"] for one in told)
    only = run("explain", "h1", "--timeline", "--journey", "story", "--at", at(10), "--json", "--data-dir", lived).json
    assert {one["journey"] for one in only["timeline"]} == {"story"}


def test_a_timeline_tells_what_was_answered_with_when_a_slate_stood(run: Run, lived: Path):
    told = run("explain", "h1", "--timeline", "--json", "--data-dir", lived).json["timeline"]
    answered = [one["text"].partition(",")[::2] for one in told if one["text"].startswith("answered")]
    assert [what for what, _ in answered][:2] == ["answered app with shown"] * 2
    assert [" which stood" in more for _, more in answered][:2] == [False, True]


def test_the_decision_of_a_time_and_where_it_was_then(run: Run, lived: Path):
    told = run("explain", "h1", "--at", at(3), "--json", "--data-dir", lived).json
    assert told["decision"]["answered"]["offer"] == "shown"
    assert [one["journey"] for one in told["journeys"]] == ["story"]
    by_id = run(
        "explain", "h1", "--at", at(40), "--decision", told["decision"]["decision_id"], "--json", "--data-dir", lived
    )
    assert by_id.json["decision"]["decision_id"] == told["decision"]["decision_id"]
    assert "moment: story at " in run("explain", "h1", "--at", at(3), "--data-dir", lived).out


@pytest.mark.parametrize(
    ("asked", "wrong"),
    [
        (("h1", "--journey", "stroy"), "has no journey 'stroy'; it has story"),
        (("nobody", "--at", at(3)), "no signal had named household nobody by 2025-01-06T13:00"),
        (("h1", "--at", "soon"), "soon is no instant"),
        (("h1", "--timeline", "--decision", "d"), "name one"),
        (("h1", "--at", at(3), "--decision", "d"), "has no decision d in the log by then"),
    ],
)
def test_what_cannot_be_asked_is_refused(run: Run, lived: Path, asked: tuple[str, ...], wrong: str):
    ended = run("explain", *asked, "--data-dir", lived)
    assert ended.code != 0
    assert wrong in " ".join(ended.err.split())
