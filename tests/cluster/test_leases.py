"""Leases. The laws, over any schedule of delays, pauses, lost calls, late commits and clocks of different rates:

    no two processes hold their lease for one partition at one instant;
    a holder counts from before it asked, a challenger from after it read, and neither knows the other's clock;
    a lease that ran out comes back by a later renewal, one that was revoked never does;
    a watcher that is new waits the whole term.

Each part of the rule is left out once, and the first law must break.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from cluster.leases import LeaseHolder, LeaseSettings, LeaseWatch
from cluster.metadata import HolderLease, MetadataStore, MetadataUnavailable, sqlite_url
from tests.cluster.lease_world import (
    MARGIN,
    MS,
    RATES,
    SCHEDULES,
    SETTINGS,
    TERM,
    CountsFromAfter,
    Event,
    Look,
    Pass,
    Renew,
    SettableBootClock,
    WaitsTheTermOnly,
    is_broken_by,
)

WAIT_S = 30.0


class ScriptedStore:
    """Answers as it is told; may let time pass on the way there and back."""

    def __init__(self, clock: SettableBootClock) -> None:
        self._clock = clock
        self.there_ns = self.back_ns = 0
        self.is_away = False
        self.is_revoked = False
        self.renewals = 0
        self.released: list[str] = []

    def _answer(self) -> bool:
        self._clock.at_ns += self.there_ns
        if self.is_away:
            raise MetadataUnavailable("test://", "away")
        self.renewals += not self.is_revoked
        self._clock.at_ns += self.back_ns
        return not self.is_revoked

    def register(
        self, holder: str, *, node: str, process_id: int, process_started_s: float, address: str, term_ms: int
    ) -> bool:
        assert (holder, node, process_id, address, term_ms) == ("a/1", "n", 7, "unix:/s", SETTINGS.term_ms)
        return self._answer()

    def renew(self, holder: str) -> bool:
        assert holder == "a/1"
        return self._answer()

    def release(self, holder: str) -> None:
        if self.is_away:
            raise MetadataUnavailable("test://", "away")
        self.released.append(holder)


@dataclass
class Held:
    clock: SettableBootClock
    store: ScriptedStore
    lease: LeaseHolder
    revocations: list[bool]


@pytest.fixture
def held() -> Held:
    clock, revocations = SettableBootClock(), []
    store = ScriptedStore(clock)
    lease = LeaseHolder(
        store,
        holder="a/1",
        node="n",
        process_id=7,
        process_started_s=1.0,
        on_revoked=lambda: revocations.append(lease.is_held()),
        clock=clock,
    )
    return Held(clock, store, lease, revocations)


def row(holder: str = "a/1", *, renewals: int = 0, is_revoked: bool = False, term_ms: int = 2_500) -> HolderLease:
    return HolderLease(
        holder=holder,
        node="n",
        process_id=1,
        process_started_s=1.0,
        address="",
        renewals=renewals,
        term_ms=term_ms,
        is_revoked=is_revoked,
    )


# --- the holder ---


def test_before_it_was_granted_it_is_not_held(held: Held) -> None:
    assert not held.lease.is_held()


def test_it_is_held_for_the_term_and_not_at_its_end(held: Held) -> None:
    held.lease.register("unix:/s")
    held.clock.at_ns += TERM - 1
    assert held.lease.is_held()
    held.clock.at_ns += 1
    assert not held.lease.is_held()


def test_the_term_counts_from_before_the_renewal_was_sent(held: Held) -> None:
    held.lease.register("unix:/s")
    held.store.there_ns, held.store.back_ns = 300 * MS, 500 * MS
    held.lease.renew()
    held.clock.at_ns += TERM - 800 * MS - 1
    assert held.lease.is_held()
    held.clock.at_ns += 1
    assert not held.lease.is_held()


def test_a_renewal_that_took_longer_than_the_term_proves_nothing(held: Held) -> None:
    held.lease.register("unix:/s")
    held.store.back_ns = TERM
    held.lease.renew()
    assert not held.lease.is_held()


def test_a_store_that_is_away_lets_it_run_out_and_a_later_renewal_brings_it_back(held: Held) -> None:
    held.lease.register("unix:/s")
    held.store.is_away = True
    held.lease.renew()
    assert held.lease.is_held()
    held.clock.at_ns += TERM
    held.lease.renew()
    assert not held.lease.is_held()
    held.store.is_away = False
    held.lease.renew()
    assert held.lease.is_held()
    assert held.revocations == []


def test_a_refused_renewal_ends_it_for_good_and_is_told_once(held: Held) -> None:
    held.lease.register("unix:/s")
    held.store.is_revoked = True
    held.lease.renew()
    held.lease.renew()
    assert held.revocations == [False]
    assert not held.lease.is_held()


def test_a_refused_registration_is_a_revocation(held: Held) -> None:
    held.store.is_revoked = True
    held.lease.register("unix:/s")
    assert held.revocations == [False]


def test_stopping_releases_it_at_once(held: Held) -> None:
    held.lease.register("unix:/s")
    held.lease.stop()
    assert not held.lease.is_held()
    assert held.store.released == ["a/1"]
    assert held.revocations == []


def test_stopping_without_a_store_leaves_it_to_run_out(held: Held, caplog: pytest.LogCaptureFixture) -> None:
    held.lease.register("unix:/s")
    held.store.is_away = True
    with caplog.at_level(logging.WARNING):
        held.lease.stop()
    assert not held.lease.is_held()
    assert "not given back" in caplog.text


def test_starting_while_the_store_is_away_fails_and_can_be_repeated(held: Held) -> None:
    held.store.is_away = True
    with pytest.raises(MetadataUnavailable):
        held.lease.start("unix:/s")
    held.store.is_away = False
    held.lease.start("unix:/s")
    held.lease.start("unix:/s")
    assert held.store.renewals == 1
    held.lease.stop()


EAGER = LeaseSettings(term_ms=30_000, renew_interval_ms=50, margin_ms=6_000, call_deadline_ms=50)


def until(is_so: Callable[[], bool]) -> None:
    limit = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_it_renews_in_a_thread_of_its_own_until_it_is_revoked(tmp_path: Path) -> None:
    store = MetadataStore(sqlite_url(tmp_path / "metadata.db"), call_deadline_s=WAIT_S)
    revoked = threading.Event()
    lease = LeaseHolder(
        store, holder="a/1", node="n", process_id=1, process_started_s=1.0, on_revoked=revoked.set, settings=EAGER
    )
    lease.start("unix:/s")
    assert lease.is_held()
    until(lambda: store.leases()[0].renewals >= 5)
    assert store.revoke("a/1", None)
    assert revoked.wait(WAIT_S)
    assert not lease.is_held()
    lease.stop()
    store.close()


def test_a_renewing_thread_that_breaks_is_a_revocation_not_silence(held: Held) -> None:
    class Broken(ScriptedStore):
        def renew(self, holder: str) -> bool:
            raise RuntimeError("a bug")

    revoked = threading.Event()
    lease = LeaseHolder(
        Broken(held.clock),
        holder="a/1",
        node="n",
        process_id=7,
        process_started_s=1.0,
        on_revoked=revoked.set,
        clock=held.clock,
    )
    before, threading.excepthook = threading.excepthook, lambda _: None
    try:
        lease.register("unix:/s")
        breaking = threading.Thread(target=lease._renew_until_stopped)
        held.clock.at_ns += 1
        lease._settings = replace(SETTINGS, renew_interval_ms=1, call_deadline_ms=1)
        breaking.start()
        assert revoked.wait(WAIT_S)
        breaking.join()
    finally:
        threading.excepthook = before
    assert not lease.is_held()


# --- the challenger ---


def test_a_new_watcher_waits_the_whole_term_and_the_margin() -> None:
    clock = SettableBootClock()
    watch = LeaseWatch(margin_ms=500, clock=clock)
    assert watch.expired([row(renewals=41)]) == []
    clock.at_ns += TERM + MARGIN - 1
    assert watch.expired([row(renewals=41)]) == []
    clock.at_ns += 1
    assert watch.expired([row(renewals=41)]) == [row(renewals=41)]


def test_each_renewal_begins_the_wait_anew() -> None:
    clock = SettableBootClock()
    watch = LeaseWatch(margin_ms=500, clock=clock)
    for renewals in range(5):
        assert watch.expired([row(renewals=renewals)]) == []
        clock.at_ns += TERM + MARGIN - 1
    assert watch.expired([row(renewals=5)]) == []


def test_each_holder_has_its_own_wait_and_term() -> None:
    clock = SettableBootClock()
    watch = LeaseWatch(margin_ms=500, clock=clock)
    rows = [row("a/1", term_ms=1_000), row("b/1", term_ms=3_000)]
    assert watch.expired(rows) == []
    clock.at_ns += 1_500 * MS
    assert watch.expired(rows) == rows[:1]
    clock.at_ns += 2_000 * MS
    assert watch.expired(rows) == rows


def test_what_is_revoked_is_no_longer_watched_and_what_was_gone_waits_anew() -> None:
    clock = SettableBootClock()
    watch = LeaseWatch(margin_ms=500, clock=clock)
    assert watch.expired([row()]) == []
    clock.at_ns += TERM + MARGIN
    assert watch.expired([row(is_revoked=True)]) == []
    assert watch.expired([row()]) == []


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"renew_interval_ms": 0}, "leaves no pause"),
        ({"term_ms": 2_399, "margin_ms": 500}, "less than three renewals"),
        ({"margin_ms": 499}, "less than a fifth"),
        ({"call_deadline_ms": 801}, "not within"),
        ({"call_deadline_ms": 0}, "not within"),
    ],
)
def test_each_relation_of_the_settings_is_checked(wrong: dict[str, int], why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        LeaseSettings(**wrong)


def test_a_watch_without_a_margin_is_refused() -> None:
    with pytest.raises(AssertionError, match="without a margin"):
        LeaseWatch(margin_ms=0)


# --- all of them together ---


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(SCHEDULES, RATES)
def test_no_two_hold_it_at_one_instant(schedule: list[Event], rates: tuple[Fraction, ...]) -> None:
    assert not is_broken_by(schedule, rates)


SLOW_HOLDER_FAST_CHALLENGER = (Fraction(11, 12), Fraction(1), Fraction(13, 12))
SAME = (Fraction(1), Fraction(1), Fraction(1))

LATE_ANSWER = [
    # The renewal is counted at once, its answer comes a term later.
    Renew(0, "answered", back=(Look(), Pass(TERM), Renew(1, "answered"), Pass(MARGIN))),
    Renew(1, "answered"),
    Look(),
]


def test_negative_control_a_holder_that_counts_from_the_answer_breaks_it() -> None:
    assert not is_broken_by(LATE_ANSWER, SAME)
    assert is_broken_by(LATE_ANSWER, SAME, holder_class=CountsFromAfter)


def test_negative_control_a_challenger_without_a_margin_breaks_it() -> None:
    schedule = [Look(), Pass(TERM * 12 // 13 - MS), Renew(1, "answered"), Pass(2 * MS), Look()]
    assert not is_broken_by(schedule, SLOW_HOLDER_FAST_CHALLENGER)
    assert is_broken_by(schedule, SLOW_HOLDER_FAST_CHALLENGER, watch_class=WaitsTheTermOnly)


def test_negative_control_a_challenger_that_ignores_the_counter_breaks_it() -> None:
    found_old = Look(before_revoking=(Renew(0, "answered"),))
    schedule = [Look(), Pass(TERM + MARGIN), Renew(1, "answered"), found_old]
    assert not is_broken_by(schedule, SAME)
    assert is_broken_by(schedule, SAME, ignores_counter=True)


def test_negative_control_a_challenger_that_stamps_before_it_reads_breaks_it() -> None:
    # Its question is on the way for a term, and meets a renewal that is younger than it takes it to be.
    asks_slowly = Look(before_reading=(Pass(TERM), Renew(0, "answered")))
    schedule = [asks_slowly, Pass(MARGIN), Renew(1, "answered"), Look()]
    assert not is_broken_by(schedule, SAME)
    assert is_broken_by(schedule, SAME, stamps_before_reading=True)
