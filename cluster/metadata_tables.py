"""The tables of the metadata store, and how those of older versions are brought up to date."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    Integer,
    MetaData,
    String,
    Table,
    func,
    inspect,
    select,
    text,
    update,
)

NOBODY = ""
"""The holder of a partition that is free."""

_MIGRATION_LOCK = 0x48454152_54480003
"""Key of the PostgreSQL advisory lock under which tables are made: two at once collide in its catalogue."""

METADATA = MetaData()
OWNERSHIP = Table(
    "ownership",
    METADATA,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("holder", String(200), nullable=False),
    Column("epoch", BigInteger, nullable=False),
)
LEASES = Table(
    "leases",
    METADATA,
    Column("holder", String(200), primary_key=True),
    Column("node", String(200), nullable=False),
    Column("process_id", BigInteger, nullable=False),
    Column("process_started_s", Double, nullable=False),
    Column("address", String(400), nullable=False),
    Column("renewals", BigInteger, nullable=False),
    Column("term_ms", BigInteger, nullable=False),
    Column("is_revoked", Boolean, nullable=False),
)
MOVES = Table(
    "moves",
    METADATA,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("source", String(200), nullable=False),
    Column("target", String(200), nullable=False),
    Column("step", String(40), nullable=False),
    Column("why", String(400), nullable=False),
)
"""Moves under way. They tell what is being done; who owns is in OWNERSHIP alone."""
WISHES = Table(
    "wishes",
    METADATA,
    Column("name", String(200), primary_key=True),
    Column("value", String(400), nullable=False),
)
"""What was asked of the placement and holds until it is undone; see cluster/wishes.py."""
SCHEMA = Table(
    "schema_version",
    METADATA,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
)
"""One row, which says by which version of these tables it was last written."""

SCHEMA_VERSION = 1
"""Goes up when an older Hearth would misread what a newer one keeps here."""


class MadeByANewer(Exception):
    """A newer Hearth has these tables, and an older one would misread them. Nothing was changed."""

    def __init__(self, version: int) -> None:
        super().__init__(version)
        self.version = version

    def __str__(self) -> str:
        return (
            f"its tables are of version {self.version}, this Hearth knows {SCHEMA_VERSION}; run the one that made them"
        )


def make_tables(connection: Connection) -> None:
    """Make what is missing, in the transaction of the caller; may be repeated."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
    _check_version(connection)
    _rename_owner(connection)
    _drop_older_leases(connection)
    METADATA.create_all(connection)
    if connection.execute(select(SCHEMA.c.version)).scalar() is None:
        connection.execute(SCHEMA.insert().values(one=1, version=SCHEMA_VERSION))


def _check_version(connection: Connection) -> None:
    """Leave alone what a newer Hearth has made."""
    if inspect(connection).has_table(SCHEMA.name):
        version = connection.execute(select(SCHEMA.c.version)).scalar()
        if version is not None and version > SCHEMA_VERSION:
            raise MadeByANewer(version)


def _rename_owner(connection: Connection) -> None:
    """Bring a table from before there were leases up to date: its owners are gone, its epochs stay."""
    tables = inspect(connection)
    if not tables.has_table("ownership") or "owner" not in {one["name"] for one in tables.get_columns("ownership")}:
        return
    connection.execute(text("ALTER TABLE ownership RENAME COLUMN owner TO holder"))
    if connection.dialect.name == "postgresql":
        connection.execute(text("ALTER TABLE ownership ALTER COLUMN epoch TYPE BIGINT"))
    connection.execute(update(OWNERSHIP).values(holder=NOBODY))


def _drop_older_leases(connection: Connection) -> None:
    """Forget leases from before they told when their process was started; Hearth was stopped for its upgrade."""
    tables = inspect(connection)
    if not tables.has_table("leases"):
        return
    if "process_started_s" not in {one["name"] for one in tables.get_columns("leases")}:
        LEASES.drop(connection)
