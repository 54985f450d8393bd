"""Signals of the town as columns, and their two forms on the wire: Arrow batches and messages."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hearth.v1 import signal_pb2
from household.plan import FieldKind, Plan

WHOLE_HOUSEHOLD = -1
"""Member number of a signal that concerns the household as a whole."""

ID_LENGTH = 20
_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class TownSignals:
    """Rows of signals: (rows,) arrays, and a float64 column per field that any of them carries."""

    times_us: NDArray[np.int64]
    households: NDArray[np.int32]
    members: NDArray[np.int8]
    """0 for M1; WHOLE_HOUSEHOLD for none."""
    kinds: NDArray[np.int16]
    """Index of the event type in the plan."""
    ids: NDArray[np.uint64]
    """(rows, 2): block and number within the block."""
    values: dict[int, NDArray[np.float64]]
    """By index of the plan's field; NaN where a row does not carry it; enums and flags as numbers."""

    @property
    def count(self) -> int:
        """How many rows."""
        return len(self.times_us)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_] | slice) -> "TownSignals":
        """Return the rows at an index, mask or slice."""
        return TownSignals(
            times_us=self.times_us[rows],
            households=self.households[rows],
            members=self.members[rows],
            kinds=self.kinds[rows],
            ids=self.ids[rows],
            values={field: column[rows] for field, column in self.values.items()},
        )

    def sorted_by_time(self) -> "TownSignals":
        """Return the rows in order of event time; ties by id, so that the order is always the same."""
        return self.take(np.lexsort((self.ids[:, 1], self.ids[:, 0], self.times_us)))


def nothing() -> TownSignals:
    """Return no rows."""
    return TownSignals(
        times_us=np.empty(0, np.int64),
        households=np.empty(0, np.int32),
        members=np.empty(0, np.int8),
        kinds=np.empty(0, np.int16),
        ids=np.empty((0, 2), np.uint64),
        values={},
    )


def joined(parts: list[TownSignals]) -> TownSignals:
    """Return the rows of all parts, one part after the other."""
    parts = [part for part in parts if part.count]
    if len(parts) <= 1:
        return parts[0] if parts else nothing()
    fields = sorted({field for part in parts for field in part.values})
    return TownSignals(
        times_us=np.concatenate([part.times_us for part in parts]),
        households=np.concatenate([part.households for part in parts]),
        members=np.concatenate([part.members for part in parts]),
        kinds=np.concatenate([part.kinds for part in parts]),
        ids=np.concatenate([part.ids for part in parts]),
        values={field: np.concatenate([_column(part, field) for part in parts]) for field in fields},
    )


def _column(part: TownSignals, field: int) -> NDArray[np.float64]:
    return part.values[field] if field in part.values else np.full(part.count, np.nan)


def _fixed_strings(letters: NDArray[np.uint8]) -> pa.Array:
    """Return (rows, width) characters as an Arrow string array without making a Python object per row."""
    rows, width = letters.shape
    offsets = np.arange(0, (rows + 1) * width, width, dtype=np.int32)
    return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(letters)))


def id_letters(ids: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return event ids as (rows, ID_LENGTH) characters: 12 hex digits of the block, 8 of the number within it."""
    shifts_block = np.arange(44, -1, -4, dtype=np.uint64)
    shifts_number = np.arange(28, -1, -4, dtype=np.uint64)
    mask = np.uint64(15)
    nibbles = np.concatenate([(ids[:, :1] >> shifts_block) & mask, (ids[:, 1:] >> shifts_number) & mask], axis=1)
    return _DIGITS[nibbles.astype(np.intp)]


class Wire:
    """Turns rows into what the protocol carries, with the names the plan gives them."""

    def __init__(self, plan: Plan, household_count: int) -> None:
        self._plan = plan
        self._digits = max(6, len(str(household_count - 1)))
        self._types = pa.array([event.name for event in plan.event_types], pa.string())
        self._members = pa.array(["", *(f"M{number + 1}" for number in range(127))], pa.string())

    def household_name(self, household: int) -> str:
        """Return the key of a household.

        >>> Wire(Plan(name="any"), 1_000).household_name(123)
        'H000123'
        """
        return f"H{household:0{self._digits}d}"

    @staticmethod
    def member_name(member: int) -> str:
        """Return the key of a member, empty for the household as a whole."""
        return f"M{member + 1}" if member >= 0 else ""

    @staticmethod
    def event_id(signals: TownSignals, row: int) -> str:
        """Return the event id of a row."""
        letters: bytes = id_letters(signals.ids[row : row + 1])[0].tobytes()
        return letters.decode()

    def batch(self, signals: TownSignals) -> pa.RecordBatch:
        """Return the rows as an Arrow batch as Ingest takes it; a field that no row carries has no column."""
        columns = {
            "event_id": _fixed_strings(id_letters(signals.ids)),
            "type": pa.DictionaryArray.from_arrays(pa.array(signals.kinds), self._types),
            "household": _fixed_strings(self._household_letters(signals.households)),
            "member": pa.DictionaryArray.from_arrays(pa.array(signals.members.astype(np.int16) + 1), self._members),
            "time": pa.array(signals.times_us),
        }
        for field, column in signals.values.items():
            if not bool(np.isnan(column).all()):
                columns[self._plan.fields[field].name] = self._field_column(field, column)
        return pa.record_batch(columns)

    def message(self, signals: TownSignals, row: int) -> signal_pb2.Signal:
        """Return one row as a message."""
        signal = signal_pb2.Signal(
            event_id=self.event_id(signals, row),
            type=self._plan.event_types[int(signals.kinds[row])].name,
            household=self.household_name(int(signals.households[row])),
            member=self.member_name(int(signals.members[row])),
        )
        signal.time.FromMicroseconds(int(signals.times_us[row]))
        for field, column in signals.values.items():
            if not np.isnan(column[row]):
                self._set_value(signal.fields[self._plan.fields[field].name], field, float(column[row]))
        return signal

    def _household_letters(self, households: NDArray[np.int32]) -> NDArray[np.uint8]:
        powers = 10 ** np.arange(self._digits - 1, -1, -1, dtype=np.int64)
        letters = np.empty((len(households), self._digits + 1), np.uint8)
        letters[:, 0] = ord("H")
        letters[:, 1:] = households[:, None] // powers % 10 + ord("0")
        return letters

    def _field_column(self, field: int, column: NDArray[np.float64]) -> pa.Array:
        declared = self._plan.fields[field]
        absent = np.isnan(column)
        if declared.kind is FieldKind.ENUM:
            codes = pa.array(np.where(absent, 0, column).astype(np.int16), mask=absent)
            return pa.DictionaryArray.from_arrays(codes, pa.array(declared.values, pa.string()))
        if declared.kind is FieldKind.FLAG:
            return pa.array(np.where(absent, 0, column) != 0, mask=absent)
        if declared.kind is FieldKind.TEXT:
            return pa.array(np.where(absent, 0, column).astype(np.int64), mask=absent).cast(pa.string())
        return pa.array(column, mask=absent)

    def _set_value(self, target: signal_pb2.FieldValue, field: int, value: float) -> None:
        declared = self._plan.fields[field]
        match declared.kind:
            case FieldKind.ENUM:
                target.text = declared.values[int(value)]
            case FieldKind.FLAG:
                target.flag = value != 0
            case FieldKind.TEXT:
                target.text = str(int(value))
            case FieldKind.NUMBER:
                target.number = value
