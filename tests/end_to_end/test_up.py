"""Laws: what a gateway was told holds after any stop. One Hearth per data directory and port. Nothing is left behind.

One Hearth is started, used, killed in part, stopped and started again; the tests run in order and share it.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cluster.config import shipped_playbook
from hearth.v1 import decision_pb2, decision_pb2_grpc, household_pb2, household_pb2_grpc, signal_pb2, signal_pb2_grpc
from loadtest.k6 import K6Settings, run_k6
from playbooks.compiler import compile_playbook
from tests.chaos.cluster_processes import until
from tests.end_to_end.hearth_process import Hearth, command, running
from tests.readme import REPOSITORY, readme_commands

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

DAY_US = 86_400_000_000
START_US = 1_780_000_000_000_000
HOUSEHOLD, MEMBER = "E2E-2", "M1"


class Client:
    """The public services, as a gateway calls them."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address)
        self.signals = signal_pb2_grpc.SignalServiceStub(self.channel)
        self.decisions = decision_pb2_grpc.DecisionServiceStub(self.channel)
        self.households = household_pb2_grpc.HouseholdServiceStub(self.channel)
        self.health = health_pb2_grpc.HealthStub(self.channel)

    def decide(self, request_id: str, channel: str, *signals: signal_pb2.Signal) -> decision_pb2.DecideResponse:
        request = decision_pb2.DecideRequest(
            request_id=request_id, household=HOUSEHOLD, member=MEMBER, channel=channel, signals=signals
        )
        return self.decisions.Decide(request, timeout=10, wait_for_ready=True)


def a_signal(kind: str, time_us: int, **fields: object) -> signal_pb2.Signal:
    made = signal_pb2.Signal(
        event_id=f"{kind}-{time_us}", type=kind, household=HOUSEHOLD, member=MEMBER, time=Timestamp()
    )
    made.time.FromMicroseconds(time_us)
    for name, value in fields.items():
        match value:
            case bool():
                made.fields[name].flag = value
            case str():
                made.fields[name].text = value
            case int() | float():
                made.fields[name].number = value
    return made


def life_before() -> list[signal_pb2.Signal]:
    """A prepaid member with a wallet who streams every evening for twelve days."""
    setup = [
        a_signal("billing.profile_updated", START_US, line_type="prepaid"),
        a_signal("wallet.activated", START_US),
        a_signal("app.consent_changed", START_US, marketing=True),
    ]
    streaming = [
        a_signal(
            "network.streaming_session", START_US + day * DAY_US, streaming_pack="series_plus", minutes=60, evening=True
        )
        for day in range(12)
    ]
    return [*setup, *streaming]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("up") / "hearth-data"


@pytest.fixture(scope="module")
def hearth(data_dir: Path) -> Iterator[Hearth]:
    with running(data_dir, "--clock", "stream") as one:
        yield one


@pytest.fixture(scope="module")
def client(hearth: Hearth) -> Client:
    return Client(hearth.address)


def test_health_is_serving_once_up_says_ready(client: Client) -> None:
    answer = client.health.Check(health_pb2.HealthCheckRequest(), timeout=5)

    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_the_third_balance_check_is_answered_in_the_same_request(client: Client) -> None:
    ingested = client.signals.Ingest(signal_pb2.IngestRequest(signals=life_before()), timeout=10)
    assert ingested.counts.applied == 15

    checks = [a_signal("app.balance_check", START_US + (12 + day) * DAY_US) for day in range(3)]
    first, second, third = (client.decide(f"check-{i}", "ussd", check) for i, check in enumerate(checks))

    assert not first.HasField("action")
    assert not second.HasField("action")
    assert third.action.offer == "topup_series_plus"
    assert third.signal_counts.applied == 1


def test_every_channel_gets_the_same_action(client: Client) -> None:
    answers = [client.decide(f"everywhere-{channel}", channel) for channel in ("app", "web", "ivr", "agent", "store")]

    assert len({answer.action.action_id for answer in answers}) == 1
    assert {answer.action.treatment.channel for answer in answers} == {"app", "web", "ivr", "agent", "store"}


def test_a_retry_gives_the_recorded_decision(client: Client) -> None:
    again = client.decide("check-2", "ussd", a_signal("app.balance_check", START_US + 14 * DAY_US))

    assert again.repeated_request
    assert again.action.offer == "topup_series_plus"


def test_what_was_just_paid_is_in_the_figures_within_a_minute(hearth: Hearth, client: Client) -> None:
    paid = a_signal("billing.topup", START_US + 14 * DAY_US, amount_minor=500)
    paid.household, paid.event_id = "E2E-paid", "just-paid"
    began_s = time.monotonic()
    assert client.signals.Ingest(signal_pb2.IngestRequest(signals=[paid]), timeout=10).counts.applied == 1

    row = ("--explain", "K2.arpu/2026-06", "--json")
    told = command("kpis", "--data-dir", str(hearth.data_dir), *row, timeout_s=60)

    assert json.loads(told.stdout)["events"] == ["just-paid"], told.stderr
    print(f"an event was in the figures {time.monotonic() - began_s:.1f} s after it was told")


def test_a_foreign_client_gets_nothing_but_well_formed_answers(hearth: Hearth) -> None:
    summary = run_k6(
        K6Settings(target=hearth.address, rate=50, seconds=4, channels="app,web,ivr", prefix="E2E-", digits=1, last=4)
    )

    assert summary["ok"], summary
    assert summary["errors"] == 0
    # Of 200; how many of them a machine gets round to in time is not what is asked here.
    assert summary["calls"] >= 100
    assert all(check["fails"] == 0 for check in summary["checks"])


def test_an_unknown_channel_is_a_clear_error(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.decide("no-such-channel", "telegraph")

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "telegraph" in caught.value.details()


def test_nothing_listens_that_the_doctor_does_not_name_and_justify(hearth: Hearth) -> None:
    before = listening(hearth)
    ended = command("doctor", "--json", "--data-dir", str(hearth.data_dir))
    told = {one["port"]: one for one in json.loads(ended.stdout)["ports"]}
    # Some processes are just being started, and others end.
    stayed = before & listening(hearth)

    assert len(stayed) > 3
    for address, port, name in stayed:
        assert port in told, (address, port, name)
        assert told[port]["purpose"], (name, told[port])
        assert told[port]["is_ours"], (name, told[port])
        assert address == "127.0.0.1", (address, port, name)
        is_public = port == int(hearth.address.rpartition(":")[2])
        assert told[port]["protection"] == ("none" if is_public else "token"), (name, told[port])


def listening(hearth: Hearth) -> set[tuple[str, int, str]]:
    """Return address, port and process of all that listens of it."""
    found = set()
    for process in (psutil.Process(hearth.process.pid), *psutil.Process(hearth.process.pid).children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            for one in process.net_connections(kind="inet"):
                if one.status == psutil.CONN_LISTEN or one.type == socket.SOCK_DGRAM:
                    found.add((one.laddr.ip.removeprefix("::ffff:"), one.laddr.port, process.name()))
    return found


def test_a_second_up_on_the_same_directory_is_refused(hearth: Hearth) -> None:
    second = command("up", "--data-dir", str(hearth.data_dir), "--port", "0")

    assert second.returncode != 0
    assert str(hearth.process.pid) in second.stderr


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = command("up", "--data-dir", str(tmp_path / "other"), "--port", str(port))

    assert refused.returncode != 0
    assert str(port) in refused.stderr


def test_a_file_where_the_data_directory_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")

    refused = command("up", "--data-dir", str(tmp_path / "file"), "--port", "0")

    assert refused.returncode != 0
    assert "is a file" in refused.stderr


def test_partitions_move_to_a_third_shard_and_back_while_gateways_ask(hearth: Hearth, client: Client) -> None:
    def moved(*words: str) -> dict[str, object]:
        ended = command(*words, "--json", "--target", hearth.address)
        assert ended.returncode == 0, ended.stderr
        told: dict[str, object] = json.loads(ended.stdout)
        assert told["settled"]
        return told

    failed: list[grpc.RpcError] = []
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.wait(0.02):
            try:
                client.decide(uuid.uuid4().hex, "app")
            except grpc.RpcError as wrong:
                failed.append(wrong)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        scaled = moved("scale", "--shards", "3")
        held = [len(one["partitions"]) for one in scaled["shards"] if not one["spare"]]  # type: ignore[attr-defined]
        assert (len(held), sum(held), min(held) > 0) == (3, 8, True)
        assert moved("scale", "--shards", "2")["shards_wanted"] == 2
    finally:
        is_over.set()
        asking.join()
    assert failed == []
    until(lambda: len(actors_of(hearth, "ShardActor")) == 3, within_s=30, what="the third shard is gone")
    assert client.decide("check-2", "ussd", a_signal("app.balance_check", START_US + 14 * DAY_US)).repeated_request


def test_a_killed_shard_comes_back_with_all_that_was_acknowledged(hearth: Hearth, client: Client) -> None:
    before = client.decide("before-kill", "app")
    shards = actors_of(hearth, "ShardActor")
    assert len(shards) == 3, "two that serve, and the spare"
    for shard in shards:
        os.kill(shard.pid, signal.SIGKILL)

    after = ask_until_answered(client, "after-kill")

    assert after.action.action_id == before.action.action_id
    again = ask_until_answered(client, "before-kill")
    assert again.repeated_request
    assert again.decision_id == before.decision_id


def actors_of(hearth: Hearth, name: str) -> list[psutil.Process]:
    """Return the processes of an actor class that run now; others may be ending while we look."""
    found = []
    for process in psutil.Process(hearth.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if f"ray::{name}" in " ".join(process.cmdline()):
                found.append(process)
    return found


def test_a_killed_coordinator_is_told_of_the_shards_again_and_cares_for_them(hearth: Hearth, client: Client) -> None:
    # What Ray does not keep itself of an actor's arguments: with less, this would hold whatever we hold.
    assert len(compile_playbook(shipped_playbook("telco")).canonical_bytes) > 100 << 10
    before = client.decide("before-coordinator", "app")
    (coordinator,) = actors_of(hearth, "Coordinator")
    os.kill(coordinator.pid, signal.SIGKILL)

    assert client.decide("without-coordinator", "app").action.action_id == before.action.action_id
    for shard in actors_of(hearth, "ShardActor"):
        os.kill(shard.pid, signal.SIGKILL)
    assert ask_until_answered(client, "after-coordinator").action.action_id == before.action.action_id


def ask_until_answered(
    client: Client, request_id: str, channel: str = "app", *signals: signal_pb2.Signal
) -> decision_pb2.DecideResponse:
    """Retry while the partition has no owner, as docs/gateway.md tells gateways to."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return client.decide(request_id, channel, *signals)
        except grpc.RpcError as failed:
            is_passing = failed.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            if not is_passing or time.monotonic() > deadline:
                raise


@dataclass(frozen=True)
class Known:
    """What a client was told before the stop."""

    decided: decision_pb2.DecideResponse
    household: household_pb2.GetResponse


@pytest.fixture(scope="module")
def known(client: Client) -> Known:
    return Known(
        client.decide("before-stop", "app"),
        client.households.Get(household_pb2.GetRequest(household=HOUSEHOLD), timeout=5),
    )


@pytest.fixture(scope="module")
def started_again(hearth: Hearth, known: Known, data_dir: Path) -> Iterator[Hearth]:
    del known
    if hearth.process.poll() is None:
        hearth.stop()
    with running(data_dir, "--clock", "stream") as one:
        yield one


def test_after_a_stop_nothing_runs(hearth: Hearth, known: Known) -> None:
    assert known.household.known
    assert hearth.stop() == 0
    assert hearth.left_behind() == []


def test_after_a_start_all_is_there(started_again: Hearth, known: Known) -> None:
    second = Client(started_again.address)
    after = second.decide("after-stop", "app")
    household = second.households.Get(household_pb2.GetRequest(household=HOUSEHOLD), timeout=5)
    assert after.action.action_id == known.decided.action.action_id
    assert household.features == known.household.features
    assert household.members == known.household.members


def test_what_the_readme_types_works(started_again: Hearth, data_dir: Path) -> None:
    """In a folder that has of the repository what the README names; tests/cluster/test_readme.py reads the answers."""
    folder = data_dir.parent
    (folder / "playbooks").symlink_to(REPOSITORY / "playbooks")
    shutil.copytree(REPOSITORY / "docs" / "samples", folder / "docs" / "samples")
    typed = readme_commands()
    assert typed.pop(0) == ["up"], "it runs already"
    for arguments in typed:
        ended = command(*arguments, folder=folder)
        # The doctor tells what is weak about this machine.
        assert ended.returncode == 0 or arguments == ["doctor"], (arguments, ended.stdout, ended.stderr)
        assert "Traceback" not in ended.stderr
        assert ended.stdout, arguments


def test_the_arms_that_were_met_are_exported(started_again: Hearth, data_dir: Path) -> None:
    out = data_dir.parent / "assignments.parquet"
    told = command("export", "assignments", "--data-dir", str(data_dir), "--out", str(out), "--json")
    assert told.returncode == 0, told.stderr
    rows = pq.read_table(out).filter(pc.field("household") == HOUSEHOLD).to_pylist()
    assert {"everything", "next_best_action", "s1_low_balance"} <= {row["experiment"] for row in rows}
    assert json.loads(told.stdout)["rows"] >= len(rows)


def test_ctrl_c_stops_it_and_leaves_nothing_behind(started_again: Hearth) -> None:
    assert started_again.stop(signal.SIGINT) == 0
    assert started_again.left_behind() == []
