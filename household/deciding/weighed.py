"""The candidates of a decision as they were weighed: columns until somebody wants to see one, or all as bytes."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, overload

import msgpack
import numpy as np
from numpy.typing import NDArray

from household.deciding.candidate_columns import CandidateColumns, Vetoed
from household.decision import Candidate
from household.kernel import inlined, kernel
from household.terms import Price
from household.weighing import (
    BRINGS,
    CONTEXT,
    COST,
    GAIN,
    HAS_UPLIFT,
    IS_GROSS,
    LEVER,
    PROBABILITY,
    SHOWN,
    STAY,
    UPLIFT,
    VALUE,
    WeighedTerms,
)

NUMBERS_BYTES = 11 * 9 + 4
"""At most, of a scored candidate beside what it begins with, its vetoes and its prices: eleven numbers, and what says
how many vetoes, terms and prices there are, and whether it is gross."""

Prices = tuple[Price, ...]


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class Weighed(Sequence[Candidate]):
    """All candidates of a decision, in their order. Made and never changed."""

    columns: CandidateColumns
    vetoed: Vetoed
    """What speaks against each, before those in `vetoes`."""
    places: NDArray[np.int64]
    """(n,) which of the candidates are scored."""
    scores: NDArray[np.float64]
    """(n,) P(accept)."""
    terms: WeighedTerms
    """(n,) with their values after prices."""
    prices: Mapping[int, Prices] = field(default_factory=dict)
    """By place among the scored ones: of what it uses that is scarce, where it has a price."""
    vetoes: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """By place among the scored ones: all that speaks against it, where that is more than was known before."""
    _scored: dict[int, int] | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __repr__(self) -> str:
        return repr(tuple(self))

    def __len__(self) -> int:
        return len(self.vetoed.unscored)

    @overload
    def __getitem__(self, place: int) -> Candidate: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Candidate]: ...

    def __getitem__(self, place: int | slice) -> Candidate | Sequence[Candidate]:
        if isinstance(place, slice):
            return tuple(self)[place]
        if self._scored is None:
            self._scored = {one: at for at, one in enumerate(self.places.tolist())}
        at = self._scored.get(place % len(self) if -len(self) <= place < 0 else place)
        if at is None:
            return self.vetoed.unscored[place]
        unscored = self.vetoed.unscored[place]
        return Candidate(
            offer=unscored.offer,
            score=float(self.scores[at]),
            value_minor=self.terms.amounts.item(at, VALUE),
            vetoes=self.vetoes.get(at, unscored.vetoes),
            terms=self.terms.at(at, self.prices.get(at, ())),
        )

    def __iter__(self) -> Iterator[Candidate]:
        return map(self.__getitem__, range(len(self)))

    @property
    def is_gross(self) -> bool:
        """Whether no uplift is known of one that was weighed."""
        return bool(self.terms.counts[:, IS_GROSS].any())

    def withheld(self, offers: Iterable[int], because: str) -> "Weighed":
        """Return them with one thing more that speaks against some, by offer, that are scored."""
        by_place = {place: at for at, place in enumerate(self.places.tolist())}
        more = dict(self.vetoes)
        for offer in offers:
            place = self.columns.place_of[offer]
            at = by_place[place]
            more[at] = (*more.get(at, self.vetoed.unscored[place].vetoes), because)
        return replace(self, vetoes=more)

    def veto_counts(self) -> Mapping[str, int]:
        """Return how many each veto speaks against, that of the first candidate first."""
        return self.vetoed.counts if not self.vetoes else _counted(self)

    def packed(self) -> list[bytes]:
        """Return each as a record has it."""
        parts = list(self.vetoed.packed)
        count = self.places.shape[0]
        if not count:
            return parts
        vetoes, veto_ends = _blob(self.vetoes, count)
        prices, price_ends = _blob(self.prices, count)
        weights, terms = self.columns.weights, self.terms
        room = weights.head_bytes_most * count + NUMBERS_BYTES * count + len(vetoes) + len(prices)
        out, ends = np.empty(room, np.uint8), np.empty(count, np.int64)
        _write(
            weights.heads, weights.head_ends, self.places, self.scores.view(np.int64), terms.amounts,
            terms.amounts.view(np.int64), terms.counts, vetoes, veto_ends, prices, price_ends, out, ends,
        )  # fmt: skip
        begin, written = 0, out.tobytes()
        for place, end in zip(self.places.tolist(), ends.tolist(), strict=True):
            parts[place] = written[begin:end]
            begin = end
        return parts


def veto_counts(candidates: Sequence[Candidate]) -> Mapping[str, int]:
    """Return the same of candidates that may have been read from a record."""
    return candidates.veto_counts() if isinstance(candidates, Weighed) else _counted(candidates)


def _counted(candidates: Sequence[Candidate]) -> Mapping[str, int]:
    return Counter(veto for one in candidates for veto in one.vetoes)


_NO_ENDS = np.empty(0, np.int64)


def _blob(lists: Mapping[int, Sequence[object]], count: int) -> tuple[bytes, NDArray[np.int64]]:
    """Return lists as a record has them, end to end, of each scored one, and where each ends; nothing for nothing."""
    if not lists:
        return b"", _NO_ENDS
    packed: dict[Sequence[object], bytes] = {}
    parts, lengths = [], np.zeros(count, np.int64)
    for at, one in sorted(lists.items()):
        if (part := packed.get(one)) is None:
            part = packed[one] = msgpack.packb(one)
        parts.append(part)
        lengths[at] = len(part)
    return b"".join(parts), lengths.cumsum()


# --- as records have them: MessagePack, as msgpack writes it ---------------------------------------------------------


@inlined
def _put_word(out: NDArray[np.uint8], at: int, kind: int, bits: int, size: int) -> int:
    """Write a kind and the lowest bytes of a number, the highest first; return where to go on."""
    out[at] = kind
    for i in range(size):
        out[at + 1 + i] = (bits >> (8 * (size - 1 - i))) & 255
    return at + 1 + size


@inlined
def _put_int(out: NDArray[np.uint8], at: int, value: int) -> Any:
    """Write a whole number in as few bytes as it takes."""
    if value >= 0:
        if value < 128:
            out[at] = value
            return at + 1
        if value < 1 << 8:
            return _put_word(out, at, 0xCC, value, 1)
        if value < 1 << 16:
            return _put_word(out, at, 0xCD, value, 2)
        if value < 1 << 32:
            return _put_word(out, at, 0xCE, value, 4)
        return _put_word(out, at, 0xCF, value, 8)
    if value >= -32:
        out[at] = 256 + value
        return at + 1
    if value >= -(1 << 7):
        return _put_word(out, at, 0xD0, value, 1)
    if value >= -(1 << 15):
        return _put_word(out, at, 0xD1, value, 2)
    if value >= -(1 << 31):
        return _put_word(out, at, 0xD2, value, 4)
    return _put_word(out, at, 0xD3, value, 8)


@inlined
def _put_bytes(out: NDArray[np.uint8], at: int, data: bytes, begin: int, end: int) -> int:
    for i in range(begin, end):
        out[at + i - begin] = data[i]
    return at + end - begin


@inlined
def _begin(ends: NDArray[np.int64], i: int) -> Any:
    return ends[i - 1] if i > 0 else np.int64(0)


@kernel
def _write(
    heads: bytes,
    head_ends: NDArray[np.int64],
    places: NDArray[np.int64],
    scores: NDArray[np.int64],
    amounts: NDArray[np.float64],
    amount_bits: NDArray[np.int64],
    counts: NDArray[np.int64],
    vetoes: bytes,
    veto_ends: NDArray[np.int64],
    prices: bytes,
    price_ends: NDArray[np.int64],
    out: NDArray[np.uint8],
    ends: NDArray[np.int64],
) -> None:
    """Write each candidate, one behind the other, and where it ends. There is room.

    heads: what each begins with. scores, amount_bits: of floats their bits. vetoes, prices: as they are
    written, of those that have any; without ends nobody has.
    """
    at = 0
    for i in range(places.shape[0]):
        place = places[i]
        at = _put_bytes(out, at, heads, _begin(head_ends, place), head_ends[place])
        at = _put_word(out, at, 0xCB, scores[i], 8)
        at = _put_word(out, at, 0xCB, amount_bits[i, VALUE], 8)
        before = at
        if veto_ends.shape[0] > 0:
            at = _put_bytes(out, at, vetoes, _begin(veto_ends, i), veto_ends[i])
        if at == before:
            out[at] = 0x90
            at += 1
        first, end = np.int64(0), np.int64(0)
        if price_ends.shape[0] > 0:
            first, end = _begin(price_ends, i), price_ends[i]
        # What says nothing at the end is not written: household.terms.Terms.written.
        count = 6
        if amounts[i, STAY] != 1.0:
            count = 11
        elif counts[i, HAS_UPLIFT] == 1:
            count = 10
        elif end - first > 1:
            count = 9
        elif amounts[i, LEVER] != 1.0:
            count = 8
        elif amounts[i, CONTEXT] != 1.0:
            count = 7
        out[at] = 0x90 + count
        at += 1
        at = _put_word(out, at, 0xCB, amount_bits[i, GAIN], 8)
        at = _put_int(out, at, counts[i, COST])
        at = _put_word(out, at, 0xCB, amount_bits[i, PROBABILITY], 8)
        at = _put_int(out, at, counts[i, SHOWN])
        at = _put_int(out, at, counts[i, BRINGS])
        out[at] = 0xC3 if counts[i, IS_GROSS] == 1 else 0xC2
        at += 1
        if count > 6:
            at = _put_word(out, at, 0xCB, amount_bits[i, CONTEXT], 8)
        if count > 7:
            at = _put_word(out, at, 0xCB, amount_bits[i, LEVER], 8)
        if count > 8:
            if end > first:
                at = _put_bytes(out, at, prices, first, end)
            else:
                out[at] = 0x90
                at += 1
        if count > 9:
            if counts[i, HAS_UPLIFT] == 1:
                at = _put_word(out, at, 0xCB, amount_bits[i, UPLIFT], 8)
            else:
                out[at] = 0xC0
                at += 1
        if count > 10:
            at = _put_word(out, at, 0xCB, amount_bits[i, STAY], 8)
        ends[i] = at
