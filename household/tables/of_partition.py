"""All tables of one partition, and the texts and names that they share."""

from collections.abc import Iterator
from typing import Any

from household.plan import EventTimeUs, Plan
from household.tables import all_tables
from household.tables.carrying import carry
from household.tables.contract import Declaration, Row
from household.tables.table import Table
from household.tables.texts import TextPool
from household.tables.values import NamePool


class Tables:
    """One table of each declaration that is listed."""

    def __init__(self, plan: Plan) -> None:
        """Make empty ones, under a plan."""
        self.texts, self.names = TextPool(), NamePool()
        self._by_name: dict[str, Table[Any]] = {
            one.name: Table(one, texts=self.texts, names=self.names, plan=plan) for one in all_tables.TABLES
        }

    def of(self, declaration: Declaration[Row]) -> Table[Row]:
        """Return the table of a declaration that is listed."""
        table: Table[Row] = self._by_name[declaration.name]
        assert table.declaration is declaration
        return table

    def __iter__(self) -> Iterator[Table[Any]]:
        """Yield all of them, as they are listed."""
        yield from self._by_name.values()

    def carry(self, plan: Plan, channel_codes: dict[int, int], now_us: EventTimeUs) -> None:
        """Put all of them under another plan."""
        for table in self:
            carry(table, plan, channel_codes, now_us)
