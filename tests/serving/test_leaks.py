"""Laws of leaks: each planted one is named, by its sign; what is merely a good feature, of the past, or called like one
is not.
"""

import numpy as np
import pyarrow as pa
import pytest

from household.scoring import feature_schema
from playbooks.compiler import TELCO, compile_playbook
from serving.models.leaks import LeakKind, find_leaks, leaks_in_rows, named_as_outcome, unlike_served

ROWS = 4_000
DECIDED = np.arange(ROWS, dtype=np.int64) * 1_000_000_000 + 1_700_000_000_000_000


def training_set() -> tuple[dict[str, object], np.ndarray]:
    """Return honest columns, some of them good, and the labels."""
    draw = np.random.default_rng(8)
    good = draw.normal(size=ROWS)
    label = draw.random(ROWS) < 1 / (1 + np.exp(-2.5 * good + 1))
    columns: dict[str, object] = {
        "household.payments": good,
        "member.pack": np.where(good > 0, "film", "kids"),
        "age": draw.integers(18, 90, ROWS).astype(float),
        "seen_at": pa.array(DECIDED - 5_000_000, pa.timestamp("us")),
        "days_since_payment": draw.exponential(5, ROWS),
        "accepted_last_30d": draw.integers(0, 4, ROWS),
        "next_bill_amount": draw.normal(30, 9, ROWS),
        "data_left_mb": draw.integers(0, 900, ROWS),
        "customer": [f"c{at}" for at in range(ROWS)],
        "empty": np.full(ROWS, np.nan),
        "joined": [f"{one}+02:00" for one in np.datetime_as_string((DECIDED + 3_600 * 10**6).astype("M8[us]"))],
        "no_day": ["2023-02-31" if at % 2 else "soon" for at in range(ROWS)],
    }
    return columns, label


def noisy(label: np.ndarray, share: float = 0.01) -> np.ndarray:
    flips = np.random.default_rng(9).random(len(label)) < share
    return label ^ flips


def now_and_then(label: np.ndarray) -> np.ndarray:
    """Return what is known of a fifth of those who took it, and of nobody else."""
    return np.where(label & (np.arange(ROWS) % 5 == 0), "moved away", None)


PLANTED = {
    "the label itself": ("x1", lambda label: label.astype(float), LeakKind.POWER),
    "the label with noise": ("x2", lambda label: noisy(label).astype(float), LeakKind.POWER),
    "the other way round": ("x3", lambda label: -noisy(label).astype(float), LeakKind.POWER),
    "known only afterwards": ("x4", lambda label: np.where(label, 1.0, np.nan), LeakKind.POWER),
    "in the middle": ("x5", lambda label: np.where(label, 0.0, np.resize([-1.0, 1.0], ROWS)), LeakKind.POWER),
    "as text": ("x6", lambda label: np.where(label, "yes", "no"), LeakKind.POWER),
    "of some only": ("note", now_and_then, LeakKind.POWER),
    "as an order": ("rank", lambda label: label * 1e6 + np.arange(ROWS), LeakKind.POWER),
    "a time after": (
        "paid_at",
        lambda label: pa.array(np.where(label, DECIDED + 60_000_000, DECIDED - 1), pa.timestamp("us")),
        LeakKind.FUTURE,
    ),
    "a day after, once": (
        "next_bill",
        lambda label: pa.array(np.append(DECIDED[:-1] - 1, DECIDED[-1] + 86_400_000_000), pa.timestamp("us")),
        LeakKind.FUTURE,
    ),
    "a time in seconds": ("closed_ts", lambda label: (DECIDED // 1_000_000) + 3_600, LeakKind.FUTURE),
    "a time as text": (
        "closed_on",
        lambda label: np.datetime_as_string((DECIDED + 10**9).astype("datetime64[us]")).tolist(),
        LeakKind.FUTURE,
    ),
    "a time as text with a zone": (
        "closed",
        lambda label: [f"{one}+02:00" for one in np.datetime_as_string((DECIDED + 3 * 3_600 * 10**6).astype("M8[us]"))],
        LeakKind.FUTURE,
    ),
    "a span below nothing": ("days_since_order", lambda label: np.where(label, -1.0, 3.0), LeakKind.FUTURE),
    "by name": ("offer_accepted_flag", lambda label: np.zeros(ROWS), LeakKind.OUTCOME),
    "by name in one word": ("churnOutcome", lambda label: np.zeros(ROWS), LeakKind.OUTCOME),
    "by the label's name": ("purchase_reason", lambda label: np.zeros(ROWS), LeakKind.OUTCOME),
    "by what lies ahead": ("spend_next_30d", lambda label: np.zeros(ROWS), LeakKind.OUTCOME),
    "by what follows": ("usage_following_month", lambda label: np.zeros(ROWS), LeakKind.OUTCOME),
    "by its own window": ("churned_within_30d", lambda label: np.zeros(ROWS), LeakKind.OUTCOME),
    "by days after": ("calls_30d_after", lambda label: np.zeros(ROWS), LeakKind.OUTCOME),
    "by what comes after": ("calls_after_offer", lambda label: np.zeros(ROWS), LeakKind.OUTCOME),
}


@pytest.mark.parametrize("how", PLANTED)
def test_a_planted_leak_is_named_by_its_sign_and_nothing_else_is(how: str):
    columns, label = training_set()
    name, make, kind = PLANTED[how]
    table = pa.table(columns | {name: make(label)})
    leaks = find_leaks(table, table.column_names, label, label_name="purchase", decided_us=DECIDED)
    assert [(one.column, one.kind) for one in leaks] == [(name, kind)]
    assert name in str(leaks[0])


@pytest.mark.parametrize(
    "name",
    [
        *("prior_acceptance", "accepts_7d", "last_outcome", "previous_churn", "response_time_ms", "results_page_views"),
        *("after_hours_calls", "postpaid", "post_code", "willingness", "target_segment", "disconnects_7d"),
        *("churn_count", "days_since_accepted", "clicks", "TotalCharges", "PaperlessBilling", "tenure", "yearly"),
    ],
)
def test_a_name_of_what_lies_behind_or_only_sounds_like_it_is_no_leak(name: str):
    assert named_as_outcome(name, "purchase") is None


def test_no_column_of_the_shipped_playbook_is_called_like_an_outcome():
    names = feature_schema(compile_playbook(TELCO)).names
    assert len(names) > 40
    assert [name for name in names if named_as_outcome(name, "accepted") is not None] == []


def test_what_the_playbook_computes_may_be_called_as_it_likes():
    columns, label = training_set()
    table = pa.table(columns | {"member.accepted": np.zeros(ROWS)})
    assert find_leaks(table, table.column_names, label, known=["member.accepted"]) == []
    rows = np.column_stack([columns["household.payments"], label]).astype(np.float32)
    (leak,) = leaks_in_rows(rows, ["household.payments", "member.later"], label)
    assert (leak.column, leak.kind) == ("member.later", LeakKind.POWER)
    assert leaks_in_rows(rows, ["household.payments", "member.later"], label, allowed=["member.later"]) == []


def test_a_column_that_is_not_what_was_served_is_of_the_future():
    served = np.array([[1, np.nan, 3], [4, np.nan, 6]], np.float32)
    told = np.array([[1, np.nan, 3], [4, 5, 6.5]], np.float32)
    assert unlike_served(["a", "b", "c"], served, served) == []
    leaks = unlike_served(["a", "b", "c"], told, served)
    assert [(one.column, one.kind) for one in leaks] == [("b", LeakKind.FUTURE), ("c", LeakKind.FUTURE)]
    assert "1 of 2 decisions were served another value" in leaks[0].why


def test_too_few_labels_tell_no_power():
    label = np.zeros(40, bool)
    label[:10] = True
    assert find_leaks(pa.table({"x": label.astype(float)}), ["x"], label) == []
