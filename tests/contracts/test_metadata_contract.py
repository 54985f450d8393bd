"""The metadata store's contract, on SQLite and on a real PostgreSQL server.

Laws:
    of all that race for a term of a partition, one gets it;
    a partition changes hands only from nobody, from a holder whose lease was ended, or by its holder's own word, and
    only to one that has a lease;
    an epoch never goes back, and what was answered survives the database's sudden end;
    a lease that was ended stays ended; a challenger ends only the renewal that it has seen;
    a database that is away, locked or silent is an error of one type, within a deadline, that names no password.
"""

import itertools
import multiprocessing
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select, text, update

from cluster.metadata import MetadataStore, MetadataUnavailable, MoveRow, Ownership, sqlite_url
from cluster.metadata_tables import LEASES, NOBODY, OWNERSHIP, SCHEMA, SCHEMA_VERSION
from tests.parts.postgresql_server import PASSWORD, Server, running_server

RACER_COUNT = 12
PROCESS_COUNT = 4
PARTITION_COUNT = 3
STEPS_PER_RACER = 40
WAIT_S = 30.0

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "metadata.db")
    running: Server = request.getfixturevalue("server")
    return running.create_database(f"hearth_{next(_numbers)}")


@pytest.fixture
def store(url: str) -> Iterator[MetadataStore]:
    # Racing for one file takes longer than any call of a cluster may.
    made = MetadataStore(url, call_deadline_s=WAIT_S)
    yield made
    made.close()


def registered(store: MetadataStore, *holders: str) -> None:
    for holder in holders:
        assert store.register(
            holder, node="node", process_id=7, process_started_s=1.0, address="unix:/x", term_ms=2_500
        )


def renewed_at_last(store: MetadataStore, holder: str) -> None:
    """Renew with a store whose deadline a busy machine's disk can miss, until it answers."""
    limit = time.monotonic() + WAIT_S
    while True:
        try:
            assert store.renew(holder)
            return
        except MetadataUnavailable:
            assert time.monotonic() < limit, "it never answers"


def owner(store: MetadataStore, partition: int = 0) -> tuple[str, int]:
    owned = store.ownership(partition)
    return owned.holder, owned.epoch


# --- leases ---


def test_a_lease_is_shown_as_it_was_granted(store: MetadataStore) -> None:
    assert store.register(
        "shard-1/b", node="n1", process_id=41, process_started_s=1.0, address="10.0.0.1:7", term_ms=900
    )
    assert store.register(
        "shard-0/a", node="n0", process_id=40, process_started_s=1.0, address="unix:/s", term_ms=2_500
    )
    first, second = store.leases()
    assert (first.holder, first.node, first.process_id, first.address) == ("shard-0/a", "n0", 40, "unix:/s")
    assert (second.renewals, second.term_ms, second.is_revoked) == (0, 900, False)


def test_each_renewal_counts_one(store: MetadataStore) -> None:
    registered(store, "a/1", "b/1")
    assert [store.renew("a/1") for _ in range(3)] == [True, True, True]
    assert [lease.renewals for lease in store.leases()] == [3, 0]


def test_who_was_never_granted_a_lease_cannot_renew(store: MetadataStore) -> None:
    assert not store.renew("a/1")
    assert store.leases() == []


def test_registering_again_renews(store: MetadataStore) -> None:
    registered(store, "a/1", "a/1")
    assert [lease.renewals for lease in store.leases()] == [1]


def test_a_revoked_lease_is_gone_for_good(store: MetadataStore) -> None:
    registered(store, "a/1")
    assert store.revoke("a/1", None)
    assert not store.renew("a/1")
    assert not store.register("a/1", node="n", process_id=1, process_started_s=1.0, address="", term_ms=1)
    assert [lease.is_revoked for lease in store.leases()] == [True]


def test_a_challenger_ends_only_the_renewal_it_has_seen(store: MetadataStore) -> None:
    registered(store, "a/1")
    store.renew("a/1")
    assert not store.revoke("a/1", 0)
    assert store.renew("a/1")
    assert store.revoke("a/1", 2)
    assert not store.renew("a/1")


def test_revoking_again_or_one_unknown_says_that_there_is_none(store: MetadataStore) -> None:
    registered(store, "a/1")
    assert store.revoke("a/1", 0)
    assert store.revoke("a/1", 0)
    assert store.revoke("nobody-knows/1", 5)


def test_released_partitions_are_free_and_their_epochs_stay(store: MetadataStore) -> None:
    registered(store, "a/1", "b/1")
    assert store.take(0, holder="a/1", seen_epoch=0, epoch=4)
    assert store.take(1, holder="b/1", seen_epoch=0, epoch=2)
    store.release("a/1")
    store.release("a/1")
    assert store.ownerships() == [
        Ownership(partition=0, holder=NOBODY, epoch=4),
        Ownership(partition=1, holder="b/1", epoch=2),
    ]
    assert [lease.holder for lease in store.leases()] == ["b/1"]
    assert not store.renew("a/1")


def test_only_a_revoked_lease_without_partitions_is_forgotten(store: MetadataStore) -> None:
    registered(store, "a/1", "b/1")
    assert store.take(0, holder="a/1", seen_epoch=0, epoch=1)
    assert not store.forget("b/1")
    assert store.revoke("a/1", None)
    assert not store.forget("a/1")
    assert store.take(0, holder="b/1", seen_epoch=1, epoch=2)
    assert store.forget("a/1")
    assert not store.forget("a/1")
    assert [lease.holder for lease in store.leases()] == ["b/1"]


# --- ownership ---


def test_a_partition_without_a_past_is_nobodys_in_epoch_0(store: MetadataStore) -> None:
    assert store.ownership(5) == Ownership(partition=5, holder=NOBODY, epoch=0)
    assert store.ownerships() == []


def test_a_first_term_may_begin_at_any_epoch(store: MetadataStore) -> None:
    registered(store, "a/1")
    assert store.take(0, holder="a/1", seen_epoch=0, epoch=2**40)
    assert owner(store) == ("a/1", 2**40)


def test_no_lease_no_partition(store: MetadataStore) -> None:
    assert not store.take(0, holder="a/1", seen_epoch=0, epoch=1)
    registered(store, "b/1")
    store.revoke("b/1", None)
    assert not store.take(0, holder="b/1", seen_epoch=0, epoch=1)
    assert owner(store) == (NOBODY, 0)


def test_a_leased_owner_keeps_its_partition(store: MetadataStore) -> None:
    registered(store, "a/1", "b/1")
    assert store.take(0, holder="a/1", seen_epoch=0, epoch=1)
    assert not store.take(0, holder="b/1", seen_epoch=1, epoch=2)
    assert owner(store) == ("a/1", 1)


def test_a_revoked_owner_loses_it(store: MetadataStore) -> None:
    registered(store, "a/1", "b/1")
    assert store.take(0, holder="a/1", seen_epoch=0, epoch=1)
    assert store.revoke("a/1", 0)
    assert store.take(0, holder="b/1", seen_epoch=1, epoch=2)
    assert not store.take(0, holder="a/1", seen_epoch=2, epoch=3)
    assert owner(store) == ("b/1", 2)


def test_an_owner_takes_its_own_partition_in_a_later_term(store: MetadataStore) -> None:
    registered(store, "a/1")
    assert store.take(0, holder="a/1", seen_epoch=0, epoch=1)
    assert store.take(0, holder="a/1", seen_epoch=1, epoch=5)
    assert owner(store) == ("a/1", 5)


def test_who_saw_an_older_term_does_not_get_it(store: MetadataStore) -> None:
    registered(store, "a/1", "b/1")
    assert store.take(0, holder="a/1", seen_epoch=0, epoch=3)
    assert store.give_up(0, holder="a/1", epoch=3)
    assert not store.take(0, holder="b/1", seen_epoch=0, epoch=4)
    assert not store.take(0, holder="b/1", seen_epoch=2, epoch=4)
    assert store.take(0, holder="b/1", seen_epoch=3, epoch=4)


def test_a_term_that_goes_back_is_a_bug(store: MetadataStore) -> None:
    registered(store, "a/1")
    with pytest.raises(AssertionError, match="already at 3"):
        store.take(0, holder="a/1", seen_epoch=3, epoch=3)
    with pytest.raises(AssertionError, match="already at 3"):
        store.raise_epoch(0, holder="a/1", seen_epoch=3, epoch=2)


def test_the_owner_alone_raises_its_epoch_and_only_with_its_lease(store: MetadataStore) -> None:
    registered(store, "a/1", "b/1")
    assert store.take(0, holder="a/1", seen_epoch=0, epoch=1)
    assert not store.raise_epoch(0, holder="b/1", seen_epoch=1, epoch=9)
    assert not store.raise_epoch(0, holder="a/1", seen_epoch=0, epoch=9)
    assert store.raise_epoch(0, holder="a/1", seen_epoch=1, epoch=9)
    assert store.revoke("a/1", None)
    assert not store.raise_epoch(0, holder="a/1", seen_epoch=9, epoch=10)
    assert owner(store) == ("a/1", 9)


def test_the_owner_alone_gives_its_partition_up(store: MetadataStore) -> None:
    registered(store, "a/1", "b/1")
    assert store.take(0, holder="a/1", seen_epoch=0, epoch=1)
    assert not store.give_up(0, holder="b/1", epoch=1)
    assert not store.give_up(0, holder="a/1", epoch=2)
    assert store.give_up(0, holder="a/1", epoch=1)
    assert not store.give_up(0, holder="a/1", epoch=1)
    assert owner(store) == (NOBODY, 1)


# --- many at once ---


def at_once(tasks: list[Callable[[], bool]]) -> list[bool]:
    barrier = threading.Barrier(len(tasks))

    def run(task: Callable[[], bool]) -> bool:
        barrier.wait(WAIT_S)
        return task()

    with ThreadPoolExecutor(len(tasks)) as pool:
        return list(pool.map(run, tasks))


def winners_of_a_race(store: MetadataStore) -> int:
    holders = [f"shard-{number}/r" for number in range(RACER_COUNT)]
    registered(store, "old/1", *holders)
    assert store.take(0, holder="old/1", seen_epoch=0, epoch=1)
    assert store.revoke("old/1", None)
    return sum(
        at_once([lambda holder=holder: store.take(0, holder=holder, seen_epoch=1, epoch=2) for holder in holders])
    )


def test_one_of_all_that_race_for_a_term_gets_it(store: MetadataStore) -> None:
    assert winners_of_a_race(store) == 1


def test_negative_control_a_take_that_looks_before_it_swaps_has_many_winners(url: str) -> None:
    class Torn(MetadataStore):
        """Looks in one transaction and writes in the next."""

        looked = threading.Barrier(RACER_COUNT)

        def take(self, partition: int, *, holder: str, seen_epoch: int, epoch: int) -> bool:
            if seen_epoch == 0:
                return super().take(partition, holder=holder, seen_epoch=seen_epoch, epoch=epoch)
            if self.ownership(partition).epoch != seen_epoch:
                return False
            self.looked.wait(WAIT_S)
            with self._changing() as connection:
                connection.execute(update(OWNERSHIP).values(holder=holder, epoch=epoch))
            return True

    torn = Torn(url, call_deadline_s=WAIT_S)
    assert winners_of_a_race(torn) == RACER_COUNT
    torn.close()


def test_the_first_row_of_a_partition_has_one_winner_too(store: MetadataStore) -> None:
    holders = [f"shard-{number}/r" for number in range(RACER_COUNT)]
    registered(store, *holders)
    won = at_once([lambda holder=holder: store.take(9, holder=holder, seen_epoch=0, epoch=1) for holder in holders])
    assert won.count(True) == 1
    assert owner(store, 9) == (holders[won.index(True)], 1)


def test_stores_that_start_at_once_make_the_tables_once(url: str) -> None:
    stores = [MetadataStore(url, call_deadline_s=WAIT_S) for _ in range(RACER_COUNT)]
    assert at_once([lambda one=one: one.leases() == [] for one in stores]) == [True] * RACER_COUNT
    for one in stores:
        one.close()


def churn(url: str, seed: int) -> list[tuple[int, int, int, str]]:
    """Be several shards and a challenger at once for a while; return the terms that were taken."""
    chance = np.random.default_rng(seed)
    store = MetadataStore(url, call_deadline_s=WAIT_S)
    taken: list[tuple[int, int, int, str]] = []
    holder, life = f"shard-{seed}/0", 0
    registered(store, holder)
    for _ in range(STEPS_PER_RACER):
        partition = int(chance.integers(PARTITION_COUNT))
        match chance.integers(6):
            case 0:
                if not store.renew(holder):
                    life += 1
                    holder = f"shard-{seed}/{life}"
                    registered(store, holder)
            case 1:
                leases = store.leases()
                seen = leases[int(chance.integers(len(leases)))] if leases else None
                if seen is not None:
                    store.revoke(seen.holder, seen.renewals)
            case 2:
                held = store.ownership(partition)
                store.give_up(partition, holder=holder, epoch=held.epoch)
            case 3:
                store.forget(f"shard-{seed}/{life - 1}")
            case _:
                seen_epoch = store.ownership(partition).epoch
                epoch = seen_epoch + 1 + int(chance.integers(2))
                if store.take(partition, holder=holder, seen_epoch=seen_epoch, epoch=epoch):
                    taken.append((partition, seen_epoch, epoch, holder))
    store.close()
    return taken


def audit(taken: list[tuple[int, int, int, str]], store: MetadataStore) -> None:
    """The terms of each partition are one chain, from 0 to what the store says."""
    assert max(Counter((partition, seen) for partition, seen, _, _ in taken).values()) == 1
    for partition in range(PARTITION_COUNT):
        after = {seen: epoch for of, seen, epoch, _ in taken if of == partition}
        epoch, length = 0, 0
        while epoch in after:
            epoch, length = after[epoch], length + 1
        assert length == len(after)
        assert store.ownership(partition).epoch == epoch


def test_terms_taken_by_threads_are_one_chain(store: MetadataStore, url: str) -> None:
    with ThreadPoolExecutor(RACER_COUNT) as pool:
        taken = list(itertools.chain.from_iterable(pool.map(churn, [url] * RACER_COUNT, range(RACER_COUNT))))
    assert len(taken) > RACER_COUNT
    audit(taken, store)


def test_terms_taken_by_processes_are_one_chain(store: MetadataStore, url: str) -> None:
    with multiprocessing.get_context("spawn").Pool(PROCESS_COUNT) as pool:
        taken = list(itertools.chain.from_iterable(pool.starmap(churn, [(url, n) for n in range(PROCESS_COUNT)])))
    assert len(taken) > PROCESS_COUNT
    audit(taken, store)


def test_a_taker_that_is_just_being_revoked_gets_nothing(store: MetadataStore) -> None:
    registered(store, "a/1")
    with ThreadPoolExecutor(1) as pool:
        with store._changing() as connection:
            connection.execute(update(LEASES).where(LEASES.c.holder == "a/1").values(is_revoked=True))
            taking = pool.submit(store.take, 0, holder="a/1", seen_epoch=0, epoch=1)
            if connection.dialect.name == "postgresql":
                waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
                limit = time.monotonic() + WAIT_S
                while connection.execute(waiting).scalar_one() == 0:
                    assert time.monotonic() < limit, "take did not wait for the lease's row"
        assert not taking.result(WAIT_S)
    assert owner(store) == (NOBODY, 0)


# --- the database itself ---


def test_what_a_process_was_told_outlives_it(url: str, repository: Path) -> None:
    told = f"""
import os
from cluster.metadata import MetadataStore
store = MetadataStore({url!r})
assert store.register("a/1", node="n", process_id=1, process_started_s=1.0, address="", term_ms=1)
assert store.take(0, holder="a/1", seen_epoch=0, epoch=1)
os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", told], cwd=repository, timeout=WAIT_S).returncode == 9
    store = MetadataStore(url)
    assert owner(store) == ("a/1", 1)
    store.close()


@pytest.mark.chaos
def test_what_postgresql_answered_outlives_its_sudden_end(server: Server) -> None:
    store = MetadataStore(server.create_database("sudden_end"))
    registered(store, "a/1")
    assert store.take(0, holder="a/1", seen_epoch=0, epoch=1)
    server.kill()
    with pytest.raises(MetadataUnavailable):
        store.renew("a/1")
    server.start()
    assert store.renew("a/1")
    assert owner(store) == ("a/1", 1)
    store.close()


def test_a_stopped_postgresql_is_unavailable_within_the_deadlines(server: Server) -> None:
    url = server.create_database("stopped")
    patient, hurried = MetadataStore(url, call_deadline_s=WAIT_S), MetadataStore(url, call_deadline_s=0.3)
    registered(patient, "a/1")
    renewed_at_last(hurried, "a/1")
    server.pause()
    try:
        began = time.monotonic()
        with pytest.raises(MetadataUnavailable, match="unavailable"):
            hurried.renew("a/1")
        # 0.3 s until the connection is given up, 2 s for a new one, and what a busy machine needs.
        assert time.monotonic() - began < 2.3 + 3.0
    finally:
        server.resume()
    renewed_at_last(hurried, "a/1")
    patient.close()
    hurried.close()


def test_a_lock_that_is_not_let_go_is_unavailable_within_the_deadline(url: str) -> None:
    patient, hurried = MetadataStore(url, call_deadline_s=WAIT_S), MetadataStore(url, call_deadline_s=0.3)
    registered(patient, "a/1")
    renewed_at_last(hurried, "a/1")
    with patient._changing() as connection:
        connection.execute(update(LEASES).values(renewals=500))
        began = time.monotonic()
        with pytest.raises(MetadataUnavailable):
            hurried.renew("a/1")
        assert time.monotonic() - began < 0.3 + 3.0
    renewed_at_last(hurried, "a/1")
    # A renewal can have been written whose answer came too late, and was made once more.
    assert all(lease.renewals > 500 for lease in patient.leases())
    patient.close()
    hurried.close()


def test_an_older_table_keeps_its_epochs_and_its_owners_are_gone(url: str) -> None:
    before = MetadataStore(url)
    with before._engine.begin() as connection:
        connection.execute(
            text("CREATE TABLE ownership (partition INTEGER PRIMARY KEY, owner VARCHAR(200) NOT NULL, epoch INTEGER)")
        )
        connection.execute(text("INSERT INTO ownership VALUES (0, 'shard-0', 7), (3, 'shard-1', 2)"))
    for _ in range(2):
        store = MetadataStore(url)
        assert [(one.partition, one.holder, one.epoch) for one in store.ownerships()] == [(0, "", 7), (3, "", 2)]
        store.close()
    registered(before, "a/1")
    assert before.take(0, holder="a/1", seen_epoch=7, epoch=2**33)
    assert owner(before) == ("a/1", 2**33)
    before.close()


def test_leases_from_before_their_processes_were_known_by_start_are_gone_and_later_ones_stay(url: str) -> None:
    before = MetadataStore(url, call_deadline_s=WAIT_S)
    registered(before, "old/1")
    assert before.take(0, holder="old/1", seen_epoch=0, epoch=4)
    with before._engine.begin() as connection:
        connection.execute(text("ALTER TABLE leases DROP COLUMN process_started_s"))
    store = MetadataStore(url, call_deadline_s=WAIT_S)
    assert store.leases() == []
    assert owner(store) == ("old/1", 4)
    registered(store, "new/1")
    assert store.take(0, holder="new/1", seen_epoch=4, epoch=5)
    again = MetadataStore(url, call_deadline_s=WAIT_S)
    assert [(lease.holder, lease.process_started_s) for lease in again.leases()] == [("new/1", 1.0)]
    for one in (before, store, again):
        one.close()


def test_sqlite_keeps_a_rollback_journal_and_syncs_fully(tmp_path: Path) -> None:
    store = MetadataStore(sqlite_url(tmp_path / "metadata.db"))
    with store._reading() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "delete"
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2
        assert connection.execute(select(OWNERSHIP)).all() == []
    store.close()


def test_making_a_store_asks_nothing_and_the_first_call_names_what_is_away_but_no_password() -> None:
    store = MetadataStore(f"postgresql+psycopg://hearth:{PASSWORD}@127.0.0.1:1/hearth?application_name={PASSWORD}")
    with pytest.raises(MetadataUnavailable) as failed:
        store.leases()
    assert failed.value.url == "postgresql+psycopg://hearth:***@127.0.0.1:1/hearth"
    assert "refused" in failed.value.reason
    assert PASSWORD not in str(failed.value)


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "metadata.db"
    path.write_bytes(b"this was a database once" * 100)
    with pytest.raises(MetadataUnavailable, match="not a database"):
        MetadataStore(sqlite_url(path)).leases()


def test_other_databases_are_refused() -> None:
    with pytest.raises(ValueError, match="sqlite or postgresql"):
        MetadataStore("mysql://nobody@127.0.0.1/none")


# --- moves and wishes ---


def test_an_owner_passes_its_partition_on_in_a_later_term(store: MetadataStore) -> None:
    registered(store, "a/1", "b/1")
    assert store.take(0, holder="a/1", seen_epoch=0, epoch=1)
    assert store.pass_on(0, holder="a/1", epoch=1, to="b/1", next_epoch=3)
    assert owner(store) == ("b/1", 3)


def test_nobody_passes_on_what_is_not_his_or_not_any_more(store: MetadataStore) -> None:
    registered(store, "a/1", "b/1", "c/1")
    assert not store.pass_on(0, holder="a/1", epoch=1, to="b/1", next_epoch=2), "it never had an owner"
    assert store.take(0, holder="a/1", seen_epoch=0, epoch=1)
    assert not store.pass_on(0, holder="c/1", epoch=1, to="b/1", next_epoch=2)
    # It was given to its holder anew meanwhile, which opens it again.
    assert store.take(0, holder="a/1", seen_epoch=1, epoch=2)
    assert not store.pass_on(0, holder="a/1", epoch=1, to="b/1", next_epoch=3)
    assert owner(store) == ("a/1", 2)


def test_nothing_is_passed_on_to_who_has_no_lease(store: MetadataStore) -> None:
    registered(store, "a/1", "b/1")
    assert store.take(0, holder="a/1", seen_epoch=0, epoch=1)
    assert not store.pass_on(0, holder="a/1", epoch=1, to="nobody/1", next_epoch=2)
    assert store.revoke("b/1", None)
    assert not store.pass_on(0, holder="a/1", epoch=1, to="b/1", next_epoch=2)
    assert owner(store) == ("a/1", 1)


def test_what_is_passed_on_and_what_is_taken_have_one_owner(store: MetadataStore) -> None:
    """A challenger and the owner itself race for the term; whoever is second changes nothing."""
    for number in range(20):
        registered(store, f"a/{number}", f"b/{number}", f"c/{number}")
        before = store.ownership(0)
        assert store.revoke(before.holder, None) or not before.holder
        assert store.take(0, holder=f"a/{number}", seen_epoch=before.epoch, epoch=before.epoch + 1)
        epoch = before.epoch + 1
        barrier = threading.Barrier(2)

        def passes_on(number: int = number, epoch: int = epoch, barrier: threading.Barrier = barrier) -> bool:
            barrier.wait(WAIT_S)
            return store.pass_on(0, holder=f"a/{number}", epoch=epoch, to=f"b/{number}", next_epoch=epoch + 1)

        def takes(number: int = number, epoch: int = epoch, barrier: threading.Barrier = barrier) -> bool:
            barrier.wait(WAIT_S)
            store.revoke(f"a/{number}", None)
            return store.take(0, holder=f"c/{number}", seen_epoch=epoch, epoch=epoch + 1)

        with ThreadPoolExecutor(2) as pool:
            passed, taken = (one.result() for one in (pool.submit(passes_on), pool.submit(takes)))
        assert passed is not taken
        assert owner(store) == (f"b/{number}" if passed else f"c/{number}", epoch + 1)


def test_moves_under_way_are_told_with_their_newest_step_until_they_end(store: MetadataStore) -> None:
    move = MoveRow(partition=3, source="a/1", target="b/1", step="prepare", why="a is drained")
    store.note_move(move)
    store.note_move(replace(move, step="hand-over"))
    store.note_move(replace(move, partition=1))
    assert store.moves() == [replace(move, partition=1), replace(move, step="hand-over")]
    store.forget_move(3)
    store.forget_move(3)
    assert [one.partition for one in store.moves()] == [1]


def test_a_wish_holds_until_it_is_taken_back(store: MetadataStore) -> None:
    assert store.wishes() == {}
    store.wish("shards", "4")
    store.wish("shards", "2")
    store.wish("drain-shard shard-1", "asked")
    assert store.wishes() == {"shards": "2", "drain-shard shard-1": "asked"}
    store.wish("drain-shard shard-1", None)
    store.wish("drain-shard shard-1", None)
    assert store.wishes() == {"shards": "2"}
    store.forget_wishes()
    assert store.wishes() == {}


def test_tables_of_a_newer_hearth_are_named_and_left_alone(url: str) -> None:
    with closing(MetadataStore(url, call_deadline_s=WAIT_S)) as newer:
        newer.wish("shards", "4")
        with newer._changing() as connection:
            connection.execute(update(SCHEMA).values(version=SCHEMA_VERSION + 1))
    refused = pytest.raises(MetadataUnavailable, match=f"of version {SCHEMA_VERSION + 1}, this Hearth knows")
    with closing(MetadataStore(url, call_deadline_s=WAIT_S)) as older, refused:
        older.forget_wishes()
    with closing(MetadataStore(url, call_deadline_s=WAIT_S)) as again:
        again._is_prepared = True
        assert again.wishes() == {"shards": "4"}
