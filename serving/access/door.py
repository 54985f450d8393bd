"""The door: who calls, whether he may, and whether he asks for more than his share. One step per call, in the loop.

Costs some microseconds: who a token or a certificate names is kept, and files are looked at once a second.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from serving.access.allowance import Allowances
from serving.access.certificates import ClientCertificates
from serving.access.principal import Principal
from serving.access.rights import RIGHTS, Right, Trace
from serving.access.rules import AccessRules, AccessUnusable, load_rules
from serving.access.tokens import KeysWanted, Tokens, bearer
from serving.tls import Stamp, TlsFiles, stamp_of
from wire.failures import CallFailed, Failure, failed

logger = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0
"""How soon changed rules, keys and lists of revoked certificates hold."""
STREAM_LOOK_EVERY_S: Final = 5.0
"""How soon a stream ends whose caller may no longer have it."""
HEALTH: Final = "/grpc.health.v1.Health/"


class AuditTrail(Protocol):
    """Where the door writes down what was done and what was refused. Used in one event loop."""

    async def done(self, method: str, principal: Principal, request: object) -> None:
        """Return once it is on disk that somebody was let in, before he gets his answer.

        Raises:
            CallFailed: AUDIT_UNAVAILABLE.
        """
        ...

    def refused(self, method: str, who: str, reason: str) -> None:
        """Note that somebody was refused. Does not wait; of many alike, some are counted only."""
        ...

    async def settled(self) -> None:
        """Return once all that was told is written, or cannot be."""
        ...


class CallContext(Protocol):
    """What gRPC knows of whoever calls."""

    def invocation_metadata(self) -> Any:
        """Return what came beside the message."""
        ...

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """Return what TLS found."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorSettings:
    """What a door goes by. Travels to edges pickled."""

    rules: Path | None = None
    """None: whoever shows a client certificate may do everything."""
    tls: TlsFiles | None = None
    wall_s: Callable[[], float]
    """Seconds since 1970, by which credentials expire. A module-level function."""


class Door:
    """Lets calls in or refuses them. Must be used in one event loop."""

    def __init__(self, settings: DoorSettings, trail: AuditTrail | None = None) -> None:
        """Read all that it goes by.

        Raises:
            AccessUnusable: something of it cannot be used.
        """
        self._settings = settings
        self._trail = trail
        self._rules: AccessRules | None = None
        self._tokens: Tokens | None = None
        self._certificates: ClientCertificates | None = None
        self._stamp: Stamp = ()
        self._looked_s = time.monotonic()
        self._fetching: asyncio.Task[None] | None = None
        self._allowances = Allowances()
        self._read()

    async def let_in(self, method: str, call: CallContext) -> Principal:
        """Return who calls; `leave` must follow.

        Raises:
            CallFailed: he is not let in, and it is noted.
        """
        principal: Principal | None = None
        try:
            try:
                principal = self.look(method, call)
            except KeysWanted:
                await self._fetch()
                principal = self.look(method, call)
            self._allowances.enter(principal)
        except CallFailed as failure:
            self.note_refusal(method, principal, call, failure.reason)
            raise
        except KeysWanted:
            self.note_refusal(method, principal, call, Failure.TOKEN_INVALID.reason)
            raise failed(Failure.TOKEN_INVALID, "the token is signed by none of the issuer's keys") from None
        return principal

    def leave(self, principal: Principal) -> None:
        """Count a call no longer."""
        self._allowances.leave(principal)

    def look(self, method: str, call: CallContext) -> Principal:
        """Return who calls, if he may call this.

        Raises:
            CallFailed: nobody known, or he may not.
            KeysWanted: the issuer's keys have to be fetched first.
        """
        if time.monotonic() - self._looked_s > LOOK_EVERY_S:
            self._look_for_changes()
        right = RIGHTS.get(method)
        if right is None:
            raise failed(Failure.ROLE_NOT_PERMITTED, "nobody may call this")
        try:
            principal = self._known(call)
        except CallFailed as failure:
            is_open = self._rules is not None and self._rules.open_health and method.startswith(HEALTH)
            if is_open and failure.reason == Failure.NO_CREDENTIALS.reason:
                return Principal(name="probe")
            raise
        check_role(principal, right, method)
        return principal

    async def settled(self) -> None:
        """Return once all that was to be written down is."""
        if self._trail is not None:
            await self._trail.settled()

    async def trace(self, method: str, principal: Principal, request: object) -> None:
        """Write down what leaves a trace, before it is answered."""
        if self._trail is not None and RIGHTS[method].trace is not Trace.NONE:
            await self._trail.done(method, principal, request)

    def note_refusal(self, method: str, principal: Principal | None, call: CallContext, reason: str) -> None:
        """Write down that a call was refused."""
        if self._trail is not None:
            who = principal.name if principal is not None else self._claimed(call)
            self._trail.refused(method, who, reason)

    def _claimed(self, call: CallContext) -> str:
        """Return as whom somebody came who was refused; only what TLS found is believed."""
        if self._certificates is None:
            return "unknown"
        try:
            known = self._certificates.principal(call.auth_context())
        except CallFailed:
            return "unknown"
        return known.name if known is not None else "unknown"

    def _known(self, call: CallContext) -> Principal:
        found = None
        if self._certificates is not None:
            found = self._certificates.principal(call.auth_context())
        token = bearer(call.invocation_metadata())
        if token is not None and self._tokens is not None:
            return self._tokens.principal(token)
        if found is not None:
            return found
        if self._tokens is None:
            raise failed(Failure.UNKNOWN_CALLER, "the access rules name nobody of this certificate's subject")
        raise failed(Failure.NO_CREDENTIALS, "no token was sent; send the metadata `authorization: Bearer <JWT>`")

    def _look_for_changes(self) -> None:
        self._looked_s = time.monotonic()
        if self._settings.rules is not None and stamp_of((self._settings.rules,)) != self._stamp:
            try:
                self._read()
                logger.info("new access rules hold from here on")
            except AccessUnusable as wrong:
                self._stamp = stamp_of((self._settings.rules,))
                logger.warning("new access rules are not taken, the old ones hold: %s", wrong)
        if self._certificates is not None:
            self._certificates.refresh()
        if self._tokens is not None:
            self._tokens.refresh()
            if self._tokens.is_fetch_due:
                self._fetch_soon()

    def _read(self) -> None:
        settings = self._settings
        stamp = stamp_of((settings.rules,))
        rules = load_rules(settings.rules) if settings.rules is not None else None
        tokens = None
        if rules is not None and rules.tokens is not None:
            assert settings.rules is not None
            tokens = Tokens(rules, settings.rules.parent, wall_s=settings.wall_s, before=self._tokens)
        certificates = None
        if settings.tls is not None and settings.tls.client_ca is not None:
            certificates = ClientCertificates(rules, settings.tls, wall_s=settings.wall_s)
        if tokens is None and certificates is None:
            raise AccessUnusable(
                f"{settings.rules} names only certificates and users, and the public port asks for no certificate: "
                "set tls_client_ca, or say whose `tokens` count"
            )
        if rules is not None:
            self._allowances.take(rules.limits)
        self._rules, self._tokens, self._certificates, self._stamp = rules, tokens, certificates, stamp

    async def _fetch(self) -> None:
        await asyncio.shield(self._fetch_soon())

    def _fetch_soon(self) -> asyncio.Task[None]:
        if self._fetching is None or self._fetching.done():
            assert self._tokens is not None
            self._fetching = asyncio.get_running_loop().create_task(asyncio.to_thread(self._tokens.fetch))
        return self._fetching


def check_role(principal: Principal, right: Right, what: str) -> None:
    """Refuse who has none of the roles that something takes.

    Raises:
        CallFailed: ROLE_NOT_PERMITTED.
    """
    if principal.roles & right.roles:
        return
    own = ", ".join(sorted(principal.roles)) or "none"
    wanted = ", ".join(sorted(right.roles))
    text = f"{what.rpartition('/')[2]} is for {wanted}; your roles: {own}. Ask those who keep the access rules"
    raise failed(Failure.ROLE_NOT_PERMITTED, text)
