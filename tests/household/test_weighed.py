"""The candidates of a decision as columns: each is what it was as a value, all are the bytes that msgpack writes."""

import msgpack
import numpy as np
import pytest

from household.deciding.weighed import NUMBERS_BYTES, Weighed, veto_counts
from household.decision import Candidate
from household.plan import NONE
from household.terms import Price
from household.weighing import COUNT_COLUMNS, HAS_UPLIFT, IS_GROSS, WeighedTerms
from tests.household.shop import PLAN, Shop

EDGES = [
    *(0, 1, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**62),
    *(-1, -32, -33, -128, -129, -32_768, -32_769, -(2**31), -(2**31) - 1, -(2**62)),
]
NOT_EDGES = [0.0, -0.0, 1.0, 0.1, -1e300, 5e-324, float("inf"), float("nan")]
PRICES = [(Price("gifts", 1.5),), (Price("gifts", 0.25), Price("a budget of a longer name, ünd more", 2.0**40))]
VETOES = [("CONTROL_GROUP",), ("BUDGET:gifts", "BUDGET:" + "x" * 300)]


def drawn(seed: int) -> Weighed:
    """Return candidates of which some are scored, of numbers that lie at the edges of how they are written."""
    draw = np.random.default_rng(seed)
    state = Shop(PLAN).state
    journeys = [journey for journey in PLAN.journeys if journey.offers]
    columns = state.candidate_sets.of([(journey, True) for journey in journeys], NONE)
    against = draw.integers(0, 2, len(columns.offers))
    vetoed = columns.vetoed((against * 16).tolist())
    places, count = vetoed.score_places, len(vetoed.to_score)
    floats = np.concatenate([NOT_EDGES, draw.normal(size=8)])
    amounts = draw.choice(floats, (count, 7))
    amounts[:, 3:] = np.where(draw.integers(0, 2, (count, 4)) == 1, 1.0, amounts[:, 3:])
    counts = draw.choice(np.array(EDGES), (count, COUNT_COLUMNS))
    counts[:, IS_GROSS], counts[:, HAS_UPLIFT] = draw.integers(0, 2, (2, count))
    some = [at for at in range(count) if draw.integers(0, 3) == 0]
    return Weighed(
        columns=columns,
        vetoed=vetoed,
        places=places,
        scores=draw.choice(floats, count),
        terms=WeighedTerms(amounts, counts),
        prices={at: PRICES[at % 2] for at in some} if seed % 2 else {},
        vetoes={at: VETOES[at % 2] for at in range(count) if draw.integers(0, 3) == 0} if seed % 3 else {},
    )


def written(one: Candidate) -> bytes:
    head = [one.offer, one.score, one.value_minor, one.vetoes]
    return msgpack.packb(head if one.terms is None else [*head, one.terms.written])


@pytest.mark.parametrize("first", range(0, 400, 100))
def test_candidates_are_written_as_msgpack_writes_them(first: int):
    scored = 0
    for seed in range(first, first + 100):
        weighed = drawn(seed)
        assert weighed.packed() == [written(one) for one in weighed], seed
        assert len(weighed) == len(tuple(weighed)) == len(weighed.columns.offers)
        scored += sum(one.score is not None for one in weighed)
    assert scored > 100


def test_a_candidate_is_had_by_its_place_as_of_a_tuple():
    weighed = next(one for one in map(drawn, range(1, 100)) if 0 < len(one.places) < len(one))
    as_tuple = tuple(weighed)
    assert [repr(weighed[at]) for at in range(-len(weighed), len(weighed))] == list(map(repr, as_tuple * 2))
    assert repr(weighed[1:]) == repr(as_tuple[1:])
    assert repr(weighed) == repr(as_tuple)
    with pytest.raises(IndexError):
        weighed[len(weighed)]


def test_what_is_withheld_is_so_beside_all_else_that_speaks_against_it():
    weighed = next(one for one in map(drawn, range(1, 100)) if one.vetoes and len(one.places) > len(one.vetoes))
    offers = list(weighed.vetoed.to_score)
    left = weighed.withheld(offers, "WITHHELD")
    for before, after in zip(weighed, left, strict=True):
        expected = before.vetoes if before.score is None else (*before.vetoes, "WITHHELD")
        assert after.vetoes == expected
    assert left.packed() == [written(one) for one in left]
    assert dict(veto_counts(left)) == dict(veto_counts(tuple(left)))
    assert list(veto_counts(weighed)) == list(veto_counts(tuple(weighed)))


def test_what_takes_most_room_finds_it():
    """All numbers as long as can be, of all candidates: what was written beyond the buffer would be somebody else's."""
    state = Shop(PLAN).state
    columns = state.candidate_sets.of([(journey, True) for journey in PLAN.journeys if journey.offers], NONE)
    count = len(columns.offers)
    vetoed = columns.vetoed([0] * count)
    amounts, counts = np.full((count, 7), 0.1), np.full((count, COUNT_COLUMNS), -(2**62))
    counts[:, IS_GROSS] = counts[:, HAS_UPLIFT] = 1
    longest = max(range(count), key=lambda place: len(columns.offers[place].name))
    for place in (range(count), [longest]):
        chosen = np.array(list(place), np.int64)
        terms = WeighedTerms(amounts[chosen], counts[chosen])
        weighed = Weighed(columns=columns, vetoed=vetoed, places=chosen, scores=np.full(len(chosen), 0.1), terms=terms)
        written_ones = [written(weighed[at]) for at in chosen]
        assert [weighed.packed()[at] for at in chosen] == written_ones
        room = NUMBERS_BYTES + columns.weights.head_bytes_most
        assert max(map(len, written_ones)) == room
