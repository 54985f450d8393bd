"""The access rules: a YAML file that says whose tokens count, who is what, and how much each may ask.

Read anew whenever it changes. A file that is wrong changes nothing: the rules before it hold until it is right.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Self
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from serving.access.principal import Principal
from serving.access.rights import Role
from wire.addresses import host_is_loopback

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures that only who has the private key can make. HS256 and its like are none: who checks one can make one."""

RuleName = Annotated[str, Field(min_length=1, max_length=512)]


class AccessUnusable(Exception):
    """The access rules, or what they name, cannot be used; says which file, why, and what would be right."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class TokenRules(_Section):
    """Whose tokens count."""

    issuer: RuleName
    audience: RuleName
    keys: RuleName
    """The issuer's public keys: a file, PEM or JWKS, beside the rules, or the https URL of a JWKS."""
    algorithms: Annotated[tuple[str, ...], Field(min_length=1)] = ("RS256", "ES256")
    roles: RuleName = "roles"
    """Claim with the roles; dots lead into it: realm_access.roles."""
    channels: RuleName = "channels"
    """Claim with the channels of a gateway."""
    role_names: Mapping[str, Role] = Field(default_factory=dict)
    """What the issuer calls our roles."""
    leeway_s: Annotated[float, Field(ge=0, le=300)] = 30.0
    """How far the issuer's clock may be from ours."""
    refresh_s: Annotated[float, Field(ge=10)] = 300.0
    """Keys at a URL are fetched again after this, or when a token names one that is not known."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for algorithm in self.algorithms:
            if algorithm not in ALGORITHMS:
                raise ValueError(f"algorithms: {algorithm} is none of {', '.join(ALGORITHMS)}")
        url = urlsplit(self.keys)
        if url.scheme == "http" and not host_is_loopback(url.hostname or ""):
            raise ValueError("keys: fetched without TLS they may be anybody's; write https://")
        return self

    @property
    def is_remote(self) -> bool:
        """Whether the keys are at a URL."""
        return urlsplit(self.keys).scheme in ("http", "https")


class CallerRule(_Section):
    """Who somebody is. One of `certificate`, `token` and `user` names him."""

    certificate: RuleName | None = None
    """Subject of a client certificate as RFC 4514 has it, its common name, or a URI among its names (SPIFFE)."""
    token: RuleName | None = None
    """Subject (`sub`) of a token; instead of the roles that the token claims."""
    user: RuleName | None = None
    """User of this machine, for commands that need no running Hearth."""
    roles: Annotated[tuple[Role, ...], Field(min_length=1)]
    channels: tuple[RuleName, ...] = ()
    calls_per_s: Annotated[float, Field(gt=0)] | None = None
    in_flight: Annotated[int, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if sum(name is not None for name in (self.certificate, self.token, self.user)) != 1:
            raise ValueError("one of certificate, token and user names who it is")
        if Role.GATEWAY in self.roles and not self.channels:
            raise ValueError('a gateway needs its channels, e.g. channels: [app]; ["*"] is all')
        return self

    def principal(self, name: str, *, expires_s: float = float("inf")) -> Principal:
        """Return who this is."""
        return Principal(
            name=name,
            roles=frozenset(self.roles),
            channels=frozenset(self.channels),
            calls_per_s=self.calls_per_s,
            in_flight_max=self.in_flight,
            expires_s=expires_s,
        )


class LimitRules(_Section):
    """What each caller may ask in each edge process, unless his own rule says otherwise."""

    calls_per_s: Annotated[float, Field(gt=0)] | None = None
    in_flight: Annotated[int, Field(gt=0)] | None = None


class AccessRules(_Section):
    """All of it."""

    tokens: TokenRules | None = None
    callers: tuple[CallerRule, ...] = ()
    limits: LimitRules = LimitRules()
    open_health: bool = False
    """Whether health may be asked without credentials, as probes of an orchestrator do."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        seen: set[tuple[str, str]] = set()
        for rule in self.callers:
            for kind in ("certificate", "token", "user"):
                named = getattr(rule, kind)
                if named is not None and (kind, named) in seen:
                    raise ValueError(f"callers: {kind} {named} stands there twice")
                seen.add((kind, named))
        if self.tokens is None and not self.callers:
            raise ValueError("nobody could come in: say whose `tokens` count, or list `callers`")
        return self


def load_rules(path: Path) -> AccessRules:
    """Return the rules in a file.

    Raises:
        AccessUnusable: it cannot be read, or says something that cannot be.
    """
    try:
        content: Any = yaml.safe_load(path.read_bytes())
    except OSError as wrong:
        raise AccessUnusable(f"the access rules {path} cannot be read: {wrong.strerror}") from wrong
    except (yaml.YAMLError, ValueError) as wrong:
        raise AccessUnusable(f"{path} is no YAML: {' '.join(str(wrong).split())}") from wrong
    if not isinstance(content, dict):
        raise AccessUnusable(f"{path} says nothing: docs/security.md shows what stands in it")
    try:
        return AccessRules.model_validate(content)
    except ValidationError as wrong:
        told = [
            ".".join(map(str, error["loc"]))
            + (": " if error["loc"] else "")
            + error["msg"].removeprefix("Value error, ")
            for error in wrong.errors()
        ]
        raise AccessUnusable(f"{path}: {'; '.join(told)}") from wrong
