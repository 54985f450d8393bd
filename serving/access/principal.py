"""Who makes a call, as his certificate or token says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from serving.access.rights import Role
from wire.failures import Failure, failed

EVERY_CHANNEL: Final = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A program or a person, with what he is to Hearth."""

    name: str
    """For the audit log: `token:<subject>`, `certificate:<subject>` or `user:<name>`."""
    roles: frozenset[Role] = frozenset()
    channels: frozenset[str] = frozenset()
    """On which a gateway may act; `*` is all."""
    calls_per_s: float | None = None
    """In each edge process; None is the rules' limit for everybody."""
    in_flight_max: int | None = None
    expires_s: float = float("inf")
    """When what he showed is worth nothing any more, in seconds since 1970."""

    def check_channels(self, *channels: str) -> None:
        """Refuse a gateway on channels that are not his; an empty one leaves it open which.

        Raises:
            CallFailed: CHANNEL_NOT_PERMITTED.
        """
        if EVERY_CHANNEL in self.channels or Role.GATEWAY not in self.roles:
            return
        own = ", ".join(sorted(self.channels)) or "none"
        for channel in channels:
            if not channel:
                text = f"a gateway that has its channels must name the one it acts on; yours: {own}"
                raise failed(Failure.CHANNEL_NOT_PERMITTED, text)
            if channel not in self.channels:
                text = f"channel {channel[:100]!r} is another gateway's; yours: {own}"
                raise failed(Failure.CHANNEL_NOT_PERMITTED, text)

    def check_keeps(self, before: Principal) -> None:
        """Refuse who has lost a channel since he began something: it may be of that one.

        Raises:
            CallFailed: CHANNEL_NOT_PERMITTED.
        """
        if EVERY_CHANNEL not in self.channels and not before.channels <= self.channels:
            own = ", ".join(sorted(self.channels)) or "none"
            raise failed(Failure.CHANNEL_NOT_PERMITTED, f"your channels are fewer by now: {own}; begin anew on those")


ANYBODY: Final = Principal(name="anybody", roles=frozenset(Role), channels=frozenset((EVERY_CHANNEL,)))
"""Where nobody is asked who he is."""
