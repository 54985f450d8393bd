"""Tokens: JWTs of one issuer, for one audience, signed in one of few ways, and not expired.

Checking a signature takes 50 µs and more, so who a token names is kept until it expires or the rules or keys change.
"""

from __future__ import annotations

import json
import logging
import threading
import urllib.request
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from serving.access.principal import Principal
from serving.access.rights import Role
from serving.access.rules import AccessRules, AccessUnusable, TokenRules
from serving.tls import Stamp, stamp_of
from wire.failures import Failure, failed

logger = logging.getLogger(__name__)

KNOWN_MAX: Final = 10_000
"""Tokens of which it is kept who they name."""
TOKEN_LENGTH_MAX: Final = 16_384
KEYS_BYTES_MAX: Final = 1 << 20
FETCH_TIMEOUT_S: Final = 5.0
FETCH_PAUSE_S: Final = 10.0
"""Between fetches for tokens that name an unknown key: who makes such keys up cannot make us ask all the time."""

PublicKey = Any
"""A public key, as `cryptography` has it."""


class _NowhereElse(urllib.request.HTTPRedirectHandler):
    """Follows nobody to another place, which might be without TLS, and anybody's."""

    def redirect_request(self, *_arguments: Any, **_named: Any) -> None:
        """Return no request: then the answer counts as the error that it is."""


_DIRECT: Final = urllib.request.build_opener(_NowhereElse)


class KeysWanted(Exception):
    """The token may be signed by a key that was not there when keys were last fetched."""


class Tokens:
    """Knows who a token names."""

    def __init__(
        self, rules: AccessRules, folder: Path, *, wall_s: Callable[[], float], before: Tokens | None = None
    ) -> None:
        """Read the keys; those at a URL are fetched at the first call, unless who knew tokens `before` has them.

        Raises:
            AccessUnusable: the file of keys cannot be used.
        """
        assert rules.tokens is not None
        self._rules: TokenRules = rules.tokens
        self._by_subject = {rule.token: rule for rule in rules.callers if rule.token is not None}
        self._path = folder / self._rules.keys
        self._wall_s = wall_s
        self._known: OrderedDict[str, Principal] = OrderedDict()
        self._fetching = threading.Lock()
        self._fetched_s = float("-inf")
        self._stamp: Stamp = ()
        self._keys: Mapping[str, PublicKey] = {}
        if not self._rules.is_remote:
            self._read()
        elif before is not None and before._rules.keys == self._rules.keys:
            self._keys = before._keys  # until they are fetched anew, which is due at once

    def refresh(self) -> None:
        """Read the file of keys anew if it has changed. What is wrong with it is told; the old keys hold."""
        if self._rules.is_remote or stamp_of((self._path,)) == self._stamp:
            return
        try:
            self._read()
        except AccessUnusable as wrong:
            self._stamp = stamp_of((self._path,))
            logger.warning("new keys are not taken, the old ones hold: %s", wrong)

    def fetch(self) -> None:
        """Fetch the keys from their URL, which may take seconds; what is wrong is told, and the old keys hold."""
        with self._fetching:
            if self._wall_s() - self._fetched_s < FETCH_PAUSE_S:
                return
            self._fetched_s = self._wall_s()
            try:
                with _DIRECT.open(self._rules.keys, timeout=FETCH_TIMEOUT_S) as answer:
                    self._take(answer.read(KEYS_BYTES_MAX + 1))
            except (OSError, ValueError, AccessUnusable) as wrong:
                logger.warning("the keys of the issuer cannot be fetched, the old ones hold: %s", wrong)

    @property
    def is_fetch_due(self) -> bool:
        """Whether the keys at a URL are older than they may be."""
        return self._rules.is_remote and self._wall_s() - self._fetched_s > self._rules.refresh_s

    def principal(self, token: str) -> Principal:
        """Return who a token names.

        Raises:
            CallFailed: it names nobody here; says why.
            KeysWanted: after `fetch` it may.
        """
        kept = self._known  # of the keys by now: another thread may fetch others while the token is checked
        known = kept.get(token)
        if known is None:
            known = self._checked(token)
            kept[token] = known
            if len(kept) > KNOWN_MAX:
                kept.popitem(last=False)
        if self._wall_s() >= known.expires_s:
            raise failed(Failure.TOKEN_EXPIRED, "the token has expired; get a new one from its issuer")
        return known

    def _checked(self, token: str) -> Principal:
        rules = self._rules
        claims = self._verified(token)
        if claims.get("iss") != rules.issuer:
            raise failed(Failure.TOKEN_OF_ANOTHER_ISSUER, f"the token is not of {rules.issuer}; get one there")
        audience = claims.get("aud")
        if rules.audience not in (audience if isinstance(audience, list) else [audience]):
            text = f"the token is for another audience; ask its issuer for one for {rules.audience}"
            raise failed(Failure.TOKEN_FOR_ANOTHER_AUDIENCE, text)
        now_s = self._wall_s()
        expires_s = _time(claims, "exp")
        subject = claims.get("sub")
        if expires_s is None or not isinstance(subject, str) or not subject:
            raise failed(Failure.TOKEN_INVALID, "the token lacks exp or sub; Hearth takes none that never expires")
        for name in ("nbf", "iat"):
            begins_s = _time(claims, name)
            if begins_s is not None and begins_s > now_s + rules.leeway_s:
                raise failed(Failure.TOKEN_INVALID, f"the token begins in the future ({name}); are the clocks right?")
        expires_s += rules.leeway_s
        name = f"token:{subject[:256]}"
        rule = self._by_subject.get(subject)
        if rule is not None:
            return rule.principal(name, expires_s=expires_s)
        return Principal(
            name=name,
            roles=frozenset(self._roles(_texts(_at(claims, rules.roles)))),
            channels=frozenset(_texts(_at(claims, rules.channels))),
            expires_s=expires_s,
        )

    def _roles(self, names: list[str]) -> list[Role]:
        found = [self._rules.role_names.get(name, name) for name in names]
        return [Role(name) for name in found if name in set(Role)]

    def _verified(self, token: str) -> dict[str, Any]:
        if len(token) > TOKEN_LENGTH_MAX:
            raise failed(Failure.TOKEN_INVALID, f"the token is longer than {TOKEN_LENGTH_MAX:,} characters")
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, RecursionError):  # the last by brackets within brackets
            raise failed(Failure.TOKEN_INVALID, "what was sent as a token is no JWT") from None
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in self._rules.algorithms:
            text = f"the token is not signed in a way that counts here: {', '.join(self._rules.algorithms)}"
            raise failed(Failure.TOKEN_INVALID, text)
        keys = [self._keys[key_id]] if key_id and key_id in self._keys else [] if key_id else list(self._keys.values())
        if not keys:
            # Tokens without a name of their key are of those who have one.
            keys = [key for name, key in self._keys.items() if name.startswith(UNNAMED)]
        for key in keys:
            try:
                decoded: dict[str, Any] = jwt.decode(
                    token,
                    key,
                    algorithms=[algorithm],
                    # All that is claimed is checked above, by one clock.
                    options={
                        "verify_exp": False,
                        "verify_nbf": False,
                        "verify_iat": False,
                        "verify_aud": False,
                        "verify_iss": False,
                        "verify_sub": False,
                    },
                )
            except (jwt.PyJWTError, TypeError, ValueError, RecursionError) as wrong:
                logger.debug("a key of the issuer does not fit a token: %s", type(wrong).__name__)
                continue
            return decoded
        if self._rules.is_remote and self._wall_s() - self._fetched_s >= FETCH_PAUSE_S and key_id not in self._keys:
            raise KeysWanted
        if not self._keys:
            raise failed(Failure.KEYS_UNAVAILABLE, "the issuer's keys cannot be fetched at present, so nobody is known")
        raise failed(Failure.TOKEN_INVALID, "the token is signed by none of the issuer's keys, or was changed since")

    def _read(self) -> None:
        stamp = stamp_of((self._path,))
        try:
            content = self._path.read_bytes()
        except OSError as wrong:
            raise AccessUnusable(f"the keys {self._path} cannot be read: {wrong.strerror}") from wrong
        self._take(content)
        self._stamp = stamp

    def _take(self, content: bytes) -> None:
        """Take these keys and no others from here on; whoever was known by an old one has to show himself again."""
        self._keys = keys_of(content, self._rules.keys)
        self._known = OrderedDict()


UNNAMED: Final = "#"
TIME_S_MAX: Final = 2**53
"""Beyond this a number of seconds is none, infinity included."""


def keys_of(content: bytes, where: str) -> dict[str, PublicKey]:
    """Return the public keys of a JWKS or a PEM file, by name; those without one by `#` and their number.

    Raises:
        AccessUnusable: there is none.
    """
    if len(content) > KEYS_BYTES_MAX:
        raise AccessUnusable(f"{where} has more than {KEYS_BYTES_MAX:,} bytes: that is no set of keys")
    if content.lstrip().startswith(b"-----"):
        marker = b"-----BEGIN "
        parts = [marker + part for part in content.split(marker)[1:]]
        try:
            return {f"{UNNAMED}{index}": load_pem_public_key(part) for index, part in enumerate(parts)}
        except ValueError as wrong:
            raise AccessUnusable(f"{where} holds something that is no public key in PEM: {wrong}") from wrong
    try:
        entries = json.loads(content)["keys"]
        found = {}
        for index, entry in enumerate(entries):
            # Keys that both sides have sign nothing here, whatever they are said to be for.
            if entry.get("kty") == "oct" or entry.get("use", "sig") != "sig":
                continue
            found[str(entry.get("kid") or f"{UNNAMED}{index}")] = jwt.PyJWK(entry, _algorithm_of(entry)).key
    except (ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError) as wrong:
        raise AccessUnusable(f"{where} is neither a JWKS nor PEM: {type(wrong).__name__} {wrong}") from wrong
    if not found:
        raise AccessUnusable(f"{where} holds no public key for signatures")
    return found


def _algorithm_of(entry: Mapping[str, str]) -> str | None:
    return entry.get("alg") or ("RS256" if entry.get("kty") == "RSA" else None)


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < TIME_S_MAX:
        raise failed(Failure.TOKEN_INVALID, f"the token's {name} is no time")
    return float(value)


def _at(claims: Mapping[str, Any], path: str) -> Any:
    found: Any = claims.get(path)
    if found is None:
        found = claims
        for name in path.split("."):
            found = found.get(name) if isinstance(found, dict) else None
    return found


def _texts(value: Any) -> list[str]:
    """Return a claim's entries: a list, or words in one text, as OAuth's scopes are."""
    if isinstance(value, str):
        return value.split()
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []


def bearer(metadata: Any) -> str | None:
    """Return the token that a call brings, None for none.

    Raises:
        CallFailed: what it brings is no token.
    """
    for key, value in metadata or ():
        if key == "authorization":
            scheme, _, token = str(value).partition(" ")
            if scheme.lower() != "bearer" or not token.strip():
                raise failed(Failure.TOKEN_INVALID, "authorization must read `Bearer ` and a JWT")
            return token.strip()
    return None
