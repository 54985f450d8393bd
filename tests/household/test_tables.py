"""Tables against plain dicts and lists, and one that only this file knows through everything that is done to tables.

Laws: whatever is put, rewritten, removed and forgotten, a table holds what a plain list of rows holds, in its order,
remembered or not; what is due is exactly what a walk over all rows finds; a freeze begun anywhere in between gives the
rows of that moment; texts are gone with the last row that refers to them. A table that is declared and listed is
frozen, written, read, hashed, tidied and taken under another plan without a line elsewhere.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import fs

from actors.log.contract import Offset, PartitionId
from actors.records.replay import Replay
from actors.snapshots.facts import ReplayFacts
from actors.snapshots.store import SnapshotStore
from household.apply import apply_tick
from household.digest import household_digests, state_digest
from household.freeze import Freeze, thaw
from household.migration import migrated
from household.plan import NONE, Plan
from household.state import NO_MEMBER, PartitionState
from household.tables import all_tables
from household.tables.contract import (
    Bytes,
    ChannelIndex,
    ChannelIndices,
    Declaration,
    Digest,
    Due,
    Flag,
    MemberRow,
    MemberRows,
    Names,
    Number,
    Owner,
    PlanName,
    Shape,
    Text,
    TimeUs,
    named,
)
from household.tables.frozen import TableFreeze, fill, frozen_rows
from household.tables.table import Table
from household.tables.texts import TextPool
from household.tables.values import NamePool
from tests.household.shop import EAGER, HOUR, Shop

WINDOW_US = 7


class State(StrEnum):
    OPEN = "open"
    USED = "used"


@dataclass(frozen=True, slots=True)
class Voucher:
    """A row with a column of every kind."""

    code: Text
    kind: PlanName
    until_us: TimeUs
    state: State = State.OPEN
    used_us: TimeUs = 0
    member: MemberRow = NO_MEMBER
    channel: ChannelIndex = NONE
    ways: ChannelIndices = ()
    groups: Names = ()
    members: MemberRows = ()
    is_shown: Flag = False
    note: Bytes = b""
    price: Number = 0


DUE = (
    Due(column="until_us", only_if=("state", State.OPEN)),
    Due(column="used_us", after_us=lambda _: WINDOW_US, only_if=("state", State.USED)),
)


def declared(owner: Owner, key: tuple[str, ...] = (), *, newest: int = 0) -> Declaration[Voucher]:
    return Declaration(
        name="vouchers",
        row=Voucher,
        owner=owner,
        key=key,
        newest=newest,
        due=DUE,
        digest=Digest(section="vouchers", shape=Shape.SET, told=named)
        if owner is Owner.HOUSEHOLD
        else Digest(section="vouchers", shape=Shape.SET, told=named, household=lambda _: 0),
    )


def empty(declaration: Declaration[Voucher]) -> Table[Voucher]:
    return Table(declaration, texts=TextPool(), names=NamePool(), plan=EAGER)


class Plainly:
    """The same table, as a list of owners and rows."""

    def __init__(self, declaration: Declaration[Voucher]) -> None:
        self.declaration = declaration
        self.rows: list[tuple[int, Voucher]] = []

    def key(self, row: Voucher) -> tuple[Any, ...]:
        return tuple(getattr(row, name) for name in self.declaration.key)

    def put(self, row: Voucher, owner: int) -> None:
        for place, (whose, one) in enumerate(self.rows):
            if self.declaration.key and whose == owner and self.key(one) == self.key(row):
                self.rows[place] = (owner, row)
                return
        self.rows.append((owner, row))
        if self.declaration.newest and len(self.of(owner)) > self.declaration.newest:
            self.rows.remove((owner, self.of(owner)[0]))

    def remove(self, row: Voucher, owner: int) -> bool:
        kept = [(whose, one) for whose, one in self.rows if (whose, self.key(one)) != (owner, self.key(row))]
        removed, self.rows = len(kept) < len(self.rows), kept
        return removed

    def of(self, owner: int) -> list[Voucher]:
        return [one for whose, one in self.rows if whose == owner]

    def due_us(self, row: Voucher) -> int:
        return row.until_us if row.state is State.OPEN else row.used_us + WINDOW_US

    def due(self, now_us: int) -> list[Voucher]:
        return [one for _, one in self.rows if self.due_us(one) <= now_us]


def vouchers() -> st.SearchStrategy[Voucher]:
    # Few codes, so that keys meet again; some longer than a word, a run and any other of the table's.
    codes = st.sampled_from(["", "a", "ab" * 4, "abcdefghi", "é" * 30, "ab" * 200, *(f"code-{n}" for n in range(20))])
    few = st.lists(st.integers(0, 2), max_size=3).map(tuple)
    return st.builds(
        Voucher,
        code=codes,
        kind=st.sampled_from(["", "film", "music", "roaming"]),
        until_us=st.integers(-5, 60),
        state=st.sampled_from(State),
        used_us=st.integers(0, 60),
        member=st.integers(-1, 5),
        channel=st.integers(-1, 2),
        ways=few,
        groups=st.lists(st.sampled_from(["main", "archive", "x"]), max_size=3).map(tuple),
        members=few,
        is_shown=st.booleans(),
        note=st.binary(max_size=20),
        price=st.integers(-(2**63), 2**63 - 1),
    )


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[str, int, Voucher, int]]:
    what = st.sampled_from(
        ["put", "put", "put", "put", "put new", "remove", "rewrite", "forget", "set", "unremembered", "freeze"]
    )
    return draw(st.lists(st.tuples(what, st.integers(0, 3), vouchers(), st.integers(0, 60)), max_size=60))


KINDS = [
    declared(Owner.PARTITION, ("code",)),
    declared(Owner.PARTITION, ("code", "kind")),
    declared(Owner.HOUSEHOLD),
    declared(Owner.HOUSEHOLD, ("code",)),
    declared(Owner.HOUSEHOLD, ("kind",)),
    declared(Owner.HOUSEHOLD, ("member", "state")),
    declared(Owner.HOUSEHOLD, newest=3),
    declared(Owner.HOUSEHOLD, ("code",), newest=3),
]


@pytest.mark.parametrize("declaration", KINDS, ids=lambda one: f"{one.owner.name.lower()}-{one.key}-{one.newest}")
@settings(max_examples=60, deadline=None)
@given(steps=steps())
def test_a_table_holds_what_a_list_of_rows_holds(declaration: Declaration[Voucher], steps):
    table, plain = empty(declaration), Plainly(declaration)
    freeze: TableFreeze | None = None
    wanted: list[tuple[int, Voucher]] = []
    for what, whose, row, number in steps:
        owner = whose if declaration.owner is Owner.HOUSEHOLD else 0
        match what:
            case "put":
                table.put(row, owner=owner)
                plain.put(row, owner)
            case "put new" if declaration.owner is Owner.PARTITION:
                rows = [replace(row, code=f"new {len(plain.rows)} {i}", note=b"n" * (i % 40)) for i in range(number)]
                if rows:
                    table.put_new(rows)
                for one in rows:
                    plain.put(one, owner)
            case "remove" if declaration.key:
                key = plain.key(row) if declaration.owner is Owner.PARTITION else (owner, *plain.key(row))
                assert table.remove(*key) == plain.remove(row, owner)
            case "rewrite" if not declaration.key:
                changes = {0: None, 1: replace(row, price=3)}
                before = plain.of(owner)
                after = [changes.get(one.until_us % 3, one) for one in before]
                assert table.rewrite(owner, lambda one, by=changes: by.get(one.until_us % 3, one)) == (
                    any(one is not other for one, other in zip(before, after, strict=True))
                )
                others = iter(after)
                plain.rows = [(w, next(others) if w == owner else one) for w, one in plain.rows]
                plain.rows = [(w, one) for w, one in plain.rows if one is not None]
            case "forget":
                if row.is_shown:
                    table.forget(table.due(number))
                else:
                    table.forget_due(number)
                plain.rows = [(w, one) for w, one in plain.rows if plain.due_us(one) > number]
            case "set":
                table.set(table.due(number), used_us=number, until_us=number + 9)
                plain.rows = [
                    (w, replace(one, used_us=number, until_us=number + 9) if plain.due_us(one) <= number else one)
                    for w, one in plain.rows
                ]
            case "unremembered":
                table._remembered.clear()
            case "freeze" if freeze is None:
                freeze, wanted = TableFreeze(table), list(plain.rows)
            case "freeze":
                freeze.step(number % 3)
        assert len(table) == len(plain.rows)
        assert table.next_due_us() == min((plain.due_us(one) for _, one in plain.rows), default=None)
        assert [table.row(slot) for slot in table.due(number).tolist()] == plain.due(number)
        if declaration.owner is Owner.HOUSEHOLD:
            assert table.of_names(owner, "kind", {row.kind}) == tuple(o for o in plain.of(owner) if o.kind == row.kind)
            assert table.has_name(owner, "kind", {row.kind}) == any(o.kind == row.kind for o in plain.of(owner))
            assert table.of(owner) == tuple(plain.of(owner))
            assert held(table, range(4), row.code) == [
                (w, o) for w in range(4) for o in plain.of(w) if o.code == row.code
            ]
        else:
            found = [[one.code, one.state] for _, one in plain.rows if one.until_us <= number]
            assert list(table.up_to("until_us", number, "code", "state")) == found
        if declaration.key:
            key = plain.key(row) if declaration.owner is Owner.PARTITION else (owner, *plain.key(row))
            assert table.get(*key) == next((o for o in plain.of(owner) if plain.key(o) == plain.key(row)), None)
    assert list(table) == [one for _, one in plain.rows]
    assert table.owners() == sorted({owner for owner, _ in plain.rows})
    if freeze is not None:
        while not freeze.is_done:
            freeze.step(2)
        again = empty(declaration)
        fill(again, freeze.taken().frozen)
        assert owned(again) == wanted
        assert again.next_due_us() == min((plain.due_us(one) for _, one in wanted), default=None)
    table.forget(table.slots_in_order())
    assert len(table.texts) == 0


def held(table: Table[Voucher], owners: range, code: str) -> list[tuple[int, Voucher]]:
    """Return the rows of these households under a code, found by where it lies."""
    lying = np.full(len(owners), table.texts.find(code.encode()))
    slots = table.slots_with(np.array(owners), "code", lying)
    return [(table.owner(slot), table.row(slot)) for slot in slots.tolist()]


def owned(table: Table[Voucher]) -> list[tuple[int, Voucher]]:
    return [(table.owner(slot), table.row(slot)) for slot in table.slots_in_order().tolist()]


def test_texts_come_and_go_without_growing():
    table = empty(declared(Owner.PARTITION, ("code",)))
    for number in range(3_000):
        table.put(Voucher(f"code {number}", "film", 0, note=b"n" * (number % 90)))
        if number >= 20:
            assert table.remove(f"code {number - 20}")
    assert len(table) == 20
    assert table.texts.size_bytes < 40_000
    assert table.size_bytes < 20_000


def test_a_key_is_found_among_many_whatever_was_removed_before():
    table = empty(declared(Owner.PARTITION, ("code",)))
    chance = np.random.default_rng(3)
    known: dict[str, int] = {}
    for number in range(6_000):
        code = f"c{chance.integers(900)}"
        if chance.random() < 0.5:
            table.put(Voucher(code, "film", number))
            known[code] = number
        else:
            assert table.remove(code) == (known.pop(code, None) is not None)
    table._remembered.clear()
    assert {code: one.until_us for code in known if (one := table.get(code))} == known
    assert not any(table.holds(f"c{number}") for number in range(900) if f"c{number}" not in known)


# --- one that only this file knows ------------------------------------------------------------------------------------

THROW_AWAY = declared(Owner.HOUSEHOLD, ("code",))


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setattr(all_tables, "TABLES", (*all_tables.TABLES, THROW_AWAY))
    shop = Shop(EAGER)
    shop.third_check()
    return shop


def voucher(shop: Shop, **values: Any) -> Voucher:
    made = Voucher("spring", "film", shop.now_us + HOUR, **values)
    shop.state.tables.of(THROW_AWAY).put(made, owner=0)
    return made


def test_it_shows_in_the_digest_of_its_household(shop: Shop):
    before = household_digests(shop.state)
    voucher(shop, channel=1)
    after = household_digests(shop.state)
    assert before.keys() == after.keys()
    assert [key for key in before if before[key] != after[key]] == [b"home"]
    voucher(shop, channel=2)
    assert household_digests(shop.state)[b"home"] not in (before[b"home"], after[b"home"])


def test_it_is_frozen_as_it_was_and_thawed(shop: Shop):
    made = voucher(shop, ways=(1, 2), groups=("main",))
    digest, freeze = state_digest(shop.state), Freeze(shop.state)
    shop.state.tables.of(THROW_AWAY).put(replace(made, price=7), owner=0)
    while not freeze.step(1):
        pass
    frozen = freeze.end()
    assert frozen is not None
    again = thaw(frozen)
    assert list(again.tables.of(THROW_AWAY)) == [made]
    assert state_digest(again) == digest


def test_it_is_in_a_snapshot_that_reads_by_itself(shop: Shop, tmp_path: Path):
    made = voucher(shop, ways=(1, 2), groups=("main", "archive"), note=b"\0\xff", state=State.USED, is_shown=True)
    store = SnapshotStore(fs.LocalFileSystem(), str(tmp_path), pause_s=0.0)
    replay = Replay(state=shop.state)
    freeze = Freeze(shop.state)
    while not freeze.step():
        pass
    frozen = freeze.end()
    assert frozen is not None
    store.write(frozen, partition=PartitionId(0), position=Offset(5), replay=ReplayFacts.of(replay))
    loaded = store.load(PartitionId(0)).replay
    assert loaded is not None
    assert list(loaded.now.tables.of(THROW_AWAY)) == [made]
    assert state_digest(loaded.now) == state_digest(shop.state)


def test_it_is_empty_in_a_snapshot_from_before_it_was_there(shop: Shop, tmp_path: Path, monkeypatch):
    with_it = all_tables.TABLES
    monkeypatch.setattr(all_tables, "TABLES", with_it[:-1])
    store = SnapshotStore(fs.LocalFileSystem(), str(tmp_path), pause_s=0.0)
    state = PartitionState(plan=EAGER, stream_clock=False)
    freeze = Freeze(state)
    assert freeze.step()
    frozen = freeze.end()
    assert frozen is not None
    store.write(frozen, partition=PartitionId(0), position=Offset(5), replay=ReplayFacts.of(Replay(state=state)))
    monkeypatch.setattr(all_tables, "TABLES", with_it)
    loaded = store.load(PartitionId(0))
    assert loaded.faults == ()
    assert loaded.replay is not None
    assert list(loaded.replay.now.tables.of(THROW_AWAY)) == []


def test_a_tick_forgets_it_at_its_time_and_not_before(shop: Shop):
    made = voucher(shop)
    for now_us, kept in ((made.until_us - 1, [made]), (made.until_us, [])):
        apply_tick(shop.state, epoch=shop.state.epoch, stamp_us=now_us)
        assert list(shop.state.tables.of(THROW_AWAY)) == kept


def test_another_plan_renames_its_channels(shop: Shop):
    made = voucher(shop, channel=2, ways=(0, 1, 2))
    kept = shop.state.plan.channels
    plan: Plan = replace(shop.state.plan, channels=(kept[2], kept[0]), journeys=(), offers=())
    again = migrated(shop.state, plan)
    assert list(again.tables.of(THROW_AWAY)) == [replace(made, channel=0, ways=(1, 0))]
    assert again.tables.of(THROW_AWAY).next_due_us() == made.until_us


def test_rows_from_elsewhere_are_a_table_like_any_other():
    rows = [(2, Voucher("a", "film", 3, groups=("x",))), (0, Voucher("b", "music", 1)), (2, Voucher("c", "film", 2))]
    table = empty(THROW_AWAY)
    fill(table, frozen_rows(THROW_AWAY, rows))
    assert owned(table) == rows
    assert table.next_due_us() == 1
    assert table.get(2, "c") == rows[2][1]
