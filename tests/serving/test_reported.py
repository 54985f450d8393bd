"""What was reported of actions.

Law: however the decisions are cut into tables, each finds those reports that a look at every report finds.
"""

import numpy as np
import pyarrow as pa
import pytest

from serving.models.reported import ACCEPT, SHOWN_BY, Reported

TIME = pa.timestamp("us", tz="UTC")


def signals(rows: list[tuple[str, str | None, int | None, int]]) -> pa.Table:
    types, actions, times, recorded = zip(*rows, strict=True) if rows else ((), (), (), ())
    return pa.table(
        {
            "type": pa.array(types, pa.string()),
            "action_id": pa.array(actions, pa.string()),
            "time": pa.array(times, TIME),
            "recorded_at": pa.array(recorded, TIME),
        }
    )


def decisions(rows: list[tuple[str, int]]) -> pa.Table:
    return pa.table(
        {
            "action_id": pa.array([action for action, _ in rows], pa.string()),
            "decided_at": pa.array([time for _, time in rows], TIME),
        }
    )


@pytest.mark.parametrize("piece", [1, 7, 300])
def test_each_decision_finds_what_a_look_at_every_report_finds(piece: int):
    draw = np.random.default_rng(piece)
    types = (*SHOWN_BY, "hearth.delivered", "visit")
    told = [
        (types[draw.integers(len(types))], f"a{draw.integers(150)}", int(draw.integers(100)), 0) for _ in range(400)
    ]
    asked = [(f"a{draw.integers(200)}", int(draw.integers(100))) for _ in range(300)]
    until = [decided + int(draw.integers(40)) for _, decided in asked]
    reported = Reported.of(signals(told))
    seen, accepted = list[bool](), list[bool]()
    for first in range(0, len(asked), piece):
        table = decisions(asked[first : first + piece])
        seen += reported.was_seen(table).tolist()
        accepted += reported.was_accepted(table, np.array(until[first : first + piece], np.int64)).tolist()

    assert seen == [any(kind in SHOWN_BY and of == action for kind, of, _, _ in told) for action, _ in asked]
    assert accepted == [
        any(kind == ACCEPT and of == action and decided <= time < end for kind, of, time, _ in told)
        for (action, decided), end in zip(asked, until, strict=True)
    ]
    assert 5 < sum(accepted) < sum(seen) < len(asked)


def test_a_report_without_a_time_is_of_when_it_was_recorded_and_one_of_no_action_is_of_none():
    reported = Reported.of(signals([(ACCEPT, "a", None, 5), (ACCEPT, None, 5, 5), (ACCEPT, "é" * 30, 7, 0)]))
    table = decisions([("a", 5), ("a", 6), ("", 5), ("é" * 30, 0)])
    until = np.full(4, 10, np.int64)

    assert reported.was_seen(table).tolist() == [True, True, False, True]
    assert reported.was_accepted(table, until).tolist() == [True, False, False, True]


def test_where_nothing_was_reported_nothing_was_seen():
    reported = Reported.of(signals([]))
    table = decisions([("a", 5)])

    assert not reported.was_seen(table).any()
    assert not reported.was_accepted(table, np.array([9], np.int64)).any()
    assert reported.was_seen(table.slice(0, 0)).shape == (0,)
