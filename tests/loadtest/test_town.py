"""Laws of the town: the same for a seed whatever the batch size; ordered by time; valid for its plan; believable."""

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from hearth.v1 import decision_pb2
from household.plan import FieldKind, Plan
from loadtest.town import MONDAY_US, NO_CHANNEL, PlaybookMismatch, Reaction, Town, UnknownMember
from loadtest.town.believability import measure
from loadtest.town.signals import TownSignals, joined
from loadtest.town.vocabulary import BALANCE_CHECK


def make(plan: Plan, *, seed: int = 3, households: int = 150, days: float = 2) -> Town:
    return Town(seed=seed, households=households, start_us=MONDAY_US, days=days, plan=plan)


def rows(town: Town, max_rows: int) -> list[dict[str, object]]:
    return [row for batch in town.batches(max_rows) for row in batch.to_pylist()]


def without_absent(row: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in row.items() if value is not None}


def test_batch_size_changes_nothing_but_the_batches(plan: Plan):
    small = [without_absent(row) for row in rows(make(plan, households=30), 97)]
    large = [without_absent(row) for row in rows(make(plan, households=30), 100_000)]

    assert small == large


def test_another_seed_is_another_town_with_other_event_ids(plan: Plan):
    first = {row["event_id"] for row in rows(make(plan, seed=1, households=30), 10_000)}
    second = {row["event_id"] for row in rows(make(plan, seed=2, households=30), 10_000)}

    assert len(first) > 100
    assert not first & second


def test_more_days_change_nothing_of_the_days_before(plan: Plan):
    short, long = rows(make(plan, households=20, days=1), 10_000), rows(make(plan, households=20, days=2), 10_000)

    assert [without_absent(row) for row in long[: len(short)]] == [without_absent(row) for row in short]


def test_event_ids_are_unique_and_times_never_fall(town: Town):
    seen: set[str] = set()
    newest = 0
    for batch in town.batches(5_000):
        ids, times = batch["event_id"].to_pylist(), batch["time"].to_numpy()
        assert not seen.intersection(ids)
        seen.update(ids)
        assert len(set(ids)) == len(ids)
        assert times[0] >= newest
        assert bool((np.diff(times) >= 0).all())
        newest = int(times[-1])
    assert newest < town.end_us


def test_set_up_signals_come_first_and_tell_of_every_member(town: Town):
    setup = [row for row in rows(town, 10_000) if int(str(row["time"])) < town.start_us]
    told = [row["type"] for row in setup]

    assert told.count("billing.profile_updated") == town.people.size
    assert set(told) == {
        "billing.profile_updated",
        "app.consent_changed",
        "wallet.activated",
        "billing.product_activated",
        "billing.bill_issued",
        "billing.topup",
    }


def test_every_signal_is_valid_by_the_plans_declarations(plan: Plan, town: Town):
    signals = joined(list(town.pieces(50_000)))
    for index, event in enumerate(plan.event_types):
        of_type = signals.take(signals.kinds == index)
        declared = {use.field: use for use in event.fields}
        for field, column in of_type.values.items():
            present = column[~np.isnan(column)]
            assert field in declared or not len(present), f"{event.name} carries {plan.fields[field].name}"
            if field in declared and plan.fields[field].kind is not FieldKind.TEXT:
                assert bool((present >= declared[field].least).all()), f"{event.name}: {plan.fields[field].name}"
                assert bool((present <= declared[field].most).all()), f"{event.name}: {plan.fields[field].name}"
        for use in event.fields:
            if use.required and of_type.count:
                assert not np.isnan(of_type.values[use.field]).any(), (
                    f"{event.name} lacks {plan.fields[use.field].name}"
                )


def test_a_batch_has_the_columns_that_ingest_takes(plan: Plan, town: Town):
    batch = next(iter(town.batches(2_000)))

    assert batch.schema.names[:5] == ["event_id", "type", "household", "member", "time"]
    assert batch.schema.field("time").type == pa.int64()
    assert set(batch.schema.names[5:]) <= set(plan.field_by_name)
    assert {"H000000", "H000149"} <= set(batch["household"].to_pylist())
    assert {"", "M1", "M2"} <= set(batch["member"].to_pylist())


def test_a_message_says_the_same_as_its_row_of_the_batch(plan: Plan, town: Town):
    piece = next(piece for piece in town.pieces(3_000) if piece.times_us[0] >= town.start_us)
    table = town.wire.batch(piece).to_pylist()
    for row in range(0, piece.count, 37):
        message, expected = town.wire.message(piece, row), without_absent(table[row])
        fields = {name: getattr(value, value.WhichOneof("kind")) for name, value in message.fields.items()}
        told = {
            "event_id": message.event_id,
            "type": message.type,
            "household": message.household,
            "member": message.member,
            "time": message.time.ToMicroseconds(),
        }
        assert told | fields == expected


def test_the_load_is_believable(plan: Plan):
    found = measure(make(plan, households=1_500, days=4))

    for name, value, least, most in found.ranges():
        assert least <= value <= most, name


def test_a_town_without_an_event_it_needs_says_which(plan: Plan):
    renamed = tuple(
        dataclasses.replace(event, name="network.chat") if event.name == "network.text" else event
        for event in plan.event_types
    )

    with pytest.raises(PlaybookMismatch, match=r"event 'network\.text' is not declared"):
        make(dataclasses.replace(plan, event_types=renamed))


def test_a_town_without_a_value_it_needs_says_which(plan: Plan):
    fields = tuple(
        dataclasses.replace(field, values=("prepaid",)) if field.name == "line_type" else field for field in plan.fields
    )

    with pytest.raises(PlaybookMismatch, match="field 'line_type' does not list 'postpaid'"):
        make(dataclasses.replace(plan, fields=fields))


def test_members_who_run_low_look_three_times_within_a_week_and_stream_every_evening(plan: Plan):
    town = make(plan, households=1_000, days=7)
    low = np.flatnonzero(town.people.is_running_low)
    signals = joined(list(town.pieces(100_000)))
    members = town.people.first_member[signals.households] + signals.members
    looks = signals.kinds == plan.event_type_by_name[BALANCE_CHECK]
    streams = signals.kinds == plan.event_type_by_name["network.streaming_session"]
    three = 0
    for member in low:
        times_us = signals.times_us[looks & (members == member)]
        assert len(times_us) in (0, 3)
        three += len(times_us) == 3
        evenings = np.unique((signals.times_us[streams & (members == member)] - town.start_us) // 86_400_000_000)
        assert len(evenings) >= 5
    assert 0.5 < three / len(low) < 0.9
    assert bool(town.people.is_prepaid[low].all())
    assert bool(town.people.has_wallet[low].all())


def test_contacts_name_the_channel_that_the_member_is_on(plan: Plan, town: Town):
    signals = joined(list(town.pieces(100_000)))
    channels = town.contact_channels(signals)
    names = np.array([event.name for event in plan.event_types])[signals.kinds]
    asked = {
        name: {plan.channels[channel].name for channel in channels[names == name] if channel != NO_CHANNEL}
        for name in ("app.session_started", "web.visit", "app.balance_check", "network.text")
    }

    assert asked == {
        "app.session_started": {"app"},
        "web.visit": {"web"},
        "app.balance_check": {"app", "ussd"},
        "network.text": set(),
    }


def action(number: int, **values: Any) -> decision_pb2.Action:
    settled: dict[str, Any] = {
        "offer": "content_start",
        "kind": "offer",
        "family": "content",
        "price_minor": 699,
        "currency": "EUR",
    }
    return decision_pb2.Action(action_id=f"A{number}", **(settled | values))


def test_an_action_is_always_answered_in_the_same_way(plan: Plan, town: Town):
    again = make(plan)
    for number in range(50):
        asked = ("H000007", "M1", action(number), "app", MONDAY_US)
        assert town.answer(*asked) == again.answer(*asked)


def test_members_accept_as_often_as_their_hidden_preference_says(town: Town):
    answers = [
        town.answer(f"H{number % 150:06d}", "M1", action(number), "store", MONDAY_US + 20 * 3_600_000_000)
        for number in range(4_000)
    ]
    accepted = [answer.reaction is Reaction.ACCEPT for answer in answers]
    expected = [answer.probability for answer in answers]

    assert np.mean(accepted) == pytest.approx(0.97 * np.mean(expected), abs=0.02)
    assert np.std(expected) > 0.05  # tastes differ, so there is something to learn


def test_price_pack_channel_hour_and_moment_all_matter(plan: Plan, town: Town):
    low = int(np.flatnonzero(town.people.is_running_low)[0])
    household = town.wire.household_name(int(town.people.household[low]))
    member = town.wire.member_name(int(town.people.number[low]))
    packs = plan.fields[plan.field_by_name["streaming_pack"]].values
    pack = packs[int(town.people.pack[low])]
    other = next(name for name in packs if name != pack)
    evening_us = MONDAY_US + int(town.people.evening_hour[low]) * 3_600_000_000

    def p(channel: str = "app", time_us: int = evening_us, **values: Any) -> float:
        asked = action(1, **({"family": "mobile", "offer": f"topup_{pack}", "journey": "s1_low_balance"} | values))
        return town.answer(household, member, asked, channel, time_us).probability

    assert p() > p(price_minor=2_999)
    assert p() > p(offer=f"topup_{other}")
    assert p() > p(journey="")
    assert p() > p(time_us=MONDAY_US + 3 * 3_600_000_000)
    assert p() != p(channel="ivr")


def test_a_stranger_is_refused(town: Town):
    with pytest.raises(UnknownMember, match="household 'H000150' is not one of 150"):
        town.answer("H000150", "M1", action(1), "app", MONDAY_US)
    with pytest.raises(UnknownMember, match="has no member 'M9'"):
        town.answer("H000001", "M9", action(1), "app", MONDAY_US)


def test_what_was_bought_is_activated(town: Town):
    content = town.consequence("H000001", "M1", action(1), MONDAY_US)
    topup = town.consequence("H000001", "M1", action(2, offer="topup_film_box", family="mobile"), MONDAY_US)
    badge = town.consequence("H000001", "M1", action(3, kind="badge", family="wallet"), MONDAY_US)

    assert content is not None
    assert (content.type, content.fields["product"].text, content.member) == (
        "billing.product_activated",
        "content",
        "",
    )
    assert topup is not None
    assert (topup.type, topup.fields["amount_minor"].number) == ("billing.topup", 699.0)
    assert badge is None


# --- contracts and cases ----------------------------------------------------------------------------------------------


def test_contracts_are_renewed_after_they_were_due_and_complaints_resolved_after_they_were_made(plan: Plan) -> None:
    town = Town(seed=3, households=2_000, start_us=MONDAY_US, days=12, plan=plan)
    words, told = town.vocabulary, joined(list(town.hours()))

    def of(event: str) -> TownSignals:
        return told.take(told.kinds == words.event[event])

    due, renewed = of("billing.contract_due"), of("billing.contract_renewed")
    due_us = dict(zip(due.households.tolist(), due.times_us.tolist(), strict=True))
    assert 0 < renewed.count < due.count == len(due_us)
    for household, time_us in zip(renewed.households.tolist(), renewed.times_us.tolist(), strict=True):
        assert time_us >= due_us[household]
    made, resolved = of("call_centre.complaint"), of("call_centre.resolved")
    case = words.field["case"]
    made_us = dict(zip(made.values[case].tolist(), made.times_us.tolist(), strict=True))
    assert 0 < resolved.count < made.count == len(made_us)
    for number, time_us in zip(resolved.values[case].tolist(), resolved.times_us.tolist(), strict=True):
        assert time_us >= made_us[number]


def test_a_playbook_that_knows_nothing_of_contracts_hears_nothing_of_them(plan: Plan) -> None:
    older = {"billing.contract_due", "billing.contract_renewed", "billing.refund", "call_centre.resolved"}
    types = tuple(
        dataclasses.replace(one, name=f"other.{at}") if one.name in older else one
        for at, one in enumerate(plan.event_types)
    )
    whole = Town(seed=3, households=400, start_us=MONDAY_US, days=1, plan=plan)
    less = Town(seed=3, households=400, start_us=MONDAY_US, days=1, plan=dataclasses.replace(plan, event_types=types))
    heard = [joined(list(town.hours())) for town in (whole, less)]
    assert not np.isin(heard[1].kinds, [plan.event_type_by_name[name] for name in older]).any()
    rest = heard[0].take(~np.isin(heard[0].kinds, [plan.event_type_by_name[name] for name in older]))
    assert np.array_equal(rest.times_us, heard[1].times_us)
    assert np.array_equal(rest.kinds, heard[1].kinds)
