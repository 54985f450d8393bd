"""Leases: a shard process proves to itself that nobody took over, a challenger that a holder can have no such proof.

The two share no clock, only a counter in the metadata store. The holder counts its term from before it sent a renewal;
the challenger waits the term and a margin from after it first read that renewal's number, and revokes only that number.
So a revoked holder's term was over before (docs/decisions/0011-leases.md).
"""

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from actors.clock import BootClock, MachineBootClock
from cluster.metadata import HolderLease, MetadataUnavailable

logger = logging.getLogger(__name__)

_NS_PER_MS = 1_000_000

CLOCK_RATE_MARGIN = 5
"""The margin is at least the term divided by this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseSettings:
    """How long a lease holds, and how long a challenger waits."""

    term_ms: int = 2_500
    """How long a renewal holds; also how long a shard goes on without its metadata store."""
    renew_interval_ms: int = 800
    margin_ms: int = 500
    """What a challenger waits beyond the term."""
    call_deadline_ms: int = 800
    """How long one call to the metadata store may take."""

    def __post_init__(self) -> None:
        # Without a pause between renewals the store would do nothing else.
        assert self.renew_interval_ms > 0, f"renew_interval_ms {self.renew_interval_ms} leaves no pause"
        # Two renewals may be lost before the lease is.
        assert self.term_ms >= 3 * self.renew_interval_ms, (
            f"term_ms {self.term_ms} is less than three renewals of {self.renew_interval_ms}"
        )
        # chrony may slew a clock by a twelfth: a slow holder's term takes 13/11 of it on a fast challenger's clock.
        assert CLOCK_RATE_MARGIN * self.margin_ms >= self.term_ms, (
            f"margin_ms {self.margin_ms} is less than a fifth of term_ms {self.term_ms}"
        )
        # A call that hangs costs the renewal it was for, not the next.
        assert 0 < self.call_deadline_ms <= self.renew_interval_ms, (
            f"call_deadline_ms {self.call_deadline_ms} is not within renew_interval_ms {self.renew_interval_ms}"
        )


def lease_settings(term_s: float) -> LeaseSettings:
    """Return settings for a term: three renewals and a little within it, a fifth of it as margin."""
    term_ms = int(term_s * 1_000)
    interval_ms = term_ms * 8 // 25
    return LeaseSettings(
        term_ms=term_ms,
        renew_interval_ms=interval_ms,
        margin_ms=-(-term_ms // CLOCK_RATE_MARGIN),
        call_deadline_ms=min(interval_ms, 2_000),
    )


class RenewalStore(Protocol):
    """What a holder asks of the metadata store; each call raises MetadataUnavailable when it is away."""

    def register(
        self, holder: str, *, node: str, process_id: int, process_started_s: float, address: str, term_ms: int
    ) -> bool:
        """Grant the lease; False if it was revoked before."""
        ...

    def renew(self, holder: str) -> bool:
        """Count a renewal; False if the lease was revoked."""
        ...

    def release(self, holder: str) -> None:
        """Give the lease back, and all partitions held under it."""
        ...


class LeaseHolder:
    """The lease of this process (an actors.lease.Lease), renewed from a thread of its own.

    Held from a renewal that succeeded until its term has passed since *before* it was sent. A store that is away makes
    it run out, and a later renewal brings it back; a renewal that is refused ends it for good and calls `on_revoked`
    once, from the renewing thread. It is for the caller to end the process then.
    """

    def __init__(
        self,
        store: RenewalStore,
        *,
        holder: str,
        node: str,
        process_id: int,
        process_started_s: float,
        on_revoked: Callable[[], None],
        settings: LeaseSettings | None = None,
        clock: BootClock | None = None,
    ) -> None:
        self.holder = holder
        self._store = store
        self._node = node
        self._process_id = process_id
        self._process_started_s = process_started_s
        self._on_revoked = on_revoked
        self._settings = settings or LeaseSettings()
        self._clock = clock or MachineBootClock()
        self._held_until_ns = 0
        """Written by the renewing thread and read by all: one number, so no lock."""
        self._stopping = threading.Event()
        self._is_lost = False
        self._renewing: threading.Thread | None = None

    def is_held(self) -> bool:
        """Return whether nobody can have taken over yet. Any thread, before every answer."""
        return self._clock.now_ns() < self._held_until_ns

    def start(self, address: str) -> None:
        """Get the lease and begin to renew it. Called again, it changes nothing. Blocks for as long as the store.

        Raises:
            MetadataUnavailable: the store is away; call it again.
        """
        if self._renewing is not None:
            return
        self.register(address)
        self._renewing = threading.Thread(target=self._renew_until_stopped, name="lease", daemon=True)
        self._renewing.start()

    def stop(self) -> None:
        """Give the lease back with all partitions held under it; is_held is False from now on. May be repeated.

        Only when this process serves and writes nothing any more.
        """
        self._stopping.set()
        if self._renewing is not None:
            self._renewing.join()
        self._held_until_ns = 0
        try:
            self._store.release(self.holder)
        except MetadataUnavailable as away:
            # It runs out by itself, only later.
            logger.warning("the lease of %s is not given back: %s", self.holder, away)

    def register(self, address: str) -> None:
        """Ask for the lease once."""
        sent_ns = self._clock.now_ns()
        is_granted = self._store.register(
            self.holder,
            node=self._node,
            process_id=self._process_id,
            process_started_s=self._process_started_s,
            address=address,
            term_ms=self._settings.term_ms,
        )
        self._learn(is_granted, sent_ns)

    def renew(self) -> None:
        """Ask for a renewal once; nothing changes when the store is away."""
        sent_ns = self._clock.now_ns()
        try:
            is_renewed = self._store.renew(self.holder)
        except MetadataUnavailable as away:
            logger.warning("the lease of %s is not renewed: %s", self.holder, away)
            return
        self._learn(is_renewed, sent_ns)

    def _learn(self, is_ours: bool, sent_ns: int) -> None:
        if is_ours:
            self._held_until_ns = sent_ns + self._settings.term_ms * _NS_PER_MS
        else:
            self._lose()

    def _lose(self) -> None:
        self._held_until_ns = 0
        if not self._is_lost:
            self._is_lost = True
            logger.error("the lease of %s was revoked: another process may own its partitions", self.holder)
            self._on_revoked()

    def _renew_until_stopped(self) -> None:
        interval_ns = self._settings.renew_interval_ms * _NS_PER_MS
        due_ns = self._clock.now_ns() + interval_ns
        try:
            while not self._stopping.wait(max(0, due_ns - self._clock.now_ns()) / 1e9) and not self._is_lost:
                due_ns = self._clock.now_ns() + interval_ns
                self.renew()
        finally:
            # Without this thread nobody would ever learn that the lease was revoked.
            if not self._stopping.is_set():
                self._lose()


@dataclass(slots=True)
class _Watched:
    renewals: int
    since_ns: int
    """When this watcher first saw that number."""


class LeaseWatch:
    """A challenger's view of the leases: whose renewals have stood still for so long that none can be held.

    Knows only its own boot clock and what it has seen itself: a new one waits the whole term. Asks nobody and changes
    nothing; the caller revokes, with the number of renewals it is given here.
    """

    def __init__(self, *, margin_ms: int, clock: BootClock | None = None) -> None:
        assert margin_ms > 0, "without a margin, a holder whose clock is slower than ours would still hold its lease"
        self._margin_ns = margin_ms * _NS_PER_MS
        self._clock = clock or MachineBootClock()
        self._watched: dict[str, _Watched] = {}

    def expired(self, leases: Iterable[HolderLease]) -> list[HolderLease]:
        """Return which of these leases have run out: `store.revoke(lease.holder, lease.renewals)` is safe for each.

        Args:
            leases: all leases, as just read. Call this after they were read: a time from before would count a renewal
                as older than it may be.
        """
        now_ns = self._clock.now_ns()
        standing = [lease for lease in leases if not lease.is_revoked]
        self._watched = {lease.holder: self._seen(lease, now_ns) for lease in standing}
        return [lease for lease in standing if self._has_run_out(lease, now_ns)]

    def _seen(self, lease: HolderLease, now_ns: int) -> _Watched:
        before = self._watched.get(lease.holder)
        if before is None or before.renewals != lease.renewals:
            return _Watched(lease.renewals, now_ns)
        return before

    def _has_run_out(self, lease: HolderLease, now_ns: int) -> bool:
        waited_ns = now_ns - self._watched[lease.holder].since_ns
        return waited_ns >= lease.term_ms * _NS_PER_MS + self._margin_ns
