"""The judges find every law broken: an honest history of a small Hearth, then the same with one lie in it.

Laws: what really happened is found clean; each Law of oracles.py is found when it is broken by hand, in the history, in
the ledger or in the log; the plain replay and the product's replay give the same hash per household.
"""

import asyncio
import copy
import functools
import itertools
import tempfile
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from actors.log.contract import STATE_KINDS, Offset, Record, RecordKind, StoredRecord
from actors.records import codec
from household.decision import Decision, Moment
from household.decision_bytes import encode_decision
from household.delivery import DeliveryNote, DeliveryStep
from serving.signal_batches import DELIVERED, UNDELIVERED, report_batch
from tests.actors.harness import DAY, HOUR, MINUTE, MONDAY, Hearth, SettableClock, corner, running, signal
from tests.chaos.client import Client
from tests.chaos.gateway import Delivery, GatewayLedger, read_ledger
from tests.chaos.history import Call, Counts, History, Kind, Result, Sent, read_history
from tests.chaos.oracles import Law, Verdict, judge, state_violations
from tests.chaos.plain_replay import plain_replay, records_in

NIGHT = MONDAY + 13 * HOUR


@dataclass
class Evidence:
    """What the judges look at."""

    records: list[StoredRecord]
    history: History
    ledger: GatewayLedger
    live: str

    def verdict(self, **named) -> Verdict:
        named.setdefault("live_digests", {0: self.live})
        return judge({0: self.records}, self.history, self.ledger, **named)

    def found(self) -> set[Law]:
        """The laws found broken; the live state is left out, since a log that was changed by hand is not its log."""
        return {one.law for one in self.verdict(live_digests={}).violations}

    def call(self, kind: Kind, number: int = 0) -> Call:
        return list(self.history.of(kind))[number]

    def sending(self) -> Decision:
        """The decision that was sent."""
        return next(one for one in self.decisions() if one.send_channel)

    def decisions(self) -> list[Decision]:
        return [
            codec.decode_decision(one.record.payload).decision
            for one in self.records
            if one.record.kind is RecordKind.DECISION
        ]

    def append(self, payload: bytes, kind: RecordKind, *, stamp_us: int) -> None:
        newest = self.records[-1]
        record = Record(kind=kind, version=1, epoch=newest.record.epoch, stamp_us=stamp_us, payload=payload)
        self.records.append(StoredRecord(offset=Offset(newest.offset + 1), record=record))

    def decide(self, like: Decision, *, stamp_us: int, name: str = "forged", **changes) -> Decision:
        """Append a decision like another, under an id of its own."""
        slate = tuple(replace(one, action_id=f"{name}-{place}") for place, one in enumerate(like.slate))
        forged = replace(like, **{"decision_id": name, "request_id": "", "slate": slate, "moments": (), **changes})
        self.append(encode_decision(forged, member_keys={}), RecordKind.DECISION, stamp_us=stamp_us)
        return forged

    def without(self, kind: RecordKind, number: int) -> StoredRecord:
        """Take the n-th record of a kind out of the log."""
        gone = [one for one in self.records if one.record.kind is kind][number]
        self.records.remove(gone)
        return gone


async def honest(hearth: Hearth) -> tuple[History, GatewayLedger]:
    """Let something of everything happen."""
    history, ledger = History(), GatewayLedger()
    client = Client(hearth.call, 1, history)
    names = itertools.count(1)

    def event(kind: str, home: str = "home", member: str = "ann", at_us: int = 0, **fields) -> object:
        return signal(f"e{next(names)}", home, kind, at_us or hearth.clock.now_us(), member=member, fields=fields)

    payments = [event("pay", amount=amount) for amount in (3.0, 4.0)]
    await client.ingest([event("consent", marketing=True), *payments])
    await client.ingest([payments[0], event("visit", member=""), event("visit", at_us=MONDAY - 2 * DAY), event("pay")])
    await client.decide("home", [event("visit", member="bob")], member="bob", channel="web", request_id="q1")
    await client.decide("home", [], member="bob", channel="web", request_id="q1")
    await client.decide("stranger", [], member="", channel="app", request_id="q2")
    async with hearth.subscribed("push", "sms") as deliveries:
        await client.ingest([event("check"), event("check")])
        async with aclosing(deliveries):
            one = await anext(deliveries)
    for attempt in (1, 2):
        ledger.receive(
            Delivery(
                received=history.ticket(),
                household=one.household,
                member=one.member,
                action_id=one.action.action_id,
                decision_id=one.decision_id,
                offer=one.action.offer,
                family=one.action.family,
                channel=one.action.treatment.channel,
                attempt=attempt,
            )
        )
    await client.ack("home", one.action.action_id, delivered=True, request_id="a1")
    hearth.clock.pass_us(MINUTE)
    offered = await client.decide("home", [], member="bob", channel="app", request_id="q3")
    assert offered.offered_status == "live"
    told = await client.report("home", offered.offered_action, "decline", member="bob", channel="app", request_id="r1")
    assert told.effective
    await client.decide("home", [], member="bob", channel="app", request_id="q4")
    await client.ingest([event("pay", amount=5.0), event("visit", home="other")])
    await client.decide("home", [], member="ann", channel="app", request_id="q5")
    hearth.clock.pass_us(2 * HOUR)
    await hearth.tick()
    return history, ledger


@functools.cache
def _honest() -> Evidence:
    async def run(directory: Path) -> Evidence:
        async with running(directory, SettableClock(), plan=corner()) as hearth:
            history, ledger = await honest(hearth)
            live = await hearth.digest()
            return Evidence(records_in(directory)[0], history, ledger, live)

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(asyncio.wait_for(run(Path(folder)), 60.0))


@pytest.fixture
def evidence() -> Evidence:
    """The truth, to be changed by its test alone."""
    told = _honest()
    history = History(calls=[copy.copy(call) for call in told.history.calls], ticket=told.history.ticket)
    return Evidence(list(told.records), history, GatewayLedger(deliveries=list(told.ledger.deliveries)), told.live)


def test_the_truth_is_found_clean(evidence):
    verdict = evidence.verdict()

    verdict.assert_clean()
    assert verdict.acknowledged_events == len({one.event_id for call in evidence.history.calls for one in call.sent})
    assert verdict.actions == 1
    assert verdict.applied_events == verdict.acknowledged_events - 2, "one was late and one lacked its amount"
    of_others = {RecordKind.DELIVERY, RecordKind.INVENTORY, RecordKind.RELOCATION}
    assert {one.record.kind for one in evidence.records} >= STATE_KINDS - of_others, "something of everything"


def test_the_plain_replay_gives_the_hash_of_each_household(evidence):
    replay = plain_replay(0, evidence.records)

    assert set(replay.now.household_digests()) == {b"home", b"other"}
    assert not list(state_violations(replay, evidence.records, evidence.live))


def test_a_state_that_folded_one_record_less_differs(evidence):
    replay = plain_replay(0, evidence.records)
    wrong = [str(one) for one in state_violations(replay, evidence.records[:-1], None)]

    assert wrong
    assert all(one.startswith(Law.STATE_DIFFERS) for one in wrong)


def test_a_live_state_that_is_not_its_logs_differs(evidence):
    evidence.live = "0" * 32

    assert {one.law for one in evidence.verdict().violations} == {Law.STATE_DIFFERS}


def test_an_acknowledged_batch_that_stands_in_no_log_is_lost(evidence):
    evidence.without(RecordKind.SIGNALS, -1)

    assert evidence.verdict(live_digests={}).count(Law.LOST) == 2, "its two events"


def test_a_batch_answered_once_more_than_it_stands_in_the_log_is_lost(evidence):
    call = evidence.call(Kind.INGEST, 0)
    evidence.history.calls.append(replace(call, counts=Counts(duplicate=3)))

    assert Law.LOST in evidence.found()


def test_a_told_decision_that_is_not_in_the_log_is_lost(evidence):
    evidence.call(Kind.DECIDE, 0).decision_id = evidence.call(Kind.DECIDE, 1).decision_id = "made-up"

    assert Law.LOST in evidence.found()


def test_an_event_acknowledged_as_applied_twice_is_doubled(evidence):
    call = evidence.call(Kind.INGEST, 0)
    evidence.history.calls.append(replace(call))
    evidence.append(
        next(one.record.payload for one in evidence.records if one.record.kind is RecordKind.SIGNALS),
        RecordKind.SIGNALS,
        stamp_us=MONDAY + 3 * HOUR,
    )

    assert evidence.found() == {Law.DOUBLED}


def test_an_event_that_the_fold_applies_twice_is_doubled(evidence, monkeypatch):
    payment = next(one.record.payload for one in evidence.records if one.record.kind is RecordKind.SIGNALS)
    evidence.append(payment, RecordKind.SIGNALS, stamp_us=MONDAY + 3 * HOUR)
    assert Law.DOUBLED not in evidence.found()

    monkeypatch.setattr("tests.chaos.plain_replay.PlainPartition._make_room", lambda self: self.known.clear())

    assert evidence.found() >= {Law.DOUBLED, Law.STATE_DIFFERS}


def test_counts_that_the_fold_does_not_give_are_miscounted(evidence):
    evidence.call(Kind.INGEST, 1).counts = Counts(applied=2, duplicate=0, late=1, rejected=1)

    assert evidence.found() == {Law.MISCOUNTED}


def test_what_certainly_failed_and_stands_in_the_log_all_the_same_is_found(evidence):
    evidence.call(Kind.INGEST, 3).result = Result.FAILED

    assert evidence.found() == {Law.NOT_SENT}


def test_a_decision_that_stands_before_what_its_asker_knew_is_a_stale_read(evidence):
    payment = evidence.call(Kind.INGEST, 3)
    asked = next(call for call in evidence.history.of(Kind.DECIDE) if call.request_id == "q4")
    asked.began, asked.ended = payment.ended + 1, payment.ended + 2

    assert evidence.found() == {Law.STALE_READ}


def test_a_decision_whose_features_miss_an_acknowledged_payment_is_a_stale_read(evidence):
    newest = evidence.decisions()[-1]
    assert newest.request_id == "q5"
    vector = np.array(newest.state_vector)
    column = [corner().features[index].name for index in corner().scored_features].index("household.payments")
    assert vector[column] == 3.0

    for seen, law in ((2.0, Law.STALE_READ), (4.0, Law.DOUBLED)):
        gone = [one for one in evidence.records if one.record.kind is RecordKind.DECISION][-1]
        vector[column] = seen
        payload = encode_decision(replace(newest, state_vector=vector), member_keys={})
        forged = StoredRecord(offset=gone.offset, record=replace(gone.record, payload=payload))
        evidence.records[evidence.records.index(gone)] = forged

        assert evidence.found() == {law}


def test_events_of_a_household_in_another_order_than_acknowledged_are_inverted(evidence):
    first, last = evidence.call(Kind.INGEST, 0), evidence.call(Kind.INGEST, 3)
    first.began, first.ended = last.ended + 1, last.ended + 2
    evidence.history.calls = [call for call in evidence.history.calls if call.kind is Kind.INGEST]

    assert evidence.found() == {Law.INVERTED}


def test_a_request_answered_with_two_decisions_is_found(evidence):
    evidence.call(Kind.DECIDE, 1).decision_id = evidence.call(Kind.DECIDE, 2).decision_id

    assert evidence.found() == {Law.TWO_DECISIONS}


def test_a_request_answered_with_two_actions_is_found(evidence):
    evidence.call(Kind.DECIDE, 1).offered_action = "another"

    assert evidence.found() == {Law.TWO_DECISIONS}


def test_a_request_with_two_decisions_in_the_log_is_found(evidence):
    like = next(one for one in evidence.decisions() if one.request_id == "q2")
    evidence.decide(like, stamp_us=MONDAY + 3 * HOUR, request_id="q2")

    assert evidence.found() == {Law.TWO_DECISIONS}


def test_a_moment_settled_by_two_decisions_in_force_is_found(evidence):
    (moment,) = evidence.sending().moments
    other = Moment(
        moment_id="another", journey="low", member=-1, event_id=b"e", event_type="check", time_us=moment.time_us
    )
    evidence.decide(
        evidence.sending(), stamp_us=MONDAY + 3 * HOUR, moments=(moment, other), slate=(), send_channel="", answered=""
    )

    assert evidence.found() == {Law.TWO_SETTLEMENTS}


def test_a_second_decision_that_the_fold_voids_is_no_second_settlement(evidence):
    evidence.decide(evidence.sending(), stamp_us=MONDAY + 3 * HOUR, moments=evidence.sending().moments)

    assert evidence.found() == set()


def test_a_moment_that_nobody_decides_is_forgotten(evidence):
    place = next(place for place, one in enumerate(evidence.records) if one.record.kind is RecordKind.DECISION)
    evidence.records = [one for one in evidence.records[place + 1 :] if one.record.kind is not RecordKind.DECISION]
    evidence.records[:0] = _honest().records[:place]

    assert Law.FORGOTTEN_MOMENT in evidence.found()


@pytest.mark.parametrize("same", ["offered_offer", "offered_family"])
def test_an_offer_after_its_decline_was_acknowledged_is_found(evidence, same):
    declined = next(call for call in evidence.history.of(Kind.DECIDE) if call.request_id == "q3")
    later = next(call for call in evidence.history.of(Kind.DECIDE) if call.request_id == "q5")
    later.offered_status, later.channel = "live", "web"
    later.offered_offer = later.offered_family = "something else"
    assert Law.OFFERED_AFTER_DECLINE not in evidence.found()

    setattr(later, same, getattr(declined, same))

    assert Law.OFFERED_AFTER_DECLINE in evidence.found()


def test_an_offer_in_the_log_after_its_decline_is_found(evidence):
    like = next(one for one in evidence.decisions() if one.request_id == "q1")
    evidence.decide(like, stamp_us=MONDAY + 4 * HOUR)

    assert evidence.found() == {Law.OFFERED_AFTER_DECLINE}


def sent_again(evidence: Evidence, stamp_us: int, name: str = "forged", **changes) -> str:
    """Append another sending of the offer that was sent, and hand it over; return its key."""
    forged = evidence.decide(
        evidence.sending(), stamp_us=stamp_us, name=name, **{"send_before_us": stamp_us + HOUR, **changes}
    )
    key, channel = forged.slate[0].action_id, forged.send_channel
    hand_over(evidence, key, channel, stamp_us)
    evidence.ledger.receive(
        replace(evidence.ledger.deliveries[0], decision_id=forged.decision_id, action_id=key, channel=channel)
    )
    return key


def acknowledge(evidence: Evidence, key: str, stamp_us: int, *, is_delivered: bool) -> None:
    """Append the record of an acknowledgement."""
    batch = report_batch(
        request_id=f"{key}-{is_delivered}",
        household="home",
        member="",
        event_type=DELIVERED if is_delivered else UNDELIVERED,
        action_id=key,
        channel="",
        time_us=stamp_us,
    )
    evidence.append(batch, RecordKind.SIGNALS, stamp_us=stamp_us)


def hand_over(evidence: Evidence, key: str, channel: str, stamp_us: int) -> None:
    """Append the record of a hand-over."""
    note = DeliveryNote(action_id=key, step=DeliveryStep.HANDED, channel=channel)
    evidence.append(codec.encode_delivery([note]), RecordKind.DELIVERY, stamp_us=stamp_us)


def test_a_contact_more_than_the_cap_allows_is_found(evidence):
    sent_again(evidence, MONDAY + 4 * HOUR)

    assert evidence.found() == {Law.CAP}


def test_a_contact_after_the_caps_window_is_allowed(evidence):
    sent_again(evidence, MONDAY + DAY + HOUR)

    assert evidence.found() == set()


def test_a_sending_in_quiet_hours_is_found(evidence):
    sent_again(evidence, NIGHT + DAY, send_channel="sms")

    assert evidence.found() == {Law.QUIET_HOURS}


def test_a_sending_without_consent_is_found(evidence):
    sent_again(evidence, MONDAY + DAY + HOUR, member=b"bob")

    assert evidence.found() == {Law.CONSENT}


def test_a_hand_over_beyond_the_cap_is_found_though_its_decision_was_right(evidence):
    at_us = MONDAY + 2 * DAY
    first = sent_again(evidence, at_us, name="first", fallback_channels=())
    acknowledge(evidence, first, at_us + MINUTE, is_delivered=False)
    second = evidence.decide(
        evidence.sending(), stamp_us=at_us + 2 * MINUTE, name="second", send_before_us=at_us + HOUR
    )
    acknowledge(evidence, first, at_us + 3 * MINUTE, is_delivered=True)
    assert evidence.found() == set()

    hand_over(evidence, second.slate[0].action_id, "push", at_us + 4 * MINUTE)

    assert evidence.found() == {Law.CAP}


def test_a_hand_over_in_quiet_hours_is_found_though_its_decision_was_right(evidence):
    forged = evidence.decide(
        evidence.sending(), stamp_us=MONDAY + DAY + HOUR, send_channel="sms", send_before_us=MONDAY + 3 * DAY
    )
    hand_over(evidence, forged.slate[0].action_id, "sms", NIGHT + DAY)

    assert evidence.found() == {Law.QUIET_HOURS}


def test_a_hand_over_without_a_record_before_it_is_found(evidence):
    evidence.without(RecordKind.DELIVERY, 0)

    assert Law.UNRECORDED in evidence.found()


def test_a_decision_handed_over_under_two_keys_is_found(evidence):
    again = replace(evidence.ledger.deliveries[0], action_id="another")
    evidence.ledger.receive(again)

    assert evidence.found() == {Law.TWO_KEYS, Law.UNKNOWN_KEY}


def test_a_key_used_for_two_decisions_is_found(evidence):
    evidence.ledger.receive(replace(evidence.ledger.deliveries[0], decision_id="another"))

    assert evidence.found() == {Law.TWO_KEYS, Law.UNKNOWN_KEY}


def test_two_decisions_of_one_moment_that_are_both_sent_have_two_keys(evidence):
    (moment,) = evidence.sending().moments
    other = replace(moment, moment_id="another")
    sent_again(evidence, MONDAY + DAY + HOUR, moments=(moment, other))

    assert evidence.found() == {Law.TWO_KEYS, Law.TWO_SETTLEMENTS}


def test_a_hand_over_of_what_nobody_decided_is_found(evidence):
    evidence.ledger.receive(replace(evidence.ledger.deliveries[0], decision_id="made-up", action_id="made-up-0"))

    assert evidence.found() == {Law.UNKNOWN_KEY}


def test_an_accepted_action_that_was_never_handed_over_is_found(evidence):
    evidence.ledger = GatewayLedger()

    assert evidence.found() == {Law.NOT_HANDED_OVER}


def test_an_action_that_waits_in_the_outbox_need_not_have_been_handed_over(evidence):
    evidence.decide(evidence.sending(), stamp_us=MONDAY + DAY + HOUR, send_before_us=MONDAY + DAY + 2 * HOUR)

    assert evidence.found() == set()


def test_what_stood_in_an_older_epoch_is_void(evidence):
    newest = evidence.records[-1]
    like = next(one for one in evidence.decisions() if one.request_id == "q2")
    evidence.decide(like, stamp_us=MONDAY + 4 * HOUR, request_id="q2")
    forged = evidence.records.pop()
    opening = codec.EpochOpening(owner="another", stream_clock=False, fold_version=1)
    later = replace(newest.record, kind=RecordKind.EPOCH, epoch=9, payload=codec.encode_epoch(opening))
    evidence.records.append(StoredRecord(offset=Offset(newest.offset + 1), record=later))
    evidence.records.append(replace(forged, offset=Offset(newest.offset + 2)))

    assert evidence.found() == set()
    assert plain_replay(0, evidence.records).now.told["voided"] == 1


def test_histories_and_ledgers_survive_their_files(evidence, tmp_path):
    evidence.history.save(tmp_path / "history.jsonl")
    with (tmp_path / "ledger.jsonl").open("w") as file:
        ledger = GatewayLedger(file=file)
        for one in evidence.ledger.deliveries:
            ledger.receive(one)

    assert read_history([tmp_path / "history.jsonl"]).calls == evidence.history.calls
    assert read_ledger(tmp_path / "ledger.jsonl").deliveries == evidence.ledger.deliveries


def test_a_ticket_of_an_end_is_later_than_that_of_its_beginning():
    history = History()
    call = history.begin(Kind.INGEST, sent=(Sent(event_id="e", household="h", kind="visit"),))
    assert call.result is Result.UNKNOWN
    history.end(call, Result.OK, counts=Counts(applied=1))

    assert call.ended > call.began
