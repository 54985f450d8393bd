"""The acknowledged sender, before a Hearth that fails as it is told.

Laws: every event is accounted for exactly once, in an answer or by being told undeliverable, and applied at most once;
what is sent again is sent under the same ids; what Hearth advises is waited for; what is too large or refused goes on
in halves, in order; an answer that does not account for its signals, what no wait mends and the last attempt are told;
who asks to stop waits no longer than the grace.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from hypothesis import given, settings
from hypothesis import strategies as st

from hearth.v1 import signal_pb2
from intake.errors import IntakeFailed
from intake.failures import told_of
from intake.sender import (
    ADVICE_S_MAX,
    HALVED_AFTER,
    REQUEST_BYTES_MAX,
    STOP_GRACE_S,
    Acknowledged,
    Counts,
    Patience,
    Sender,
    Stopped,
    Undeliverable,
    UndeliverableReason,
    doubling,
)

OK, LOST, SILENT = "ok", "lost", "silent"
"""Answered; applied, and the answer is lost; never answered."""
BUSY, FULL, AWAY, WRONG, BROKEN = (
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    "full",
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.INTERNAL,
)
"""FULL: RESOURCE_EXHAUSTED with advice on when to try again; BUSY: without."""
ADVICE_S = 7.0

FILES = Patience(deadline_s=60.0, waits_s=(0.2, 0.5, 1.0), knows_too_large=True)
CAPTURE = Patience(deadline_s=60.0, waits_s=doubling(0.1, 5.0), is_endless=True, finds_refused=True)
REPLAY = Patience(deadline_s=30.0, waits_s=(0.2, 0.5, 1.0), finds_refused=True)


class Failure(grpc.RpcError, grpc.Call):
    """A call that failed, as the client sees it."""

    def __init__(self, code: grpc.StatusCode, *, advice_s: float | None = None, reason: str = "") -> None:
        status = status_pb2.Status(code=code.value[0], message="as told")
        if reason:
            status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason))
        if advice_s is not None:
            detail = any_pb2.Any()
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromMilliseconds(int(advice_s * 1_000))
            detail.Pack(retry)
            status.details.append(detail)
        self._status = rpc_status.to_status(status)

    def code(self):
        return self._status.code

    def details(self):
        return self._status.details

    def trailing_metadata(self):
        return self._status.trailing_metadata

    def initial_metadata(self):
        return ()

    def is_active(self):
        return False

    def time_remaining(self):
        return None

    def cancel(self):
        return False

    def add_callback(self, callback):
        return False


@dataclass
class Answer:
    """A call that has ended, or never does."""

    outcome: signal_pb2.IngestResponse | Failure | None
    clock: "Clock"
    is_cancelled: bool = False

    def done(self) -> bool:
        return self.outcome is not None

    def cancel(self) -> None:
        self.is_cancelled = True

    def result(self, timeout: float | None = None) -> signal_pb2.IngestResponse:
        if self.outcome is None:
            assert timeout is not None, "this would wait for ever"
            self.clock.now_s += timeout
            raise grpc.FutureTimeoutError
        if isinstance(self.outcome, Failure):
            raise self.outcome
        return self.outcome


@dataclass
class Clock:
    now_s: float = 100.0

    def pause(self, wait_s: float) -> None:
        self.now_s += wait_s


@dataclass
class ScriptedHearth:
    """Applies each event id once; what is to go wrong stands in `script`, one per request."""

    clock: Clock = field(default_factory=Clock)
    script: list[str | grpc.StatusCode] = field(default_factory=list)
    """Once it is empty all goes well."""
    signals_max: int = 1_000
    """More in a request are too large."""
    poison: frozenset[str] = frozenset()
    """Event ids that make a request invalid."""
    applied: list[str] = field(default_factory=list)
    requests: list[list[str]] = field(default_factory=list)
    asked_at_s: list[float] = field(default_factory=list)
    calls: list[Answer] = field(default_factory=list)
    answers: Callable[[signal_pb2.IngestResponse], signal_pb2.IngestResponse] = lambda response: response

    def begin(self, request: signal_pb2.IngestRequest, /, *, timeout: float) -> Answer:
        assert timeout > 0
        ids = [signal.event_id for signal in request.signals]
        self.requests.append(ids)
        self.asked_at_s.append(self.clock.now_s)
        call = Answer(self._outcome(ids, self.script.pop(0) if self.script else OK), self.clock)
        self.calls.append(call)
        return call

    def _outcome(self, ids: list[str], told: str | grpc.StatusCode) -> signal_pb2.IngestResponse | Failure | None:
        if told == SILENT:
            return None
        if told == FULL:
            return Failure(BUSY, advice_s=ADVICE_S)
        if isinstance(told, grpc.StatusCode):
            return Failure(told, advice_s=None)
        if len(ids) > self.signals_max:
            return Failure(BUSY, advice_s=None)
        if self.poison.intersection(ids):
            return Failure(WRONG, advice_s=None)
        fresh = [one for one in ids if one not in self.applied]
        self.applied += fresh
        if told == LOST:
            return Failure(AWAY, advice_s=None)
        counts = signal_pb2.SignalCounts(received=len(ids), applied=len(fresh), duplicate=len(ids) - len(fresh))
        return self.answers(signal_pb2.IngestResponse(counts=counts))


@dataclass(frozen=True)
class Some:
    """Signals by their ids; each is as long as it is told."""

    ids: tuple[str, ...]
    length: int = 0

    @property
    def request(self) -> signal_pb2.IngestRequest | None:
        signals = [signal_pb2.Signal(event_id=one, type="x" * self.length) for one in self.ids if one != "none"]
        return signal_pb2.IngestRequest(signals=signals) if signals else None

    @property
    def signal_count(self) -> int:
        return sum(one != "none" for one in self.ids)

    @property
    def size(self) -> int:
        return len(self.ids)

    def halves(self) -> "tuple[Some, Some]":
        half = len(self.ids) // 2
        return Some(self.ids[:half], self.length), Some(self.ids[half:], self.length)


def some(count: int, **more: int) -> Some:
    return Some(tuple(f"e{number}" for number in range(count)), **more)


def sender(hearth: ScriptedHearth, patience: Patience) -> Sender:
    return Sender(begin=hearth.begin, patience=patience, now_s=lambda: hearth.clock.now_s, pause=hearth.clock.pause)


def sent(hearth: ScriptedHearth, patience: Patience, parcel: Some) -> list[Acknowledged[Some] | Undeliverable[Some]]:
    one = sender(hearth, patience)
    return list(one.finished(one.sending(parcel)))


def accounted(became: list[Acknowledged[Some] | Undeliverable[Some]]) -> Counter[str]:
    return Counter(event_id for one in became for event_id in one.parcel.ids)


def waits(hearth: ScriptedHearth) -> list[float]:
    pairs = zip(hearth.asked_at_s, hearth.asked_at_s[1:], strict=False)
    return [round(after - before, 6) for before, after in pairs]


@pytest.mark.parametrize("patience", [FILES, CAPTURE, REPLAY])
def test_what_goes_well_is_one_request(patience):
    hearth = ScriptedHearth()

    (became,) = sent(hearth, patience, some(3))

    assert isinstance(became, Acknowledged)
    assert hearth.requests == [["e0", "e1", "e2"]]


@pytest.mark.parametrize("patience", [FILES, CAPTURE, REPLAY])
@pytest.mark.parametrize("ended", [grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED])
def test_an_answer_that_was_lost_is_asked_for_under_the_same_ids_and_counts_once(patience, ended):
    hearth = ScriptedHearth(script=[LOST, AWAY, ended])

    (became,) = sent(hearth, patience, some(2))

    assert hearth.requests == [["e0", "e1"]] * 4
    assert hearth.applied == ["e0", "e1"]
    assert (became.response.counts.duplicate, became.response.counts.applied) == (2, 0)
    assert waits(hearth) == list(patience.waits_s[:3])


def test_waits_begin_anew_behind_what_was_acknowledged():
    hearth = ScriptedHearth(script=[AWAY, AWAY, WRONG, OK, AWAY])

    sent(hearth, CAPTURE, some(2))

    # Halving needs no wait; its first half is answered, and the second fails for the first time.
    assert waits(hearth) == [0.1, 0.2, 0.0, 0.0, 0.1]


@pytest.mark.parametrize("patience", [FILES, CAPTURE, REPLAY])
def test_hearths_advice_counts_where_it_is_longer(patience):
    hearth = ScriptedHearth(script=[FULL, AWAY])

    sent(hearth, patience, some(1))

    assert waits(hearth) == [ADVICE_S, patience.waits_s[1]]


def test_advice_of_an_hour_is_not_followed_blindly(monkeypatch):
    monkeypatch.setitem(globals(), "ADVICE_S", 3_600.0)
    hearth = ScriptedHearth(script=[FULL])

    sent(hearth, FILES, some(1))

    assert waits(hearth) == [ADVICE_S_MAX]


def test_people_are_told_the_reason_that_the_runbook_has_where_hearth_gave_one():
    refused = Failure(grpc.StatusCode.UNAVAILABLE, reason="AUDIT_UNAVAILABLE")
    told = told_of(refused, doing="scaling", target="here")
    assert told == "scaling failed at here: UNAVAILABLE: as told; `hearth status` tells how it is (AUDIT_UNAVAILABLE)"
    assert "running and ready" in told_of(Failure(grpc.StatusCode.UNAVAILABLE), doing="scaling", target="here")


@pytest.mark.parametrize("patience", [FILES, REPLAY])
def test_the_last_attempt_and_what_no_wait_mends_are_told(patience):
    with pytest.raises(IntakeFailed, match="sending signals failed at Hearth: UNAVAILABLE: as told; is it running"):
        sent(ScriptedHearth(script=[AWAY] * 4), patience, some(1))
    hearth = ScriptedHearth(script=[BROKEN])
    with pytest.raises(IntakeFailed, match="INTERNAL: as told"):
        sent(hearth, patience, some(1))
    assert len(hearth.requests) == 1


def test_an_endless_sender_goes_on_whatever_fails():
    hearth = ScriptedHearth(script=[AWAY, BROKEN, grpc.StatusCode.UNKNOWN] * 20)

    assert accounted(sent(hearth, CAPTURE, some(4))) == Counter(["e0", "e1", "e2", "e3"])
    assert waits(hearth)[-1] == 5.0


def test_what_is_too_large_for_hearth_is_halved_and_goes_on_in_order():
    hearth = ScriptedHearth(signals_max=2)

    became = sent(hearth, FILES, some(7))

    assert hearth.applied == [f"e{number}" for number in range(7)]
    assert waits(hearth) == [0.0] * (len(hearth.requests) - 1)
    assert all(isinstance(one, Acknowledged) for one in became)


def test_an_event_too_large_for_hearth_is_told_and_the_others_go_on():
    hearth = ScriptedHearth(script=[BUSY, BUSY])

    first, second = sent(hearth, FILES, some(2))

    assert isinstance(first, Undeliverable)
    assert (first.parcel.ids, first.why, hearth.applied) == (("e0",), UndeliverableReason.TOO_LARGE, ["e1"])
    assert isinstance(second, Acknowledged)


def test_an_endless_sender_halves_what_finds_hearth_out_of_resources_and_gives_no_event_up():
    hearth = ScriptedHearth(script=[BUSY] * (HALVED_AFTER + 10))

    became = sent(hearth, CAPTURE, some(2))

    assert [len(one) for one in hearth.requests[: HALVED_AFTER + 1]] == [2] * HALVED_AFTER + [1]
    assert [one.parcel.ids for one in became] == [("e0",), ("e1",)]
    assert all(isinstance(one, Acknowledged) for one in became)


@pytest.mark.parametrize("patience", [FILES, CAPTURE])
def test_a_request_longer_than_may_be_sent_is_halved_before_it_is_sent(patience):
    hearth = ScriptedHearth()

    became = sent(hearth, patience, some(3, length=REQUEST_BYTES_MAX // 2))
    (lone,) = sent(hearth, patience, some(1, length=REQUEST_BYTES_MAX + 1))

    assert [one.parcel.ids for one in became] == [("e0",), ("e1",), ("e2",)]
    assert isinstance(lone, Undeliverable)
    assert (lone.why, lone.byte_count > REQUEST_BYTES_MAX, len(hearth.requests)) == (
        UndeliverableReason.TOO_LONG,
        True,
        3,
    )


@pytest.mark.parametrize("patience", [CAPTURE, REPLAY])
def test_the_event_for_which_a_request_is_refused_is_found(patience):
    hearth = ScriptedHearth(poison=frozenset({"e5"}))

    became = sent(hearth, patience, some(8))

    (alone,) = [one for one in became if isinstance(one, Undeliverable)]
    assert (alone.parcel.ids, alone.why, alone.detail) == (("e5",), UndeliverableReason.REFUSED, "as told")
    assert hearth.applied == [f"e{number}" for number in range(8) if number != 5]


def test_a_refusal_is_told_where_it_is_not_to_be_looked_into():
    with pytest.raises(IntakeFailed, match="INVALID_ARGUMENT: as told"):
        sent(ScriptedHearth(poison=frozenset({"e0"})), FILES, some(8))


def test_what_holds_no_signal_is_done_without_a_request():
    hearth = ScriptedHearth()

    (became,) = sent(hearth, CAPTURE, Some(("none", "none")))

    assert isinstance(became, Acknowledged)
    assert (hearth.requests, became.response.counts.received) == ([], 0)


@pytest.mark.parametrize("wrong", [{"received": 4, "applied": 4}, {"received": 3, "applied": 2}, {}])
def test_a_hearth_that_does_not_account_for_its_signals_is_told(wrong):
    hearth = ScriptedHearth(
        answers=lambda _: signal_pb2.IngestResponse(counts=signal_pb2.SignalCounts(**wrong)),
    )

    with pytest.raises(IntakeFailed, match=r"3 sent, .* this is a defect of Hearth"):
        sent(hearth, CAPTURE, some(3))


def test_what_begins_travels_while_its_caller_does_something_else():
    hearth = ScriptedHearth()
    one = sender(hearth, FILES)
    lone = some(1, length=REQUEST_BYTES_MAX + 1)
    begun, too_long = one.sending(some(2)), one.sending(lone)

    begun.begin()
    too_long.begin()

    assert (hearth.applied, begun.is_under_way, too_long.is_done) == (["e0", "e1"], True, False)
    assert [type(became) for became in one.finished(begun)] == [Acknowledged]
    assert [type(became) for became in one.finished(too_long)] == [Undeliverable]


def test_who_asks_to_stop_waits_no_longer_than_the_grace_and_lets_go_of_the_request():
    hearth = ScriptedHearth(script=[SILENT])
    one = sender(hearth, FILES)
    began_s = hearth.clock.now_s

    with pytest.raises(Stopped):
        list(one.finished(one.sending(some(2)), is_stopping=lambda: True))

    assert STOP_GRACE_S <= hearth.clock.now_s - began_s <= STOP_GRACE_S + 0.2
    assert hearth.calls[0].is_cancelled


def test_who_asks_to_stop_does_not_sit_out_a_long_wait_for_the_next_attempt():
    hearth = ScriptedHearth(script=[FULL])
    one = sender(hearth, FILES)
    began_s = hearth.clock.now_s

    with pytest.raises(Stopped):
        list(one.finished(one.sending(some(2)), is_stopping=lambda: True))

    assert hearth.clock.now_s - began_s < ADVICE_S


def test_who_asks_to_stop_hears_of_what_is_answered_in_time():
    hearth = ScriptedHearth()
    one = sender(hearth, FILES)

    (became,) = one.finished(one.sending(some(2)), is_stopping=lambda: True)

    assert isinstance(became, Acknowledged)


Faults = st.lists(st.sampled_from([OK, LOST, AWAY, FULL, BUSY, WRONG, BROKEN]), max_size=25)


@given(
    count=st.integers(1, 12),
    script=Faults,
    poison=st.frozensets(st.integers(0, 11), max_size=3),
    signals_max=st.integers(1, 12),
    patience=st.sampled_from([FILES, CAPTURE, REPLAY]),
)
@settings(max_examples=300, deadline=None)
def test_every_event_is_accounted_for_exactly_once(count, script, poison, signals_max, patience):
    hearth = ScriptedHearth(
        script=list(script), poison=frozenset(f"e{number}" for number in poison), signals_max=signals_max
    )
    one, parcel = sender(hearth, patience), some(count)
    became: list[Acknowledged[Some] | Undeliverable[Some]] = []
    counts = Counts()
    is_complete = True
    try:
        for found in one.finished(one.sending(parcel)):
            became.append(found)
            if isinstance(found, Acknowledged):
                counts.count(found.response)
    except IntakeFailed:
        is_complete = False

    told = accounted(became)
    assert max(told.values(), default=0) <= 1
    assert list(told) == list(parcel.ids)[: len(told)], "in order, and nothing is left out"
    assert is_complete == (len(told) == count)
    assert is_complete or not patience.is_endless
    acknowledged = [event_id for found in became if isinstance(found, Acknowledged) for event_id in found.parcel.ids]
    assert (counts.sent, counts.accounts) == (len(acknowledged), True)
    assert len(hearth.applied) == len(set(hearth.applied))
    assert set(acknowledged) <= set(hearth.applied)
    undeliverable = {event_id for found in became if isinstance(found, Undeliverable) for event_id in found.parcel.ids}
    assert undeliverable.isdisjoint(acknowledged)
