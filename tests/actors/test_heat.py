"""Laws of a partition's heat: a household with a tenth of what is asked and told is named, whatever comes between, and
among some fifty times as many as are kept; nobody is named where all have their part, nor of a few large batches; what
is named is a pseudonym; what was is forgotten.
"""

import random

import numpy as np

from actors.partition.heat import HEAT, HOT_HOUSEHOLD, KEPT, WINDOW_S, Heat
from household.events import NO_KEYS, EventBatch, Keys, keys_of
from wire.installation import Installation

HERE = Installation(b"h" * 32)


def batch(households: list[bytes], identifiers: Keys = NO_KEYS) -> EventBatch:
    count = len(households)
    return EventBatch(
        ids=keys_of([b"e"] * count),
        households=keys_of(households),
        members=keys_of([b""] * count),
        types=np.zeros(count, np.int32),
        times_us=np.zeros(count, np.int64),
        values=np.zeros((0, count)),
        is_bad=np.zeros(count, np.uint8),
        plan_version="v",
        identifiers=identifiers,
    )


def looked(heat: Heat, *, after_s: float = WINDOW_S) -> list[tuple[bytes, int]]:
    heat.look(after_s)
    return [(one.name, one.per_minute) for one in heat.hottest]


def begun() -> Heat:
    heat = Heat()
    heat.look(0.0)
    return heat


def test_whoever_has_a_tenth_is_named_among_many_in_any_order():
    for seed in range(20):
        names = [b"hot"] * 600 + [b"warm"] * 450 + [b"cool-%d" % number for number in range(50 * KEPT)]
        random.Random(seed).shuffle(names)
        heat = begun()
        for name in names:
            heat.note(name)
        (hot, per_minute), *others = looked(heat)
        assert hot == b"hot"
        # Never more than there was, and less by a 65th of all at most.
        assert 6 * (600 - len(names) / (KEPT + 1)) <= per_minute <= 3_600
        assert {name for name, _ in others} <= {b"warm"}
        assert heat.per_minute == 6 * len(names)


def test_nobody_is_named_where_all_have_their_part():
    heat = begun()
    for number in range(20_000):
        heat.note(b"home-%d" % (number % 500))
    assert looked(heat) == []


def test_some_rows_of_a_large_batch_stand_for_all_and_few_of_them_name_nobody():
    heat = begun()
    heat.note_batch(batch([b"home-%d" % number for number in range(3_000)]))
    assert looked(heat) == []
    for _ in range(40):
        heat.note_batch(batch([b"hot" if number % 2 else b"home-%d" % number for number in range(2_000)]))
    (hot, per_minute), *_ = looked(heat, after_s=2 * WINDOW_S)
    assert hot == b"hot"
    assert 0.35 < per_minute / heat.per_minute < 0.65


def test_one_that_is_named_by_an_identifier_is_so_here():
    heat = begun()
    for _ in range(50):
        heat.note_batch(batch([b""], keys_of([b"line:sim-7"])))
    assert looked(heat) == [(b"line:sim-7", 300)]


def test_what_is_told_is_a_pseudonym_and_is_forgotten_with_the_next_window():
    heat = begun()
    for _ in range(50):
        heat.note(b"H0007")
    heat.look(WINDOW_S)
    assert heat.told(HERE) == {HEAT: 300, HOT_HOUSEHOLD + HERE.pseudonym("H0007"): 300}
    assert heat.told(None) == {HEAT: 300}
    heat.look(2 * WINDOW_S)
    assert heat.told(HERE) == {HEAT: 0}
