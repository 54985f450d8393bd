"""What a log says happened, as a simulation lets it happen: who asked, and what answers are about there."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from household.events import EventBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedAgain:
    """A channel asked what to say."""

    household: bytes
    member: bytes
    channel: str
    request_id: str
    contact_types: Collection[str] | None
    """Event types that came with it and are a contact; None where the asking was none, empty where by itself it was."""
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredAction:
    """What a report of the log is about."""

    household: bytes
    offer: str
    price_minor: int


def without(batch: EventBatch, rows: Sequence[int]) -> Iterator[EventBatch]:
    """Yield a batch less some of its events, in parts."""
    start = 0
    for row in sorted(rows):
        if row > start:
            yield batch.part(start, row)
        start = row + 1
    if start < batch.count or (not rows and not batch.count):
        yield batch.part(start, batch.count)


def about_here(batch: EventBatch, actions: Mapping[int, str]) -> EventBatch:
    """Return a batch whose reports are about other actions, by row."""
    outcomes = tuple(replace(one, action_id=actions.get(one.row, one.action_id)) for one in batch.outcomes)
    return replace(batch, outcomes=outcomes)
