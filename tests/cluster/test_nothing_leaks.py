"""Law: no household key, member, identifier, id or token that somebody sends, well or ill, stands in a log line, a
metric, a span, the audit log, a support bundle, or what another caller is told; not even where a defect of ours quotes
it.

A real edge and a real shard in this process; marks are sent in every field of every call.
"""

import logging
import math
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pytest
from google.protobuf.message import Message
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, generate_latest

from actors.partition.telemetry import ShardTelemetry
from cluster.commands.support_bundle import support_bundle
from cluster.config import HearthConfig
from cluster.exposition import Exposition
from cluster.logs import LogSettings, safe_text, start_logging
from cluster.metrics import shard_points
from cluster.spans import Spans
from cluster.telemetry import EdgeTelemetry
from hearth.v1 import admin_pb2, decision_pb2, delivery_pb2, household_pb2, playbook_pb2, signal_pb2
from serving.access.rights import RIGHTS
from tests.actors.harness import MONDAY, SettableClock, corner
from tests.cluster.real_hearth import RealHearth, running

MARK = "mark4917"
"""Begins every value that is sent; nothing of ours has it."""
TOKEN = f"{MARK}.token.signature"


def marked(name: str) -> str:
    return f"{MARK}-{name}@example.com"


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield root
    for handler in [one for one in root.handlers if one not in handlers]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)


def signals(kind: str = "wallet.payment", **fields: Any) -> list[signal_pb2.Signal]:
    made = signal_pb2.Signal(
        event_id=marked("event"), source=marked("source"), household=marked("household"), member=marked("member"),
        type=kind,
    )  # fmt: skip
    made.time.FromMicroseconds(MONDAY)
    for name, value in fields.items():
        if isinstance(value, str):
            made.fields[name].text = value
        else:
            made.fields[name].number = value
    return [made]


def arrow(**columns: Any) -> bytes:
    sink = pa.BufferOutputStream()
    batch = pa.RecordBatch.from_pydict(columns)
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def requests() -> Iterator[tuple[str, Message | bytes]]:
    """Yield calls, sound ones and all kinds of wrong ones, each full of marks."""
    long = marked("x" * 200)
    ingest = [
        signals(amount=5.0, merchant=marked("merchant")),
        signals(marked("type")),
        signals(amount=math.nan),
        signals(amount=marked("amount")),
        signals(**{marked("field"): 1.0}),
        [*signals(), *signals(amount=1e300)],
    ]
    for sent in ingest:
        yield "SignalService/Ingest", signal_pb2.IngestRequest(signals=sent)
        yield "SignalService/IngestStream", signal_pb2.IngestStreamRequest(batch=signal_pb2.IngestRequest(signals=sent))
        yield (
            "DecisionService/Decide",
            decision_pb2.DecideRequest(
                request_id=marked("request"), household=marked("household"), channel="app", signals=sent
            ),
        )
    overlong = signals()
    overlong[0].household = long
    yield "SignalService/Ingest", signal_pb2.IngestRequest(signals=overlong)
    for stream in (
        b"no arrow " + marked("bytes").encode(),
        arrow(household=[marked("household")]),
        arrow(household=[1], event_id=[marked("event")], type=[marked("type")]),
        arrow(event_id=[marked("e")], household=[marked("h")], type=["wallet.payment"], time=[marked("time")]),
    ):
        yield "SignalService/Ingest", signal_pb2.IngestRequest(arrow_stream=stream)
    yield "SignalService/Describe", signal_pb2.DescribeRequest()
    for household, channel in ((marked("household"), marked("channel")), (long, "app"), ("", "app")):
        yield (
            "DecisionService/Decide",
            decision_pb2.DecideRequest(
                request_id=marked("request"), household=household, member=marked("member"), channel=channel
            ),
        )
        yield "DecisionService/Report", decision_pb2.ReportRequest(
            request_id=marked("report"), household=household, member=marked("member"), action_id=marked("action"),
            channel=channel, outcome=decision_pb2.OUTCOME_ACCEPT,
        )  # fmt: skip
        yield "DeliveryService/Ack", delivery_pb2.AckRequest(
            request_id=marked("ack"), household=household, action_id=marked("action"), channel=channel,
            detail=marked("detail"), group=marked("group"),
        )  # fmt: skip
        yield "HouseholdService/Get", household_pb2.GetRequest(household=household)
        yield (
            "HouseholdService/Explain",
            household_pb2.ExplainRequest(household=household, decision_id=marked("decision")),
        )
        yield "HouseholdService/Decisions", household_pb2.DecisionsRequest(household=household, limit=10**6)
    yield (
        "DeliveryService/Subscribe",
        delivery_pb2.SubscribeRequest(channels=[marked("channel")], gateway=marked("gateway"), group=marked("group")),
    )
    yield "AdminService/Snapshot", admin_pb2.SnapshotRequest()
    for position in (f"file:{marked('file')}/1", long):
        reject = admin_pb2.Reject(
            position=position, reason="UNREADABLE", detail=marked("detail"), original=marked("original").encode()
        )
        yield "AdminService/Reject", admin_pb2.RejectRequest(rejects=[reject])
    yield "AdminService/ConfirmClock", admin_pb2.ConfirmClockRequest()
    yield from by_identifier()
    yield from changes()
    for name in sorted(RIGHTS):
        if name.startswith("/hearth"):
            yield name.removeprefix("/hearth.v1."), marked("no message").encode()


def by_identifier() -> Iterator[tuple[str, Message]]:
    """Yield the calls that may name a household by what the caller knows of it, sound identifiers and others."""
    for name in (f"msisdn:{marked('number')}", f"{marked('kind')}:{marked('number')}", marked("identifier")):
        about = {"identifier": name}
        (one,) = signals(amount=5.0)
        one.household, one.identifier = "", name
        yield "SignalService/Ingest", signal_pb2.IngestRequest(signals=[one])
        yield "HouseholdService/Get", household_pb2.GetRequest(**about, whole_identifiers=True)
        yield "HouseholdService/Explain", household_pb2.ExplainRequest(**about)
        yield "HouseholdService/Decisions", household_pb2.DecisionsRequest(**about)
        yield (
            "DecisionService/Decide",
            decision_pb2.DecideRequest(request_id=marked("by"), channel="app", signals=[one], **about),
        )
        yield "DecisionService/Report", decision_pb2.ReportRequest(
            request_id=marked("by"), action_id=marked("action"), channel="app", outcome=decision_pb2.OUTCOME_DECLINE,
            **about,
        )  # fmt: skip
        yield "DeliveryService/Ack", delivery_pb2.AckRequest(
            request_id=marked("by"), action_id=marked("action"), channel="app", **about
        )  # fmt: skip


def changes() -> Iterator[tuple[str, Message]]:
    """Yield what people ask for, each text of theirs a mark."""
    merge = household_pb2.MergeChange(household=marked("household"), other=marked("other"), cause=marked("cause"))
    said = {"request_id": marked("request"), "note": marked("note")}
    yield "HouseholdService/Quarantine", household_pb2.QuarantineRequest(limit=10**6)
    yield "HouseholdService/Change", household_pb2.ChangeRequest(merge=merge, **said)
    yield "HouseholdService/Change", household_pb2.ChangeRequest(unmerge=marked("cause"), **said)
    yield "HouseholdService/Change", household_pb2.ChangeRequest(confirm=marked("cause"), **said)
    files = {f"{marked('file')}.yaml": f"playbook: {{name: {marked('playbook')}}}"}
    why = {"why": marked("why"), "by": marked("who")}
    version = {"from_version": marked("version"), "source": marked("folder")}
    yield "PlaybookService/Push", playbook_pb2.PushRequest(files=files, **version, **why)
    yield "PlaybookService/Push", playbook_pb2.PushRequest(version=marked("version"), **why)
    yield "PlaybookService/Push", playbook_pb2.PushRequest(draft=marked("draft"), **why)
    yield "PlaybookService/Submit", playbook_pb2.SubmitRequest(files=files, **version, **why)
    yield "PlaybookService/Approve", playbook_pb2.ApproveRequest(draft=marked("draft"), **why)
    yield "PlaybookService/Halt", playbook_pb2.HaltRequest(journey=marked("journey"), **why)
    yield "PlaybookService/ShowPlaybook", playbook_pb2.ShowPlaybookRequest(version=marked("version"))
    yield "AdminService/Scale", admin_pb2.ScaleRequest(shards=10**6)
    yield "AdminService/Drain", admin_pb2.DrainRequest(name=marked("node"))
    for name in ("Rebalance", "Restart", "ShowPlacement"):
        yield f"AdminService/{name}", getattr(admin_pb2, f"{name}Request")()


def call(channel: grpc.Channel, method: str, request: Message | bytes) -> str:
    """Return what the caller is told: the text of the failure, empty for none."""
    message = request if isinstance(request, bytes) else request.SerializeToString()
    metadata = [("authorization", f"Bearer {TOKEN}")]
    if not method.endswith("Decide"):  # else nothing would be traced
        metadata.append(("traceparent", marked("trace")))
    path = f"/hearth.v1.{method}"
    try:
        if method.endswith("IngestStream"):
            channel.stream_unary(path)(iter((message,)), metadata=metadata, timeout=20)
        elif method.endswith("Subscribe"):
            next(channel.unary_stream(path)(message, metadata=metadata, timeout=2), None)
        else:
            channel.unary_unary(path)(message, metadata=metadata, timeout=20)
    except grpc.RpcError as failed:
        return str(failed.details())  # type: ignore[attr-defined]
    return ""


def test_what_is_sent_stands_nowhere_but_in_the_log_of_records(
    tmp_path: Path, root_logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
):
    logs = tmp_path / "data" / "logs"
    logs.mkdir(parents=True)
    start_logging(LogSettings(folder=logs, level="debug"), "all")
    kept = Kept()
    numbers, edge = ShardTelemetry(), EdgeTelemetry(Spans(kept), trace_share=1.0)
    methods, texts = set(), []
    with (
        running(tmp_path / "data", corner(), clock=SettableClock(), telemetry=numbers, observer=edge) as hearth,
        grpc.insecure_channel(hearth.address) as channel,
    ):
        for method, request in requests():
            methods.add(f"/hearth.v1.{method}")
            texts.append(call(channel, method, request))
        with_defects(hearth, monkeypatch)
        for method in ("HouseholdService/Get", "SignalService/Ingest", "DecisionService/Decide"):
            request = next(one for name, one in requests() if name == method)
            text = call(channel, method, request)
            assert "a defect in" in text, method
            assert MARK not in text
        points = shard_points(numbers) | edge.points()
    assert methods == {name for name in RIGHTS if name.startswith("/hearth")}

    registry = CollectorRegistry()
    page = Exposition(lambda: points)
    page.take("shard-0", points)
    registry.register(page)  # type: ignore[arg-type]
    shown = {
        "logs": "".join(path.read_text() for path in logs.iterdir()),
        "metrics": generate_latest(registry).decode(),
        "spans": "".join(f"{one.name} {dict(one.attributes or {})} {one.events} {one.status}" for one in kept.spans),
        "bundle": bundled(tmp_path),
    }
    assert "a defect" in shown["logs"] or "failed" in shown["logs"]
    assert "hearth_signals" in shown["metrics"]
    assert "DecisionService" in shown["spans"]
    assert "failed on partition" in shown["bundle"]
    for where, text in shown.items():
        at = text.find(MARK)
        assert at < 0, f"{where}: {text[max(0, at - 300) : at + 100]}"
    assert not any("token.signature" in text for text in texts)


def bundled(folder: Path) -> str:
    """Return all that a support bundle of it holds."""
    out = folder / "bundle.tar.gz"
    assert support_bundle(HearthConfig(data_dir=folder / "data"), out=out, as_json=True) == 0
    with tarfile.open(out) as bundle:
        return "\n".join(bundle.extractfile(one).read().decode() for one in bundle.getnames())  # type: ignore[union-attr]


class Kept:
    """Keeps spans as they are exported."""

    resource = Resource.create({})

    def __init__(self) -> None:
        self.spans: list[Any] = []

    def span_ended(self, span: Any) -> None:
        self.spans.append(span)


def with_defects(hearth: RealHearth, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the shard fail by a defect that quotes what it failed at, as Python's own errors do."""

    async def broken(*arguments: Any, **named: Any) -> bytes:
        raise KeyError(marked("household")) from ValueError(marked("member"))

    monkeypatch.setattr(hearth.shard, "call", broken)


def test_of_errors_that_others_raise_only_the_kind_is_told():
    assert MARK not in safe_text(KeyError(MARK))
    assert MARK not in safe_text(UnicodeDecodeError("utf-8", MARK.encode(), 0, 1, MARK))
    assert safe_text(OSError(28, "No space left on device", "/data")) == "[Errno 28] No space left on device: '/data'"
