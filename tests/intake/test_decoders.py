"""What an operator's messages mean, and how a connector is asked for.

Laws: json and msgpack mean what the mapping says, the same whichever messages stand beside them and however they are
batched; a missing event id is derived from topic, partition and offset; what is no signal is told with its message and
spoils no other; a wrong setting or mapping is named before anything is read.
"""

import json
import re
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgpack
import pyarrow as pa
import pytest
import yaml

from hearth.v1 import signal_pb2
from intake.capture import decoders
from intake.capture.ports import Message
from intake.capture.settings import CaptureSettings, load_connectors
from intake.errors import InputWrong
from intake.reading.mapping import MappingInvalid
from intake.reading.signals import FileMapper
from tests.cluster.fake_hearth import rows_of

decoder_of = partial(decoders.decoder_of, now=datetime(2026, 1, 5, tzinfo=UTC))

MAPPING = {
    "files": [
        {
            "match": "ops.*",
            "event_id": {"column": "id"},
            "type": {"column": "kind"},
            "household": {"column": "who.household"},
            "member": {"column": "who.member"},
            "time": {"column": "at"},
            "fields": {
                "amount": {"column": "amount", "type": "number"},
                "is_new": {"column": "new", "type": "flag"},
                "note": {"column": "note"},
            },
        }
    ]
}


@pytest.fixture
def mapping(tmp_path: Path) -> str:
    path = tmp_path / "ops.yaml"
    path.write_text(yaml.safe_dump(MAPPING))
    return str(path)


def settings(**changes: object) -> CaptureSettings:
    return CaptureSettings(**({"topics": ("ops.wallet",), "bootstrap": "127.0.0.1:1"} | changes))


def message(value: bytes, offset: int = 0, partition: int = 0, topic: str = "ops.wallet") -> Message:
    return Message(topic=topic, partition=partition, offset=offset, value=value)


def event(**changes: object) -> dict[str, object]:
    plain: dict[str, object] = {
        "id": "e1",
        "kind": "wallet.payment",
        "who": {"household": "home-7", "member": "anna"},
        "at": "2026-01-05T18:30:00Z",
    }
    return plain | changes


TIME_US = 1_767_637_800_000_000

ENCODERS = {"json": lambda plain: json.dumps(plain).encode(), "msgpack": msgpack.packb}


@pytest.fixture(params=["json", "msgpack"])
def encoded(request: pytest.FixtureRequest):
    return request.param, ENCODERS[request.param]


def decoded_rows(decoder, *messages: Message):
    decoded = decoder.decode(messages)
    rows = rows_of(decoded.request.arrow_stream) if decoded.request is not None else []
    assert len(rows) == decoded.signal_count
    return rows, decoded.unreadable


def test_a_message_is_what_the_mapping_says(mapping, encoded):
    kind, encode = encoded
    decoder = decoder_of(settings(format=kind, mapping=mapping))

    rows, unreadable = decoded_rows(decoder, message(encode(event(amount=12.5, new=True, note="Grüße", other=[1]))))

    assert unreadable == ()
    assert rows == [
        {
            "event_id": "e1",
            "type": "wallet.payment",
            "household": "home-7",
            "member": "anna",
            "time": TIME_US,
            "amount": 12.5,
            "is_new": True,
            "note": "Grüße",
        }
    ]


def test_a_missing_event_id_comes_of_topic_partition_and_offset(mapping, encoded):
    kind, encode = encoded
    decoder = decoder_of(settings(format=kind, mapping=mapping))
    plain = event()
    del plain["id"]

    rows, _ = decoded_rows(
        decoder,
        message(encode(plain), offset=7),
        message(encode(plain), offset=8, partition=1),
        message(encode(event(id="")), offset=2**40),
    )

    assert [row["event_id"] for row in rows] == ["ops.wallet/0:7", f"ops.wallet/0:{2**40}", "ops.wallet/1:8"]


def test_protobuf_messages_are_signals_and_get_the_same_ids_where_they_have_none():
    decoder = decoder_of(settings(format="protobuf"))
    long = "t" * 200

    decoded = decoder.decode(
        [
            message(signal_pb2.Signal(event_id="own", household="h").SerializeToString()),
            message(signal_pb2.Signal(household="h").SerializeToString(), offset=9),
            message(b"\xff\xff no signal", offset=10),
            message(signal_pb2.Signal(household="h").SerializeToString(), topic=long),
        ]
    )

    ids = [signal.event_id for signal in decoded.request.signals]
    assert ids[:2] == ["own", "ops.wallet/0:9"]
    assert len(ids[2]) <= 128
    assert [one.message.offset for one in decoded.unreadable] == [10]


POISON = {
    "no json": b"{",
    "no object": b"[1]",
    "null": b"null",
    "half a character": b'{"id": "\xc3"}',
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 900 + b"1" + b"}" * 900,
    "a long number": b"9" * 5_000,
    "empty": b"",
}
FIT_FOR_NOTHING = {
    "no household": event(who={}),
    "no type": event(kind=None),
    "no time": event(at=None),
    "a wrong time": event(at="yesterday"),
    "a wrong number": event(amount="much"),
    "a wrong flag": event(new="perhaps"),
    "a number too large": event(at=2**63),
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
def test_poison_is_told_and_spoils_no_neighbour(mapping, poison):
    decoder = decoder_of(settings(mapping=mapping))
    good = json.dumps(event()).encode()

    rows, unreadable = decoded_rows(decoder, message(good, 0), message(poison, 1), message(good, 2))

    assert [one.message.offset for one in unreadable] == [1]
    assert (unreadable[0].reason, unreadable[0].message.value) == ("UNREADABLE", poison)
    assert len(rows) == 2


@pytest.mark.parametrize("plain", FIT_FOR_NOTHING.values(), ids=FIT_FOR_NOTHING.keys())
def test_what_does_not_fit_the_mapping_is_told_and_spoils_no_neighbour(mapping, encoded, plain):
    kind, encode = encoded
    decoder = decoder_of(settings(format=kind, mapping=mapping))

    rows, unreadable = decoded_rows(
        decoder, message(encode(event()), 0), message(encode(plain), 1), message(encode(event()), 2)
    )

    assert [(one.message.offset, one.reason) for one in unreadable] == [(1, "UNREADABLE")]
    assert len(rows) == 2


@pytest.mark.parametrize("poison", [b"", b"\xc1", b"\x81\x01\x02", b"\x93\x01", b"\x81\xa1a", b"\xff"])
def test_msgpack_that_is_no_map_of_names_is_told(mapping, poison):
    rows, unreadable = decoded_rows(decoder_of(settings(format="msgpack", mapping=mapping)), message(poison))

    assert (rows, len(unreadable)) == ([], 1)


def test_msgpack_times_bytes_and_numbers_mean_what_they_say(mapping):
    decoder = decoder_of(settings(format="msgpack", mapping=mapping))
    at = datetime(2026, 1, 5, 18, 30, tzinfo=UTC)

    rows, unreadable = decoded_rows(decoder, message(msgpack.packb(event(at=at, note=b"raw", id=2**63), datetime=True)))

    assert unreadable == ()
    assert (rows[0]["time"], rows[0]["note"], rows[0]["event_id"]) == (TIME_US, "raw", str(2**63))


def test_what_a_message_means_does_not_depend_on_its_neighbours(mapping):
    decoder = decoder_of(settings(mapping=mapping))
    odd = [
        event(id=1, amount=3, note=True),
        event(id=2.0, amount="4", note=7.0),
        event(id="3", amount=0.1, new=1, note=[1, {"a": 2}]),
        event(id=2**53 + 1, new="no", note="\U0001f600"),
        event(id=0.5, amount=float("inf"), note=None),
    ]
    messages = [message(json.dumps(one).encode(), offset) for offset, one in enumerate(odd)]

    together, _ = decoded_rows(decoder, *messages)
    alone = [decoded_rows(decoder, one)[0][0] for one in messages]

    assert together == alone
    assert [row["event_id"] for row in alone] == ["1", "2", "3", str(2**53 + 1), "0.5"]
    assert [row.get("note") for row in alone] == ["true", "7", '[1, {"a": 2}]', "\U0001f600", None]


@pytest.mark.parametrize(
    ("at", "time_us"), [("+5", 5_000), (" 7 ", 7_000), (1e300, None), (-1e300, None), ("1" * 400, None), (2**64, None)]
)
def test_times_that_are_numbers_of_any_size_do_no_harm(tmp_path, at, time_us):
    path = tmp_path / "ops.yaml"
    section = MAPPING["files"][0] | {"time": {"column": "at", "unit": "ms"}}
    path.write_text(yaml.safe_dump({"files": [section]}))

    rows, unreadable = decoded_rows(
        decoder_of(settings(mapping=str(path))),
        message(json.dumps(event(at=at)).encode()),
        message(json.dumps(event(at=0)).encode(), 1),
    )

    assert [row["time"] for row in rows] == ([0] if time_us is None else [time_us, 0])
    assert len(unreadable) == (1 if time_us is None else 0)


def test_a_cell_that_no_column_takes_stops_nobody_else(mapping, monkeypatch):
    mapper_map = FileMapper.map

    def fragile(self, chunk):
        if "worst" in chunk.columns["id"].to_pylist():
            raise pa.ArrowInvalid("no column takes it")
        return mapper_map(self, chunk)

    monkeypatch.setattr(FileMapper, "map", fragile)
    messages = [message(json.dumps(event(id=name)).encode(), offset) for offset, name in enumerate(("a", "worst", "b"))]

    rows, unreadable = decoded_rows(decoder_of(settings(mapping=mapping)), *messages)

    assert [row["event_id"] for row in rows] == ["a", "b"]
    assert [(one.message.offset, one.detail) for one in unreadable] == [(1, "cannot be mapped: no column takes it")]


@pytest.mark.parametrize(
    "odd",
    [
        {"id": "x\ud83d"},
        {"acct": "\ude00"},
        {"note": ["\ud83d"]},
        {"\ud83d": 1},
        {"deep": {"er": {"\ud83d": 1}}},
    ],
)
def test_half_a_surrogate_pair_anywhere_costs_its_message_and_makes_no_two_alike(mapping, odd):
    messages = [message(json.dumps(event(id="a") | odd).encode()), message(json.dumps(event(id="b")).encode(), 1)]

    rows, unreadable = decoded_rows(decoder_of(settings(mapping=mapping)), *messages)

    assert [row["event_id"] for row in rows] == ["b"]
    assert [one.message.offset for one in unreadable] == [0]
    assert "half a surrogate pair" in unreadable[0].detail


def test_bytes_in_msgpack_that_are_no_text_cost_their_message(mapping):
    decoder = decoder_of(settings(format="msgpack", mapping=mapping))

    rows, unreadable = decoded_rows(decoder, message(msgpack.packb(event(id="a", note=b"\xff"))))

    assert (rows, len(unreadable)) == ([], 1)


def test_cloudevents_are_unwrapped_where_the_mapping_says_so(tmp_path):
    section = {
        "format": "cloudevents",
        "event_id": "{source}#{id}",
        "type": {"column": "type"},
        "household": {"column": "subject"},
        "time": {"column": "time"},
        "fields": {"amount": {"column": "data.amount", "type": "number"}},
    }
    path = tmp_path / "events.yaml"
    path.write_text(yaml.safe_dump({"files": [section]}))
    envelope = {
        "specversion": "1.0", "id": "1", "source": "/wallet", "type": "wallet.payment", "subject": "home-7",
        "time": "2026-01-05T18:30:00Z", "data": {"amount": 5},
    }  # fmt: skip

    rows, unreadable = decoded_rows(
        decoder_of(settings(mapping=str(path))),
        message(json.dumps(envelope).encode()),
        message(json.dumps(envelope | {"specversion": "0.3"}).encode(), 1),
    )

    assert (rows[0]["event_id"], rows[0]["amount"]) == ("/wallet#1", 5.0)
    assert len(unreadable) == 1


# --- settings --------------------------------------------------------------------------------------------------------


def test_a_mapping_must_suit_topics(tmp_path, mapping):
    with pytest.raises(MappingInvalid, match=r"billing.*its patterns are ops\.\*"):
        decoder_of(settings(mapping=mapping, topics=("billing",)))
    path = tmp_path / "all.yaml"
    path.write_text(yaml.safe_dump({"files": [MAPPING["files"][0] | {"fields": "*"}]}))
    with pytest.raises(MappingInvalid, match="`fields` must name each field"):
        decoder_of(settings(mapping=str(path)))
    path.write_text(
        yaml.safe_dump(
            {
                "files": [
                    *MAPPING["files"],
                    MAPPING["files"][0] | {"fields": {"note": {"column": "n", "type": "number"}}},
                ]
            }
        )
    )
    with pytest.raises(MappingInvalid, match="field note has two types"):
        decoder_of(settings(mapping=str(path)))


def test_what_the_page_shows_holds(repository, tmp_path):
    page = (repository / "docs" / "capture.md").read_text()
    mapping, connectors = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "ops.yaml").write_text(mapping)
    (tmp_path / "capture.yaml").write_text(connectors)

    first, second = load_connectors(tmp_path / "capture.yaml")
    plain = {"id": 7, "kind": "PAY", "who": {"household": "home-7"}, "at": 1_767_637_800_000, "amount": 12.5}
    decoder = decoder_of(first.model_copy(update={"mapping": str(tmp_path / "ops.yaml")}))
    rows, unreadable = decoded_rows(decoder, message(json.dumps(plain).encode()))

    assert (rows[0]["type"], rows[0]["time"], rows[0]["amount"], unreadable) == ("wallet.payment", TIME_US, 12.5, ())
    assert (second.format, second.group) == ("protobuf", "hearth")


def test_connectors_are_listed_in_a_file(tmp_path, mapping):
    path = tmp_path / "capture.yaml"
    entry = {"topics": ["ops.wallet"], "bootstrap": "broker:9092", "mapping": mapping, "member": "one"}
    path.write_text(yaml.safe_dump({"connectors": [entry]}))

    (found,) = load_connectors(path)

    assert (found.topics, found.group, found.format) == (("ops.wallet",), "hearth", "json")


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"format": "avro"}, r"connectors\.0\.format: .*'json', 'msgpack' or 'protobuf'"),
        ({"mapping": ""}, "`mapping` says what json"),
        ({"format": "protobuf"}, "protobuf messages are signals already"),
        ({"topics": []}, r"connectors\.0\.topics"),
        ({"topics": "ops"}, r"connectors\.0\.topics: a list belongs here"),
        ({"kafka": {"enable.auto.commit": True}}, "enable.auto.commit is not to be set"),
        ({"kafka": {"group.id": "g"}}, "say it with `group`"),
        ({"topic": "ops"}, r"connectors\.0\.topic: Extra inputs"),
    ],
)
def test_what_is_wrong_with_a_connector_is_named(tmp_path, entry, told):
    path = tmp_path / "capture.yaml"
    plain = {"topics": ["ops"], "bootstrap": "broker:9092", "mapping": "m.yaml"}
    path.write_text(yaml.safe_dump({"connectors": [plain | entry]}))

    with pytest.raises(InputWrong, match=told):
        load_connectors(path)


def test_a_file_without_connectors_is_named(tmp_path):
    path = tmp_path / "capture.yaml"
    with pytest.raises(InputWrong, match="cannot be read"):
        load_connectors(path)
    path.write_text("connectors: []")
    with pytest.raises(InputWrong, match="must begin with `connectors:`"):
        load_connectors(path)
