"""A gateway's own book of what it was handed and what it acknowledged; it outlives every shard.

Laws that tests/chaos/oracles.py reads from it: one idempotency key per action, however often it is handed over;
whatever was accepted for sending is handed over at least once, or is visibly withdrawn, expired, or in the outbox.
"""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One hand-over as it was received. The action id is its idempotency key."""

    received: int
    """Ticket of the history it belongs to."""
    household: str
    member: str
    action_id: str
    decision_id: str
    offer: str
    family: str
    channel: str
    attempt: int


@dataclass(slots=True)
class GatewayLedger:
    """All hand-overs, in the order they were received; with a file, each is durable before it is acted upon."""

    deliveries: list[Delivery] = field(default_factory=list)
    file: IO[str] | None = None
    keys: set[str] = field(default_factory=set)
    """Every idempotency key that was received."""

    def __post_init__(self) -> None:
        self.keys.update(one.action_id for one in self.deliveries)

    def receive(self, delivery: Delivery) -> bool:
        """Note a hand-over; return whether its key is new."""
        is_new = delivery.action_id not in self.keys
        if self.file is not None:
            self.file.write(json.dumps(asdict(delivery)) + "\n")
            self.file.flush()
            os.fsync(self.file.fileno())
        self.deliveries.append(delivery)
        self.keys.add(delivery.action_id)
        return is_new


def read_ledger(path: Path) -> GatewayLedger:
    """Return a ledger from its file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return GatewayLedger(deliveries=[Delivery(**json.loads(line)) for line in lines])
