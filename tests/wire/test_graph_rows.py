"""Graph events and identifiers on their way to partitions, and as their owners read them."""

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors.records.signals import decode_signals
from hearth.v1 import signal_pb2
from household.apply import apply_epoch, apply_signals
from household.events import Status
from household.graph.identifiers import normalised
from household.state import NO_MEMBER, PartitionState
from serving.signal_batches import batch_from_signals
from tests.household.graph_worlds import EXACT, NOW_US
from tests.serving.test_signal_batches import batch_of
from wire.batches import APART_COLUMN
from wire.graph_rows import are_written
from wire.partitions import partition_of, split_by_partition

NUMBER, ANNA = "msisdn:+447700900123", "member:anna"
PARTITIONS = 8


def signal(event_id: str, kind: str, *, ago_us: int = 0, household: str = "", identifier: str = "", **fields: object):
    """Return a signal; fields are texts, or numbers."""
    made = signal_pb2.Signal(event_id=event_id, type=kind, household=household, identifier=identifier)
    made.time.FromMicroseconds(NOW_US - ago_us)
    for name, value in fields.items():
        if isinstance(value, str):
            made.fields[name].text = value
        else:
            made.fields[name].number = value  # type: ignore[assignment]
    return made


def folded(*signals: signal_pb2.Signal, partition_count: int = 1):
    """Return the partition's state and the statuses of signals that all lie in one partition."""
    ((_, payload),) = split_by_partition(batch_from_signals(signals), partition_count).values()
    state = PartitionState(plan=EXACT, stream_clock=False)
    apply_epoch(state, epoch=1)
    applied = apply_signals(state, decode_signals(payload, EXACT), stamp_us=NOW_US)
    return state, [Status(one) for one in applied.statuses.tolist()]


def test_a_number_written_otherwise_is_the_same_and_its_facts_are_its_holders():
    state, statuses = folded(
        signal("1", "paid", identifier="MSISDN: 0044 7700 900-123", amount=5.0, ago_us=9),
        signal("2", "hearth.graph.link", identifier=NUMBER, subject=ANNA, ago_us=7),
        signal("3", "hearth.graph.join", household="home", subject=ANNA, ago_us=6),
        signal("4", "paid", household="home", amount=1.0, ago_us=5),
        signal("5", "paid", identifier=ANNA, amount=2.0, ago_us=4),
    )
    assert set(statuses) == {Status.APPLIED}
    for key in (b"home", NUMBER.encode(), ANNA.encode()):
        assert state.readings(state.households.find(key), NO_MEMBER, NOW_US)[0] == 3.0


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        (signal("1", "paid", identifier="anna"), Status.BAD_KEY),
        (signal("1", "paid"), Status.BAD_KEY),
        (signal("1", "hearth.graph.link", identifier=NUMBER), Status.BAD_VALUE),
        (signal("1", "hearth.graph.link", identifier=NUMBER, subject="anna"), Status.BAD_VALUE),
        (signal("1", "hearth.graph.link", identifier=NUMBER, subject=ANNA, probability=2.0), Status.BAD_VALUE),
        (signal("1", "hearth.graph.link", identifier=ANNA, subject="member:ben"), Status.BAD_VALUE),
        (signal("1", "hearth.graph.merge", household="home"), Status.BAD_VALUE),
        (signal("1", "hearth.graph.marry", household="home"), Status.UNKNOWN_TYPE),
        (signal("", "hearth.graph.close", household="home"), Status.BAD_ID),
        (signal("1", "hearth.graph.close", household="home", ago_us=-(10**10)), Status.FUTURE),
    ],
)
def test_what_is_not_sound_is_rejected_and_counted(wrong, status):
    state, statuses = folded(wrong)
    assert statuses == [status]
    assert state.counters.by_status[status.name] == state.counters.received == 1


def test_a_signal_lies_where_its_identifier_does_and_a_graph_event_where_all_lies_that_it_names():
    near = next(f"member:m{i}" for i in range(99) if place(f"member:m{i}") == place(NUMBER))
    pieces = split_by_partition(
        batch_from_signals(
            [
                signal("1", "paid", identifier="00447700900123".join(("msisdn:", ""))),
                signal("2", "hearth.graph.link", identifier=NUMBER, subject=near),
            ]
        ),
        PARTITIONS,
    )
    assert {partition: rows.tolist() for partition, (rows, _) in pieces.items()} == {place(NUMBER): [0, 1]}


def test_a_graph_event_goes_where_the_first_lies_that_it_names_and_one_that_names_nobody_is_rejected():
    far = next(f"member:m{i}" for i in range(99) if place(f"member:m{i}") != place(NUMBER))
    event = signal("1", "hearth.graph.link", identifier=NUMBER, subject=far)
    assert [*split_by_partition(batch_from_signals([event]), PARTITIONS)] == [place(NUMBER)]
    elsewhere = {NUMBER.encode(): 5}
    told = split_by_partition(batch_from_signals([event]), PARTITIONS, lambda key: elsewhere.get(key, 0))
    assert [*told] == [5]
    nobody = signal("1", "hearth.graph.unmerge", cause="c")
    ((_, payload),) = split_by_partition(batch_from_signals([nobody]), PARTITIONS).values()
    assert "needs a household" in batch_of(payload).column(APART_COLUMN)[0].as_py()
    state, statuses = folded(nobody, partition_count=PARTITIONS)
    assert statuses == [Status.ACROSS_PARTITIONS]
    assert not state.graph


@pytest.mark.parametrize(
    ("probability", "status"),
    [("0.3", Status.APPLIED), ("1", Status.APPLIED), ("high", Status.BAD_VALUE), ("1.5", Status.BAD_VALUE)],
)
def test_a_probability_that_came_as_a_text_is_read_or_refused_and_never_taken_for_certain(
    probability: str, status: Status
):
    told = signal("1", "hearth.graph.link", identifier=NUMBER, subject=ANNA, probability=probability)
    state, statuses = folded(told)
    assert statuses == [status]
    assert (state.graph.place_of(NUMBER, NOW_US)[0] == ANNA.encode()) == (probability == "1")


@pytest.mark.parametrize("kind", ["unmerge", "confirm"])
def test_what_takes_back_or_confirms_lies_where_the_household_does_that_it_names_by_itself_or_by_a_field(kind: str):
    told = [signal("1", f"hearth.graph.{kind}", cause="c", household="h9")]
    told.append(signal("1", f"hearth.graph.{kind}", cause="c"))
    told[1].fields["household"].text = "h9"
    ((first, (_, one)),), ((second, (_, other)),) = (
        split_by_partition(batch_from_signals([each]), PARTITIONS).items() for each in told
    )
    assert first == second == place("h9")
    assert batch_of(one).column("household") == batch_of(other).column("household")
    state, statuses = folded(told[1], partition_count=PARTITIONS)
    assert statuses == [Status.APPLIED]
    assert state.graph


def place(key: str) -> int:
    return partition_of(key.encode(), PARTITIONS)


KINDS = ("msisdn", "phone", "email", "mac", "member", "line", "account", "device", "cookie", "crm", "Member", "x")
VALUES = st.one_of(
    st.from_regex(r"\+?0{0,2}[0-9]{0,5}", fullmatch=True), st.text(alphabet="aZ9@:.- \n\t\x7fé", max_size=6)
)


@given(texts=st.lists(st.builds("{}:{}".format, st.sampled_from(KINDS), VALUES), min_size=1, max_size=3))
@example(texts=["msisdn:+447700900123", "email:anna@example.org", "device:A:7"])
@example(texts=["device:" + "a" * 90])
@example(texts=["cookie:a\n"])
def test_what_is_taken_as_written_is_written_so(texts: list[str]):
    if are_written(pa.array([text.encode() for text in texts], pa.binary())):
        assert [normalised(text) for text in texts] == texts


def test_most_identifiers_are_seen_to_be_written():
    plain = ["msisdn:+447700900123", "phone:447700900123", "email:anna@example.org", "line:sim-7", "device:A:7", ""]
    assert are_written(pa.array(plain, pa.string()))
    for other in ("msisdn:0044", "email:Anna@x", "anna", "device: a", "é:1", "device:" + "a" * 90):
        assert not are_written(pa.array([*plain, other], pa.string()))
    assert not are_written(pa.array([b"device:\xff"], pa.binary()))


def test_some_households_and_some_identifiers_in_one_batch_are_each_what_they_name():
    state, statuses = folded(
        signal("a", "paid", household="h1", amount=1.0),
        signal("b", "paid", identifier=NUMBER, amount=2.0),
        signal("c", "paid", identifier=ANNA, amount=4.0),
        signal("d", "paid", identifier="MSISDN: 00 44 7700 900123", amount=8.0),
        signal("e", "paid", identifier="nobody", amount=1.0),
    )
    assert statuses == [Status.APPLIED] * 4 + [Status.BAD_KEY]
    assert {state.households.key(row) for row in range(state.households.count)} == {
        b"h1",
        NUMBER.encode(),
        ANNA.encode(),
    }
    assert [state.members.key(row) for row in range(state.members.count)].count(b"anna") == 1
