"""Requests that were answered, by household and id, for as long as they may be asked again."""

from dataclasses import dataclass

from household.tables.contract import Bytes, Declaration, Due, Number, Owner, Plain, Text, TimeUs


@dataclass(slots=True)
class KnownRequest:
    """A request that was answered, and how to tell it from another under the same id. Replaced, never changed."""

    household: Bytes
    """Its key. In terms of fold version 1 a request was known by its id alone: empty."""
    request_id: Text
    decision_id: Text
    """Empty for a Report or an Ack, whose event is what is recorded."""
    offset: Number
    """Of the decision's record; −1 where there is none."""
    seen_us: TimeUs
    body_hash: Bytes = b""
    """Empty where it was not kept: any body is taken for the same."""


def _told(rows: list[KnownRequest]) -> Plain:
    plain: Plain = {
        "requests": {one.request_id: [one.decision_id, one.offset, one.seen_us] for one in rows if not one.household}
    }
    of_households = [
        [
            one.household.decode("latin-1"),
            one.request_id,
            one.decision_id,
            one.offset,
            one.seen_us,
            one.body_hash.hex(),
        ]
        for one in rows
        if one.household
    ]
    if of_households:  # which came later
        plain["household_requests"] = sorted(of_households)
    return plain


REQUESTS = Declaration(
    name="requests",
    row=KnownRequest,
    owner=Owner.PARTITION,
    key=("household", "request_id"),
    along="household",
    is_read_soon=False,
    due=(Due(column="seen_us", after_us=lambda plan: plan.clock.request_window_us + 1),),
    partition_digest=_told,
)
