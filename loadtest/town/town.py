"""The town as one object: its people, the stream of their signals, and how they answer."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hearth.v1 import decision_pb2, signal_pb2
from household.plan import Plan
from loadtest.town.life import Life
from loadtest.town.people import MEMBER_COUNT_MAX, settle
from loadtest.town.preferences import Answer, Preferences, Reaction
from loadtest.town.rhythm import US_PER_HOUR
from loadtest.town.signals import TownSignals, Wire, joined, nothing
from loadtest.town.vocabulary import BALANCE_CHECK, CHANNEL_BY_CONTACT, TEXT_MENU, read_vocabulary

NO_CHANNEL = -1

PIECE_SPAN_US = 3 * US_PER_HOUR
"""Of event time, at most, in one piece: what is sent side by side must stay well within the allowed lateness."""

MONDAY_US = 1_772_406_000_000_000
"""2026-03-02 00:00 in Berlin, a Monday: where a town starts unless told otherwise."""


class UnknownMember(Exception):
    """A household or member key that this town does not have."""


class Town:
    """A simulated town: the same for the same plan, seed, number of households, start and intensity.

    More days add signals at the end and change none before.

    Raises:
        PlaybookMismatch: the plan lacks event types, fields or values that the town needs.
    """

    def __init__(
        self, *, seed: int, households: int, start_us: int, days: float, plan: Plan, intensity: float = 1.0
    ) -> None:
        assert days > 0
        assert start_us % 1_000_000 == 0, "the span starts at a whole second"
        self.plan = plan
        self.seed = seed
        self.households = households
        self.start_us = start_us
        self.end_us = start_us + round(days * 24) * US_PER_HOUR
        self.vocabulary = read_vocabulary(plan)
        self.people = settle(seed=seed, household_count=households, pack_count=self.vocabulary.pack_count)
        self.wire = Wire(plan, households)
        self.utc_offset_us = utc_offset_us(start_us, plan.policy.time_zone)
        self._life = Life(
            people=self.people,
            vocabulary=self.vocabulary,
            seed=seed,
            start_us=start_us,
            utc_offset_us=self.utc_offset_us,
            intensity=intensity,
        )
        self.preferences = Preferences(seed=seed, people=self.people, plan=plan)
        self._channel_by_kind = self._contact_channels()

    def _contact_channels(self) -> NDArray[np.int8]:
        channels = np.full(len(self.plan.event_types), NO_CHANNEL, np.int8)
        for event, channel in CHANNEL_BY_CONTACT.items():
            channels[self.vocabulary.event[event]] = self.plan.channel_by_name[channel]
        return channels

    def pieces(self, max_rows: int) -> Iterator[TownSignals]:
        """Yield all signals in order of event time, at most so many rows and PIECE_SPAN_US at a time, set-up first."""
        assert max_rows >= 1
        gathered: list[TownSignals] = []
        for block in self.hours():
            if not block.count:
                continue
            is_full = sum(part.count for part in gathered) + block.count > max_rows
            if gathered and (is_full or block.times_us[-1] - gathered[0].times_us[0] > PIECE_SPAN_US):
                yield from _divided(joined(gathered), max_rows)
                gathered.clear()
            gathered.append(block)
        yield from _divided(joined(gathered), max_rows)

    def hours(self) -> Iterator[TownSignals]:
        """Yield what was there before, and then each hour of the span, empty ones too, in order of event time."""
        yield self._life.before().sorted_by_time()
        under_way = nothing()
        for block in range(1, 1 + (self.end_us - self.start_us) // US_PER_HOUR):
            ends_us = self.start_us + block * US_PER_HOUR
            signals = joined([under_way, self._life.hour(block)]).sorted_by_time()
            ready = int(np.searchsorted(signals.times_us, ends_us))
            under_way = signals.take(slice(ready, None))
            yield signals.take(slice(0, ready))

    def batches(self, max_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the same as Arrow batches: event_id, type, household, member, time (µs), and a column per field."""
        for piece in self.pieces(max_rows):
            yield self.wire.batch(piece)

    def contact_channels(self, signals: TownSignals) -> NDArray[np.int8]:
        """Return for each row the channel, by index, that the member is on; NO_CHANNEL if the signal is no contact."""
        channels = self._channel_by_kind[signals.kinds]
        looks = np.flatnonzero(signals.kinds == self.vocabulary.event[BALANCE_CHECK])
        members = self.people.first_member[signals.households[looks]] + signals.members[looks]
        # Members without the app, and half of the others, use the text menu.
        by_text = ~self.people.has_app[members] | (members % 2 == 0)
        channels[looks[by_text]] = self.plan.channel_by_name[TEXT_MENU]
        return channels

    def answer(self, household: str, member: str, action: decision_pb2.Action, channel: str, time_us: int) -> Answer:
        """Return how a member answers an action on a channel at a time; without a member, M1 answers.

        Raises:
            UnknownMember: this town has no such household or member.
        """
        local_hour = int((time_us + self.utc_offset_us) // US_PER_HOUR % 24)
        return self.preferences.answer(self.member_index(household, member), action, channel, local_hour)

    def consequence(
        self, household: str, member: str, action: decision_pb2.Action, time_us: int
    ) -> signal_pb2.Signal | None:
        """Return the signal that billing or the wallet sends once an accepted offer is in use; None if none."""
        signal = signal_pb2.Signal(event_id=f"c-{action.action_id}"[:128], household=household, member=member)
        signal.time.FromMicroseconds(time_us)
        family = action.family
        if "topup" in action.offer:
            signal.type = "billing.topup"
            signal.fields["amount_minor"].number = float(min(action.price_minor, 100_000))
        elif family == "wallet" and action.kind == "offer" and "card" not in action.offer:
            signal.type = "wallet.activated"
        elif action.kind == "offer" and ("product", family) in self.vocabulary.value:
            signal.type = "billing.product_activated"
            signal.fields["product"].text = _product(action.offer, family)
            signal.member = ""
        else:
            return None
        return signal

    def member_index(self, household: str, member: str) -> int:
        """Return the index of a member by keys; without a member key, that of M1.

        Raises:
            UnknownMember: this town has no such household or member.
        """
        number = int(household[1:]) if household[:1] == "H" and household[1:].isdigit() else -1
        if not 0 <= number < self.households:
            raise UnknownMember(f"household '{household}' is not one of {self.households} households")
        place = int(member[1:]) - 1 if member[:1] == "M" and member[1:].isdigit() else 0 if not member else -1
        if not 0 <= place < min(MEMBER_COUNT_MAX, int(self.people.member_count[number])):
            raise UnknownMember(f"household '{household}' has no member '{member}'")
        return int(self.people.first_member[number]) + place


def _divided(signals: TownSignals, max_rows: int) -> Iterator[TownSignals]:
    for first in range(0, signals.count, max_rows):
        yield signals.take(slice(first, first + max_rows))


def _product(offer: str, family: str) -> str:
    return "extra_line" if offer in ("second_line", "family_bundle") else family


def utc_offset_us(time_us: int, time_zone: str) -> int:
    """Return local time less UTC at a time.

    >>> utc_offset_us(MONDAY_US, "Europe/Berlin")
    3600000000
    """
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)
    offset = moment.astimezone(ZoneInfo(time_zone)).utcoffset()
    assert offset is not None
    return offset // timedelta(microseconds=1)


__all__ = ["MONDAY_US", "NO_CHANNEL", "Answer", "Reaction", "Town", "UnknownMember", "utc_offset_us"]
