"""What an event is known by, and a request.

Laws:
    one id for many households, or from several sources, is as many events, however they fall into partitions;
    parts that join to the same bytes are not the same;
    in terms of version 1 an id is known by itself, and stays known over the change of versions until its window ends;
    a request is known by household and id, in terms of version 1 by its id alone;
    all of it as the oracle has it, and over freezes.
"""

import itertools
from dataclasses import replace

import pytest

from household.apply import apply_epoch, apply_signals
from household.digest import state_digest
from household.events import LONGEST_SOURCE, Status
from household.freeze import Freeze, thaw
from household.state import NEVER_US, PartitionState
from tests.household.oracle import Event, Oracle, batch_of
from tests.household.shop import APP, Shop
from tests.household.side import requests_of
from tests.household.test_admission import PLAN, VISIT
from tests.household.worlds import START_US, S

APPLIED, DUPLICATE, LATE = Status.APPLIED, Status.DUPLICATE, Status.LATE


class Town:
    """A partition and the oracle beside it."""

    def __init__(self, fold_version: int = 2, *, stream_clock: bool = False) -> None:
        self.state = PartitionState(plan=PLAN, stream_clock=stream_clock)
        self.state.fold_version = fold_version
        self.oracle = Oracle(PLAN, stream_clock=stream_clock, fold_version=fold_version)

    def told(self, *events: Event, stamp_us: int = START_US) -> list[Status]:
        applied = apply_signals(self.state, batch_of(PLAN, list(events)), stamp_us=stamp_us)
        statuses = [Status(int(status)) for status in applied.statuses]
        assert statuses == self.oracle.apply(list(events), stamp_us=stamp_us)
        assert self.state.dedupe.count == len(self.oracle.known)
        return statuses

    def open_term(self, fold_version: int = 2) -> None:
        apply_epoch(self.state, epoch=self.state.epoch + 1, fold_version=fold_version)
        self.oracle.open_term(fold_version)

    def frozen_over(self) -> None:
        """Go on from a freeze, as after a restart from a snapshot."""
        freeze = Freeze(self.state)
        while not freeze.step():
            pass
        frozen, before = freeze.end(), state_digest(self.state)
        assert frozen is not None
        self.state = thaw(frozen)
        assert state_digest(self.state) == before


def test_one_id_for_many_households_and_sources_is_as_many_events():
    town = Town()
    events = [
        replace(VISIT, household=household, source=source)
        for household in (b"home", b"hom", b"e")
        for source in (b"", b"app", b"web")
    ]
    assert town.told(*events) == [APPLIED] * 9
    assert town.told(*events) == [DUPLICATE] * 9
    assert town.told(*reversed(events)) == [DUPLICATE] * 9


def test_parts_that_join_to_the_same_bytes_are_not_the_same_event():
    town = Town()
    parts = (b"", b"a", b"aa", b"aaa", b"a\0", b"\0a", b"a" * 16, b"a" * 17)
    events = [
        replace(VISIT, household=household, source=source, id=event_id)
        for household, source, event_id in itertools.product(parts, parts, parts)
        if household and event_id
    ]
    assert town.told(*events) == [APPLIED] * len(events)
    assert town.told(*events) == [DUPLICATE] * len(events)


@pytest.mark.parametrize(("length", "status"), [(LONGEST_SOURCE, APPLIED), (LONGEST_SOURCE + 1, Status.BAD_ID)])
def test_a_source_has_a_longest_name(length: int, status: Status):
    assert Town().told(replace(VISIT, source=b"s" * length)) == [status]


def test_in_a_term_of_version_1_an_id_is_known_by_itself():
    town = Town(fold_version=1)
    assert town.told(VISIT, replace(VISIT, household=b"other"), replace(VISIT, source=b"app")) == [
        APPLIED,
        DUPLICATE,
        DUPLICATE,
    ]
    assert town.state.alone_until_us == NEVER_US


@pytest.mark.parametrize("stream_clock", [False, True])
@pytest.mark.parametrize("is_restarted", [False, True])
def test_over_the_change_of_versions_a_retry_is_a_duplicate_until_the_youngest_id_is_out_of_its_window(
    stream_clock: bool, is_restarted: bool
):
    town = Town(fold_version=1, stream_clock=stream_clock)
    older, younger = replace(VISIT, id=b"older"), replace(VISIT, id=b"younger", time_us=START_US + 50 * S)
    assert town.told(older, younger, stamp_us=START_US + 50 * S) == [APPLIED, APPLIED]
    town.open_term()
    if is_restarted:
        town.frozen_over()
    at = START_US + 100 * S
    fresh = replace(VISIT, id=b"fresh", time_us=at)
    assert town.told(older, fresh, replace(fresh, household=b"other"), stamp_us=at) == [DUPLICATE, APPLIED, APPLIED]
    # Known by themselves: nobody knows whose they were.
    assert town.told(replace(younger, household=b"other", source=b"app"), stamp_us=at) == [DUPLICATE]
    end_us = START_US + 150 * S
    last = [replace(VISIT, id=b"last", time_us=end_us), younger, replace(younger, time_us=end_us)]
    assert town.told(*last, stamp_us=end_us) == [APPLIED, DUPLICATE, DUPLICATE]
    gone = [replace(VISIT, id=b"gone", time_us=end_us + 1), younger, replace(younger, time_us=end_us)]
    assert town.told(*gone, stamp_us=end_us + 1) == [APPLIED, LATE, APPLIED]


def test_a_change_of_versions_that_knows_nothing_asks_nothing():
    town = Town(fold_version=1)
    town.open_term()
    assert town.state.alone_until_us == NEVER_US


def test_a_term_never_goes_back_to_an_older_version():
    town = Town()
    assert town.told(VISIT) == [APPLIED]
    town.open_term(fold_version=1)
    assert town.told(VISIT, replace(VISIT, household=b"other")) == [DUPLICATE, APPLIED]


def test_a_request_is_known_by_its_household_and_a_report_by_its_hash():
    shop = Shop()
    shop.signal("app.visit")
    shop.signal("app.visit", household="other")
    for household in ("home", "other"):
        shop.decide(APP, household=household, request_id="r")
    reported = replace(shop.event("hearth.accept", action_id="none"), request_hash=b"h")
    shop.fold(reported)
    keys = [(b"home", "r"), (b"other", "r"), (b"home", reported.id.decode())]
    assert list(requests_of(shop.state)) == keys
    assert requests_of(shop.state)[keys[2]] == ("", -1, shop.now_us, b"h")
    shop.pass_time(shop.state.plan.clock.request_window_us + 1)
    assert requests_of(shop.state) == {}


def test_in_a_term_of_version_1_a_request_is_known_by_its_id_alone_and_reports_are_not():
    shop = Shop()
    shop.state.fold_version = 1
    shop.signal("app.visit")
    shop.signal("app.visit", household="other")
    shop.decide(APP, request_id="r")
    newest = shop.decide(APP, household="other", request_id="r")
    shop.fold(replace(shop.event("hearth.accept", action_id="none"), request_hash=b"h"))
    assert {key: found[0] for key, found in requests_of(shop.state).items()} == {(b"", "r"): newest.decision_id}
