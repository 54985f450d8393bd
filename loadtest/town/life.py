"""What happens in the town, hour by hour. Each hour is drawn whole from its own seed: batch sizes change nothing."""

from typing import Literal

import numpy as np

from loadtest.town import calibration
from loadtest.town.amounts import bill_minor, call_minutes, exchange, spent_minor, topup_minor
from loadtest.town.contracts import write_cases, write_contracts
from loadtest.town.page import Floats, Ints, Page
from loadtest.town.people import People, Persona
from loadtest.town.rhythm import US_PER_DAY, US_PER_HOUR, US_PER_SECOND, Crowd, burst, gathered
from loadtest.town.signals import TownSignals
from loadtest.town.vocabulary import BALANCE_CHECK, TownVocabulary

SETUP_BLOCK = 0
"""Events of block b happen in hour b − 1 of the span, or begin there; block 0 is what was there before."""

EVENING_FROM_HOUR = 18

QUIET_AFTER_DAYS = 15.0
"""The app visits of quiet churners fall by a factor e in so many days."""

WEEK_DAYS = 7
REFILL_BEFORE_US = 90 * US_PER_SECOND

SingleKind = Literal[
    "web", "store", "topup", "partner", "home_device", "speed", "outage", "roaming", "rival_sim", "price_plan"
]
"""What is over with one event."""

SessionKind = Literal["text", "call", "data", "app", "stream", "game", "payment", "centre"] | SingleKind


class Life:
    """Draws the town's hours."""

    def __init__(
        self,
        *,
        people: People,
        vocabulary: TownVocabulary,
        seed: int,
        start_us: int,
        utc_offset_us: int,
        intensity: float,
    ) -> None:
        self._people = people
        self._vocabulary = vocabulary
        self._seed = seed
        self._start_us = start_us
        self._utc_offset_us = utc_offset_us
        self._crowds = _crowds(people, intensity)
        self._streamers = np.flatnonzero(people.is_evening_streamer)
        self._gamers = np.flatnonzero(people.persona == Persona.GAMER)
        self._running_low = np.flatnonzero(people.is_running_low)
        self._billed = np.flatnonzero(~people.is_prepaid[people.first_member])
        self._bill_minor = bill_minor(np.random.default_rng([seed, 5]), people.member_count)

    def before(self) -> TownSignals:
        """Return what sources tell of everyone before the first hour: profiles, consents, products, a last payment."""
        people, page = self._people, Page(self._people, self._vocabulary)
        draw = self._draw(SETUP_BLOCK)
        everyone = np.arange(people.size)
        value = self._vocabulary.value
        line_type = np.where(people.is_prepaid, value["line_type", "prepaid"], value["line_type", "postpaid"])
        page.write("billing.profile_updated", self._setup_times(0, people.size), everyone, line_type=line_type)
        asked = np.flatnonzero(people.consents >= 0)
        page.write("app.consent_changed", self._setup_times(1, len(asked)), asked, marketing=people.consents[asked])
        with_wallet = np.flatnonzero(people.has_wallet)
        page.write("wallet.activated", self._setup_times(2, len(with_wallet)), with_wallet)
        for number, (product, holders) in enumerate(self._products(draw).items()):
            times_us = self._setup_times(3 + number, len(holders))
            held = np.full(len(holders), value["product", product])
            page.write_for_households("billing.product_activated", times_us, holders, product=held)
        billed = self._billed
        page.write_for_households(
            "billing.bill_issued", self._setup_times(20, len(billed)), billed, amount_minor=self._bill_minor[billed]
        )
        prepaid = np.flatnonzero(people.is_prepaid)
        page.write(
            "billing.topup", self._setup_times(21, len(prepaid)), prepaid, amount_minor=topup_minor(draw, len(prepaid))
        )
        return page.finished(seed=self._seed, block=SETUP_BLOCK)

    def hour(self, block: int) -> TownSignals:
        """Return what begins in hour `block` − 1 of the span; what follows from it may happen later."""
        assert block > SETUP_BLOCK
        page, draw = Page(self._people, self._vocabulary), self._draw(block)
        begins_us = self._start_us + (block - 1) * US_PER_HOUR
        local_us = begins_us + self._utc_offset_us
        hour, day = local_us // US_PER_HOUR % 24, (block - 1) // 24
        busy = calibration.WEEKDAYS[local_us // US_PER_DAY % WEEK_DAYS]
        trend = np.ones(len(Persona))
        trend[Persona.QUIET_CHURNER] = np.exp(-day / QUIET_AFTER_DAYS)
        flat = np.ones(len(Persona))
        for kind, crowd in self._crowds.items():
            habit = trend if kind in ("app", "web", "topup") else flat
            members = crowd.drawn(draw, hour=hour, day_factor=busy, trend=habit)
            times_us = begins_us + draw.integers(0, US_PER_HOUR, len(members))
            self._write_session(page, draw, kind, times_us, members)
        self._write_evening(page, draw, begins_us, hour)
        self._write_bills(page, draw, begins_us, hour, day)
        self._write_balance_checks(page, begins_us, block)
        # Drawn apart, and written behind all else: so what there was before them is as it was.
        apart = np.random.default_rng([self._seed, 6, block])
        billed, bills = self._billed, self._bill_minor
        write_contracts(page, apart, begins_us=begins_us, hour=hour, day=day, billed=billed, bill_minor=bills)
        write_cases(page, apart, block=block)
        return page.finished(seed=self._seed, block=block)

    def _draw(self, block: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, 2, block])

    def _setup_times(self, phase: int, count: int) -> Ints:
        """Return times in the two minutes before the span; all of one phase before all of the next."""
        phase_us = 5 * US_PER_SECOND
        begins_us = self._start_us - (24 - phase) * phase_us
        return begins_us + np.arange(count, dtype=np.int64) * phase_us // max(count, 1)

    def _products(self, draw: np.random.Generator) -> dict[str, Ints]:
        people = self._people
        by_household = np.bincount(people.household, people.has_content, len(people.home)) > 0
        gamers = np.bincount(people.household, people.persona == Persona.GAMER, len(people.home)) > 0
        wallets = np.bincount(people.household, people.has_wallet, len(people.home)) > 0
        chance = draw.random((4, len(people.home)))
        has_mobile = chance[0] < 0.92
        held = {
            "mobile": has_mobile,
            "extra_line": has_mobile & (people.member_count >= 2) & (chance[0] < 0.5),
            "broadband": people.is_broadband | ~has_mobile,
            "content": by_household & (chance[1] < 0.4),
            "smart_home": people.is_smart_home,
            "gaming": gamers & (chance[2] < 0.3),
            "wallet_card": wallets & (chance[3] < 0.15),
        }
        return {product: np.flatnonzero(mask) for product, mask in held.items()}

    def _write_session(
        self, page: Page, draw: np.random.Generator, kind: SessionKind, times_us: Ints, members: Ints
    ) -> None:
        match kind:
            case "text":
                which, times_us = exchange(draw, times_us, mean_more=2.0)
                page.write("network.text", times_us, members[which])
            case "call":
                which, times_us = exchange(draw, times_us, mean_more=0.3)
                page.write("network.call", times_us, members[which], minutes=call_minutes(draw, len(which)))
            case "data":
                which, times_us = exchange(draw, times_us, mean_more=2.0)
                page.write(
                    "network.data_session",
                    times_us,
                    members[which],
                    megabytes=np.round(draw.lognormal(2.7, 1.5, len(which)), 3),
                )
            case "app":
                self._write_app_session(page, draw, times_us, members)
            case "stream":
                self._write_streams(page, draw, times_us, members)
            case "game":
                self._write_games(page, times_us, members, draw.uniform(10, 60, len(members)))
            case "payment":
                self._write_payments(page, draw, times_us, members)
            case "centre":
                self._write_call_to_centre(page, draw, times_us, members)
            case _:
                self._write_single(page, draw, kind, times_us, members)

    def _write_single(
        self, page: Page, draw: np.random.Generator, kind: SingleKind, times_us: Ints, members: Ints
    ) -> None:
        count, words = len(members), self._vocabulary
        households = self._people.household[members].astype(np.int64)
        match kind:
            case "web":
                page.write("web.visit", times_us, members)
            case "store":
                page.write("store.visit", times_us, members)
            case "topup":
                page.write("billing.topup", times_us, members, amount_minor=topup_minor(draw, count))
            case "partner":
                partner = words.drawn("partner", draw.random(count))
                page.write(
                    "partner.purchase", times_us, members, amount_minor=spent_minor(draw, count), partner=partner
                )
                redeems = np.flatnonzero(draw.random(count) < 0.1)
                later_us = times_us[redeems] + 30 * US_PER_SECOND
                page.write("partner.redemption", later_us, members[redeems], partner=partner[redeems])
            case "home_device":
                device = households * 64 + draw.integers(0, np.maximum(self._people.devices[households], 1))
                page.write_for_households("network.device_seen_home", times_us, households, device=device)
            case "speed":
                mbps = np.round(draw.lognormal(4.2, 0.6, count), 1)
                page.write_for_households(
                    "network.speed_measured", times_us, households, mbps=mbps, cell=households % 97
                )
            case "outage":
                minutes = np.round(draw.lognormal(3.6, 0.9, count))
                page.write_for_households("network.outage", times_us, households, minutes=minutes, cell=households % 97)
            case "roaming":
                zone = words.drawn("roaming_zone", draw.random(count))
                page.write("network.roaming_started", times_us, members, roaming_zone=zone)
            case "rival_sim":
                page.write_for_households(
                    "network.competitor_sim_seen", times_us, households, device=households * 64 + 63
                )
            case "price_plan":
                plan = words.drawn("price_plan", draw.random(count))
                page.write("billing.price_plan_changed", times_us, members, price_plan=plan)

    def _write_app_session(self, page: Page, draw: np.random.Generator, times_us: Ints, members: Ints) -> None:
        page.write("app.session_started", times_us, members)
        sizes = 1 + draw.poisson(2.2, len(members))
        which, seen_us = burst(draw, times_us + 2 * US_PER_SECOND, sizes, gap_log_mean=2.7, gap_log_sd=0.9)
        screen = self._vocabulary.drawn("screen", draw.random(len(which)))
        page.write("app.screen_viewed", seen_us, members[which], screen=screen)
        for event, share in (("app.pricing_viewed", 0.05), ("app.self_care", 0.12), ("app.add_line_started", 0.004)):
            chosen = np.flatnonzero(draw.random(len(members)) < share)
            page.write(event, times_us[chosen] + 7 * US_PER_SECOND, members[chosen])
        looks = (
            (draw.random(len(members)) < 0.05)
            & self._people.is_prepaid[members]
            & ~self._people.is_running_low[members]
        )
        page.write(BALANCE_CHECK, times_us[looks] + 4 * US_PER_SECOND, members[looks])

    def _write_streams(self, page: Page, draw: np.random.Generator, times_us: Ints, members: Ints) -> None:
        count = len(members)
        other = draw.integers(0, self._vocabulary.pack_count, count)
        page.write(
            "network.streaming_session",
            times_us,
            members,
            streaming_pack=np.where(draw.random(count) < 0.85, self._people.pack[members], other),
            minutes=np.round(draw.lognormal(3.7, 0.5, count)),
            evening=self._is_evening(times_us),
        )

    def _write_games(self, page: Page, times_us: Ints, members: Ints, minutes: Floats) -> None:
        page.write(
            "network.gaming_session", times_us, members, minutes=np.round(minutes), evening=self._is_evening(times_us)
        )

    def _write_payments(self, page: Page, draw: np.random.Generator, times_us: Ints, members: Ints) -> None:
        which, times_us = exchange(draw, times_us, mean_more=0.2)
        members, count = members[which], len(which)
        times_us = times_us + REFILL_BEFORE_US
        amounts = spent_minor(draw, count)
        category = self._vocabulary.drawn("merchant_category", draw.random(count))
        page.write("wallet.payment", times_us, members, amount_minor=amounts, merchant_category=category)
        mix, chance = calibration.WALLET_MIX, draw.random(count)
        refills = np.flatnonzero(chance < mix["cash_in"] / mix["payment"])
        paid_in = np.round(amounts[refills] * draw.lognormal(1.5, calibration.TOP_UP_LOG_SD, len(refills))).clip(
            100, 100_000
        )
        page.write("wallet.topup", times_us[refills] - REFILL_BEFORE_US, members[refills], amount_minor=paid_in)
        refunds = np.flatnonzero(chance > 0.99)
        later_us = times_us[refunds] + 20 * 60 * US_PER_SECOND
        page.write("wallet.refund", later_us, members[refunds], amount_minor=amounts[refunds])

    def _write_call_to_centre(self, page: Page, draw: np.random.Generator, times_us: Ints, members: Ints) -> None:
        page.write("ivr.call_started", times_us, members)
        stays = np.flatnonzero(draw.random(len(members)) < 0.6)
        reason = self._vocabulary.drawn("contact_reason", draw.random(len(stays)))
        answered_us = times_us[stays] + draw.integers(40, 400, len(stays)) * US_PER_SECOND
        page.write("call_centre.contact", answered_us, members[stays], contact_reason=reason)
        angry = draw.random(len(stays)) < 0.15
        later_us = answered_us[angry] + 120 * US_PER_SECOND
        page.write("call_centre.complaint", later_us, members[stays][angry], contact_reason=reason[angry])

    def _write_evening(self, page: Page, draw: np.random.Generator, begins_us: int, hour: int) -> None:
        """Those whose evening begins in this hour stream or play, as they do every evening."""
        people = self._people
        streamers = self._streamers[people.evening_hour[self._streamers] == hour]
        streamers = streamers[draw.random(len(streamers)) < 0.97]
        first_us = begins_us + draw.integers(0, US_PER_HOUR // 2, len(streamers))
        self._write_streams(page, draw, first_us, streamers)
        second = draw.random(len(streamers)) < 0.8
        pause_us = draw.integers(50, 80, int(second.sum())) * 60 * US_PER_SECOND
        self._write_streams(page, draw, first_us[second] + pause_us, streamers[second])
        gamers = self._gamers[people.evening_hour[self._gamers] == hour]
        gamers = gamers[draw.random(len(gamers)) < 0.86]
        began_us = begins_us + draw.integers(0, US_PER_HOUR // 2, len(gamers))
        minutes = draw.uniform(75, 110, (2, len(gamers)))
        self._write_games(page, began_us, gamers, minutes[0])
        again_us = began_us + ((minutes[0] + 5) * 60 * US_PER_SECOND).astype(np.int64)
        self._write_games(page, again_us, gamers, minutes[1])

    def _write_bills(self, page: Page, draw: np.random.Generator, begins_us: int, hour: int, day: int) -> None:
        """Bills go out at night on each household's own day; eight days before the next, the last is paid or late."""
        if hour == 2:
            due = self._billed[self._billed % 28 == day % 28]
            times_us = begins_us + draw.integers(0, US_PER_HOUR, len(due))
            page.write_for_households("billing.bill_issued", times_us, due, amount_minor=self._bill_minor[due])
        if hour == 11:
            owing = self._billed[(self._billed + 8) % 28 == day % 28]
            is_late = draw.random(len(owing)) < 0.06
            times_us = begins_us + draw.integers(0, US_PER_HOUR, len(owing))
            for event, mask in (("billing.bill_paid", ~is_late), ("billing.bill_late", is_late)):
                page.write_for_households(
                    event, times_us[mask], owing[mask], amount_minor=self._bill_minor[owing[mask]]
                )

    def _write_balance_checks(self, page: Page, begins_us: int, block: int) -> None:
        """Story S1: three looks at the balance within a week, at most seven days from first to third."""
        week, hour_of_week = divmod(block - 1, 24 * WEEK_DAYS)
        draw = np.random.default_rng([self._seed, 3, week])
        count = len(self._running_low)
        days = draw.integers(0, 2, count)[:, None] + np.cumsum(
            np.concatenate([np.zeros((count, 1), np.int64), draw.choice([1, 2], (count, 2), p=[0.7, 0.3])], axis=1),
            axis=1,
        )
        seconds = draw.integers(17 * 3_600, 22 * 3_600, (count, 3))
        is_low_week = draw.random(count) < 0.7
        local_us = (self._start_us + self._utc_offset_us) % US_PER_DAY
        since_us = days * US_PER_DAY + seconds * US_PER_SECOND - local_us
        since_us += np.where(since_us < 0, US_PER_DAY, 0)
        in_hour = (since_us // US_PER_HOUR == hour_of_week) & is_low_week[:, None]
        who, which = np.nonzero(in_hour)
        times_us = begins_us + since_us[who, which] % US_PER_HOUR
        page.write(BALANCE_CHECK, times_us, self._running_low[who])

    def _is_evening(self, times_us: Ints) -> Floats:
        hours = (times_us + self._utc_offset_us) // US_PER_HOUR % 24
        return (hours >= EVENING_FROM_HOUR).astype(np.float64)


def _crowds(people: People, intensity: float) -> dict[SessionKind, Crowd]:
    """Return who does what, with means per day: a member's activity times a rate, for those who can do it at all."""
    activity, mild = people.activity * intensity, np.sqrt(people.activity) * intensity
    households_first = np.zeros(people.size)
    households_first[people.first_member] = intensity
    has_broadband = people.is_broadband[people.household]
    devices = np.where(has_broadband, people.devices[people.household], 0) * households_first
    rates: dict[SessionKind, tuple[Floats, tuple[float, ...]]] = {
        "text": (calibration.TEXTS_PER_DAY / 3.0 * activity, calibration.TEXT_HOURS),
        "call": (calibration.CALLS_PER_DAY / 1.3 * activity, calibration.CALL_HOURS),
        "data": (1.6 * activity, calibration.DATA_HOURS),
        "app": (np.where(people.has_app, 0.5, 0) * activity, calibration.DATA_HOURS),
        "web": (0.04 * activity, calibration.DATA_HOURS),
        "stream": (np.where(people.has_content, 0.25, 0) * activity, calibration.EVENING_HOURS),
        "game": (np.where(people.persona == Persona.CHILD, 0.3, 0.03) * activity, calibration.EVENING_HOURS),
        "topup": (np.where(people.is_prepaid, 0.16, 0) * mild, calibration.WALLET_HOURS),
        "payment": (
            np.where(people.has_wallet, calibration.WALLET_PAYMENTS_PER_30_DAYS / 30 / 1.2, 0) * activity,
            calibration.WALLET_HOURS,
        ),
        "partner": (0.02 * mild, calibration.OFFICE_HOURS),
        "centre": (0.005 * mild, calibration.OFFICE_HOURS),
        "store": (0.003 * mild, calibration.OFFICE_HOURS),
        "home_device": (0.25 * devices, calibration.EVENING_HOURS),
        "speed": (0.1 * has_broadband * households_first, calibration.FLAT_HOURS),
        "outage": (0.004 * has_broadband * households_first, calibration.FLAT_HOURS),
        "roaming": (0.003 * mild, calibration.DATA_HOURS),
        "rival_sim": (0.0008 * households_first, calibration.DATA_HOURS),
        "price_plan": (0.0006 * mild, calibration.OFFICE_HOURS),
    }
    return {kind: gathered(people.persona, per_day, hours) for kind, (per_day, hours) in rates.items()}
