"""Laws: a mistake is told where it was made, and nothing is told of what is none; the whole of it: checker_bench.

`python -m tests.benches.checker_bench`: 300 mistakes, 50 sound playbooks. Here a few of each.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.shipped import SHIPPED_PLAYBOOK
from tests.playbooks.mutations import (
    KINDS,
    LEFT_OUT,
    Lines,
    harmless,
    is_found,
    new_alarms,
    read,
    said_of,
    some_of,
    told_of,
)
from tests.playbooks.mutations_of_journeys import OF_JOURNEYS, all_mutated, more_mutated, story

FEW = 5


@pytest.fixture(scope="module")
def shipped() -> Lines:
    return read(SHIPPED_PLAYBOOK)


@pytest.fixture(scope="module")
def known(shipped: Lines, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    return said_of(shipped, tmp_path_factory.mktemp("shipped"))


def test_every_kind_of_mistake_can_be_made_in_the_shipped_playbook(shipped: Lines):
    made = {one.kind for one in all_mutated(shipped)}
    assert made == {kind.name for kind in KINDS} | LEFT_OUT.keys() | set(OF_JOURNEYS)
    assert len(made) >= 24


def test_mistakes_are_told_where_they_were_made(shipped: Lines, known: set[str], tmp_path: Path):
    for one in some_of(all_mutated(shipped), FEW, seed=7):
        told = told_of(one.files, tmp_path, one.before)
        assert is_found(one, told, known), (one.kind, one.file, one.lines, one.written, told)


def test_mistakes_that_take_more_than_a_line_are_told_where_they_were_made(
    shipped: Lines, known: set[str], tmp_path: Path
):
    for one in some_of(more_mutated(shipped), len(OF_JOURNEYS)):
        told = told_of(one.files, tmp_path, one.before)
        assert is_found(one, told, known), (one.kind, one.file, one.lines, one.written, told)
    sound, _ = story(shipped)
    assert new_alarms(told_of(sound, tmp_path), known) == []


def test_nothing_is_told_of_what_is_no_mistake(shipped: Lines, known: set[str], tmp_path: Path):
    for seed in range(1):
        assert new_alarms(told_of(harmless(shipped, seed), tmp_path), known) == []


def test_a_mistake_that_is_told_elsewhere_is_not_found(shipped: Lines, known: set[str], tmp_path: Path):
    one = some_of(all_mutated(shipped), 1)[0]
    told = told_of(one.files, tmp_path, one.before)
    assert is_found(one, told, known)
    assert not is_found(replace(one, lines=range(one.lines.stop, one.lines.stop + 1)), told, known)
    assert not is_found(replace(one, file="signals.yaml" if one.file != "signals.yaml" else "offers.yaml"), told, known)
