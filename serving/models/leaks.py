"""Leaks: columns of a training set that know what they are to predict, named before anything is trained.

Three signs. A column is **of the future** where its times lie after the decision, its spans since something are below
nothing, or its values are others than those that a decision was served. It is **named as an outcome** where its words
say what came of it, or are the label's own, and do not say that it lies behind. It has **impossible power** where it
alone orders the labels almost perfectly, or is sure of many of the rarer ones, on rows other than those that taught it:
what knows a household rarely does, what happened afterwards does.
What the feature schema computes is as of the decision by construction, and may be called as it likes.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from serving.models.measures import auc

POWER_MAX: Final = 0.97
"""AUC of one column alone, beyond which nobody believes it."""
SURE: Final = 0.99
"""Share of the rarer label among rows with one value, from which on that value knows it."""
LEAST: Final = 30
"""Rows of each label, and of a value that is sure, without which nothing can be told."""
BINS: Final = 64
SAMPLED: Final = 200_000
"""Rows by which power is judged: more would say the same."""

OUTCOMES: Final = frozenset(
    (
        *("accept", "accepted", "accepts", "acceptance", "convert", "converted", "converts", "conversion"),
        *("responded", "responder", "redeemed", "clicked", "purchased", "bought", "upgraded", "renewed", "retained"),
        *("churn", "churned", "churner", "churns", "attrition", "cancelled", "canceled", "cancellation"),
        *("terminated", "termination", "deactivated", "deactivation", "disconnected", "disconnection"),
        *("unsubscribed", "exited", "resigned", "won", "winback", "label", "labels", "outcome", "outcomes"),
    )
)
"""Words for what comes of a decision."""
WHOLE: Final = frozenset({"y", "target", "truth", "reward", "treated_outcome", "ground_truth", "y_true"})
"""Names that say nothing else."""
BEHIND: Final = frozenset(
    (
        *("last", "prior", "prev", "previous", "previously", "past", "before", "ago", "since", "ever", "history"),
        *("historic", "historical", "earlier", "trailing", "count", "newest"),
    )
)
"""Words for what lies behind: how often somebody accepted before is a feature like another."""
AHEAD: Final = re.compile(
    r"\b(future|afterwards?|will|upcoming|eventual|eventually|subsequent|subsequently|later"
    r"|after (decision|offer|contact|treatment|campaign|call|send|sent|impression|exposure)"
    r"|post (decision|offer|contact|treatment|campaign|call|exposure|churn|period)"
    r"|following (day|week|month|quarter|year|period)|\d+ ?(d|h|w|days?|weeks?|months?|hours?) after|t plus \d+"
    r"|next \d* ?(d|h|w|day|days|week|weeks|month|months|quarter|year|hour|hours)"
    r"|within \d+ ?(d|h|w|days?|weeks?|months?|hours?)?)\b"
)
"""What says by itself that it lies ahead."""
GENERIC: Final = frozenset({"is", "has", "flag", "the", "value", "within", "label", "target"})
"""Words of a label's name that say nothing of what it is."""
TIME_WORDS: Final = frozenset({"at", "time", "date", "ts", "timestamp", "on", "epoch", "day", "when", "us", "ms"})
SPAN_WORDS: Final = frozenset({"since", "ago"})
_PERIOD: Final = re.compile(r"\d+(d|h|m|w|y|min|days?|weeks?|months?|hours?)")
_ISO: Final = (
    r"^(?P<date>\d{4}-\d{2}-\d{2})(?:[T ](?P<clock>\d{2}:\d{2}:\d{2})(?:\.\d+)?)?(?P<zone>Z|[+-]\d{2}:?\d{2})?$"
)
_EPOCH_UNITS: Final = ((1_000_000, "s"), (1_000, "ms"), (1, "us"))
_FROM_US, _TO_US = 946_684_800_000_000, 4_102_444_800_000_000
"""2000 to 2100: whole numbers in there are times of a computer."""


class LeakKind(StrEnum):
    """By which sign a leak is known."""

    FUTURE = "of the future"
    OUTCOME = "named as an outcome"
    POWER = "impossible power"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakyColumn:
    """A column that must not be learned from."""

    column: str
    kind: LeakKind
    why: str

    def __str__(self) -> str:
        return f"{self.column} ({self.kind}): {self.why}"


class LeaksFound(Exception):
    """A training set knows what it is to predict; names each column and why."""

    def __init__(self, leaks: Sequence[LeakyColumn]) -> None:
        super().__init__("; ".join(map(str, leaks)))
        self.leaks = tuple(leaks)


def find_leaks(
    table: pa.Table,
    columns: Collection[str],
    label: NDArray[np.bool_],
    *,
    label_name: str = "",
    known: Collection[str] = (),
    decided_us: NDArray[np.int64] | None = None,
) -> list[LeakyColumn]:
    """Return the leaks among the columns of a training set, in the order of its columns; one sign for each.

    Args:
        table: (rows) of any kinds; a column that holds neither numbers, flags, times nor text says nothing.
        columns: those that would be learned from.
        label: (rows,) what is to be predicted.
        label_name: of the column it was; others that have its words are named as outcomes.
        known: columns that the feature schema computes.
        decided_us: (rows,) time of each decision; without it nothing is known to be of the future but by its name.
    """
    assert len(label) == table.num_rows, f"{len(label)} labels of {table.num_rows} rows"

    some = np.arange(len(label))
    if len(label) > SAMPLED:
        some = np.sort(np.random.default_rng(0).choice(len(label), SAMPLED, replace=False))
    found = []
    for name in (one for one in table.column_names if one in columns):
        values = numbers_of(table[name])
        leak = None
        if name not in known:
            leak = _of_the_future(name, table[name], values, decided_us) or named_as_outcome(name, label_name)
        leak = leak or of_impossible_power(name, values[some], label[some])
        if leak is not None:
            found.append(leak)
    return found


def leaks_in_rows(
    rows: NDArray[np.float32], names: Sequence[str], label: NDArray[np.bool_], *, allowed: Collection[str] = ()
) -> list[LeakyColumn]:
    """Return the columns of (n, columns) rows, all of the feature schema, that have impossible power."""
    if len(rows) > SAMPLED:
        some = np.sort(np.random.default_rng(0).choice(len(rows), SAMPLED, replace=False))
        rows, label = rows[some], label[some]
    leaks = (
        of_impossible_power(name, rows[:, at].astype(np.float64), label)
        for at, name in enumerate(names)
        if name not in allowed
    )
    return [leak for leak in leaks if leak is not None]


def unlike_served(names: Sequence[str], rows: NDArray[np.float32], served: NDArray[np.float32]) -> list[LeakyColumn]:
    """Return the columns of a training set that hold other values than the same decisions were served.

    Args:
        names: (columns,)
        rows: (n, columns) of the training set.
        served: (n, columns) what was known when each was decided, as it was recorded.
    """
    assert rows.shape == served.shape == (len(served), len(names))

    differs = ~((rows == served) | (np.isnan(rows) & np.isnan(served)))
    counts = differs.sum(axis=0)
    return [
        LeakyColumn(
            column=name,
            kind=LeakKind.FUTURE,
            why=f"{count:,} of {len(rows):,} decisions were served another value, as the log has it",
        )
        for name, count in zip(names, counts.tolist(), strict=True)
        if count
    ]


def numbers_of(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Return (rows,) a column as numbers that are equal where its values are: NaN for null, a code for each text."""
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        column = column.cast(pa.timestamp("us", getattr(kind, "tz", None))).cast(pa.int64())
    elif pa.types.is_dictionary(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        told = column.cast(pa.string())
        column = pc.index_in(told, value_set=pc.unique(told.drop_null()))
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        return np.full(len(column), np.nan)
    return np.array(column.cast(pa.float64(), safe=False).fill_null(float("nan")).to_numpy(), np.float64)


def words_of(name: str) -> list[str]:
    """Return the words of a column's name.

    >>> words_of("member.offerAccepted_7d"), words_of("ChurnDate")
    (['member', 'offer', 'accepted', '7d'], ['churn', 'date'])
    """
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return re.findall(r"[a-z0-9]+", apart.lower())


def named_as_outcome(name: str, label_name: str = "") -> LeakyColumn | None:
    """Return why a column's name says that it is an outcome; None if it does not."""
    words = words_of(name)
    told = AHEAD.search(" ".join(words))
    if told is not None:
        return LeakyColumn(
            column=name, kind=LeakKind.OUTCOME, why=f"'{told[0]}' says that it lies ahead of the decision"
        )
    if any(word in BEHIND or _PERIOD.fullmatch(word) for word in words):
        return None
    of_label = {word for word in words_of(label_name) if len(word) > 3 and word not in GENERIC}
    if found := next((word for word in words if word in of_label), None):
        return LeakyColumn(
            column=name, kind=LeakKind.OUTCOME, why=f"'{found}' is what is to be predicted, {label_name}"
        )
    found = next((word for word in words if word in OUTCOMES), None) or ("_".join(words) in WHOLE and name) or None
    if found is None:
        return None
    why = f"'{found}' is what comes of a decision, and the feature schema does not compute it"
    return LeakyColumn(column=name, kind=LeakKind.OUTCOME, why=why)


def _of_the_future(
    name: str, column: pa.ChunkedArray, values: NDArray[np.float64], decided_us: NDArray[np.int64] | None
) -> LeakyColumn | None:
    if SPAN_WORDS.intersection(words_of(name)) and pa.types.is_primitive(column.type) and _is_number(column.type):
        below = int((values < 0).sum())
        if below:
            why = f"{below:,} of {len(values):,} tell of what is yet to come: they are below nothing"
            return LeakyColumn(column=name, kind=LeakKind.FUTURE, why=why)
    if decided_us is None or (times_us := _times_us(name, column, values)) is None:
        return None
    after = int((times_us > decided_us).sum())
    if not after:
        return None
    return LeakyColumn(column=name, kind=LeakKind.FUTURE, why=f"{after:,} of {len(values):,} lie after the decision")


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _times_us(name: str, column: pa.ChunkedArray, values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return (rows,) the times in a column, µs since 1970, NaN for none; None where it holds other things.

    Besides timestamps: text that all reads as ISO 8601, and numbers that all lie between 2000 and 2100 in a unit of
    computers, if the column is called a time.
    """
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return values
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _written_us(column.cast(pa.string()))
    if not _is_number(kind) or not TIME_WORDS.intersection(words_of(name)):
        return None
    known = values[~np.isnan(values)]
    for scale, _ in _EPOCH_UNITS:
        if len(known) and ((known * scale >= _FROM_US) & (known * scale < _TO_US)).all():
            return values * scale
    return None


def _written_us(column: pa.ChunkedArray) -> NDArray[np.float64] | None:
    """Return (rows,) times written as ISO 8601 says, to the second, UTC where no zone is named; None if one is none."""
    parts = pc.extract_regex(column.combine_chunks(), pattern=_ISO)
    if parts.null_count > column.null_count or column.null_count == len(column):
        return None
    date, clock, zone = (parts.field(name) for name in ("date", "clock", "zone"))
    clock = pc.if_else(pc.equal(clock, ""), "00:00:00", clock)
    together = pc.binary_join_element_wise(date, clock, " ")
    seconds = pc.strptime(together, format="%Y-%m-%d %H:%M:%S", unit="s", error_is_null=True).cast(pa.int64())
    shift = pc.if_else(pc.less_equal(pc.utf8_length(zone), 1), "+0000", pc.replace_substring(zone, ":", ""))
    ahead = pc.add(
        pc.multiply(pc.utf8_slice_codeunits(shift, 1, 3).cast(pa.int64()), 3_600),
        pc.multiply(pc.utf8_slice_codeunits(shift, 3, 5).cast(pa.int64()), 60),
    )
    ahead = pc.if_else(pc.starts_with(shift, "-"), pc.negate(ahead), ahead)
    return numbers_of(pa.chunked_array([pc.multiply(pc.subtract(seconds, ahead), 1_000_000)]))


def of_impossible_power(name: str, values: NDArray[np.float64], label: NDArray[np.bool_]) -> LeakyColumn | None:
    """Return why nobody believes what a column alone tells of (rows,) labels; None if it can be believed."""
    if min(int(label.sum()), int((~label).sum())) < LEAST:
        return None
    place, bins = _bins(values)
    fold = np.random.default_rng(0).integers(0, 2, len(values))
    scores = np.empty(len(values))
    rarer = label if label.sum() * 2 <= len(label) else ~label
    sure_rows = 0
    for part in (0, 1):
        others, these = fold != part, fold == part
        ones = np.bincount(place[others], label[others], minlength=bins)
        rows = np.bincount(place[others], minlength=bins)
        rate = (ones + label[others].mean()) / (rows + 1)
        scores[these] = rate[place[these]]
        rare = np.bincount(place[others], rarer[others], minlength=bins)
        is_sure = (rows >= LEAST // 2) & (rare >= SURE * rows)
        here = is_sure[place[these]]
        if here.sum() >= LEAST // 2 and rarer[these][here].mean() >= SURE:
            sure_rows += int(here.sum())
    power = auc(scores, label)
    if power > POWER_MAX:
        why = f"alone it orders the labels with an AUC of {power:.3f}; above {POWER_MAX} nobody believes it"
        return LeakyColumn(column=name, kind=LeakKind.POWER, why=why)
    if sure_rows >= LEAST:
        why = f"alone it is sure of {sure_rows:,} rows, and right in at least {SURE:.0%} of them, where others are not"
        return LeakyColumn(column=name, kind=LeakKind.POWER, why=why)
    return None


def _bins(values: NDArray[np.float64]) -> tuple[NDArray[np.int64], int]:
    """Return (rows,) the bin of each value and how many there are; what is missing has one of its own.

    Values that many rows share have bins of their own as well: a column may be sure of one of them alone.
    """
    missing = np.isnan(values)
    known = values[~missing]
    if not len(known):
        return np.zeros(len(values), np.int64), 1
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1), method="nearest"))
    common, counts = np.unique(known, return_counts=True)
    own = np.union1d(edges, common[counts >= LEAST])
    place = np.searchsorted(own, np.where(missing, 0.0, values), side="right")
    place = np.where(missing, 2 * len(own) + 2, 2 * place + np.isin(values, own))
    return place, 2 * len(own) + 3
