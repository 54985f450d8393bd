"""Holders and a challenger, each on a boot clock of its own, and calls on the way of which other things happen.

The holders, the watch and the store are the real ones; time, the network and who runs when are a schedule.
"""

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st
from sqlalchemy import delete

from cluster import leases
from cluster.leases import LeaseHolder, LeaseSettings, LeaseWatch
from cluster.metadata import MetadataStore, MetadataUnavailable
from cluster.metadata_tables import LEASES, NOBODY, OWNERSHIP

MS = 1_000_000
SETTINGS = LeaseSettings()
TERM, MARGIN, INTERVAL = SETTINGS.term_ms * MS, SETTINGS.margin_ms * MS, SETTINGS.renew_interval_ms * MS


class SettableBootClock:
    def __init__(self, at_ns: int = 10**12) -> None:
        self.at_ns = at_ns

    def now_ns(self) -> int:
        return self.at_ns


_STORE = MetadataStore("sqlite://")
"""One for all worlds, emptied by each: making it takes longer than using it."""


class TwoHolders(Exception):
    """The law is broken."""


@dataclass(frozen=True)
class Pass:
    """Time goes by; also what a stopped process sees."""

    ns: int


@dataclass(frozen=True)
class Renew:
    """One holder renews; other things happen while its call is on its way, and while the answer is."""

    who: int
    fate: str
    there: "tuple[Event, ...]" = ()
    back: "tuple[Event, ...]" = ()


@dataclass(frozen=True)
class Look:
    """The challenger reads, looks, revokes what ran out and gives the partition to another."""

    before_reading: "tuple[Event, ...]" = ()
    after_reading: "tuple[Event, ...]" = ()
    before_revoking: "tuple[Event, ...]" = ()


@dataclass(frozen=True)
class CommitLate:
    """What a caller had given up on is done after all."""


@dataclass(frozen=True)
class HandOff:
    """The owner gives the partition up, and another gets it."""


Event = Pass | Renew | Look | CommitLate | HandOff

# What is near a limit is where a mistake shows.
_NS = [1, 100 * MS, INTERVAL, MARGIN, TERM - 1, TERM, TERM + MARGIN - 1, TERM + MARGIN, 4 * TERM]
_passes = st.builds(Pass, st.sampled_from(_NS))
_fates = st.sampled_from(["answered", "answered", "answered", "lost", "unanswered", "late"])


def _events(inner: st.SearchStrategy[Event]) -> st.SearchStrategy[Event]:
    few = st.lists(inner, max_size=3).map(tuple)
    return st.one_of(
        _passes,
        st.builds(Renew, st.integers(0, 1), _fates, few, few),
        st.builds(Look, few, few, few),
        st.just(CommitLate()),
        st.just(HandOff()),
    )


SCHEDULES = st.lists(_events(_events(_passes)), min_size=1, max_size=25)
SLOW, EXACT, FAST = Fraction(11, 12), Fraction(1), Fraction(13, 12)
# Slow holders and a fast challenger are the worst there is: half of all schedules.
RATES = st.just((SLOW, SLOW, FAST)) | st.tuples(*[st.sampled_from([SLOW, EXACT, FAST])] * 3)


class World:
    """Two living holders, a challenger, one partition, the real store; calls that other things happen during."""

    def __init__(
        self,
        rates: Sequence[Fraction],
        *,
        holder_class: type[LeaseHolder] = LeaseHolder,
        watch_class: type[LeaseWatch] = LeaseWatch,
        ignores_counter: bool = False,
        stamps_before_reading: bool = False,
    ) -> None:
        self._true_ns = 0
        self._rates = rates
        self._clocks = [SettableBootClock(1_000 + 7 * number) for number in range(3)]
        self._starts = [clock.at_ns for clock in self._clocks]
        self._store = _STORE
        with self._store._changing() as connection:
            connection.execute(delete(LEASES))
            connection.execute(delete(OWNERSHIP))
        self._holder_class = holder_class
        self._watch_clock = SettableBootClock()
        self._watch = watch_class(margin_ms=SETTINGS.margin_ms, clock=self._watch_clock)
        self._ignores_counter = ignores_counter
        self._stamps_before_reading = stamps_before_reading
        self._lives = itertools.count(1)
        self._late: list[str] = []
        self._call: Renew | None = None
        self._owners: list[LeaseHolder] = []
        """Whoever was given the partition and never gave it up: a stopped owner does not know that it lost it."""
        self._busy: set[str] = set()
        self._holders = [self._born(0), self._born(1)]
        self._assign()

    def run(self, events: Sequence[Event]) -> None:
        for one in events:
            match one:
                case Pass(ns):
                    self._true_ns += ns
                    for clock, start_ns, rate in zip(self._clocks, self._starts, self._rates, strict=True):
                        clock.at_ns = start_ns + int(self._true_ns * rate)
                case Renew(who):
                    self._renew(self._holders[who], one)
                case Look():
                    self._look(one)
                case CommitLate():
                    late, self._late = self._late, []
                    for holder in late:
                        self._store.renew(holder)
                case HandOff():
                    self._hand_off()
            self._check()

    def _check(self) -> None:
        holding = [owner.holder for owner in self._owners if owner.is_held()]
        if len(holding) > 1:
            raise TwoHolders(holding)

    def _born(self, place: int) -> LeaseHolder:
        lease = self._holder_class(
            self,
            holder=f"shard-{place}/{next(self._lives)}",
            node="n",
            process_id=1,
            process_started_s=1.0,
            on_revoked=lambda: None,
            clock=self._clocks[place],
        )
        lease.register("")
        return lease

    # What a holder asks of its store.

    def register(self, holder: str, **facts: Any) -> bool:
        return self._store.register(holder, **facts)

    def release(self, holder: str) -> None:
        raise NotImplementedError

    def renew(self, holder: str) -> bool:
        call = self._call
        assert call is not None
        self.run(call.there)
        match call.fate:
            case "lost":
                raise MetadataUnavailable("test://", "lost")
            case "late":
                self._late.append(holder)
                raise MetadataUnavailable("test://", "late")
        answer = self._store.renew(holder)
        self.run(call.back)
        if call.fate == "unanswered":
            raise MetadataUnavailable("test://", "unanswered")
        return answer

    def _renew(self, lease: LeaseHolder, call: Renew) -> None:
        if lease.holder in self._busy:
            # One thread renews a lease: not twice at once.
            return
        self._busy.add(lease.holder)
        before, self._call = self._call, call
        lease.renew()
        self._call = before
        self._busy.discard(lease.holder)

    def _look(self, look: Look) -> None:
        asked_ns = self._clocks[2].at_ns
        self.run(look.before_reading)
        read = self._store.leases()
        self.run(look.after_reading)
        self._watch_clock.at_ns = asked_ns if self._stamps_before_reading else self._clocks[2].at_ns
        for lease in self._watch.expired(read):
            self.run(look.before_revoking)
            if self._store.revoke(lease.holder, None if self._ignores_counter else lease.renewals):
                self._replace(lease.holder)
        self._assign()

    def _replace(self, revoked: str) -> None:
        for place, lease in enumerate(self._holders):
            if lease.holder == revoked:
                self._holders[place] = self._born(place)

    def _assign(self, but: LeaseHolder | None = None) -> None:
        """Give the partition to whoever may have it, the other one first."""
        held = self._store.ownership(0)
        for lease in sorted(self._holders, key=lambda one: one in (*self._owners, but)):
            if held.holder == lease.holder:
                continue
            if self._store.take(0, holder=lease.holder, seen_epoch=held.epoch, epoch=held.epoch + 1):
                self._owners.append(lease)
                self._check()
                return

    def _hand_off(self) -> None:
        held = self._store.ownership(0)
        for lease in self._holders:
            if lease.holder == held.holder != NOBODY:
                self._owners.remove(lease)
                assert self._store.give_up(0, holder=lease.holder, epoch=held.epoch)
                self._assign(but=lease)


def is_broken_by(schedule: Sequence[Event], rates: Sequence[Fraction], **broken: object) -> bool:
    logger = logging.getLogger(leases.__name__)
    # It warns of each lost call, and that is what there is thousands of.
    logger.disabled = True
    try:
        World(rates, **broken).run(schedule)  # type: ignore[arg-type]
    except TwoHolders:
        return True
    finally:
        logger.disabled = False
    return False


class CountsFromAfter(LeaseHolder):
    """Counts from when the answer came."""

    def _learn(self, is_ours: bool, sent_ns: int) -> None:
        super()._learn(is_ours, self._clock.now_ns())


class WaitsTheTermOnly(LeaseWatch):
    """Has no margin."""

    def __init__(self, *, margin_ms: int, clock: SettableBootClock) -> None:
        super().__init__(margin_ms=margin_ms, clock=clock)
        self._margin_ns = 0


BROKEN: dict[str, dict[str, object]] = {
    "counts from the answer": {"holder_class": CountsFromAfter},
    "no margin": {"watch_class": WaitsTheTermOnly},
    "ignores the counter": {"ignores_counter": True},
    "stamps before reading": {"stamps_before_reading": True},
}
"""Each part of the rule, left out."""
