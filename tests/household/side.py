"""What the tables of a state hold, as plain lists and dicts, for a test to look at; changing those changes nothing."""

from dataclasses import dataclass, replace
from typing import Any

from household.decision import Moment
from household.state import PartitionState
from household.tables.actions import LiveAction
from household.tables.contacts import Contact
from household.tables.contract import Owner
from household.tables.outbox import Outbound
from household.tables.slates import Slate


@dataclass(frozen=True, slots=True)
class Side:
    """What was decided for a household and what came of it."""

    pending: list[Moment]
    settled: dict[str, int]
    slates: dict[int, Slate]
    contacts: list[Contact]
    declined_offers: dict[str, int]
    declined_families: dict[str, int]
    accepted_offers: dict[str, int]
    decisions: list[tuple[str, int]]


def side_of(state: PartitionState, household: int = 0) -> Side:
    return Side(
        pending=list(state.pending.of(household)),
        settled={one.moment_id: one.settled_us for one in state.settled.of(household)},
        slates={one.member: one for one in state.slates.of(household)},
        contacts=list(state.contacts.of(household)),
        declined_offers={one.name: one.until_us for one in state.declined_offers.of(household)},
        declined_families={one.name: one.until_us for one in state.declined_families.of(household)},
        accepted_offers={one.name: one.until_us for one in state.accepted_offers.of(household)},
        decisions=[(one.decision_id, one.offset) for one in state.decisions.of(household)],
    )


def sides_of(state: PartitionState) -> dict[int, Side]:
    """Of every household of which a table holds something."""
    tables = [table for table in state.tables if table.declaration.owner is Owner.HOUSEHOLD]
    return {row: side_of(state, row) for row in sorted({row for table in tables for row in table.owners()})}


def actions_of(state: PartitionState) -> dict[str, LiveAction]:
    return {one.action_id: one for one in state.actions}


def outbox_of(state: PartitionState) -> dict[str, Outbound]:
    return {one.action_id: one for one in state.outbox}


def requests_of(state: PartitionState) -> dict[tuple[bytes, str], tuple[str, int, int, bytes]]:
    """(decision id, offset, when, hash of the body) by household and id."""
    return {
        (one.household, one.request_id): (one.decision_id, one.offset, one.seen_us, one.body_hash)
        for one in state.requests
    }


def change(state: PartitionState, action_id: str, **values: Any) -> None:
    """Change an outbound action behind the fold's back."""
    state.outbox.put(replace(state.outbox[action_id], **values))
