"""How often each offer was shown, per lineage of a playbook: all versions of one name."""

from dataclasses import dataclass

from household.tables.contract import Declaration, Number, Owner, Plain, PlanName


@dataclass(slots=True)
class ShownOffer:
    """Actions of one offer that were given to a channel, each once. Replaced, never changed."""

    playbook: PlanName
    offer: PlanName
    count: Number


def _told(rows: list[ShownOffer]) -> Plain:
    # Nothing at all where there is none: it came later.
    return {"shown": sorted([one.playbook, one.offer, one.count] for one in rows)} if rows else {}


SHOWN = Declaration(
    name="shown",
    row=ShownOffer,
    owner=Owner.PARTITION,
    is_read_soon=False,
    key=("playbook", "offer"),
    partition_digest=_told,
)
