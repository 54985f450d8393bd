"""Connections to the metadata store's database that answer in time or are cut: SQLite here, PostgreSQL in a cluster."""

import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DisconnectionError

from actors.passing_over import passing_over

_CONNECT_TIMEOUT_S_MIN = 2
"""psycopg takes whole seconds and raises 1 to 2."""


def metadata_engine(url: str, call_deadline_s: float) -> Engine:
    """Return the engine of a database, which nothing is asked of yet.

    A connection whose options say `hearth_is_reading` begins transactions that only read.

    Raises:
        ModuleNotFoundError: its driver is not installed.
    """
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
            raise DisconnectionError(first_line(gone)) from gone


@contextmanager
def cut_after(connection: Connection, deadline_s: float) -> Iterator[None]:
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


def without_secrets(url: str) -> str:
    """Return a URL as it may be shown."""
    return make_url(url).set(password=None, query={}).render_as_string()


def first_line(failed: BaseException | None) -> str:
    """Return what an error says first; drivers go on for lines."""
    lines: Sequence[str] = str(failed).strip().splitlines()
    return lines[0] if lines else type(failed).__name__
