"""Snapshots of a partition: all that its fold knew at one position of its log, so that a start need not read the rest.

    # In the state thread, between two records; `position` is the offset of the next record to fold:
    freeze, facts = Freeze(replay.now), ReplayFacts.of(replay)
    # In the state thread, as ingest jobs of their own, other jobs in between, until one returns True:
    freeze.step()                      # a freeze that `is_stale` (another plan came into force): end it, begin anew
    frozen = freeze.end()              # also when giving up: it lets go of the state
    # In a worker thread (blocks for seconds, other threads go on):
    written = store.write(frozen, partition=partition, position=position, replay=facts)
    log.drop_before(store.oldest_kept_position(partition))

    # At a start, in a worker thread; several partitions in parallel:
    loaded = store.load(partition)     # loaded.faults: what is wrong with newer ones
    replay, position = loaded.replay or Replay(), loaded.position        # LOG_START if there is none
    log = logs.open(partition, acknowledged_end=position)                # a log that ends before it is damaged
    for stored in log.read(position): replay.fold(stored)

Layout: `<root>/p-0003/<position>-<epoch>/` with one Arrow file per table and `manifest.json`, without which it is none.
Numbers and reasons: docs/decisions/0009-snapshots.md.
"""

import gc
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs

from actors.failpoints import Failpoint, reached
from actors.log.contract import LOG_START, Epoch, Offset, PartitionId
from actors.passing_over import passing_over
from actors.records.codec import decode_plan
from actors.records.payload import PayloadUnreadable
from actors.records.replay import Replay
from actors.snapshots.facts import (
    Loaded,
    ReplayFacts,
    SnapshotFacts,
    SnapshotFailed,
    SnapshotFault,
    SnapshotUnusable,
    Unfit,
)
from actors.snapshots.files import MANIFEST, UNFINISHED, SnapshotFiles, difference, unlike
from actors.snapshots.manifest import manifest_bytes, read_manifest, stored_files
from actors.snapshots.tables import PLAN, TableUnreadable, decoded, encoded
from household.freeze import Frozen, thaw
from household.plan import Plan, PlanUnreadable
from household.state import FOLD_VERSION

_NAME = re.compile(r"(\d{20})-(\d{10})")


def snapshot_store(location: str, *, kept: int = 3) -> "SnapshotStore":
    """Return the store at a path or a pyarrow filesystem URI (`s3://bucket/prefix`, `gs://…`, `file:///…`).

    Raises:
        ValueError, OSError: not a location this build of pyarrow knows.
    """
    if "://" not in location:
        return SnapshotStore(fs.LocalFileSystem(), str(Path(location).absolute()), kept=kept)
    filesystem, root = fs.FileSystem.from_uri(location)
    return SnapshotStore(filesystem, root, kept=kept)


class SnapshotStore:
    """The snapshots of one Hearth. One writer per partition; its calls block."""

    def __init__(self, filesystem: fs.FileSystem, root: str, *, kept: int = 3, pause_s: float = 0.001) -> None:
        """Keep the newest `kept` good snapshots of each partition; rest `pause_s` between two bursts of encoding."""
        assert kept >= 1
        self._files = SnapshotFiles(filesystem, root)
        self._kept = kept
        self._pause_s = pause_s

    # --- writing -----------------------------------------------------------------------------------------------------

    def write(
        self,
        frozen: Frozen,
        *,
        partition: PartitionId,
        position: Offset,
        replay: ReplayFacts,
        state_hash: str = "",
    ) -> SnapshotFacts:
        """Write a snapshot, read it back, then drop what is too many. Called twice at one position it writes once.

        Raises:
            SnapshotFailed: there is no such snapshot; the ones before are untouched.
        """
        name = f"{position:020d}-{replay.epoch:010d}"
        folder = f"{_folder(partition)}/{name}"
        try:
            self._remove_leftovers(partition, replay.epoch)
            there = self._verified(partition, name)
            if there is None:
                self._write_all(folder, frozen, partition, position, replay, state_hash)
                reached(Failpoint.SNAPSHOT_COMPLETE)
                there = self._verified(partition, name)
            if there is None:
                self._files.remove(folder)
                raise SnapshotFailed(partition, self._files.path(folder), "it does not read as it was written")
            reached(Failpoint.SNAPSHOT_VERIFIED)
            self._drop_surplus(partition)
        except (OSError, pa.ArrowException) as wrong:
            raise SnapshotFailed(partition, self._files.path(folder), str(wrong) or type(wrong).__name__) from wrong
        return there

    def _write_all(
        self,
        folder: str,
        frozen: Frozen,
        partition: PartitionId,
        position: Offset,
        replay: ReplayFacts,
        state_hash: str,
    ) -> None:
        unfinished = self._files.begin(folder)
        try:
            stored = {
                name: self._files.write(unfinished, name, content)
                for name, content in encoded(frozen, pause_s=self._pause_s)
            }
            reached(Failpoint.SNAPSHOT_WRITTEN)
            manifest = manifest_bytes(frozen, partition, position, replay, state_hash, stored)
            self._files.write(unfinished, MANIFEST, manifest)
            self._files.publish(unfinished, folder)
        except (OSError, pa.ArrowException):
            # It may have got its name, and only that this is durable could not be had.
            for one in (unfinished, folder):
                with passing_over(OSError, pa.ArrowException, because="the next writer removes it"):
                    self._files.remove(one)
            raise

    def _verified(self, partition: PartitionId, name: str) -> SnapshotFacts | None:
        """Return the facts of a snapshot of which every file reads as it was written."""
        folder = f"{_folder(partition)}/{name}"
        facts, manifest = self._look_at(partition, name)
        if manifest is None:
            return None
        return None if difference(stored_files(manifest), lambda file: self._files.read(folder, file)) else facts

    def _remove_leftovers(self, partition: PartitionId, epoch: int) -> None:
        """Remove what a writer that died left: nothing without a manifest is a snapshot.

        Not what is of a newer epoch: its writer lives, and it is this one that is outdated.
        """
        for name in self._files.folders(_folder(partition)):
            folder = f"{_folder(partition)}/{name}"
            match = _NAME.fullmatch(name.removesuffix(UNFINISHED))
            is_ours = match is not None and int(match[2]) <= epoch
            if is_ours and (name.endswith(UNFINISHED) or MANIFEST not in self._files.sizes(folder)):
                self._files.remove(folder)

    def _drop_surplus(self, partition: PartitionId) -> None:
        """Remove all that is older than the oldest one to keep. Damaged ones do not count as kept."""
        found = self.list(partition)
        good = [facts.name for facts in found if not facts.problem]
        if len(good) <= self._kept:
            return
        oldest = good[self._kept - 1]
        for facts in found:
            if facts.name < oldest:
                self._files.remove(f"{_folder(partition)}/{facts.name}")

    # --- looking -----------------------------------------------------------------------------------------------------

    def list(self, partition: PartitionId) -> tuple[SnapshotFacts, ...]:
        """Return a partition's snapshots, newest first, those with a problem included.

        Raises:
            OSError: the store could not be read.
        """
        names = [name for name in self._files.folders(_folder(partition)) if _NAME.fullmatch(name)]
        return tuple(self._look_at(partition, name)[0] for name in reversed(names))

    def partitions(self) -> tuple[PartitionId, ...]:
        """Return the partitions that have a folder here, in ascending order."""
        found = (re.fullmatch(r"p-(\d{4,})", name) for name in self._files.folders(""))
        return tuple(sorted(PartitionId(int(one[1])) for one in found if one))

    def plans(self, partition: PartitionId) -> tuple[Plan, ...]:
        """Return the plan of each snapshot, oldest first; of those whose plan reads as it was written.

        Raises:
            OSError: the store could not be listed.
        """
        plans = []
        for facts in reversed(self.list(partition)):
            _, manifest = self._look_at(partition, facts.name)
            if manifest is None:
                continue
            with passing_over(
                OSError,
                pa.ArrowException,
                PayloadUnreadable,
                PlanUnreadable,
                because="loading judges it",
            ):
                content = self._files.read(f"{_folder(partition)}/{facts.name}", PLAN)
                if not unlike(content, stored_files(manifest)[PLAN]):
                    plans.append(decode_plan(content.to_pybytes()))
        return tuple(plans)

    def oldest_kept_position(self, partition: PartitionId) -> Offset | None:
        """Return where the oldest snapshot against which nothing is known stands; None if there is none."""
        return min((facts.position for facts in self.list(partition) if not facts.problem), default=None)

    def _look_at(self, partition: PartitionId, name: str) -> tuple[SnapshotFacts, dict[str, Any] | None]:
        """Return what is known of a snapshot, and its manifest if it can be used."""
        match = _NAME.fullmatch(name)
        assert match is not None
        position, epoch = Offset(int(match[1])), Epoch(int(match[2]))
        folder = f"{_folder(partition)}/{name}"
        try:
            manifest = self._manifest_of(folder, partition, position, epoch)
        except SnapshotUnusable as wrong:
            fault = wrong.of(name)
            return SnapshotFacts(partition=partition, name=name, position=position, epoch=epoch, fault=fault), None
        facts = SnapshotFacts(
            partition=partition,
            name=name,
            position=position,
            epoch=epoch,
            plan_version=manifest["plan_version"],
            size_bytes=sum(one.size for one in stored_files(manifest).values()),
            counts=manifest["counts"],
            state_hash=manifest["state_hash"],
        )
        return facts, manifest

    def _manifest_of(self, folder: str, partition: PartitionId, position: Offset, epoch: Epoch) -> dict[str, Any]:
        """Return the manifest of a snapshot whose files are all there, in their sizes."""
        sizes = self._files.sizes(folder)
        if MANIFEST not in sizes:
            raise SnapshotUnusable(MANIFEST, "missing: the snapshot was never finished")
        try:
            manifest = read_manifest(self._files.read(folder, MANIFEST).to_pybytes())
        except (OSError, pa.ArrowException) as wrong:
            raise SnapshotUnusable(MANIFEST, f"cannot be read: {wrong}") from wrong
        if manifest["fold_version"] > FOLD_VERSION:
            what = f"of fold version {manifest['fold_version']}, this software folds by version {FOLD_VERSION}"
            raise SnapshotUnusable(MANIFEST, what, Unfit.FOR_THIS_VERSION)
        told = (manifest["partition"], manifest["position"], manifest["replay"]["epoch"])
        if told != (partition, position, epoch):
            raise SnapshotUnusable(MANIFEST, f"is of partition, position and epoch {told}")
        for name, stored in stored_files(manifest).items():
            if sizes.get(name) != stored.size:
                what = "missing" if name not in sizes else f"{sizes[name]} bytes, {stored.size} were written"
                raise SnapshotUnusable(name, what)
        return manifest

    # --- loading -----------------------------------------------------------------------------------------------------

    def load(self, partition: PartitionId, *, name: str | None = None) -> Loaded:
        """Return the newest snapshot that is sound (or the named one), and what is wrong with those tried before it.

        Whatever the files hold, nothing is raised for it: it is a fault, and the snapshot before is tried.

        Raises:
            OSError: the store could not be listed.
        """
        found = self._files.folders(_folder(partition))
        names = [one for one in reversed(found) if _NAME.fullmatch(one) and name in (None, one)]
        faults: list[SnapshotFault] = []
        if name is not None and not names:
            faults.append(SnapshotFault(name=name, file=MANIFEST, what="there is no such snapshot"))
        for each in names:
            try:
                facts, replay = self._load(partition, each)
            except SnapshotUnusable as wrong:
                faults.append(wrong.of(each))
            else:
                return Loaded(replay=replay, position=facts.position, facts=facts, faults=tuple(faults))
        return Loaded(replay=None, position=LOG_START, facts=None, faults=tuple(faults))

    def _load(self, partition: PartitionId, name: str) -> tuple[SnapshotFacts, Replay]:
        facts, manifest = self._look_at(partition, name)
        if manifest is None:
            assert facts.fault is not None, "neither a manifest nor what is wrong with it"
            raise SnapshotUnusable(facts.fault.file, facts.fault.what, facts.fault.unfit)
        folder, files = f"{_folder(partition)}/{name}", {}
        for file, stored in stored_files(manifest).items():
            try:
                files[file] = self._files.read(folder, file)
            except (OSError, pa.ArrowException) as wrong:
                raise SnapshotUnusable(file, f"cannot be read: {wrong}") from wrong
            if wrong_with_it := unlike(files[file], stored):
                raise SnapshotUnusable(file, wrong_with_it)
        try:
            with _collection_paused():
                state = thaw(decoded(manifest["head"], files, format_=manifest["format"]))
        except TableUnreadable as wrong:
            raise SnapshotUnusable(wrong.name, wrong.what, wrong.unfit) from wrong
        return facts, Replay(state=state, fold_version=state.fold_version, **manifest["replay"])


_pausing = threading.Lock()

_pauses = 0
"""How many loads are under way, in all threads."""


@contextmanager
def _collection_paused() -> Iterator[None]:
    """Let nobody look for garbage while something is loaded, and then once.

    All of it is kept, and looking through it each time it had grown by a little took half of a load.
    """
    global _pauses
    with _pausing:
        _pauses += 1
        gc.disable()
    try:
        yield
    finally:
        with _pausing:
            _pauses -= 1
            if not _pauses:
                gc.enable()
                gc.collect()
                gc.freeze()


def _folder(partition: PartitionId) -> str:
    return f"p-{partition:04d}"
