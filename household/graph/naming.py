"""Batches whose events name identifiers: what they name instead of households, all at once."""

import numpy as np
from numpy.typing import NDArray

from household.events import EventBatch, Keys
from household.graph.identifiers import SUBJECT_KINDS, is_subject, own_name
from household.kernel import inlined, kernel

ITSELF = b"*"
"""The member beneath a row of an identifier: whoever it is."""

_PREFIXES = np.frombuffer("".join(f"{kind}:" for kind in SUBJECT_KINDS).encode(), np.uint8).copy()
_PREFIX_ENDS = np.cumsum([len(kind) + 1 for kind in SUBJECT_KINDS])
_ITSELF = ITSELF[0]


def self_key(identifier: str) -> bytes:
    """Return the key of the one member beneath a row of a subject or an identifier."""
    return own_name(identifier).encode() if is_subject(identifier) else ITSELF


@inlined
def _behind_kind(letters: NDArray[np.uint8], start: int, end: int) -> int:
    """Return where a subject's own name starts; -1 where a text is no subject's."""
    name, first = -1, 0
    for kind in range(_PREFIX_ENDS.shape[0]):
        length = _PREFIX_ENDS[kind] - first
        same = end - start >= length
        if same:
            for i in range(length):
                if letters[start + i] != _PREFIXES[first + i]:
                    same = False
                    break
        if same:
            name = start + length
        first = _PREFIX_ENDS[kind]
    return name


@kernel
def _named(
    identifier_offsets: NDArray[np.int64],
    identifier_letters: NDArray[np.uint8],
    household_offsets: NDArray[np.int64],
    household_letters: NDArray[np.uint8],
    member_offsets: NDArray[np.int64],
    member_letters: NDArray[np.uint8],
    households: NDArray[np.uint8],
    household_ends: NDArray[np.int64],
    members: NDArray[np.uint8],
    member_ends: NDArray[np.int64],
) -> None:
    """Write the keys of households and members, and where each ends."""
    home, member = 0, 0
    for i in range(household_ends.shape[0]):
        start, end = identifier_offsets[i], identifier_offsets[i + 1]
        if end > start:
            for j in range(start, end):
                households[home + j - start] = identifier_letters[j]
            home += end - start
            name = _behind_kind(identifier_letters, start, end)
            if name < 0:
                members[member] = _ITSELF
                member += 1
            else:
                for j in range(name, end):
                    members[member + j - name] = identifier_letters[j]
                member += end - name
        else:
            start, end = household_offsets[i], household_offsets[i + 1]
            for j in range(start, end):
                households[home + j - start] = household_letters[j]
            home += end - start
            start, end = member_offsets[i], member_offsets[i + 1]
            for j in range(start, end):
                members[member + j - start] = member_letters[j]
            member += end - start
        household_ends[i] = home
        member_ends[i] = member


@kernel
def _spans_named(
    offsets: NDArray[np.int64], letters: NDArray[np.uint8], applied: NDArray[np.bool_], wanted: NDArray[np.uint8]
) -> int:
    count = 0
    for i in range(wanted.shape[0]):
        is_named = applied[i] and offsets[i + 1] > offsets[i]
        wanted[i] = is_named and _behind_kind(letters, offsets[i], offsets[i + 1]) < 0
        count += wanted[i]
    return count


@kernel
def _given(
    values: NDArray[np.float64],
    rows: NDArray[np.int64],
    numbers: NDArray[np.int64],
    floats: NDArray[np.float64],
    ends: NDArray[np.int64],
) -> int:
    """Write (field, value) of what each of the rows carries. `floats` are the bytes of `numbers`. Returns the words."""
    at = 0
    for i in range(rows.shape[0]):
        for field in range(values.shape[0]):
            value = values[field, rows[i]]
            if not np.isnan(value):
                numbers[at] = field
                floats[at + 1] = value
                at += 2
        ends[i] = 8 * at
    return at


def named_keys(batch: EventBatch) -> tuple[Keys, Keys]:
    """Return households and members of a batch, identifiers in the place of households."""
    identifiers, households, members = batch.identifiers, batch.households, batch.members
    room = _letters(identifiers) + _letters(households)
    home_letters, home_offsets = np.empty(room + 1, np.uint8), np.zeros(batch.count + 1, np.int64)
    room = _letters(identifiers) + _letters(members) + batch.count
    letters, offsets = np.empty(room + 1, np.uint8), np.zeros(batch.count + 1, np.int64)
    _named(
        identifiers.offsets,
        identifiers.letters,
        households.offsets,
        households.letters,
        members.offsets,
        members.letters,
        home_letters,
        home_offsets[1:],
        letters,
        offsets[1:],
    )
    return Keys(offsets=home_offsets, letters=home_letters), Keys(offsets=offsets, letters=letters)


def _letters(keys: Keys) -> int:
    return int(keys.offsets[-1] - keys.offsets[0])


def name_spans(batch: EventBatch, applied: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return (n,) 1 for those applied that name an identifier which one may hold after another: no subject's name."""
    wanted = np.zeros(batch.count, np.uint8)
    if batch.identifiers.offsets.shape[0]:
        _spans_named(batch.identifiers.offsets, batch.identifiers.letters, applied, wanted)
    return wanted


def given_values(batch: EventBatch, rows: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return what these rows carry, 16 bytes for each (field, value), and where that of each row ends."""
    room = 2 * rows.shape[0] * batch.values.shape[0]
    numbers, ends = np.empty(room, np.int64), np.empty(rows.shape[0], np.int64)
    used = _given(batch.values, rows, numbers, numbers.view(np.float64), ends)
    return numbers[:used].view(np.uint8), ends
