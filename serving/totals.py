"""One answer of many: counts added up, and rejections told by their places in the whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from hearth.v1 import signal_pb2
from wire.batches import REJECTION_COUNT_MAX, UNKNOWN_FIELD_COUNT_MAX


def merged_response(
    parts: Iterable[tuple[NDArray[np.int64], signal_pb2.IngestResponse]],
    passed_over: Iterable[signal_pb2.UnknownField] = (),
) -> signal_pb2.IngestResponse:
    """Return one response for a request whose pieces were answered one by one, `passed_over` having been left out.

    Counts are added; rejection indices, which count within a piece, become rows of the request; sorted, the first 100.
    """
    merged = signal_pb2.IngestResponse()
    rejections: list[tuple[int, signal_pb2.Rejection]] = []
    unknown = UnknownTotals()
    for rows, response in parts:
        add_counts(merged.counts, response.counts)
        unknown.add(response.unknown_fields)
        rejections += [(int(rows[rejection.index]), rejection) for rejection in response.rejections]
    rejections.sort(key=lambda pair: pair[0])
    for index, rejection in rejections[:REJECTION_COUNT_MAX]:
        merged.rejections.append(at_index(rejection, index))
    unknown.add(passed_over)
    merged.unknown_fields.extend(unknown.shown())
    return merged


def at_index(rejection: signal_pb2.Rejection, index: int) -> signal_pb2.Rejection:
    """Return the rejection as of another place in a request."""
    moved = signal_pb2.Rejection()
    moved.CopyFrom(rejection)
    moved.index = index
    return moved


class UnknownTotals:
    """Unknown fields of several answers, added up by name."""

    def __init__(self) -> None:
        self._by_name: dict[str, signal_pb2.UnknownField] = {}

    def add(self, found: Iterable[signal_pb2.UnknownField]) -> None:
        """Count what another answer tells."""
        for one in found:
            known = self._by_name.get(one.name)
            if known is None:
                known = self._by_name[one.name] = signal_pb2.UnknownField(name=one.name)
            known.signals += one.signals
            known.passed_over |= one.passed_over

    def shown(self) -> list[signal_pb2.UnknownField]:
        """Return the first of them in order of their names."""
        return [self._by_name[name] for name in sorted(self._by_name)[:UNKNOWN_FIELD_COUNT_MAX]]


def add_counts(totals: signal_pb2.SignalCounts, counts: signal_pb2.SignalCounts) -> None:
    """Add counts to totals, in place."""
    totals.received += counts.received
    totals.applied += counts.applied
    totals.duplicate += counts.duplicate
    totals.late += counts.late
    totals.rejected += counts.rejected


def counts_by_name(counts: signal_pb2.SignalCounts) -> Mapping[str, int]:
    """Return counts as a mapping, for logs and metrics."""
    return {field.name: getattr(counts, field.name) for field in counts.DESCRIPTOR.fields}


class StreamTotals:
    """The answer to a stream of batches, as far as it came."""

    def __init__(self) -> None:
        self._totals = signal_pb2.IngestStreamResponse()
        self._unknown = UnknownTotals()

    def add(self, response: signal_pb2.IngestResponse) -> None:
        """Add the next batch; its rejection indices go on where the batches before it ended."""
        totals = self._totals
        for rejection in response.rejections[: REJECTION_COUNT_MAX - len(totals.rejections)]:
            totals.rejections.append(at_index(rejection, totals.counts.received + rejection.index))
        add_counts(totals.counts, response.counts)
        self._unknown.add(response.unknown_fields)

    def response(self) -> signal_pb2.IngestStreamResponse:
        """Return it."""
        self._totals.unknown_fields.extend(self._unknown.shown())
        return self._totals
