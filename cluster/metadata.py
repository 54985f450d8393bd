"""Who owns which partition, in which term, and which shard processes hold a lease: compare-and-swap in a database.

SQLite here, PostgreSQL in a cluster, one code through SQLAlchemy. Each call is one transaction; what it requires of the
rows it changes stands in its SQL, so no order of concurrent calls gives a partition two holders. SQLite runs with a
rollback journal and full sync: its WAL has a corruption bug in the version that Python brings.
"""

import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    Engine,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    create_engine,
    delete,
    event,
    exists,
    func,
    inspect,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    DisconnectionError,
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from actors.passing_over import passing_over

CALL_DEADLINE_S = 0.8
"""How long a call waits for the database; a third of a lease's term, so that a hung call costs one renewal."""

NOBODY = ""
"""The holder of a partition that is free."""

_CONNECT_TIMEOUT_S_MIN = 2
"""psycopg takes whole seconds and raises 1 to 2."""

_MIGRATION_LOCK = 0x48454152_54480003
"""Key of the PostgreSQL advisory lock under which tables are made: two at once collide in its catalogue."""

_BUGS = (DataError, IntegrityError, NotSupportedError, ProgrammingError)
"""What only a wrong statement can cause; everything else a driver raises is the database's doing."""

_METADATA = MetaData()
_OWNERSHIP = Table(
    "ownership",
    _METADATA,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("holder", String(200), nullable=False),
    Column("epoch", BigInteger, nullable=False),
)
_LEASES = Table(
    "leases",
    _METADATA,
    Column("holder", String(200), primary_key=True),
    Column("node", String(200), nullable=False),
    Column("process_id", BigInteger, nullable=False),
    Column("process_started_s", Double, nullable=False),
    Column("address", String(400), nullable=False),
    Column("renewals", BigInteger, nullable=False),
    Column("term_ms", BigInteger, nullable=False),
    Column("is_revoked", Boolean, nullable=False),
)


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
        self._url = _without_secrets(url)
        self._call_deadline_s = call_deadline_s
        try:
            self._engine = _engine(url, call_deadline_s)
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
            if _insert_if_missing(connection, _LEASES, values):
                return True
            return _renew(connection, holder)

    def renew(self, holder: str) -> bool:
        """Count one renewal; False once the lease is revoked, released or was never granted."""
        with self._changing() as connection:
            return _renew(connection, holder)

    def leases(self) -> list[HolderLease]:
        """Return every lease there is, revoked ones included, ordered by holder."""
        with self._reading() as connection:
            return [_lease(row) for row in connection.execute(select(_LEASES).order_by(_LEASES.c.holder))]

    def revoke(self, holder: str, seen_renewals: int | None) -> bool:
        """End a lease for good; return whether `holder` is without one now, by this call or before.

        Args:
            holder: who loses it.
            seen_renewals: what the challenger has watched stand still; the lease stays if it has moved since.
                None: the process is proven dead, so nothing it wrote matters.
        """
        lease = _LEASES.c
        wanted = [lease.holder == holder, lease.is_revoked.is_(False)]
        if seen_renewals is not None:
            wanted.append(lease.renewals == seen_renewals)
        with self._changing() as connection:
            if connection.execute(update(_LEASES).where(*wanted).values(is_revoked=True)).rowcount == 1:
                return True
            held = select(lease.holder).where(lease.holder == holder, lease.is_revoked.is_(False))
            return connection.execute(held).one_or_none() is None

    def release(self, holder: str) -> None:
        """Give back a lease and every partition held under it: a clean end, by the holder itself. May be repeated."""
        with self._changing() as connection:
            # The lease first: a take for this holder waits for its row, and then finds none.
            connection.execute(delete(_LEASES).where(_LEASES.c.holder == holder))
            connection.execute(update(_OWNERSHIP).where(_OWNERSHIP.c.holder == holder).values(holder=NOBODY))

    def forget(self, holder: str) -> bool:
        """Delete a revoked lease under which no partition is held any more; return whether it was deleted."""
        owns = exists().where(_OWNERSHIP.c.holder == _LEASES.c.holder)
        gone = delete(_LEASES).where(_LEASES.c.holder == holder, _LEASES.c.is_revoked.is_(True), ~owns)
        with self._changing() as connection:
            return connection.execute(gone).rowcount == 1

    def ownership(self, partition: int) -> Ownership:
        """Return who owns a partition; epoch 0 and nobody before the first term."""
        with self._reading() as connection:
            row = connection.execute(select(_OWNERSHIP).where(_OWNERSHIP.c.partition == partition)).one_or_none()
        if row is None:
            return Ownership(partition=partition, holder=NOBODY, epoch=0)
        return _ownership(row)

    def ownerships(self) -> list[Ownership]:
        """Return every partition that ever had an owner, in order."""
        with self._reading() as connection:
            return [_ownership(row) for row in connection.execute(select(_OWNERSHIP).order_by(_OWNERSHIP.c.partition))]

    def take(self, partition: int, *, holder: str, seen_epoch: int, epoch: int) -> bool:
        """Make `holder` the owner in term `epoch`; return whether it is now.

        Only if the term is still `seen_epoch`, the present owner is nobody, `holder` itself or one without a lease, and
        `holder` has a lease.
        """
        assert holder != NOBODY, "a partition is given up by its holder, not taken by nobody"
        assert epoch > seen_epoch, f"partition {partition}: offered epoch {epoch}, already at {seen_epoch}"
        present = _OWNERSHIP.c
        has_lease = exists().where(_LEASES.c.holder == present.holder, _LEASES.c.is_revoked.is_(False))
        swap = (
            update(_OWNERSHIP)
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
            _insert_if_missing(connection, _OWNERSHIP, {"partition": partition, "holder": NOBODY, "epoch": 0})
            return connection.execute(swap).rowcount == 1

    def raise_epoch(self, partition: int, *, holder: str, seen_epoch: int, epoch: int) -> bool:
        """Bring the term up to what the holder found in the log; return whether it is that now.

        Only if `holder` still owns the partition in term `seen_epoch` and has its lease.
        """
        assert epoch > seen_epoch, f"partition {partition}: offered epoch {epoch}, already at {seen_epoch}"
        with self._changing() as connection:
            if not _lock_lease(connection, holder):
                return False
            raised = update(_OWNERSHIP).where(*_held_in(partition, holder, seen_epoch)).values(epoch=epoch)
            return connection.execute(raised).rowcount == 1

    def give_up(self, partition: int, *, holder: str, epoch: int) -> bool:
        """Make a partition free, by the holder that has stopped serving it; False if it is not the owner in that term.

        The epoch stays: the next owner's term is a later one.
        """
        with self._changing() as connection:
            freed = update(_OWNERSHIP).where(*_held_in(partition, holder, epoch)).values(holder=NOBODY)
            return connection.execute(freed).rowcount == 1

    def close(self) -> None:
        """Release the database."""
        self._engine.dispose()

    @contextmanager
    def _changing(self) -> Iterator[Connection]:
        self._prepare()
        with self._answering(), self._engine.begin() as connection, _cut_after(connection, self._call_deadline_s):
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        self._prepare()
        with (
            self._answering(),
            self._reading_engine.connect() as connection,
            _cut_after(connection, self._call_deadline_s),
        ):
            yield connection

    def _prepare(self) -> None:
        if self._is_prepared:
            return
        with self._preparing:
            with self._answering(), self._engine.begin() as connection, _cut_after(connection, self._call_deadline_s):
                _make_tables(connection)
            self._is_prepared = True

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except _BUGS:
            raise
        except DBAPIError as failed:
            raise MetadataUnavailable(self._url, _first_line(failed.orig)) from failed
        except (PoolTimeout, DisconnectionError) as failed:
            raise MetadataUnavailable(self._url, _first_line(failed)) from failed


def _renew(connection: Connection, holder: str) -> bool:
    lease = _LEASES.c
    counted = update(_LEASES).where(lease.holder == holder, lease.is_revoked.is_(False))
    return connection.execute(counted.values(renewals=lease.renewals + 1)).rowcount == 1


def _lock_lease(connection: Connection, holder: str) -> bool:
    """Return whether `holder` has a lease, which nobody can end before this transaction has."""
    lease = _LEASES.c
    held = select(lease.holder).where(lease.holder == holder, lease.is_revoked.is_(False))
    return connection.execute(held.with_for_update(read=True)).one_or_none() is not None


def _held_in(partition: int, holder: str, epoch: int) -> tuple[Any, ...]:
    return _OWNERSHIP.c.partition == partition, _OWNERSHIP.c.holder == holder, _OWNERSHIP.c.epoch == epoch


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


def _make_tables(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
    _rename_owner(connection)
    _drop_older_leases(connection)
    _METADATA.create_all(connection)


def _rename_owner(connection: Connection) -> None:
    """Bring a table from before there were leases up to date: its owners are gone, its epochs stay."""
    tables = inspect(connection)
    if not tables.has_table("ownership") or "owner" not in {one["name"] for one in tables.get_columns("ownership")}:
        return
    connection.execute(text("ALTER TABLE ownership RENAME COLUMN owner TO holder"))
    if connection.dialect.name == "postgresql":
        connection.execute(text("ALTER TABLE ownership ALTER COLUMN epoch TYPE BIGINT"))
    connection.execute(update(_OWNERSHIP).values(holder=NOBODY))


def _drop_older_leases(connection: Connection) -> None:
    """Forget leases from before they told when their process was started; Hearth was stopped for its upgrade."""
    tables = inspect(connection)
    if not tables.has_table("leases"):
        return
    if "process_started_s" not in {one["name"] for one in tables.get_columns("leases")}:
        _LEASES.drop(connection)


def _engine(url: str, call_deadline_s: float) -> Engine:
    match make_url(url).get_backend_name():
        case "sqlite":
            engine = create_engine(url, connect_args={"timeout": call_deadline_s})
            event.listen(engine, "connect", _settle_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
        case "postgresql":
            deadline_ms = round(1_000 * call_deadline_s)
            limits = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
            engine = create_engine(
                url,
                # What is asked of a row is checked again when a lock on it is got, which is all that is needed here.
                isolation_level="READ COMMITTED",
                pool_timeout=call_deadline_s,
                connect_args={
                    "connect_timeout": max(_CONNECT_TIMEOUT_S_MIN, round(call_deadline_s)),
                    "options": " ".join(f"-c {limit}={deadline_ms}" for limit in limits),
                },
            )

            def look(connection: Any, _record: object, _proxy: object) -> None:
                _look_whether_alive(connection, call_deadline_s)

            # In place of pool_pre_ping, which waits for ever for a server that is stopped.
            event.listen(engine, "checkout", look)
        case other:
            raise ValueError(f"the metadata store is kept in sqlite or postgresql, not in {other}")
    return engine


def _settle_sqlite(connection: Any, _record: object) -> None:
    # Python would begin transactions by itself, too late for a read that a write depends on; _begin_sqlite does it.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=DELETE")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that turns from reading to writing can fail at once while another writes; one that begins so waits.
    is_reading = connection.get_execution_options().get("hearth_is_reading", False)
    connection.exec_driver_sql("BEGIN" if is_reading else "BEGIN IMMEDIATE")


def _look_whether_alive(connection: Any, deadline_s: float) -> None:
    from psycopg import Error

    with _shut_after(connection.fileno(), deadline_s):
        try:
            connection.execute("SELECT 1")
            connection.rollback()
        except Error as gone:
            raise DisconnectionError(_first_line(gone)) from gone


@contextmanager
def _cut_after(connection: Connection, deadline_s: float) -> Iterator[None]:
    """Cut the connection to a server that is silent for so long; a file has no one to wait for but a lock."""
    if connection.dialect.name != "postgresql":
        yield
        return
    driver_connection: Any = connection.connection.driver_connection
    with _shut_after(driver_connection.fileno(), deadline_s):
        yield


@contextmanager
def _shut_after(descriptor: int, deadline_s: float) -> Iterator[None]:
    # A stopped server's kernel goes on acknowledging, so neither statement_timeout nor TCP's own ever ends the wait.
    with socket.socket(fileno=os.dup(descriptor)) as line:
        alarm = threading.Timer(deadline_s, _shut, [line])
        alarm.daemon = True
        alarm.start()
        try:
            yield
        finally:
            alarm.cancel()
            alarm.join()


def _shut(line: socket.socket) -> None:
    with passing_over(OSError, because="the line is gone"):
        line.shutdown(socket.SHUT_RDWR)


def _without_secrets(url: str) -> str:
    return make_url(url).set(password=None, query={}).render_as_string()


def _first_line(failed: BaseException | None) -> str:
    lines: Sequence[str] = str(failed).strip().splitlines()
    return lines[0] if lines else type(failed).__name__
