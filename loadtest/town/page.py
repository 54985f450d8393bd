"""A page of signals under way: what happened in an hour of the town, kind by kind, until it is whole."""

from dataclasses import dataclass, field
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from loadtest.town.people import People
from loadtest.town.signals import WHOLE_HOUSEHOLD, TownSignals, joined
from loadtest.town.vocabulary import TownVocabulary

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Values = NDArray[np.float64] | NDArray[np.int64] | NDArray[np.int8] | NDArray[np.bool_]
"""What a field may be written from; becomes float64."""


@dataclass(slots=True)
class Page:
    """The signals of one block while they are being written."""

    people: People
    vocabulary: TownVocabulary
    parts: list[TownSignals] = field(default_factory=list)

    def write(self, event: str, times_us: Ints, members: Ints, **values: Values) -> None:
        """Add events of members."""
        people = self.people
        self._add(event, times_us, people.household[members].astype(np.int64), people.number[members], values)

    def write_for_households(self, event: str, times_us: Ints, households: Ints, **values: Values) -> None:
        """Add events that concern households as a whole."""
        self._add(event, times_us, households, np.full(len(households), WHOLE_HOUSEHOLD, np.int8), values)

    def _add(
        self,
        event: str,
        times_us: Ints,
        households: Ints,
        members: NDArray[np.int8],
        values: dict[str, Values],
    ) -> None:
        count = len(times_us)
        self.parts.append(
            TownSignals(
                times_us=times_us,
                households=households.astype(np.int32),
                members=members,
                kinds=np.full(count, self.vocabulary.event[event], np.int16),
                ids=np.zeros((count, 2), np.uint64),
                values={self.vocabulary.field[name]: column.astype(np.float64) for name, column in values.items()},
            )
        )

    def finished(self, *, seed: int, block: int) -> TownSignals:
        """Return all that was written, numbered within the block; another seed gives other ids."""
        signals = joined(self.parts)
        signals.ids[:, 0] = (crc32(str(seed).encode()) & 0xFFFF) << 32 | block
        signals.ids[:, 1] = np.arange(signals.count, dtype=np.uint64)
        return signals
