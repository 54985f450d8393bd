"""Tables as snapshots of format 1 held them: msgpack, some entries to a piece, and all of a household's in one entry.

Kept for reading only. Reading costs more than of what is written today, once: the next snapshot is of today's format.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import msgpack
import pyarrow as pa

from actors.records.codec import decode_decision
from household.decision import Moment
from household.tables.actions import ACTIONS, ActionStatus, LiveAction
from household.tables.contacts import CONTACTS, Contact
from household.tables.contract import Declaration
from household.tables.decisions import DECISIONS, KnownDecision
from household.tables.frozen import FrozenTable, frozen_rows
from household.tables.moments import PENDING, SETTLED, SettledMoment
from household.tables.outbox import OUTBOX, Outbound
from household.tables.pauses import ACCEPTED_OFFERS, DECLINED_FAMILIES, DECLINED_OFFERS, Pause
from household.tables.requests import REQUESTS, KnownRequest
from household.tables.slates import SLATES, Slate

FILES = ("ledgers.arrow", "actions.arrow", "requests.arrow", "outbox.arrow")


def read_pieces(name: str, batch: pa.RecordBatch) -> dict[str, FrozenTable]:
    """Return the tables that a file held.

    Raises:
        msgpack.UnpackException, PayloadUnreadable, ValueError, TypeError, KeyError: it is not what was written.
    """
    entries = _entries(batch)
    match name:
        case "actions.arrow":
            return {ACTIONS.name: frozen_rows(ACTIONS, [(0, _action(one)) for one in entries])}
        case "requests.arrow":
            return {REQUESTS.name: frozen_rows(REQUESTS, [(0, _request(one)) for one in entries])}
        case "outbox.arrow":
            return {OUTBOX.name: frozen_rows(OUTBOX, [(0, _outbound(one)) for one in entries])}
        case "ledgers.arrow":
            return _ledgers(entries)
        case _:
            raise KeyError(name)


def _entries(batch: pa.RecordBatch) -> Iterator[list[Any]]:
    for piece in batch.column("piece"):
        yield from msgpack.unpackb(piece.as_buffer(), strict_map_key=False)


def _ledgers(entries: Iterator[list[Any]]) -> dict[str, FrozenTable]:
    held: dict[str, tuple[Declaration[Any], list[tuple[int, Any]]]] = {
        one.name: (one, [])
        for one in (
            *(PENDING, SETTLED, SLATES, CONTACTS),
            *(DECLINED_OFFERS, DECLINED_FAMILIES, DECISIONS, ACCEPTED_OFFERS),
        )
    }
    for row, *plain in entries:
        # The accepted offers came later.
        pending, settled, slates, contacts, offers, families, decisions, *accepted = plain
        found: Mapping[str, list[Any]] = {
            PENDING.name: [_moment(one) for one in pending],
            SETTLED.name: [SettledMoment(moment_id, at_us) for moment_id, at_us in settled.items()],
            SLATES.name: [_slate(*one) for one in slates],
            CONTACTS.name: [Contact(*one) for one in contacts],
            DECLINED_OFFERS.name: [Pause(name, until_us) for name, until_us in offers.items()],
            DECLINED_FAMILIES.name: [Pause(name, until_us) for name, until_us in families.items()],
            DECISIONS.name: [KnownDecision(decision_id, offset) for decision_id, offset in decisions],
            ACCEPTED_OFFERS.name: [
                Pause(name, until_us) for until_by_name in accepted for name, until_us in until_by_name.items()
            ],
        }
        for name, rows in found.items():
            held[name][1].extend((row, one) for one in rows)
    return {name: frozen_rows(declaration, rows) for name, (declaration, rows) in held.items()}


def _slate(member: int, valid_until_us: int, payload: bytes, members: list[int]) -> Slate:
    return Slate(member, decode_decision(payload).decision.decision_id, valid_until_us, payload)


def _moment(plain: list[Any]) -> Moment:
    moment_id, journey, member, event_id, event_type, time_us = plain
    return Moment(
        moment_id=moment_id, journey=journey, member=member, event_id=event_id, event_type=event_type, time_us=time_us
    )


def _request(plain: list[Any]) -> KnownRequest:
    request_id, decision_id, offset, seen_us, *came_later = plain
    household, body_hash = came_later or (b"", b"")
    return KnownRequest(household, request_id, decision_id, offset, seen_us, body_hash)


def _outbound(plain: list[Any]) -> Outbound:
    outbound = Outbound(*plain)
    return replace(outbound, fallbacks=tuple(outbound.fallbacks), copies=tuple(outbound.copies))


def _action(plain: list[Any]) -> LiveAction:
    action = LiveAction(*plain)
    return replace(action, status=ActionStatus(action.status))
