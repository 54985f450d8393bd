"""What a version was trained on, as histograms in its manifest: what later decisions are held against.

Of each column of a score row, and of the scores: where its bins are cut, and how many rows fell into each. Cuts are
rounded to three digits, so no household's reading stands in a manifest.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from household.scoring import NEVER, FeatureSchema

BINS: Final = 10
"""Of a number, each with as many rows; besides those for unknown and for never."""
SCORES: Final = "score"
"""The name of the histogram of the scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceHistogram:
    """One column, as a version's training set had it."""

    name: str
    cuts: tuple[float, ...]
    """Growing. Bin i holds cuts[i - 1] ≤ value < cuts[i]; after the last of them stand *never* and *unknown*."""
    counts: tuple[int, ...]
    """(len(cuts) + 3,) rows."""
    inflation: float = 1.0
    """How many rows tell as much as one that stood alone: those of one household resemble each other."""

    def bins(self, values: NDArray[np.float32]) -> NDArray[np.intp]:
        """Return (n,) the bin of each of (n,) values."""
        bins = np.searchsorted(np.array(self.cuts, np.float32), values, side="right")
        bins[values >= np.float32(NEVER)] = len(self.cuts) + 1
        bins[np.isnan(values)] = len(self.cuts) + 2
        return np.asarray(bins, np.intp)

    @property
    def bin_count(self) -> int:
        """How many bins there are."""
        return len(self.cuts) + 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What a version was trained on."""

    columns: tuple[ReferenceHistogram, ...]
    """In the order of the feature schema."""
    scores: ReferenceHistogram
    """What it gave to rows that it had not seen, where there were any."""


def reference_of(
    schema: FeatureSchema,
    rows: NDArray[np.float32],
    households: NDArray[np.generic],
    *,
    scores: NDArray[np.float32],
    scored_households: NDArray[np.generic],
) -> Reference:
    """Return the histograms of a training set.

    Args:
        rows: (n, columns); of a term that is the household's, those of the household alone.
        households: (n,) whose row it is.
        scores: (m,) of rows as a decision would meet them: best of those that the model was not fitted to.
        scored_households: (m,).
    """
    _, units = np.unique(households, return_inverse=True)
    _, scored_units = np.unique(scored_households, return_inverse=True)
    return Reference(
        columns=tuple(
            histogram_of(column.name, rows[:, place], units, codes=len(column.values))
            for place, column in enumerate(schema.columns[: rows.shape[1]])
        ),
        scores=histogram_of(SCORES, scores, scored_units, codes=0),
    )


def histogram_of(name: str, values: NDArray[np.float32], units: NDArray[np.intp], *, codes: int) -> ReferenceHistogram:
    """Return the histogram of (n,) values.

    Args:
        units: (n,) the household of each, counted from 0.
        codes: how many values a coded column has, each of which is a bin; 0 for a number.
    """
    known = values[(values < np.float32(NEVER)) & ~np.isnan(values)]
    cuts: tuple[float, ...]
    if codes:
        cuts = tuple(code - 0.5 for code in range(1, codes))
    else:
        cuts = _cuts(known)
    bare = ReferenceHistogram(name=name, cuts=cuts, counts=())
    bins = bare.bins(values)
    counts = np.bincount(bins, minlength=bare.bin_count)
    return ReferenceHistogram(
        name=name,
        cuts=cuts,
        counts=tuple(int(count) for count in counts),
        inflation=inflation_of(bins, units, bare.bin_count),
    )


def _cuts(known: NDArray[np.float32]) -> tuple[float, ...]:
    """Return where a column is cut so that each bin holds about as many rows; a value that is frequent stands alone."""
    if not len(known):
        return ()
    values, counts = np.unique(known, return_counts=True)
    if len(values) <= BINS:
        cuts = (values[1:].astype(np.float64) + values[:-1]) / 2
    else:
        frequent = values[counts > len(known) / BINS]
        after = values[np.minimum(np.searchsorted(values, frequent) + 1, len(values) - 1)]
        quantiles = np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1])
        cuts = np.unique(np.concatenate([quantiles, frequent, after[after > frequent]]).astype(np.float64))
    rounded = sorted({float(f"{cut:.3g}") for cut in cuts.tolist()})
    return tuple(cut for cut in rounded if np.float32(cut) > values[0])


def inflation_of(bins: NDArray[np.intp], units: NDArray[np.intp], bin_count: int) -> float:
    """Return by how much the variance of shares is larger than of as many rows that stand alone (Rao and Scott 1981).

    Args:
        bins: (n,) of the rows.
        units: (n,) the household of each, counted from 0.
    """
    rows = len(bins)
    sizes = np.bincount(units)
    counts = np.bincount(bins, minlength=bin_count)
    share = counts / max(rows, 1)
    _, together = np.unique(units.astype(np.int64) * bin_count + bins, return_inverse=True)
    pairs = np.bincount(together)
    place = np.zeros(len(pairs), np.intp)
    place[together] = bins
    # Σ over households of (rows in the bin − what its rows would have there)².
    squares = np.bincount(place, pairs.astype(np.float64) ** 2, bin_count)
    crossed = np.bincount(bins, sizes[units].astype(np.float64), bin_count)
    spread = squares - 2 * share * crossed + share**2 * float((sizes.astype(np.float64) ** 2).sum())
    is_there = share > 0
    alone = rows * float((1 - share[is_there]).sum())
    return max(1.0, float((spread[is_there] / share[is_there]).sum()) / alone) if alone > 0 else 1.0


def to_plain(reference: Reference) -> dict[str, Any]:
    """Return it for a manifest."""
    return asdict(reference)


def from_plain(told: object) -> Reference | None:
    """Return what a manifest tells; None where it tells nothing of the kind. Manifests are for anybody to write."""
    if not isinstance(told, Mapping):
        return None
    try:
        columns = tuple(_from_plain(one) for one in told["columns"])
        return Reference(columns=columns, scores=_from_plain(told["scores"]))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None


def _from_plain(told: Mapping[str, Any]) -> ReferenceHistogram:
    cuts = tuple(float(cut) for cut in told["cuts"])
    counts = tuple(int(count) for count in told["counts"])
    inflation = float(told["inflation"])
    is_growing = all(low < high for low, high in pairwise(cuts))
    if not is_growing or not all(map(math.isfinite, (*cuts, inflation))) or inflation < 1:
        raise ValueError("no cuts")
    if len(counts) != len(cuts) + 3 or min(counts) < 0 or sum(counts) == 0:
        raise ValueError("no counts")
    return ReferenceHistogram(name=str(told["name"]), cuts=cuts, counts=counts, inflation=inflation)


def misfit(reference: Reference, columns: Sequence[str]) -> bool:
    """Return whether a reference is of other columns than those of a feature schema."""
    return tuple(one.name for one in reference.columns) != tuple(columns)
