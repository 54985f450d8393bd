"""A backup of several logs while households change their partition.

Law: wherever what is written meanwhile falls into the copying, the logs in one backup fit together. What changes its
partition is in it once, where it lies or on its way; what is known to have come has come; and owners go on from there.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from actors.log.contract import Epoch, PartitionId, Record, RecordKind
from actors.log.segments import SegmentStore
from actors.records.replay import Replay
from cluster import backup as backups
from cluster import log_instant
from cluster.backup import back_up, read_backup, restore
from cluster.errors import CommandFailed
from household.relocation.packing import unpacked
from household.state import PartitionState
from tests.actors.doors import Doors, graph
from tests.actors.harness import MONDAY, records, signal
from tests.actors.inventory_town import Town, a_town, seats
from tests.actors.test_relocations import PARTITIONS, come_together
from tests.cluster.journal import Journal
from tests.cluster.test_backup import born, quiet

HOUSEHOLDS = tuple(f"h{number}" for number in range(8))
MERGES = tuple(zip(HOUSEHOLDS[::2], HOUSEHOLDS[1::2], strict=True))


@dataclass(frozen=True, slots=True)
class Lived:
    """What owners wrote."""

    journal: Journal
    known: int
    """Steps after which all signals were acknowledged, and nothing had moved."""


@cache
def lived() -> Lived:
    """Let households of several partitions become one, and keep what is written for it."""
    folder = Path(TEMPORARY.name) / "lived"
    journal = Journal(folder)

    async def live() -> int:
        logs = lambda: SegmentStore(folder, files=journal.files())  # noqa: E731
        town = a_town(folder, logs=logs, shard_count=2, partition_count=PARTITIONS, plan=seats(1))
        async with town as running:
            doors = Doors(running)
            pays = [signal(f"p-{one}", one, "pay", MONDAY, fields={"amount": 1.0}) for one in HOUSEHOLDS]
            await doors.told(*pays)
            known = len(journal.steps)
            for number, (one, other) in enumerate(MERGES):
                await doors.told(graph("merge", f"g{number}", MONDAY + 1, one, other=other))
                await come_together(running)
            return known

    return Lived(journal, asyncio.run(live()))


TEMPORARY = TemporaryDirectory(prefix="hearth-backup-cut-")


class Meanwhile:
    """Writes on while a backup is taken."""

    def __init__(self, data: Path, written: int) -> None:
        self.steps = iter(lived().journal.steps)
        self.data, self.is_done = data, False
        (data / "log").mkdir(exist_ok=True)
        self.write(written)

    def write(self, count: int) -> None:
        for _ in range(count):
            step = next(self.steps, None)
            if step is None:
                self.is_done = True
                return
            step(self.data / "log")


def states_of(data: Path) -> dict[int, PartitionState]:
    found = {}
    for partition in range(PARTITIONS):
        replay = Replay()
        for stored in records(data / "log", partition):
            replay.fold(stored)
        found[partition] = replay.now
    return found


def knowing(states: dict[int, PartitionState]) -> Iterator[PartitionState]:
    """Yield all that anybody knows: of partitions, and on the way between them."""
    for partition, state in states.items():
        yield state
        for one in state.departures:
            arrival = states[one.target].arrivals.get(partition)
            if arrival is None or arrival.number < one.number:
                yield unpacked(one.data, state.plan, stream_clock=False).state


def payments(state: PartitionState) -> int:
    """Return how many the rows of households have counted; what is in a base is in its span, too."""
    index = next(place for place, one in enumerate(state.plan.features) if one.name == "household.payments")
    rows = [row for row in range(state.households.count) if not state.households.key(row).endswith(b"\0")]
    cell = state.layout.feature_cells[index]
    return int(sum(state.cells.flat[state.cells.household_bases[row] + cell] for row in rows))


def fits_together(data: Path) -> None:
    states = states_of(data)
    assert sum(payments(one) for one in knowing(states)) == len(HOUSEHOLDS)
    for state in states.values():
        for arrival in state.arrivals:
            if arrival.source != state.partition:
                left = states[arrival.source].arrivals.get(arrival.source)
                assert left is not None, "it came, and nothing ever left"
                assert left.number >= arrival.number, "it came, and never left"


def places() -> range:
    return range(lived().known, len(lived().journal.steps), 3)


@pytest.mark.parametrize("pace", [1, 4])
def test_wherever_it_is_cut_its_logs_fit_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pace: int):
    copy, newest = backups._copy, log_instant.newest_of
    monkeypatch.setattr(backups.os, "fsync", lambda _: None)
    for written in places():
        data = born(tmp_path / f"data-{written}", PARTITIONS)
        meanwhile, looks = Meanwhile(data, written), 0

        def copied(*args, meanwhile=meanwhile, **named):
            meanwhile.write(pace)
            return copy(*args, **named)

        def looked(folder: Path, meanwhile=meanwhile):
            nonlocal looks
            looks += 1
            if looks <= 2 * PARTITIONS:
                meanwhile.write(pace)
            return newest(folder)

        monkeypatch.setattr(backups, "_copy", copied)
        monkeypatch.setattr(log_instant, "newest_of", looked)
        made = back_up(data, tmp_path / f"backup-{written}", quiet)
        fits_together(made.path)


def test_owners_go_on_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    copy = backups._copy
    steps = [*places()]
    for written in steps[:: max(len(steps) // 4, 1)]:
        data = born(tmp_path / f"data-{written}", PARTITIONS)
        meanwhile = Meanwhile(data, written)

        def copied(*args, meanwhile=meanwhile, **named):
            meanwhile.write(1)
            return copy(*args, **named)

        monkeypatch.setattr(backups, "_copy", copied)
        made = back_up(data, tmp_path / f"backup-{written}", quiet)
        again = tmp_path / f"again-{written}"
        restore(read_backup(made.path), again, quiet)
        asyncio.run(_goes_on(again))


async def _goes_on(data: Path) -> None:
    async with a_town(data / "log", shard_count=2, partition_count=PARTITIONS, plan=seats(1), epoch=100) as town:
        doors = Doors(town)
        pays = [signal(f"p-{one}", one, "pay", MONDAY, fields={"amount": 1.0}) for one in HOUSEHOLDS]
        # Senders tell once more what may not be in the backup.
        answer = await doors.ingest(*pays)
        assert answer.counts.duplicate == len(HOUSEHOLDS)
        await doors.ingest(
            *(graph("merge", f"g{n}", MONDAY + 1, one, other=other) for n, (one, other) in enumerate(MERGES))
        )
        await come_together(town)
        for one, other in MERGES:
            found = [await doors.get(household=one), await doors.get(household=other)]
            assert found[0].household == found[1].household
        assert await _paid(town) == len(HOUSEHOLDS)


async def _paid(town: Town) -> int:
    return sum([await town.in_state(payments, partition) for partition in town.partitions])


def test_where_a_torn_group_is_cut_off_meanwhile_all_logs_are_copied_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data = born(tmp_path / "data", PARTITIONS)
    Meanwhile(data, lived().known)
    whole = {partition: records(data / "log", partition) for partition in range(PARTITIONS)}
    last = sorted((data / "log").glob("p-*/*.seg"))[-1]
    with last.open("ab") as file:
        file.write(b"torn")
    copy, newest, looks = backups._copy, log_instant.newest_of, 0

    def copied(source: Path, *args, **named):
        if source.suffix == ".seg" and source.parent != last.parent and last.read_bytes().endswith(b"torn"):
            with last.open("r+b") as file:
                file.truncate(last.stat().st_size - 4)
        return copy(source, *args, **named)

    def looked(folder: Path):
        nonlocal looks
        looks += 1
        return newest(folder)

    monkeypatch.setattr(backups, "_copy", copied)
    monkeypatch.setattr(log_instant, "newest_of", looked)
    made = back_up(data, tmp_path / "backup", quiet)
    assert looks == 2 * 2 * PARTITIONS
    restore(read_backup(made.path), tmp_path / "again", quiet)
    assert {partition: records(tmp_path / "again" / "log", partition) for partition in whole} == whole


def test_logs_that_are_never_still_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data = born(tmp_path / "data", PARTITIONS)
    Meanwhile(data, lived().known)
    newest, seen = log_instant.newest_of, 0

    def never_still(folder: Path):
        nonlocal seen
        seen += 1
        found = newest(folder)
        return None if found is None else (found[0], found[1] + seen)

    monkeypatch.setattr(log_instant, "newest_of", never_still)
    monkeypatch.setattr(log_instant, "PAUSE_S", 0.0)
    with pytest.raises(CommandFailed, match="change faster than they can be looked at"):
        back_up(data, tmp_path / "backup", quiet)


def writing(monkeypatch: pytest.MonkeyPatch, data: Path, kind: RecordKind) -> None:
    """Let every look at a log find one record more there."""
    store = SegmentStore(data / "log")
    logs = {folder: store.open(PartitionId(int(folder.name[2:]))) for folder in folders(data)}
    newest = log_instant.newest_of

    def looked(folder: Path):
        found = newest(folder)
        logs[folder].append([Record(kind=kind, version=1, epoch=Epoch(9), stamp_us=MONDAY, payload=b"x" * 300)])
        return found

    monkeypatch.setattr(log_instant, "newest_of", looked)
    monkeypatch.setattr(log_instant, "PAUSE_S", 0.0)
    monkeypatch.setattr(log_instant, "TRIES", 20)


def folders(data: Path) -> list[Path]:
    return sorted(one for one in (data / "log").iterdir() if one.is_dir())


@pytest.mark.parametrize("kind", [RecordKind.SIGNALS, RecordKind.DECISION, RecordKind.TICK, RecordKind.DELIVERY])
def test_logs_that_are_written_all_the_time_are_copied_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind):
    data = born(tmp_path / "data", PARTITIONS)
    Meanwhile(data, lived().known)
    writing(monkeypatch, data, kind)
    found = log_instant.segments_at_one_instant(data / "log")
    assert found.keys() == {folder.name for folder in folders(data)}


@pytest.mark.parametrize("kind", [RecordKind.RELOCATION, RecordKind.INVENTORY])
def test_while_one_log_always_tells_of_another_they_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind):
    data = born(tmp_path / "data", PARTITIONS)
    Meanwhile(data, lived().known)
    writing(monkeypatch, data, kind)
    with pytest.raises(CommandFailed, match="change faster than they can be looked at"):
        log_instant.segments_at_one_instant(data / "log")
