"""Laws: every failure has one row, from which code, reason and advice follow, whoever tells of it; a status is small
enough to travel, and what a server attached to its refusal is read as it was packed; edge and shard raise the same.
"""

import ast
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from actors.conditions import CLOCK_UNCONFIRMED, LEASE_EXPIRED, NotCurrent, Overloaded, PartitionLost
from actors.log.contract import LogUnavailable, PartitionId
from actors.partition.attempts import ChannelGone
from actors.partition.decider import NotSettled
from actors.partition.requests import RequestIdReused
from actors.records.payload import PayloadUnreadable
from actors.shard.refusals import REFUSALS, refused
from actors.snapshots.facts import SnapshotFailed
from household.plan import Plan
from household.relocation.whereabouts import LiesElsewhere
from wire.failures import (
    STATUS_BY_FAILURE,
    CallFailed,
    Failure,
    FieldViolation,
    failed,
    reason_of,
    status_of,
    told_status,
    trailers,
)


def retry_ms(status: status_pb2.Status) -> int | None:
    for detail in status.details:
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(retry):
            return retry.retry_delay.ToMilliseconds()
    return None


@pytest.mark.parametrize("failure", Failure)
def test_a_failure_is_told_as_its_row_says(failure: Failure):
    row = STATUS_BY_FAILURE[failure]
    told = failed(failure, "it is so", metadata={"partition": "3"})

    assert (told.code, told.reason, retry_ms(told.status)) == (row.code, failure.reason, row.retry_after_ms)
    assert str(told) == told.status.message == "it is so"
    info = error_details_pb2.ErrorInfo()
    assert told.status.details[0].Unpack(info)
    assert (info.domain, dict(info.metadata)) == ("hearth", {"partition": "3"})


def test_only_what_may_succeed_later_is_told_when_to_be_tried_again():
    worth_waiting = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}
    for failure, row in STATUS_BY_FAILURE.items():
        assert row.retry_after_ms is None or row.code in worth_waiting, failure
        assert row.code is not grpc.StatusCode.UNAVAILABLE or row.retry_after_ms is not None, failure


def test_failures_with_one_reason_are_told_apart_by_their_codes_or_their_advice():
    told = [(failure.reason, row.code, row.retry_after_ms) for failure, row in STATUS_BY_FAILURE.items()]
    assert len(set(told)) == len(told)


def test_a_status_fits_into_trailers_however_much_is_wrong():
    violations = [FieldViolation(field=f"signals[{row}]." + "x" * 999, description="y" * 9_999) for row in range(99)]
    status = status_of(Failure.INVALID_REQUEST, "z" * 99_999, violations=violations)
    bad_request = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(bad_request)
    assert len(status.message) == 1_024
    assert len(bad_request.field_violations) == 10
    assert status.ByteSize() < 16 * 1024


def test_what_a_server_attached_is_read_as_it_was_packed():
    status = failed(Failure.UNKNOWN_GROUP, "no such group").status
    error = grpc.aio.AioRpcError(
        grpc.StatusCode.INVALID_ARGUMENT, grpc.aio.Metadata(), grpc.aio.Metadata(*trailers(status)), status.message
    )
    assert told_status(error) == status

    bare = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "gone")
    assert told_status(bare) == status_pb2.Status(code=14, message="gone")
    assert reason_of(told_status(bare)) == ""


def test_a_status_of_no_known_code_is_unknown_and_without_a_reason():
    told = CallFailed(status_pb2.Status(code=99, message="?"))
    assert (told.code, told.reason) == (grpc.StatusCode.UNKNOWN, "")


REFUSED = {
    "lease": (NotCurrent(LEASE_EXPIRED), Failure.LEASE_EXPIRED),
    "clock": (NotCurrent(CLOCK_UNCONFIRMED), Failure.CLOCK_UNCONFIRMED),
    "snapshot": (SnapshotFailed(PartitionId(3), "there", "the disk is full"), Failure.SNAPSHOT_FAILED),
    "lost": (PartitionLost(), Failure.PARTITION_UNAVAILABLE),
    "elsewhere": (LiesElsewhere(5), Failure.MOVED),
    "not settled": (NotSettled(), Failure.PARTITION_UNAVAILABLE),
    "channel that is gone": (ChannelGone("fax", Plan(name="without")), Failure.UNKNOWN_CHANNEL),
    "log": (LogUnavailable(PartitionId(3), Path("there"), "no answer"), Failure.PARTITION_UNAVAILABLE),
    "overloaded": (Overloaded(), Failure.SIGNALS_WAITING),
    "batch": (PayloadUnreadable("no batch"), Failure.BAD_BATCH),
    "request id": (RequestIdReused(), Failure.REQUEST_ID_REUSED),
    "call": (DecodeError("no message"), Failure.BAD_CALL),
}


@pytest.mark.parametrize(("wrong", "failure"), REFUSED.values(), ids=REFUSED)
def test_what_goes_wrong_in_a_shard_is_told_as_its_failure(wrong, failure: Failure):
    told = refused(wrong, 3)
    row = STATUS_BY_FAILURE[failure]
    assert (told.code, told.reason, retry_ms(told.status)) == (row.code, failure.reason, row.retry_after_ms)


def test_all_that_may_go_wrong_in_a_shard_is_tried_above():
    assert {type(wrong) for wrong, _ in REFUSED.values()} >= set(REFUSALS) - {type(REFUSED["log"][0]).__base__}


@pytest.mark.parametrize("package", ["actors", "serving", "cluster"])
def test_nobody_else_makes_a_status_of_his_own(repository: Path, package: str):
    makers = {"Status", "ErrorInfo", "RetryInfo"}
    for path in (repository / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                of = node.func.value
                is_made = node.func.attr in makers and isinstance(of, ast.Name) and of.id.endswith("_pb2")
                assert not (is_made and (node.args or node.keywords)), f"{path}:{node.lineno}"
