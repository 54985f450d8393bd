"""The store of snapshots.

Laws: what is loaded is what was frozen, and folds on to what the log folds to; a file that is not as it was written, to
the bit, is never used, is named, and the snapshot before it is taken; a failed or interrupted write leaves no snapshot
and takes none away; the newest three good ones are kept, and bad ones do not count among them.
"""

import errno
import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import fs

from actors import failpoints
from actors.failpoints import Failpoint
from actors.log.contract import LOG_START, Offset, PartitionId, StoredRecord
from actors.log.files import Files
from actors.records.replay import Replay
from actors.snapshots import files as snapshot_files
from actors.snapshots.facts import Loaded, ReplayFacts, SnapshotFacts, SnapshotFailed, Unfit
from actors.snapshots.files import MANIFEST
from actors.snapshots.store import SnapshotStore, snapshot_store
from actors.snapshots.tables import COLUMN_FILES, table_file
from household.decision import Moment
from household.decision_bytes import decode_decision, encode_decision
from household.digest import state_digest
from household.freeze import Freeze, Frozen, thaw
from household.state import FOLD_VERSION, NO_MEMBER
from household.tables.all_tables import TABLES
from household.tables.slates import Slate, told_decision
from tests.histories.make_golden import history

NAMES = (*COLUMN_FILES, *(table_file(one.name) for one in TABLES))
"""Files of a snapshot besides its manifest."""

GOLDEN = Path(__file__).parent.parent / "histories" / "golden-1"
RECORDS = {kind: history(GOLDEN / kind)[0] for kind in ("wall", "stream")}
P = PartitionId(0)


def folded(count: int, kind: str = "wall") -> Replay:
    """Return a replay of the first records of the golden history."""
    replay = Replay()
    for stored in RECORDS[kind][:count]:
        replay.fold(stored)
    return replay


def frozen_of(replay: Replay) -> Frozen:
    freeze = Freeze(replay.now)
    while not freeze.step():
        pass
    frozen = freeze.end()
    assert frozen is not None
    return frozen


def written(store: SnapshotStore, count: int, kind: str = "wall") -> SnapshotFacts:
    """Write a snapshot of the first records."""
    replay = folded(count, kind)
    return store.write(frozen_of(replay), partition=P, position=Offset(count), replay=ReplayFacts.of(replay))


def digest_after(loaded: Loaded, records: list[StoredRecord]) -> str:
    assert loaded.replay is not None
    for stored in records[loaded.position :]:
        loaded.replay.fold(stored)
    return state_digest(loaded.replay.now)


class Remote(fs.FileSystemHandler):
    """A filesystem that is not the local one: no renames, no syncs; and it may run out of room."""

    def __init__(self) -> None:
        self.inner = fs.LocalFileSystem()
        self.refuses: Callable[[str], bool] = lambda _path: False

    def get_type_name(self) -> str:
        return "remote"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths):
        return self.inner.get_file_info(paths)

    def get_file_info_selector(self, selector):
        return self.inner.get_file_info(selector)

    def create_dir(self, path, recursive):
        self.inner.create_dir(path, recursive=recursive)

    def delete_dir(self, path):
        self.inner.delete_dir(path)

    def delete_dir_contents(self, path, missing_dir_ok):
        self.inner.delete_dir_contents(path, missing_dir_ok=missing_dir_ok)

    def delete_root_dir_contents(self):
        raise AssertionError("never")

    def delete_file(self, path):
        self.inner.delete_file(path)

    def move(self, src, dest):
        raise AssertionError("object stores have no rename")

    def copy_file(self, src, dest):
        raise AssertionError("never")

    def open_input_stream(self, path):
        return self.inner.open_input_stream(path)

    def open_input_file(self, path):
        return self.inner.open_input_file(path)

    def open_output_stream(self, path, metadata):
        if self.refuses(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.inner.open_output_stream(path)

    def open_append_stream(self, path, metadata):
        raise AssertionError("never")


@pytest.fixture(params=["local", "remote"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SnapshotStore:
    filesystem = fs.LocalFileSystem() if request.param == "local" else fs.PyFileSystem(Remote())
    return SnapshotStore(filesystem, str(tmp_path / "snapshots"), pause_s=0.0)


@pytest.fixture
def local(tmp_path: Path) -> SnapshotStore:
    return SnapshotStore(fs.LocalFileSystem(), str(tmp_path / "snapshots"), pause_s=0.0)


@pytest.fixture
def at_failpoint() -> Iterator[Callable[[Callable[[Failpoint], None]], None]]:
    before = failpoints._on_reached
    yield failpoints.arm
    failpoints.arm(before)


def folder(tmp_path: Path, facts: SnapshotFacts) -> Path:
    return tmp_path / "snapshots" / "p-0000" / facts.name


def forge(directory: Path, change: Callable[[dict], None]) -> None:
    """Change a manifest and make it whole again."""
    plain = json.loads((directory / MANIFEST).read_bytes())
    del plain["xxh3_128"]
    change(plain)
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()
    text = json.dumps(plain | {"xxh3_128": xxhash.xxh3_128(canonical).hexdigest()})
    (directory / MANIFEST).write_text(text, encoding="utf-8")


# --- what is loaded is what was frozen --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["wall", "stream"])
def test_from_any_position_a_snapshot_and_the_tail_give_what_the_log_gives(local: SnapshotStore, kind: str):
    records = RECORDS[kind]
    wanted = json.loads((GOLDEN / kind / "expected.json").read_bytes())["partitions"]["0"]["state"]
    for count in {*range(2, len(records), 30), len(records)}:
        facts = written(local, count, kind)
        loaded = local.load(P)
        assert (loaded.position, loaded.faults, loaded.facts) == (count, (), facts)
        assert loaded.replay is not None
        whole = folded(count, kind)
        assert state_digest(loaded.replay.now) == state_digest(whole.now)
        assert ReplayFacts.of(loaded.replay) == ReplayFacts.of(whole)
        assert digest_after(loaded, records) == wanted
        shutil.rmtree(local._files.path("p-0000"))


def test_side_tables_come_back_value_for_value(store: SnapshotStore):
    replay = folded(len(RECORDS["wall"]))
    frozen = frozen_of(replay)
    facts = store.write(frozen, partition=P, position=Offset(9), replay=ReplayFacts.of(replay), state_hash="abc")
    loaded = store.load(P).replay
    assert loaded is not None
    state, wanted = loaded.now, thaw(frozen)
    for table, other in zip(state.tables, wanted.tables, strict=True):
        slots, others = table.slots_in_order().tolist(), other.slots_in_order().tolist()
        assert [table.owner(slot) for slot in slots] == [other.owner(slot) for slot in others]
        assert list(table) == list(other), table.declaration.name
        assert facts.counts[table.declaration.name] == len(table)
    for one, other in zip(state.slates, wanted.slates, strict=True):
        assert one.decision.moments == other.decision.moments
    assert len(state.slates) > 0
    assert facts.state_hash == "abc"
    assert facts.counts["households"] == facts.households == state.households.count
    assert facts.counts["actions"] == len(state.actions) > 0
    assert facts.plan_version == state.plan.version
    assert store.list(P) == (facts,)


def test_a_member_row_of_a_pending_moment_is_kept(local: SnapshotStore):
    replay = folded(len(RECORDS["wall"]))
    row = replay.now.slates.owners()[0]
    moments = tuple(
        Moment(moment_id=f"m{n}", journey="low", member=n, event_id=b"e", event_type="visit", time_us=7)
        for n in (3, NO_MEMBER)
    )
    replay.now.pending.rewrite(row, lambda _: None)
    for moment in moments:
        replay.now.pending.put(moment, owner=row)
    local.write(frozen_of(replay), partition=P, position=Offset(5), replay=ReplayFacts.of(replay))
    loaded = local.load(P).replay
    assert loaded is not None
    assert loaded.now.pending.of(row) == moments


def test_a_slate_of_a_snapshot_that_held_decisions_as_text_is_read():
    text = (
        b'[1,["d1","r1","app",7,"p","prior","",false,false,1.0,["BEST_VALUE"],"","d1-0","",0,480,0,["sms"],""],'
        b'"H1","M1",[["m1","low",3,"e","visit",7]],[["topup",0.5,12.5,["NO_CONSENT"]]],'
        b'[["d1-0","topup","low",500,99,true]],"0000803f","ab01",[["d0-0","REPLACED"]]]'
    )
    decision = Slate(0, "d1", 99, text).decision
    again, members = decode_decision(encode_decision(decision, member_keys={}))
    assert members == (b"",)
    assert told_decision(again) == told_decision(decision)
    assert (decision.household, decision.slate[0].is_personal, decision.withdrawals[0].reason) == (
        b"H1",
        True,
        "REPLACED",
    )
    assert decision.state_vector.tolist() == [1.0]


def test_a_snapshot_of_a_loaded_state_is_the_same_file_for_file(local: SnapshotStore, tmp_path: Path):
    """Whether its slates were looked at in between or not."""
    facts = written(local, 30)
    for looks in (False, True):
        replay = local.load(P).replay
        assert replay is not None
        if looks:
            state_digest(replay.now)
        again = SnapshotStore(fs.LocalFileSystem(), str(tmp_path / f"again-{looks}"), pause_s=0.0)
        again.write(frozen_of(replay), partition=P, position=facts.position, replay=ReplayFacts.of(replay))
        for name in (*NAMES, MANIFEST):
            copy = tmp_path / f"again-{looks}" / "p-0000" / facts.name / name
            assert copy.read_bytes() == (folder(tmp_path, facts) / name).read_bytes(), name


def test_nothing_there_loads_as_nothing(store: SnapshotStore):
    assert store.load(P) == Loaded(replay=None, position=LOG_START, facts=None, faults=())
    assert store.list(P) == ()
    assert store.partitions() == ()
    assert store.oldest_kept_position(P) is None


def test_one_position_is_written_once(local: SnapshotStore, tmp_path: Path):
    facts = written(local, 20)
    manifest = folder(tmp_path, facts) / MANIFEST
    before = manifest.stat().st_mtime_ns
    assert written(local, 20) == facts
    assert manifest.stat().st_mtime_ns == before
    (folder(tmp_path, facts) / NAMES[0]).write_bytes(b"spoilt")
    assert written(local, 20) == facts
    assert local.load(P).faults == ()


def test_locations_are_paths_or_uris(tmp_path: Path):
    for location in (str(tmp_path / "one"), f"file://{tmp_path}/two"):
        store = snapshot_store(location)
        written(store, 10)
        assert store.load(P).position == 10
    assert (tmp_path / "one" / "p-0000").is_dir()
    assert (tmp_path / "two" / "p-0000").is_dir()


# --- which are kept ---------------------------------------------------------------------------------------------------


def test_the_newest_three_are_kept(store: SnapshotStore):
    for count in (10, 20, 30, 40, 50):
        written(store, count)
    assert [facts.position for facts in store.list(P)] == [50, 40, 30]
    assert store.oldest_kept_position(P) == 30
    assert store.partitions() == (P,)
    assert store.load(P, name=store.list(P)[2].name).position == 30


def test_bad_ones_do_not_count_among_the_kept(store: SnapshotStore, tmp_path: Path):
    facts = [written(store, count) for count in (10, 20, 30)]
    (folder(tmp_path, facts[1]) / NAMES[2]).unlink()
    written(store, 40)
    assert [one.position for one in store.list(P) if not one.problem] == [40, 30, 10]
    assert store.oldest_kept_position(P) == 10
    written(store, 50)
    assert [one.position for one in store.list(P)] == [50, 40, 30]


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("intact")
    store = SnapshotStore(fs.LocalFileSystem(), str(root / "snapshots"), pause_s=0.0)
    for count in (20, 40):
        written(store, count)
    return root


@settings(max_examples=120, deadline=None)
@given(
    name=st.sampled_from([*NAMES, MANIFEST]),
    place=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
)
def test_a_flipped_bit_anywhere_is_found_and_named_and_the_one_before_is_taken(intact: Path, name, place, bit):
    store = SnapshotStore(fs.LocalFileSystem(), str(intact / "snapshots"))
    newest = store.list(P)[0]
    path = folder(intact, newest) / name
    content = path.read_bytes()
    at = int(place * len(content))
    path.write_bytes(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
    try:
        loaded = store.load(P)
    finally:
        path.write_bytes(content)
    if loaded.position == 40:  # the manifest's white space may hold anything that reads the same
        assert name == MANIFEST
        assert loaded.replay is not None
        assert json.loads(content) == json.loads(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
        return
    assert loaded.position == 20
    assert [(fault.name, fault.file) for fault in loaded.faults] == [(newest.name, name)]


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from([*NAMES, MANIFEST]), content=st.binary(max_size=200), keep=st.floats(0, 1))
def test_whatever_a_file_holds_loading_never_fails(intact: Path, name, content, keep):
    store = SnapshotStore(fs.LocalFileSystem(), str(intact / "snapshots"))
    newest = store.list(P)[0]
    path = folder(intact, newest) / name
    before = path.read_bytes()
    path.write_bytes(before[: int(keep * len(before) * 0.999)] + content)
    try:
        loaded = store.load(P)
        assert store.list(P)[0].problem or name != MANIFEST
    finally:
        path.write_bytes(before)
    assert loaded.position == 20
    assert loaded.faults[0].file == name


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_whole_and_yet_not_readable_is_a_fault(local: SnapshotStore, tmp_path: Path, name: str):
    written(local, 10)
    directory = folder(tmp_path, written(local, 30))
    for content in (b"", b"ARROW1", b"{}", bytes(range(256)) * 9, (directory / NAMES[0]).read_bytes()[:-1]):
        (directory / name).write_bytes(content)

        def whole(plain: dict, content: bytes = content) -> None:
            plain["files"][name] = {"size": len(content), "xxh3_128": xxhash.xxh3_128(content).hexdigest()}

        forge(directory, whole)
        loaded = local.load(P)
        assert loaded.position == 10
        assert [fault.file for fault in loaded.faults] == [name]


@pytest.mark.parametrize("name", [*NAMES, MANIFEST])
def test_a_missing_file_is_a_fault_by_name(store: SnapshotStore, tmp_path: Path, name: str):
    written(store, 10)
    newest = written(store, 30)
    (folder(tmp_path, newest) / name).unlink()
    loaded = store.load(P)
    assert loaded.position == 10
    assert [(fault.name, fault.file) for fault in loaded.faults] == [(newest.name, name)]
    assert "missing" in loaded.faults[0].what
    assert name in store.list(P)[0].problem
    assert store.oldest_kept_position(P) == 10


def test_without_a_good_one_there_is_none_and_every_fault_is_told(store: SnapshotStore, tmp_path: Path):
    names = []
    for count in (10, 20):
        facts = written(store, count)
        (folder(tmp_path, facts) / NAMES[3]).write_bytes(b"")
        names.append(facts.name)
    loaded = store.load(P)
    assert (loaded.replay, loaded.position, loaded.facts) == (None, LOG_START, None)
    assert [fault.name for fault in loaded.faults] == list(reversed(names))


def test_a_snapshot_of_the_first_fold_version_loads_and_folds_on_to_what_its_log_folds_to():
    """Written by the software of that version at record 56 of 58; what it cannot know stands at its default."""
    loaded = snapshot_store(str(GOLDEN.parent / "snapshot-1")).load(P)
    assert (loaded.position, loaded.faults) == (56, ())
    assert loaded.replay is not None
    assert loaded.replay.now.fold_version == 1
    expected = json.loads((GOLDEN / "wall" / "expected.json").read_text(encoding="utf-8"))
    assert digest_after(loaded, RECORDS["wall"]) == expected["partitions"]["0"]["state"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda plain: plain.update(format=3), "of format 3, this software reads 2"),
        (lambda plain: plain.update(fold_version=FOLD_VERSION + 1), f"this software folds by version {FOLD_VERSION}"),
        (lambda plain: plain.update(partition=1), "is of partition, position and epoch (1, 30, "),
        (lambda plain: plain.update(position=31), "is of partition, position and epoch (0, 31, "),
        (lambda plain: plain["files"].pop(NAMES[0]), "names the files"),
    ],
)
def test_what_this_software_does_not_read_is_a_fault_that_says_so(local: SnapshotStore, tmp_path: Path, change, told):
    written(local, 10)
    newest = written(local, 30)
    forge(folder(tmp_path, newest), change)
    loaded = local.load(P)
    assert loaded.position == 10
    assert [fault.file for fault in loaded.faults] == [MANIFEST]
    assert told in str(loaded.faults[0])
    assert (loaded.faults[0].unfit is Unfit.FOR_THIS_VERSION) == ("this software" in told)
    assert local.list(P)[0].fault == loaded.faults[0]


def test_a_snapshot_can_be_asked_for_by_name(local: SnapshotStore):
    older, newer = written(local, 10), written(local, 20)
    assert local.load(P, name=older.name).facts == older
    assert local.load(P, name=newer.name).facts == newer
    loaded = local.load(P, name="00000000000000000099-0000000001")
    assert loaded.replay is None
    assert "no such snapshot" in str(loaded.faults[0])


# --- failed and interrupted writes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*NAMES, MANIFEST])
def test_a_full_disk_leaves_the_older_ones_and_nothing_else(tmp_path: Path, name: str):
    remote = Remote()
    store = SnapshotStore(fs.PyFileSystem(remote), str(tmp_path / "snapshots"), pause_s=0.0)
    before = written(store, 10)
    remote.refuses = lambda path: path.endswith(name)
    with pytest.raises(SnapshotFailed, match="No space left") as failure:
        written(store, 20)
    assert (failure.value.partition, failure.value.path.rpartition("/")[2][:20]) == (P, f"{20:020d}")
    assert str(pickle.loads(pickle.dumps(failure.value))) == str(failure.value)
    assert store.list(P) == (before,)
    assert store.load(P).faults == ()
    remote.refuses = lambda _path: False
    assert [facts.position for facts in (written(store, 20), *store.list(P))] == [20, 20, 10]


@pytest.mark.parametrize("after_bytes", [0, 700, 5_000, 20_000])
def test_a_disk_that_fills_up_within_a_file(local: SnapshotStore, monkeypatch: pytest.MonkeyPatch, after_bytes: int):
    before = written(local, 10)
    took, write = 0, snapshot_files._HashingSink.write

    def until_full(self: snapshot_files._HashingSink, content) -> int:
        nonlocal took
        took += len(memoryview(content).cast("B"))
        if took > after_bytes:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, content)

    monkeypatch.setattr(snapshot_files._HashingSink, "write", until_full)
    with pytest.raises(SnapshotFailed, match="No space left"):
        written(local, 20)
    monkeypatch.undo()
    assert local.list(P) == (before,)
    assert local._files.folders("p-0000") == [before.name]


class BrokenSyncs(Files):
    def fsync(self, descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")


def test_what_could_not_be_synced_is_no_snapshot(local: SnapshotStore):
    before = written(local, 10)
    local._files.files = BrokenSyncs()
    with pytest.raises(SnapshotFailed, match="Input/output error"):
        written(local, 20)
    local._files.files = Files()
    assert local.list(P) == (before,)


class Died(BaseException):
    """A process that ends on the spot."""


@pytest.mark.parametrize(
    "place", [Failpoint.SNAPSHOT_WRITTEN, Failpoint.SNAPSHOT_COMPLETE, Failpoint.SNAPSHOT_VERIFIED]
)
def test_a_writer_may_die_anywhere(store: SnapshotStore, at_failpoint, place: Failpoint):
    for count in (10, 20, 30):
        written(store, count)

    def die(reached: Failpoint) -> None:
        if reached is place:
            raise Died

    at_failpoint(die)
    with pytest.raises(Died):
        written(store, 40)
    at_failpoint(lambda _reached: None)

    is_there = place is not Failpoint.SNAPSHOT_WRITTEN
    assert store.load(P).position == (40 if is_there else 30)
    assert store.oldest_kept_position(P) == 10
    written(store, 50)
    assert [facts.position for facts in store.list(P)] == ([50, 40, 30] if is_there else [50, 30, 20])
    assert [facts.problem for facts in store.list(P)] == ["", "", ""]
    assert len(store._files.folders("p-0000")) == 3, "nothing is left over"


def test_what_does_not_read_as_it_was_written_is_given_up(store: SnapshotStore, tmp_path: Path, at_failpoint):
    before = written(store, 10)

    def spoil(reached: Failpoint) -> None:
        if reached is Failpoint.SNAPSHOT_COMPLETE:
            path = tmp_path / "snapshots" / "p-0000" / f"{20:020d}-{before.epoch:010d}" / NAMES[1]
            content = path.read_bytes()
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    at_failpoint(spoil)
    with pytest.raises(SnapshotFailed, match="does not read as it was written"):
        written(store, 20)
    assert store.list(P) == (before,)


def test_what_a_newer_owner_is_just_writing_is_left_alone(local: SnapshotStore, tmp_path: Path):
    folder = tmp_path / "snapshots" / "p-0000"
    written(local, 10)
    own = ReplayFacts.of(folded(10, "wall")).epoch
    left = [folder / f"{position:020d}-{epoch:010d}.unfinished" for position, epoch in ((15, own), (15, own + 1))]
    for one in left:
        one.mkdir()
    written(local, 20)
    assert [one.exists() for one in left] == [False, True]


def test_foreign_folders_are_left_alone(local: SnapshotStore, tmp_path: Path):
    written(local, 10)
    notes = tmp_path / "snapshots" / "p-0000" / "notes"
    notes.mkdir()
    for count in (20, 30, 40):
        written(local, count)
    assert notes.is_dir()
    assert [facts.position for facts in local.list(P)] == [40, 30, 20]
