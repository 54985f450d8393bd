"""The table of kinds, each entry held to what it says.

Laws: an example as a playbook writes it compiles, and reads what it says, in the columns and in the oracle; cells are
those of the oracle; one never seen reads as an untouched row; a kind keeps its cells under another plan; the page has
its row; two subjects combined read as one who had the events of both where the kind promises so, and combining with
one who had none, or in the other order, changes nothing; a kind is added as docs/recipes says and by nothing else.
"""

import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from household.apply import apply_signals
from household.columns.combining import combine_rows
from household.columns.kinds.definition import OPTIONAL, Combination, Kind, Parameter
from household.columns.kinds.table import KINDS, documentation
from household.migration import migrated
from household.plan import NONE, EventTimeRules, Feature, FeatureKind, Plan, Scope
from household.state import NO_MEMBER, PartitionState
from playbooks import ranges
from playbooks.compiler import compile_playbook
from tests.household.oracle import Event, Kept, Oracle, batch_of, plain_cells
from tests.household.worlds import START_US, S

PLAYBOOK = """\
playbook: {{name: kinds, currency: EUR}}
fields: {{amount: number, genre: [film, music, games]}}
events:
  on: {{source: app, fields: {{amount: optional, genre: optional}}}}
  off: {{source: app, fields: {{amount: optional, genre: optional}}}}
features:
  member.it: {{kind: {kind}, events: on, {written}}}
"""

every_kind = pytest.mark.parametrize("kind", list(KINDS.values()), ids=list(KINDS))

Told = tuple[float, float | None]


@cache
def plan_of(kind: Kind) -> Plan:
    """Return a plan of the one feature that a kind's example writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kinds.yaml"
        path.write_text(PLAYBOOK.format(kind=kind.kind, written=kind.example.written), encoding="utf-8")
        plan = compile_playbook(path)
    return replace(plan, clock=EventTimeRules(lateness_us=10**12, future_us=10**12))


def field_of(plan: Plan) -> int:
    feature = plan.features[0]
    return plan.windows[feature.window].field if feature.window != NONE else feature.field


def event(plan: Plan, number: int, told: Told, *, is_off: bool = False, member: bytes = b"ann") -> Event:
    second, value = told
    return Event(
        id=b"%s-%d" % (member, number),
        member=member,
        kind=plan.event_type_by_name["off" if is_off else "on"],
        time_us=START_US + round(second * S),
        values=() if value is None else ((field_of(plan), value),),
    )


def events_of(kind: Kind) -> list[Event]:
    told = [(one, False) for one in kind.example.told] + [((second, None), True) for second in kind.example.off]
    return [event(plan_of(kind), number, one, is_off=is_off) for number, (one, is_off) in enumerate(told)]


def state_with(plan: Plan, events: list[Event]) -> PartitionState:
    state = PartitionState(plan=plan, stream_clock=True)
    fold(state, events)
    return state


def fold(state: PartitionState, events: list[Event]) -> None:
    assert not apply_signals(state, batch_of(state.plan, events), stamp_us=START_US).statuses.any()


def reading(state: PartitionState, second: float, member: bytes = b"ann") -> float:
    return float(state.readings(*state.find(b"home", member), START_US + round(second * S))[0])


def cells_of(state: PartitionState, member: bytes = b"ann") -> list[float]:
    """Return the cells of the one feature, or of its window, in a member's row."""
    feature, base = state.plan.features[0], int(state.cells.member_bases[state.find(b"home", member)[1]])
    first = state.layout.feature_cells[0]
    return state.cells.flat[base + first : base + first + len(KINDS[feature.kind].cells(feature))].tolist()


def test_every_word_has_a_definition_and_every_definition_a_word():
    assert list(KINDS) == list(FeatureKind)
    assert [one.kind for one in KINDS.values()] == list(FeatureKind)


@every_kind
def test_the_example_reads_what_it_says_in_the_columns_and_in_the_oracle(kind: Kind):
    plan, events = plan_of(kind), events_of(kind)
    state, oracle = state_with(plan, events), Oracle(plan, stream_clock=True)
    oracle.apply(events, stamp_us=START_US)

    assert [reading(state, second) for second, _ in kind.example.reads] == [value for _, value in kind.example.reads]
    for second, value in kind.example.reads:
        assert oracle.readings(b"home", b"ann", START_US + round(second * S)) == [value], "the oracle"
    unseen = kind.unseen_reading(plan.features[0])
    assert any(value != unseen for _, value in kind.example.reads), "an example in which something happens"
    if kind.cells is not None:
        names = [column.name for column in state.layout.columns if column.scope is Scope.MEMBER]
        np.testing.assert_array_equal(cells_of(state), [dict(plain_cells(*kept_of(oracle)))[one] for one in names])


def kept_of(oracle: Oracle) -> tuple[Feature, Kept]:
    return oracle.plan.features[0], oracle.features[0, (b"home", b"ann")]


@every_kind
def test_the_example_writes_what_the_kind_needs_and_a_playbook_without_it_is_refused(kind: Kind):
    written = dict(re.findall(r"(\w+): ([^,]+)", kind.example.written))

    assert set(written) <= {one.value for one in kind.parameters}
    assert {one.value for one in kind.parameters if one not in OPTIONAL} <= set(written)


@every_kind
def test_one_never_seen_reads_as_an_untouched_row(kind: Kind):
    state = state_with(plan_of(kind), [])
    fold(state, [replace(event(state.plan, 0, (0, None), is_off=True), kind=off_type(state.plan))])
    unseen = kind.unseen_reading(state.plan.features[0])

    assert (math.isnan(unseen) and math.isnan(reading(state, 5))) or reading(state, 5) == unseen
    as_of_nobody = float(state.readings(0, NO_MEMBER, START_US)[0])
    assert (math.isnan(unseen) and math.isnan(as_of_nobody)) or as_of_nobody == unseen


def off_type(plan: Plan) -> int:
    """Return a type to which the feature does not listen."""
    return plan.event_type_by_name["hearth.click"]


@every_kind
def test_a_kind_keeps_what_it_has_under_a_plan_that_gives_it_other_cells(kind: Kind):
    state = state_with(plan_of(kind), events_of(kind))
    before = (Feature(name="member.a", kind=FeatureKind.COUNT, scope=Scope.MEMBER, result="int", events=(0,)),)
    moved = migrated(state, replace(state.plan, name="next", features=(*before, *state.plan.features)))

    for second, value in kind.example.reads:
        row = moved.find(b"home", b"ann")
        assert moved.readings(*row, START_US + round(second * S)).tolist() == [0.0, value]


@every_kind
def test_what_the_example_reads_is_possible_to_the_compiler(kind: Kind):
    plan = plan_of(kind)
    can_be = ranges.of_feature(plan, plan.features[0])

    assert all(can_be.least <= value <= can_be.most for _, value in kind.example.reads), str(can_be)


@every_kind
def test_the_page_has_its_row(kind: Kind, repository: Path):
    assert kind.documentation in (repository / "docs" / "playbook.md").read_text(encoding="utf-8").splitlines()


def test_the_page_has_the_table_as_it_is_printed(repository: Path):
    assert f"\n{documentation()}\n" in (repository / "docs" / "playbook.md").read_text(encoding="utf-8")


# --- combination -----------------------------------------------------------------------------------------------------

tellings = st.lists(
    st.tuples(st.integers(0, 40), st.sampled_from([None, 0.0, 1.0, 2.0]), st.booleans(), st.sampled_from("ab")),
    max_size=14,
)


def split(kind: Kind, drawn: list[tuple[int, float | None, bool, str]]) -> Iterator[tuple[Event, Event]]:
    """Yield each event for one who has all of them, and for the one of two who had it."""
    plan, seen = plan_of(kind), set[int]()
    for number, (second, value, is_off, who) in enumerate(drawn):
        if kind.combination is Combination.BUT_FOR_TIES and second in seen:
            continue
        seen.add(second)
        off = is_off and Parameter.OFF_EVENTS in kind.parameters
        told = (second, value if field_of(plan) != NONE else None)
        yield (
            event(plan, number, told, is_off=off, member=b"one"),
            event(plan, number, told, is_off=off, member=who.encode()),
        )


def combined(state: PartitionState, ours: bytes, theirs: bytes) -> None:
    rows = [int(state.cells.member_bases[state.find(b"home", name)[1]]) for name in (ours, theirs)]
    state.cells = combine_rows(state.plan, state.layout, state.cells, Scope.MEMBER, *rows)


def known(plan: Plan, *members: bytes) -> list[Event]:
    """Return events that make members known, and to which the feature does not listen."""
    return [replace(event(plan, 99, (0, None), member=one), kind=off_type(plan)) for one in members]


def assert_same(kind: Kind, state: PartitionState, left: bytes, right: bytes) -> None:
    if kind.combination is Combination.BUT_FOR_ROUNDING and kind.cells is not None:
        np.testing.assert_allclose(cells_of(state, left), cells_of(state, right), rtol=1e-12)
        return
    for second in range(-5, 60, 3):
        got, want = reading(state, second, left), reading(state, second, right)
        assert got == pytest.approx(want, rel=1e-12, nan_ok=True) if not math.isinf(want) else got == want, second


promising = [one for one in KINDS.values() if one.combination is not Combination.INEXACT]


@pytest.mark.parametrize("kind", promising, ids=[one.kind for one in promising])
def test_two_combined_read_as_one_who_had_the_events_of_both(kind: Kind):
    @settings(max_examples=60)
    @given(before=tellings, after=tellings)
    def law(before, after):
        events = list(split(kind, [*before, *after]))
        cut = min(len(before), len(events))
        state = state_with(plan_of(kind), known(plan_of(kind), b"one", b"a", b"b"))
        fold(state, [one for pair in events[:cut] for one in pair])
        combined(state, b"a", b"b")
        assert_same(kind, state, b"a", b"one")
        # From here on all goes to the one that is left.
        fold(state, [one for whole, half in events[cut:] for one in (whole, replace(half, member=b"a"))])
        assert_same(kind, state, b"a", b"one")

    law()


@every_kind
def test_combining_with_one_who_had_nothing_or_in_the_other_order_changes_nothing(kind: Kind):
    @settings(max_examples=40)
    @given(drawn=tellings)
    def law(drawn):
        plan = plan_of(kind)
        state = state_with(plan, known(plan, b"a", b"b", b"c", b"d", b"nobody"))
        for _, one in split(kind, drawn):
            twin = {b"a": b"c", b"b": b"d"}[one.member]
            fold(state, [one, replace(one, member=twin, id=one.id + b"'")])
        combined(state, b"a", b"nobody")
        assert_same(kind, state, b"a", b"c")
        combined(state, b"nobody", b"b")
        assert_same(kind, state, b"nobody", b"b")
        combined(state, b"a", b"b")
        combined(state, b"d", b"c")
        assert_same(kind, state, b"a", b"d")

    law()


def test_the_other_of_two_combined_keeps_entries_of_its_own():
    kind = KINDS[FeatureKind.WINDOW_COUNT]
    plan = plan_of(kind)
    state = state_with(plan, [event(plan, 0, (0, None), member=b"a"), event(plan, 1, (6, None), member=b"b")])
    combined(state, b"a", b"b")
    fold(state, [event(plan, 2, (6, None), member=b"a")])

    assert (reading(state, 6, b"a"), reading(state, 6, b"b")) == (3.0, 1.0)


def test_many_windows_are_combined_even_if_the_slab_has_to_grow():
    plan = plan_of(KINDS[FeatureKind.WINDOW_COUNT])
    names = [b"m%d" % number for number in range(900)]
    state = state_with(plan, [event(plan, 5 * at, (5 * at, None), member=one) for one in names for at in range(2)])
    entries = state.cells.slab.bucket.size
    for other in names[1:]:
        combined(state, names[0], other)

    assert reading(state, 6, names[0]) == 1_800.0
    assert state.cells.slab.bucket.size <= 2 * entries, "runs that are given back are used again"


@pytest.mark.parametrize(
    ("ours", "theirs", "length"),
    [((0, 4), (8, 9), 9.0), ((0, 4), (9, 11), 2.0), ((0,), (), 0.0), ((3, 5), (1, 4), 4.0)],
)
def test_two_sessions_less_than_a_gap_apart_become_one_and_else_the_newer_stays(ours, theirs, length):
    plan = plan_of(KINDS[FeatureKind.SESSION_LENGTH])
    for first, second in ((b"a", b"b"), (b"b", b"a")):
        state = state_with(plan, known(plan, b"a", b"b"))
        for name, seconds in ((b"a", ours), (b"b", theirs)):
            fold(state, [event(plan, second, (second, None), member=name) for second in seconds])
        combined(state, first, second)
        assert reading(state, 50, first) == length


# --- the recipe ------------------------------------------------------------------------------------------------------

STEP = re.compile(r"<!-- into (\S+), (?:below: (.+?)|at its end) -->\n```\w*\n(.*?)```\n", re.DOTALL)


def follow(recipe: str, folder: Path) -> list[str]:
    """Do what a recipe says; return the files that it changed."""
    changed = []
    for name, anchor, block in STEP.findall(recipe):
        path = folder / name
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        at = len(lines)
        if anchor:
            (at,) = [place + 1 for place, line in enumerate(lines) if line.strip() == anchor]
        path.write_text("".join([*lines[:at], block, *lines[at:]]), encoding="utf-8")
        changed.append(name)
    return changed


@pytest.mark.chaos  # it compiles a core of its own, which takes a minute of processor
def test_a_kind_is_added_as_the_recipe_says_and_by_nothing_else(repository: Path, tmp_path: Path):
    recipe = repository / "docs" / "recipes" / "add-a-feature-kind.md"
    for name in ("household", "playbooks", "written", "tests/household"):
        shutil.copytree(repository / name, tmp_path / name, ignore=shutil.ignore_patterns("*.nb[ic]"))
    for name in ("pyproject.toml", "docs/playbook.md", "tests/conftest.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(repository / name, tmp_path / name)

    changed = follow(recipe.read_text(encoding="utf-8"), tmp_path)

    product = {"household/plan/features.py", "household/columns/kinds/newest.py"}
    assert set(changed) == {*product, "tests/household/oracle.py", "docs/playbook.md"}
    laws = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/household/test_kinds.py"]
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    result = subprocess.run(
        [*laws, "-k", "(first_seen and (example or never)) or word or printed"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"\b6 passed", result.stdout), result.stdout
