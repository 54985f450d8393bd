"""How often households are contacted unasked, on which channels, and what kept contacts back."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from household.deciding.reasons import Reason
from household.local_time import local_day
from insight.measures.definitions import DAY_US

MANY: Final = 5
"""From so many contacts on households are counted together."""

LATELY_US: Final = 30 * DAY_US

PEOPLES_WISH: Final = frozenset(
    {Reason.NO_CONSENT, Reason.OBJECTION, Reason.DECLINED_OFFER, Reason.DECLINED_FAMILY, Reason.ACCEPTED_OFFER}
)
"""What the household itself has said."""

CAPS: Final = frozenset({Reason.CONTACT_CAP, Reason.QUIET_HOURS})
CAP_PREFIXES: Final = ("RULE:", "BUDGET:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """Contacts that were handed to gateways."""

    by_day: Mapping[tuple[int, str], int]
    """By local day (proleptic ordinal) and channel."""
    households: Mapping[int, int]
    """How many were contacted so often in the last 30 days; MANY stands for that and more."""
    contacts: int
    """Of the last 30 days."""

    @property
    def contacted(self) -> int:
        """Households with a contact in the last 30 days."""
        return sum(self.households.values())


def pressure(decisions: Iterable[Mapping[str, Any]], handed: Set[str], *, time_us: int, zone: str) -> Pressure:
    """Return how often households were contacted.

    Args:
        decisions: rows of the export: household, asked, channel, decided_at, slate.
        handed: the actions that were handed to gateways.
    """
    by_day: Counter[tuple[int, str]] = Counter()
    of_household: Counter[str] = Counter()
    for one in decisions:
        sent = [action for action in one["slate"] if action["action_id"] in handed] if not one["asked"] else []
        if sent:
            by_day[local_day(zone, one["decided_at"]), one["channel"] or "none"] += 1
            if one["decided_at"] >= time_us - LATELY_US:
                of_household[one["household"]] += 1
    return Pressure(
        by_day=dict(by_day),
        households=dict(sorted(Counter(min(often, MANY) for often in of_household.values()).items())),
        contacts=sum(of_household.values()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptBack:
    """What spoke against something that was weighed."""

    veto: str
    decisions: int
    """In so many decisions, against one candidate at least or against sending it."""
    is_cap: bool
    """Whether it is a limit of the playbook: a cap, a rule, quiet hours, a budget."""


def kept_back(decisions: pa.Table) -> list[KeptBack]:
    """Return what kept things back, the most frequent first.

    Args:
        decisions: the columns `candidates` and `reasons` of the export.
    """
    counts: Counter[str] = Counter()
    rows = pa.array(range(decisions.num_rows), pa.int64())
    candidates = decisions["candidates"].combine_chunks()
    of_candidate = rows.take(pc.list_parent_indices(candidates))
    vetoes = pc.struct_field(pc.list_flatten(candidates), "vetoes")
    against = pa.table({"row": of_candidate.take(pc.list_parent_indices(vetoes)), "veto": pc.list_flatten(vetoes)})
    reasons = decisions["reasons"].combine_chunks()
    said = pa.table({"row": rows.take(pc.list_parent_indices(reasons)), "veto": pc.list_flatten(reasons)})
    both = pa.concat_tables([against, said.filter(pc.is_in(said["veto"], value_set=_limits(said["veto"])))])
    each = both.group_by(["row", "veto"]).aggregate([]) if both.num_rows else both
    for one in each["veto"].value_counts().to_pylist():
        counts[one["values"]] += one["counts"]
    return [KeptBack(veto=veto, decisions=often, is_cap=is_cap(veto)) for veto, often in counts.most_common()]


def is_cap(veto: str) -> bool:
    """Return whether a veto is a limit of the playbook that was hit."""
    return veto in CAPS or veto.startswith(CAP_PREFIXES)


def _limits(names: pa.ChunkedArray) -> pa.Array:
    """Return those of the reasons of decisions that speak against sending."""
    found: Sequence[str] = names.unique().to_pylist()
    return pa.array([one for one in found if is_cap(one) or one in PEOPLES_WISH], pa.string())
