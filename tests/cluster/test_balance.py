"""Laws of the balance: partitions end up divided as evenly as moving them makes it, in moves each of which helps; what
is to have nothing is emptied; what is even enough stays; a partition that no move divides is named and left alone.
"""

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from cluster.balance import (
    BUSY_PER_S,
    GAIN_OF_A_PART,
    UNEVEN_TIMES,
    Load,
    ProposedMove,
    by_shard,
    evacuation,
    hot,
    is_uneven,
    next_move,
    weights,
)
from cluster.balance_told import Rate

SEATS = ("a", "b", "c", "d")


def loads(*shards: str, per_s: Sequence[float] = (), households: Sequence[int] = ()) -> list[Load]:
    return [
        Load(
            partition=partition,
            shard=shard,
            per_s=per_s[partition] if per_s else 0.0,
            households=households[partition] if households else 0,
        )
        for partition, shard in enumerate(shards)
    ]


def moved(found: list[Load], proposal: ProposedMove) -> list[Load]:
    return [
        Load(
            partition=one.partition,
            shard=proposal.target if one.partition == proposal.partition else one.shard,
            per_s=one.per_s,
            households=one.households,
        )
        for one in found
    ]


def evened(seats: Sequence[str], found: list[Load]) -> tuple[list[Load], int]:
    """Return how partitions lie after all moves that are worth it, and how many those were."""
    count = 0
    while (proposal := next_move(seats, found)) is not None:
        assert proposal.source == next(one.shard for one in found if one.partition == proposal.partition)
        assert proposal.target in seats
        found, count = moved(found, proposal), count + 1
        assert count <= 200, "it goes to and fro"
    return found, count


def counts(found: list[Load]) -> Counter[str]:
    return Counter(one.shard for one in found)


def test_idle_partitions_are_divided_by_their_number():
    even, count = evened(SEATS, loads(*"aaaaaaaa"))

    assert counts(even) == Counter(a=2, b=2, c=2, d=2)
    assert count == 6


def test_what_is_divided_already_stays():
    assert next_move(("a", "b"), loads(*"aaaaabbbb")) is None
    assert next_move(("a",), loads(*"aaaa")) is None
    assert not is_uneven(("a", "b"), loads(*"aaaaabbbb"))


def test_busy_partitions_are_divided_by_what_they_do_and_large_ones_by_what_they_hold():
    busy = loads(*"aaaabbbb", per_s=[1_000, 1_000, 1_000, 1_000, 1, 1, 1, 1])
    large = loads(*"aaaabbbb", households=[10_000] * 4 + [1] * 4)

    assert is_uneven(("a", "b"), busy)
    after = by_shard(("a", "b"), evened(("a", "b"), busy)[0])
    assert max(after.values()) < 0.6
    assert max(by_shard(("a", "b"), evened(("a", "b"), large)[0]).values()) < 0.6


def test_a_handful_of_calls_moves_nothing():
    assert not is_uneven(("a", "b"), loads(*"aabb", per_s=[3, 2, 0, 0]))


def test_what_makes_it_begin_is_more_than_what_makes_it_go_on():
    """Six of ten and four: a move helps somebody who asks, and is none that is made by itself."""
    found = loads(*"aaaaaabbbb")

    assert next_move(("a", "b"), found) is not None
    assert not is_uneven(("a", "b"), found)
    assert is_uneven(("a", "b"), loads(*"aaaaaaabbb"))


def test_what_is_to_have_nothing_is_emptied_one_by_one_onto_whoever_has_least():
    found = loads(*"aabbcc")
    targets = []
    while (proposal := evacuation(("b", "c"), found, leave={"a": "a is drained"})) is not None:
        assert (proposal.source, proposal.why) == ("a", "a is drained")
        targets.append(proposal.target)
        found = moved(found, proposal)

    assert sorted(targets) == ["b", "c"]
    assert evacuation((), loads(*"aa"), leave={"a": "why"}) is None, "there is nobody"
    assert evacuation(("b",), loads(*"aa"), leave={"a": "why"}, barred=(0, 1)) is None


def test_a_partition_that_is_barred_is_passed_over():
    found = loads(*"aaaa")
    first = next_move(("a", "b"), found)
    assert first is not None
    second = next_move(("a", "b"), found, barred=(first.partition,))

    assert second is not None
    assert second.partition != first.partition
    assert next_move(("a", "b"), found, barred=range(4)) is None


def test_a_hot_partition_is_named_and_left_where_it_is():
    found = loads(*"abbbbbbb", per_s=[9_000, *[100] * 7], households=[100] * 8)
    even, _ = evened(("a", "b"), found)

    assert even[0].shard == "a"
    (named,) = hot(("a", "b"), even)
    assert (named.partition, named.shard) == (0, "a")
    assert named.share > 0.9
    assert hot(("a", "b"), loads(*"abbbbbbb", per_s=[BUSY_PER_S / 3, *[1] * 7])) == [], "next to nothing is done"
    assert hot(("a", "b"), loads(*"aabb", per_s=[1_000] * 4)) == []


@given(
    placed=st.lists(st.sampled_from(SEATS), min_size=1, max_size=24),
    busy=st.lists(st.floats(0, 5_000), min_size=24, max_size=24),
    held=st.lists(st.integers(0, 100_000), min_size=24, max_size=24),
)
def test_moves_end_and_leave_nobody_who_could_be_helped(placed: list[str], busy: list[float], held: list[int]):
    found = loads(*placed, per_s=busy, households=held)
    before = by_shard(SEATS, found)
    even, _ = evened(SEATS, found)
    after = by_shard(SEATS, even)

    assert abs(sum(weights(found).values()) - 1.0) < 1e-9
    assert max(after.values()) <= max(before.values()) + 1e-9
    # Of whoever is above his part no partition is left that would fit into what the lightest lacks.
    part, lightest = 1.0 / len(SEATS), min(after.values())
    heaviest = max(after, key=lambda seat: after[seat])
    for one in even:
        weight = weights(even)[one.partition]
        if one.shard == heaviest:
            assert after[heaviest] - max(after[heaviest] - weight, lightest + weight) < GAIN_OF_A_PART * part + 1e-9
    assert not is_uneven(SEATS, even) or max(after.values()) > UNEVEN_TIMES * part


def test_the_rate_of_a_partition_follows_what_it_does_and_begins_anew_with_a_new_owner():
    rate = Rate()
    for second in range(60):
        rate.note(float(second), {"epoch": 1, "received": 300 * second, "decisions": 100 * second})
    assert 399 < rate.per_s <= 400

    # Another owner counts on from the same state; one that counts from less is not taken for a burst.
    rate.note(60.0, {"epoch": 2, "received": 0, "decisions": 0})
    assert 399 < rate.per_s <= 400
    rate.note(61.0, {"epoch": 2})
    for second in range(62, 162):
        rate.note(float(second), {"epoch": 2, "received": 0, "decisions": 0})
    assert rate.per_s < 1.0
