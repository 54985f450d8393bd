"""Who owns which partition, in which term, and which shard processes hold a lease: compare-and-swap in a database.

SQLite here, PostgreSQL in a cluster, one code through SQLAlchemy. Each call is one transaction; what it requires of the
rows it changes stands in its SQL, so no order of concurrent calls gives a partition two holders. SQLite runs with a
rollback journal and full sync: its WAL has a corruption bug in the version that Python brings.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, Table, delete, exists, or_, select, update
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    DisconnectionError,
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from cluster.metadata_engine import cut_after, first_line, metadata_engine, without_secrets
from cluster.metadata_tables import LEASES, MOVES, NOBODY, OWNERSHIP, WISHES, MadeByANewer, make_tables

CALL_DEADLINE_S = 0.8
"""How long a call waits for the database; a third of a lease's term, so that a hung call costs one renewal."""

_BUGS = (DataError, IntegrityError, NotSupportedError, ProgrammingError)
"""What only a wrong statement can cause; everything else a driver raises is the database's doing."""


class MetadataUnavailable(Exception):
    """The metadata store cannot be reached or does not answer in time. What was asked may have been done or not."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"metadata store {url} is unavailable: {reason}")
        self.url = url
        """Without its password."""
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """Who owns a partition."""

    partition: int
    holder: str
    """A shard process, `shard-<i>/<random>`; NOBODY before the first term and after it was given up."""
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HolderLease:
    """The lease of one shard process, as the store has it. It says nothing of time but its term: no clock is shared."""

    holder: str
    """A shard that is restarted is a new holder."""
    node: str
    process_id: int
    process_started_s: float
    """As cluster.node.process_started_s has it: with the id, what tells the process from all others of its node."""
    address: str
    """Where its server listens."""
    renewals: int
    """Counts up with each renewal; a challenger watches it stand still."""
    term_ms: int
    """For how long each renewal holds."""
    is_revoked: bool
    """For good: it can neither renew nor take a partition any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveRow:
    """A move under way, as the store has it."""

    partition: int
    source: str
    """The holder that owned it when the move began."""
    target: str
    """The holder that is to own it."""
    step: str
    """Of cluster.moves.MoveStep."""
    why: str


def sqlite_url(path: Path) -> str:
    """Return the URL of a database file."""
    return f"sqlite:///{path}"


class MetadataStore:
    """Ownership and leases. Every change is durable when its call returns; every call may be made from any thread.

    Nothing is asked of the database before the first call, which makes the tables or brings older ones up to date.
    Every call raises MetadataUnavailable when the database is away. It waits no longer than the deadline for a lock or
    an answer; on PostgreSQL that holds for a server that is stopped, too, and connecting anew may take 2 s more.
    """

    def __init__(self, url: str, *, call_deadline_s: float = CALL_DEADLINE_S) -> None:
        assert call_deadline_s > 0, "a call without time cannot be answered"
        self._url = without_secrets(url)
        self._call_deadline_s = call_deadline_s
        try:
            self._engine = metadata_engine(url, call_deadline_s)
        except ModuleNotFoundError as missing:
            raise MetadataUnavailable(
                self._url, f"the package {missing.name} is missing (pip install 'hearth[postgresql]')"
            ) from missing
        self._reading_engine = self._engine.execution_options(hearth_is_reading=True)
        self._is_prepared = False
        self._preparing = threading.Lock()

    def register(
        self, holder: str, *, node: str, process_id: int, process_started_s: float, address: str, term_ms: int
    ) -> bool:
        """Grant a process its lease; return False if it was revoked before. Called again, it only renews."""
        assert holder != NOBODY, "nobody needs no lease"
        assert term_ms > 0, "a lease without a term is never held"
        values = {
            "holder": holder,
            "node": node,
            "process_id": process_id,
            "process_started_s": process_started_s,
            "address": address,
            "renewals": 0,
            "term_ms": term_ms,
            "is_revoked": False,
        }
        with self._changing() as connection:
            if _insert_if_missing(connection, LEASES, values):
                return True
            return _renew(connection, holder)

    def renew(self, holder: str) -> bool:
        """Count one renewal; False once the lease is revoked, released or was never granted."""
        with self._changing() as connection:
            return _renew(connection, holder)

    def leases(self) -> list[HolderLease]:
        """Return every lease there is, revoked ones included, ordered by holder."""
        with self._reading() as connection:
            return [_lease(row) for row in connection.execute(select(LEASES).order_by(LEASES.c.holder))]

    def revoke(self, holder: str, seen_renewals: int | None) -> bool:
        """End a lease for good; return whether `holder` is without one now, by this call or before.

        Args:
            holder: who loses it.
            seen_renewals: what the challenger has watched stand still; the lease stays if it has moved since.
                None: the process is proven dead, so nothing it wrote matters.
        """
        lease = LEASES.c
        wanted = [lease.holder == holder, lease.is_revoked.is_(False)]
        if seen_renewals is not None:
            wanted.append(lease.renewals == seen_renewals)
        with self._changing() as connection:
            if connection.execute(update(LEASES).where(*wanted).values(is_revoked=True)).rowcount == 1:
                return True
            held = select(lease.holder).where(lease.holder == holder, lease.is_revoked.is_(False))
            return connection.execute(held).one_or_none() is None

    def release(self, holder: str) -> None:
        """Give back a lease and every partition held under it: a clean end, by the holder itself. May be repeated."""
        with self._changing() as connection:
            # The lease first: a take for this holder waits for its row, and then finds none.
            connection.execute(delete(LEASES).where(LEASES.c.holder == holder))
            connection.execute(update(OWNERSHIP).where(OWNERSHIP.c.holder == holder).values(holder=NOBODY))

    def forget(self, holder: str) -> bool:
        """Delete a revoked lease under which no partition is held any more; return whether it was deleted."""
        owns = exists().where(OWNERSHIP.c.holder == LEASES.c.holder)
        gone = delete(LEASES).where(LEASES.c.holder == holder, LEASES.c.is_revoked.is_(True), ~owns)
        with self._changing() as connection:
            return connection.execute(gone).rowcount == 1

    def ownership(self, partition: int) -> Ownership:
        """Return who owns a partition; epoch 0 and nobody before the first term."""
        with self._reading() as connection:
            row = connection.execute(select(OWNERSHIP).where(OWNERSHIP.c.partition == partition)).one_or_none()
        if row is None:
            return Ownership(partition=partition, holder=NOBODY, epoch=0)
        return _ownership(row)

    def ownerships(self) -> list[Ownership]:
        """Return every partition that ever had an owner, in order."""
        with self._reading() as connection:
            return [_ownership(row) for row in connection.execute(select(OWNERSHIP).order_by(OWNERSHIP.c.partition))]

    def take(self, partition: int, *, holder: str, seen_epoch: int, epoch: int) -> bool:
        """Make `holder` the owner in term `epoch`; return whether it is now.

        Only if the term is still `seen_epoch`, the present owner is nobody, `holder` itself or one without a lease, and
        `holder` has a lease.
        """
        assert holder != NOBODY, "a partition is given up by its holder, not taken by nobody"
        assert epoch > seen_epoch, f"partition {partition}: offered epoch {epoch}, already at {seen_epoch}"
        present = OWNERSHIP.c
        has_lease = exists().where(LEASES.c.holder == present.holder, LEASES.c.is_revoked.is_(False))
        swap = (
            update(OWNERSHIP)
            .where(
                present.partition == partition,
                present.epoch == seen_epoch,
                or_(present.holder.in_((NOBODY, holder)), ~has_lease),
            )
            .values(holder=holder, epoch=epoch)
        )
        with self._changing() as connection:
            if not _lock_lease(connection, holder):
                return False
            _insert_if_missing(connection, OWNERSHIP, {"partition": partition, "holder": NOBODY, "epoch": 0})
            return connection.execute(swap).rowcount == 1

    def raise_epoch(self, partition: int, *, holder: str, seen_epoch: int, epoch: int) -> bool:
        """Bring the term up to what the holder found in the log; return whether it is that now.

        Only if `holder` still owns the partition in term `seen_epoch` and has its lease.
        """
        assert epoch > seen_epoch, f"partition {partition}: offered epoch {epoch}, already at {seen_epoch}"
        with self._changing() as connection:
            if not _lock_lease(connection, holder):
                return False
            raised = update(OWNERSHIP).where(*_held_in(partition, holder, seen_epoch)).values(epoch=epoch)
            return connection.execute(raised).rowcount == 1

    def give_up(self, partition: int, *, holder: str, epoch: int) -> bool:
        """Make a partition free, by the holder that has stopped serving it; False if it is not the owner in that term.

        The epoch stays: the next owner's term is a later one.
        """
        with self._changing() as connection:
            freed = update(OWNERSHIP).where(*_held_in(partition, holder, epoch)).values(holder=NOBODY)
            return connection.execute(freed).rowcount == 1

    def pass_on(self, partition: int, *, holder: str, epoch: int, to: str, next_epoch: int) -> bool:
        """Make another the owner in a later term, by the word of the present one, who has stopped serving it.

        Only if `holder` still owns it in term `epoch` and `to` has a lease. False: nothing was changed.
        """
        assert to not in (NOBODY, holder), "it is passed on to another"
        assert next_epoch > epoch, f"partition {partition}: offered epoch {next_epoch}, already at {epoch}"
        with self._changing() as connection:
            if not _lock_lease(connection, to):
                return False
            passed = update(OWNERSHIP).where(*_held_in(partition, holder, epoch)).values(holder=to, epoch=next_epoch)
            return connection.execute(passed).rowcount == 1

    # --- what is told of moves and wishes: it decides nothing of who owns what ---

    def note_move(self, move: MoveRow) -> None:
        """Note a move under way, or its next step."""
        values = {
            "partition": move.partition,
            "source": move.source,
            "target": move.target,
            "step": move.step,
            "why": move.why,
        }
        with self._changing() as connection:
            if not _insert_if_missing(connection, MOVES, values):
                connection.execute(update(MOVES).where(MOVES.c.partition == move.partition).values(values))

    def forget_move(self, partition: int) -> None:
        """A move has ended, as it was to or otherwise."""
        with self._changing() as connection:
            connection.execute(delete(MOVES).where(MOVES.c.partition == partition))

    def moves(self) -> list[MoveRow]:
        """Return the moves that were under way when they were last noted."""
        with self._reading() as connection:
            return [
                MoveRow(partition=row.partition, source=row.source, target=row.target, step=row.step, why=row.why)
                for row in connection.execute(select(MOVES).order_by(MOVES.c.partition))
            ]

    def wish(self, name: str, value: str | None) -> None:
        """Keep what is asked for under a name; None takes it back."""
        with self._changing() as connection:
            if value is None:
                connection.execute(delete(WISHES).where(WISHES.c.name == name))
            elif not _insert_if_missing(connection, WISHES, {"name": name, "value": value}):
                connection.execute(update(WISHES).where(WISHES.c.name == name).values(value=value))

    def wishes(self) -> dict[str, str]:
        """Return all that is asked for."""
        with self._reading() as connection:
            return {row.name: row.value for row in connection.execute(select(WISHES).order_by(WISHES.c.name))}

    def forget_wishes(self) -> None:
        """Nothing is asked for any more."""
        with self._changing() as connection:
            connection.execute(delete(WISHES))

    def close(self) -> None:
        """Release the database."""
        self._engine.dispose()

    @contextmanager
    def _changing(self) -> Iterator[Connection]:
        self._prepare()
        with self._answering(), self._engine.begin() as connection, cut_after(connection, self._call_deadline_s):
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        self._prepare()
        with (
            self._answering(),
            self._reading_engine.connect() as connection,
            cut_after(connection, self._call_deadline_s),
        ):
            yield connection

    def _prepare(self) -> None:
        if self._is_prepared:
            return
        with self._preparing:
            with self._answering(), self._engine.begin() as connection, cut_after(connection, self._call_deadline_s):
                make_tables(connection)
            self._is_prepared = True

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except _BUGS:
            raise
        except DBAPIError as failed:
            raise MetadataUnavailable(self._url, first_line(failed.orig)) from failed
        except MadeByANewer as newer:
            raise MetadataUnavailable(self._url, str(newer)) from newer
        except (PoolTimeout, DisconnectionError) as failed:
            raise MetadataUnavailable(self._url, first_line(failed)) from failed


def _renew(connection: Connection, holder: str) -> bool:
    lease = LEASES.c
    counted = update(LEASES).where(lease.holder == holder, lease.is_revoked.is_(False))
    return connection.execute(counted.values(renewals=lease.renewals + 1)).rowcount == 1


def _lock_lease(connection: Connection, holder: str) -> bool:
    """Return whether `holder` has a lease, which nobody can end before this transaction has."""
    lease = LEASES.c
    held = select(lease.holder).where(lease.holder == holder, lease.is_revoked.is_(False))
    return connection.execute(held.with_for_update(read=True)).one_or_none() is not None


def _held_in(partition: int, holder: str, epoch: int) -> tuple[Any, ...]:
    return OWNERSHIP.c.partition == partition, OWNERSHIP.c.holder == holder, OWNERSHIP.c.epoch == epoch


def _insert_if_missing(connection: Connection, table: Table, values: dict[str, object]) -> bool:
    missing = _insert(connection, table).values(values).on_conflict_do_nothing()
    return connection.execute(missing.execution_options(preserve_rowcount=True)).rowcount == 1


def _insert(connection: Connection, table: Table) -> Any:
    # The same words in both databases, but SQLAlchemy has them in each dialect, and each takes its time to import.
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as insert_postgresql

        return insert_postgresql(table)
    from sqlalchemy.dialects.sqlite import insert as insert_sqlite

    return insert_sqlite(table)


def _ownership(row: Row[Any]) -> Ownership:
    return Ownership(partition=row.partition, holder=row.holder, epoch=row.epoch)


def _lease(row: Row[Any]) -> HolderLease:
    return HolderLease(
        holder=row.holder,
        node=row.node,
        process_id=row.process_id,
        process_started_s=row.process_started_s,
        address=row.address,
        renewals=row.renewals,
        term_ms=row.term_ms,
        is_revoked=row.is_revoked,
    )
