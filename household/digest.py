"""What a partition's fold knows, as hashes: equal exactly when two folds know the same, however either stores it.

Rows, slab runs, dict orders and batch boundaries do not show. What does:
docs/decisions/0004-replay-and-digest.md.
"""

import hashlib
import json
import struct
from collections.abc import Iterable
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from household.columns.dedupe import FREE
from household.decision import Decision, Moment
from household.events import Status
from household.later import spoken
from household.plan import NONE, Plan, Scope, Window
from household.plan.definitions import window_definition
from household.state import NEVER_US, NO_MEMBER, HouseholdLedger, PartitionState

DIGEST_LAYOUT = 1
"""Grows when the same content gives another digest; says nothing about the fold."""

DIGEST_BYTES = 16

Plain = dict[str, object]


def household_digests(state: PartitionState) -> dict[bytes, str]:
    """Return, per household key, 32 hex digits of all that is known of the household and its members."""
    return {key: _hash([content]) for key, content in _contents(state).items()}


def state_digest(state: PartitionState) -> str:
    """Return 32 hex digits of the whole partition: its households, and what belongs to none of them."""
    households = household_digests(state)
    lines = [_packed(key, households[key].encode()) for key in sorted(households)]
    return _hash([*lines, _text(_partition_wide(state)), _known_ids(state)])


def _hash(parts: Iterable[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        digest.update(_packed(part))
    return digest.hexdigest()


def _packed(*parts: bytes) -> bytes:
    """Join parts so that no other parts join to the same bytes."""
    return b"".join(struct.pack("<q", len(part)) + part for part in parts)


def _text(plain: object) -> bytes:
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()


def _key_text(key: bytes) -> str:
    return key.decode("latin-1")  # one character per byte: different keys stay different


# --- households ------------------------------------------------------------------------------------------------------


def _contents(state: PartitionState) -> dict[bytes, bytes]:
    """Return each household's content as bytes."""
    household_cells = _cells(state, Scope.HOUSEHOLD)
    member_cells = _cells(state, Scope.MEMBER)
    members: dict[int, list[bytes]] = {}
    parents = state.members.arrays.parents
    for row in range(state.members.count):
        members.setdefault(int(parents[row]), []).append(_packed(state.members.key(row), member_cells[row]))
    side = _side_tables(state)
    return {
        state.households.key(row): _packed(
            household_cells[row], *sorted(members.get(row, ())), b"ledger", _text(side.get(row, {}))
        )
        for row in range(state.households.count)
    }


def _cells(state: PartitionState, scope: Scope) -> list[bytes]:
    """Return the cells of each row of a scope by name; a window as its entries, oldest bucket first."""
    columns = [column for column in state.layout.columns if column.scope is scope]
    windows = {
        cell: _window_name(state.plan, window)
        for cell, window in zip(state.layout.window_cells, state.plan.windows, strict=True)
        if window.scope is scope
    }
    if scope is Scope.HOUSEHOLD:
        bases = state.cells.household_bases[: state.household_rows]
    else:
        bases = state.cells.member_bases[: state.member_rows]
    named = sorted((column.name, cell) for cell, column in enumerate(columns) if cell not in windows)
    values = state.cells.flat[bases[:, None] + np.array([cell for _, cell in named], np.int64)]
    values = np.where(np.isnan(values), np.nan, values).astype("<f8")  # one NaN is as good as another
    header = _text([name for name, _ in named])
    entries = _window_entries(state, bases, {name: cell for cell, name in windows.items()})
    return [_packed(header, values[row].tobytes(), entries[row]) for row in range(bases.shape[0])]


def _window_entries(state: PartitionState, bases: NDArray[np.int64], cell_by_name: dict[str, int]) -> list[bytes]:
    """Return per row its windows that are not empty: name, then bucket, count and sum of each entry."""
    parts: list[list[bytes]] = [[] for _ in range(bases.shape[0])]
    slab = state.cells.slab
    for name in sorted(cell_by_name):
        handles = state.cells.flat[bases + cell_by_name[name]].astype(np.int64)
        for row in np.flatnonzero(handles).tolist():
            start, length = int(handles[row]) >> 16, int(handles[row]) & 2047
            run = slice(start, start + length)
            parts[row] += [
                name.encode(),
                slab.bucket[run].astype("<i4").tobytes(),
                slab.number[run].astype("<i4").tobytes(),
                slab.total[run].astype("<f8").tobytes(),
            ]
    return [_packed(*part) for part in parts]


def _window_name(plan: Plan, window: Window) -> str:
    """Name a window by its definition: its number is its plan's own."""
    held = window_definition(plan, window)
    field = "" if held.field is None else held.field.name
    return json.dumps([held.scope, held.events, held.where or "", field, held.bucket_us, held.bucket_count])


# --- side tables -----------------------------------------------------------------------------------------------------


def _side_tables(state: PartitionState) -> dict[int, Plain]:
    """Return what was decided and what became of it, by household row; nothing for a household without history."""
    side: dict[int, Plain] = {}
    for row, one in state.ledgers.items():
        content = _ledger(state, one)
        if any(content.values()):
            side.setdefault(row, {}).update(content)
    actions: dict[int, list[Plain]] = {}
    for action in state.actions.values():
        plain = spoken(action) | {"household": None, "member": _member(state, action.member)}
        if "channel" in plain:
            plain["channel"] = _channel(state, action.channel)
        actions.setdefault(action.household, []).append(plain)
    outbox: dict[int, list[Plain]] = {}
    for item in state.outbox.values():
        names: Plain = {
            "household": None,
            "member": _member(state, item.member),
            "channel": _channel(state, item.channel),
        }
        if item.fallbacks:
            names["fallbacks"] = [_channel(state, channel) for channel in item.fallbacks]
        outbox.setdefault(item.household, []).append(spoken(item) | names)
    for name, found in (("actions", actions), ("outbox", outbox)):
        for row, items in found.items():
            side.setdefault(row, {})[name] = _sorted(items)
    return side


def _ledger(state: PartitionState, ledger: HouseholdLedger) -> Plain:
    plain: Plain = {
        "pending": [_moment(moment) | {"member": _member(state, moment.member)} for moment in ledger.pending],
        "settled": dict(ledger.settled),
        "slates": _sorted(
            {"member": _member(state, member), "until": slate.valid_until_us, "decision": _decision(slate.decision)}
            for member, slate in ledger.slates.items()
        ),
        "contacts": _sorted(
            spoken(one) | {"member": _member(state, one.member), "channel": _channel(state, one.channel)}
            for one in ledger.contacts
        ),
        "declined_offers": dict(ledger.declined_offers),
        "declined_families": dict(ledger.declined_families),
        "decisions": [list(one) for one in ledger.decisions],
    }
    if ledger.accepted_offers:  # which came later
        plain["accepted_offers"] = dict(ledger.accepted_offers)
    return plain


def _sorted(items: Iterable[Plain]) -> list[Plain]:
    return sorted(items, key=_text)


def _member(state: PartitionState, member: int) -> str | None:
    return None if member == NO_MEMBER else _key_text(state.members.key(member))


def _channel(state: PartitionState, channel: int) -> str | None:
    return None if channel == NONE else state.plan.channels[channel].name


def _moment(moment: Moment) -> Plain:
    """The member's row is left out: it is a partition's own, and a decision that was read from a log has none."""
    return {
        "moment_id": moment.moment_id,
        "journey": moment.journey,
        "event_id": _key_text(moment.event_id),
        "event_type": moment.event_type,
        "time_us": moment.time_us,
    }


def _decision(decision: Decision) -> Plain:
    plain = spoken(decision)
    plain["household"], plain["member"] = _key_text(decision.household), _key_text(decision.member)
    plain["moments"] = [_moment(moment) for moment in decision.moments]
    plain["candidates"] = [asdict(candidate) for candidate in decision.candidates]
    plain["slate"] = [spoken(action) for action in decision.slate]
    if decision.withdrawals:
        plain["withdrawals"] = [asdict(one) for one in decision.withdrawals]
    if decision.request_hash:
        plain["request_hash"] = decision.request_hash.hex()
    plain["state_vector"] = decision.state_vector.astype("<f4").tobytes().hex()
    return plain


# --- what belongs to no household ------------------------------------------------------------------------------------


def _partition_wide(state: PartitionState) -> Plain:
    return _since_version_2(state) | {
        "plan": state.plan.version,
        "stream_clock": state.stream_clock,
        "now_us": int(state.now_us),
        "epoch": int(state.epoch),
        "counters": spoken(state.counters) | {"by_status": _by_status(state)},
        "requests": {key[1]: list(found[:3]) for key, found in state.requests.items() if not key[0]},
    }


def _since_version_2(state: PartitionState) -> Plain:
    """Return what no term of fold version 1 has; nothing of what says nothing."""
    plain: Plain = {}
    if state.fold_version != 1:
        plain["fold_version"] = state.fold_version
    if state.alone_until_us != NEVER_US:
        plain["alone_until_us"] = int(state.alone_until_us)
    requests = [
        [_key_text(household), request_id, *found[:3], found.body_hash.hex()]
        for (household, request_id), found in state.requests.items()
        if household
    ]
    if requests:
        plain["household_requests"] = sorted(requests)
    return plain


def _by_status(state: PartitionState) -> dict[str, int]:
    """A status that came later is left out while no event had it."""
    counts = state.counters.by_status
    return {name: count for name, count in counts.items() if count or Status[name] <= Status.PAST_CALENDAR}


def _known_ids(state: PartitionState) -> bytes:
    """Return the dedupe window as a set: (fingerprint, time) of each known id, in order."""
    arrays = state.dedupe.arrays
    used = arrays.times != FREE
    low, high, times = arrays.low[used], arrays.high[used], arrays.times[used]
    order = np.lexsort((times, high, low))
    return b"".join(
        [low[order].astype("<u8").tobytes(), high[order].astype("<u8").tobytes(), times[order].astype("<i8").tobytes()]
    )
