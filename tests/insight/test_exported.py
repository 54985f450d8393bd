"""Laws: of Hearth's own export the action is what came first, its propensity is that of the whole slate, and the
probabilities of all that could have come first follow from it; an acceptance within the window is the reward.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from insight.evaluation.decisions import LoggedDecisions
from insight.evaluation.exported import is_exported, read_exported
from insight.tables import BadTable

NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)
TIME = pa.timestamp("us", "UTC")
CANDIDATE = pa.struct(
    [("offer", pa.string()), ("score", pa.float64()), ("value_minor", pa.float64()), ("rank", pa.int32())]
)
ACTION = pa.struct([("action_id", pa.string()), ("offer", pa.string())])


def decision(name: str, values: dict[str, float | None], slate: list[str], propensity: float, **more: Any):
    """Return a row: offers with their values (None: vetoed), and the slate that was made of them."""
    row = {
        "decision_id": name,
        "household": f"h-{name}",
        "decided_at": NOW,
        "withheld": False,
        "propensity": propensity,
        "stands": None,
        "candidates": [
            {"offer": offer, "score": None if value is None else 0.2, "value_minor": value, "rank": None}
            for offer, value in values.items()
        ],
        "slate": [{"action_id": f"{name}-{place}", "offer": offer} for place, offer in enumerate(slate)],
    }
    return row | more


def read(*rows: dict[str, Any], accepted: dict[str, timedelta] | None = None, **options: Any) -> LoggedDecisions:
    schema = [("decision_id", pa.string()), ("household", pa.string()), ("decided_at", TIME), ("withheld", pa.bool_())]
    schema += [("propensity", pa.float64()), ("stands", pa.string())]
    schema += [("candidates", pa.list_(CANDIDATE)), ("slate", pa.list_(ACTION))]
    table = pa.Table.from_pylist(list(rows), pa.schema(schema))
    assert is_exported(table)
    reports = [
        {"type": "hearth.accept", "time": NOW + after, "action_id": one} for one, after in (accepted or {}).items()
    ]
    reports.append({"type": "visit", "time": NOW + timedelta(days=1), "action_id": None})
    outcomes = pa.Table.from_pylist(
        reports, pa.schema([("type", pa.string()), ("time", TIME), ("action_id", pa.string())])
    )
    return read_exported(table, outcomes, file="export", **options)


def chances(decisions: LoggedDecisions) -> list[dict[str, float]]:
    assert decisions.logged is not None
    found: list[dict[str, float]] = [{} for _ in range(decisions.count)]
    logged = decisions.logged
    for row, action, share in zip(logged.decision, logged.action, logged.probability, strict=True):
        found[row][decisions.actions[action]] = round(float(share), 9)
    return found


VALUES = {"a": 9.0, "b": 7.0, "c": 5.0, "d": None, "e": -1.0}
"""Three worth more than nothing; at 30 % exploration the best comes first with 0.8, any other with 0.1."""


def test_the_probability_of_all_that_could_have_come_first_follows_from_that_of_what_did():
    expected = {"a": 0.8, "b": 0.1, "c": 0.1}
    found = read(
        decision("best", VALUES, ["a", "b", "c"], 0.8),
        decision("other", VALUES, ["c", "a", "b"], 0.1),
    )

    assert chances(found) == [expected, expected]
    assert [found.actions[one] for one in found.action] == ["a", "c"]


def test_one_that_is_worth_it_comes_first_for_sure_and_so_does_nothing_where_none_is():
    found = read(decision("one", {"a": 3.0, "b": -1.0}, ["a"], 1.0), decision("none", {"a": -3.0, "b": None}, [], 1.0))

    assert chances(found) == [{"a": 1.0}, {"nothing": 1.0}]


def test_where_all_is_drawn_at_random_all_are_alike():
    found = read(decision("any", {"a": 9.0, "b": 7.0}, ["b", "a"], 0.5))

    assert chances(found) == [{"a": 0.5, "b": 0.5}]


def test_of_two_of_one_value_either_may_come_first():
    found = read(
        decision("tie", {"a": 7.0, "b": 7.0}, ["b", "a"], 0.9), decision("tie2", {"a": 7.0, "b": 7.0}, ["b"], 0.1)
    )

    assert chances(found) == [{"a": 0.1, "b": 0.9}, {"a": 0.9, "b": 0.1}]


@pytest.mark.parametrize(
    ("slate", "propensity"), [(["b", "a"], 0.8), (["d"], 0.1), (["e"], 0.1), ([], 0.8), (["z"], 0.1)]
)
def test_what_does_not_go_with_what_was_weighed_is_refused(slate: list[str], propensity: float):
    with pytest.raises(BadTable, match="decision 'odd'"):
        read(decision("odd", VALUES, slate, propensity))


def test_an_acceptance_of_any_action_of_the_slate_within_the_window_is_the_reward():
    rows = [decision(f"d{one}", VALUES, ["a", "b", "c"], 0.8) for one in range(5)]
    hour = timedelta(hours=1)
    accepted = {"d0-0": hour, "d1-2": hour, "d2-0": 24 * hour, "d3-0": -hour, "other-0": hour}

    assert read(*rows, accepted=accepted).reward.tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert read(*rows, accepted=accepted, window_us=3_600_000_000).reward.tolist() == [0.0] * 5


def test_what_tells_nothing_is_left_out_and_counted():
    found = read(
        decision("kept", VALUES, ["a"], 0.8),
        decision("stood", VALUES, ["a"], 0.8, stands="earlier"),
        decision("control", VALUES, ["a"], 0.8, withheld=True),
        decision("vetoed", {"a": None}, [], 1.0),
        decision("empty", {}, [], 1.0),
        decision("late", VALUES, ["a"], 0.8, decided_at=NOW + timedelta(seconds=1)),
    )

    assert found.ids.to_pylist() == ["kept"]
    assert found.left_out == {"slate stood": 1, "nothing to choose": 2, "withheld": 1, "window open": 1}


def test_without_outcomes_or_a_column_of_rewards_it_says_what_to_do():
    table = pa.Table.from_pylist([decision("d", VALUES, ["a"], 0.8)])
    with pytest.raises(BadTable, match="--outcomes"):
        read_exported(table.set_column(5, "stands", pa.array([None], pa.string())), None, file="export")


def test_households_are_what_belongs_together():
    found = read(
        decision("d0", VALUES, ["a"], 0.8),
        decision("d1", VALUES, ["a"], 0.8, household="h-d0"),
        decision("d2", VALUES, ["a"], 0.8),
    )

    assert found.units.tolist() == [0, 0, 1]
    assert np.isnan(found.context).sum() == 0
