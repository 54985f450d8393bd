"""Who owns which partition, and in which term: compare-and-swap in a database. SQLite here, PostgreSQL in a cluster.

One code through SQLAlchemy. SQLite runs with a rollback journal and full sync: its WAL has a corruption bug in the
version that Python brings.
"""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, create_engine, event, insert, select, update

_METADATA = MetaData()
_OWNERSHIP = Table(
    "ownership",
    _METADATA,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("owner", String(200), nullable=False),
    Column("epoch", Integer, nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """Who owns a partition."""

    partition: int
    owner: str
    """Empty before the first term."""
    epoch: int


def sqlite_url(path: Path) -> str:
    """Return the URL of a database file."""
    return f"sqlite:///{path}"


class MetadataStore:
    """Ownership of partitions. Every change is durable when its call returns."""

    def __init__(self, url: str) -> None:
        self._engine: Engine = create_engine(url)
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _settle_sqlite)
        _METADATA.create_all(self._engine)

    def ownership(self, partition: int) -> Ownership:
        """Return who owns a partition; epoch 0 and no owner before the first term."""
        with self._engine.connect() as connection:
            row = connection.execute(select(_OWNERSHIP).where(_OWNERSHIP.c.partition == partition)).one_or_none()
        if row is None:
            return Ownership(partition=partition, owner="", epoch=0)
        return Ownership(partition=row.partition, owner=row.owner, epoch=row.epoch)

    def take(self, partition: int, *, owner: str, seen_epoch: int, epoch: int) -> bool:
        """Make `owner` the owner in term `epoch`, if the term is still `seen_epoch`; return whether it is now."""
        assert epoch > seen_epoch, f"partition {partition}: offered epoch {epoch}, already at {seen_epoch}"
        with self._engine.begin() as connection:
            if seen_epoch == 0:
                known = select(_OWNERSHIP.c.epoch).where(_OWNERSHIP.c.partition == partition)
                if connection.execute(known).one_or_none() is None:
                    connection.execute(insert(_OWNERSHIP).values(partition=partition, owner=owner, epoch=epoch))
                    return True
            swap = (
                update(_OWNERSHIP)
                .where(_OWNERSHIP.c.partition == partition, _OWNERSHIP.c.epoch == seen_epoch)
                .values(owner=owner, epoch=epoch)
            )
            return connection.execute(swap).rowcount == 1

    def close(self) -> None:
        """Release the database."""
        self._engine.dispose()


def _settle_sqlite(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA journal_mode=DELETE")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()
