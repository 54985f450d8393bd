"""What the clients of a Hearth did and were told: one entry per call, in the order in which calls began and ended.

A history knows nothing of logs and states; tests/chaos/oracles.py compares it with what the log says.

Laws of its making:
- A call is noted before it is sent, and its end is noted after its answer was read. So if A ended before B began by the
  history, it did so in truth.
- A result is OK only with an answer; FAILED only where the call was certainly not carried out; everything else is
  UNKNOWN. A try again is another call with the same ids.
"""

import itertools
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path


class Kind(StrEnum):
    """What was called."""

    INGEST = "ingest"
    DECIDE = "decide"
    REPORT = "report"
    ACK = "ack"


class Result(StrEnum):
    """How a call ended for its caller."""

    OK = "ok"
    FAILED = "failed"
    """It was not carried out."""
    UNKNOWN = "unknown"
    """It may have been carried out or not, now or later; so is a call that has not ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One event that a call carried."""

    event_id: str
    household: str
    kind: str
    """Event type."""
    member: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What an answer said became of the events of its call."""

    applied: int = 0
    duplicate: int = 0
    late: int = 0
    rejected: int = 0

    @property
    def total(self) -> int:
        return self.applied + self.duplicate + self.late + self.rejected


@dataclass(slots=True, kw_only=True)
class Call:
    """One call. What it does not concern stays empty."""

    kind: Kind
    began: int
    """Ticket of its beginning; tickets of beginnings and ends are one growing sequence."""
    ended: int | None = None
    result: Result = Result.UNKNOWN
    sent: tuple[Sent, ...] = ()
    """Its events in order. A report or an acknowledgement is one event; its request id is the event id."""
    household: str = ""
    member: str = ""
    channel: str = ""
    request_id: str = ""
    action_id: str = ""
    """Of a report or an acknowledgement."""
    outcome: str = ""
    """accept, decline, impression, …; delivered or undelivered of an acknowledgement."""

    counts: Counts | None = None
    """Of an answer that has them."""
    decision_id: str = ""
    repeated: bool = False
    """The answer says that this request had been answered before."""
    offered_action: str = ""
    """Action of a Decide's answer."""
    offered_offer: str = ""
    offered_family: str = ""
    offered_status: str = ""
    """live, accepted, declined, expired or withdrawn, as the answer said."""
    effective: bool = False
    """Of a report's answer: it changed something."""
    reason: str = ""
    """Of an answer that is an error: what it names, else its status."""
    retry_after_s: float = 0.0
    """Of an answer that is an error: how long to wait before the next attempt, as the gateways' page has it."""

    @property
    def is_ok(self) -> bool:
        return self.result is Result.OK


@dataclass(slots=True)
class History:
    """Calls of all clients of one Hearth."""

    calls: list[Call] = field(default_factory=list)
    ticket: Callable[[], int] = field(default_factory=lambda: itertools.count(1).__next__)
    """Gives each beginning and end its place. Clients in several processes share a clock, e.g. time.monotonic_ns."""

    def begin(self, kind: Kind, **about: object) -> Call:
        """Note a call that is about to be sent."""
        call = Call(kind=kind, began=self.ticket(), **about)  # type: ignore[arg-type]
        self.calls.append(call)
        return call

    def end(self, call: Call, result: Result, **answer: object) -> Call:
        """Note how a call ended, with what its answer said."""
        for name, value in answer.items():
            assert hasattr(call, name), name
            setattr(call, name, value)
        call.result = result
        call.ended = self.ticket()
        return call

    def of(self, *kinds: Kind) -> Iterable[Call]:
        """Return the calls of these kinds."""
        return (call for call in self.calls if call.kind in kinds)

    def save(self, path: Path) -> None:
        """Write the history as JSON lines, for a person to read after a failure, or for another process to judge."""
        path.write_text("".join(json.dumps(asdict(call)) + "\n" for call in self.calls), encoding="utf-8")


def read_history(paths: Iterable[Path]) -> History:
    """Return saved histories as one; their tickets must come from one clock."""
    calls = [_call(json.loads(line)) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    return History(calls=sorted(calls, key=lambda call: call.began))


def _call(plain: dict) -> Call:
    counts = plain["counts"]
    plain |= {
        "kind": Kind(plain["kind"]),
        "result": Result(plain["result"]),
        "sent": tuple(Sent(**one) for one in plain["sent"]),
        "counts": Counts(**counts) if counts is not None else None,
    }
    return Call(**plain)
