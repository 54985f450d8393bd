"""Access rules of a data directory: which hold, the door of its edges, and whether a user of this machine may.

Commands that need no running Hearth are checked here. The operating system is what keeps others from the files; this
keeps who may use them from what is not theirs to do, and gives what is done a name in the audit log.
"""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.environment import utc_now
from cluster.errors import CommandFailed, UsageWrong
from cluster.installation import installation_of
from cluster.output import say

if TYPE_CHECKING:
    from cluster.config import HearthConfig
    from serving.access.door import Door
    from serving.access.principal import Principal
    from serving.access.rights import Right
    from serving.tls import TlsFiles
    from wire.installation import Installation

REMEMBERED_NAME = "access.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorPlan:
    """What the door of an edge is made of. Travels there pickled."""

    rules: Path | None
    tls: TlsFiles | None
    data_dir: Path
    installation: Installation


def with_its_rules(config: HearthConfig) -> HearthConfig:
    """Return the settings, with the access rules that the data directory was last started with where none are given."""
    if config.access is not None:
        return config.model_copy(update={"access": config.access.absolute()})
    remembered = remembered_rules(config.data_dir)
    if remembered is None:
        return config
    say(f"the access rules in {remembered} hold, as at the last start")
    return config.model_copy(update={"access": remembered})


def remembered_rules(data_dir: Path) -> Path | None:
    """Return the file of access rules that a data directory was last started with.

    Raises:
        CommandFailed: it cannot be told; then nobody should be let in.
    """
    file = data_dir / REMEMBERED_NAME
    try:
        return Path(json.loads(file.read_text())["rules"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as wrong:
        raise CommandFailed(f"{file} cannot be read, so it is not known which access rules hold: {wrong}") from wrong


def remember_rules(data_dir: Path, rules: Path | None) -> None:
    """Keep which access rules hold; a start without any goes on with them."""
    from cluster.data_dir import write_durably

    if rules is not None:
        write_durably(data_dir / REMEMBERED_NAME, json.dumps({"rules": str(rules)}) + "\n")


def check_access(config: HearthConfig) -> None:
    """Look whether the access rules, and what they name, can be used.

    Raises:
        UsageWrong: they cannot; names the file.
    """
    if not _asks(config):
        return
    if config.reflection:
        raise UsageWrong("reflection tells everybody the whole interface; unset it where callers are asked for names")
    from serving.access.door import Door, DoorSettings
    from serving.access.rules import AccessUnusable

    try:
        Door(DoorSettings(rules=config.access, tls=config.tls, wall_s=wall_s))
    except AccessUnusable as wrong:
        raise UsageWrong(str(wrong)) from wrong


def door_factory(config: HearthConfig) -> Callable[[], Door] | None:
    """Return what makes the door of each edge; None where nobody is asked who he is."""
    if not _asks(config):
        return None
    plan = DoorPlan(
        rules=config.access,
        tls=config.tls,
        data_dir=config.data_dir.absolute(),
        installation=installation_of(config.data_dir),
    )
    return partial(edge_door, plan)


def edge_door(plan: DoorPlan) -> Door:
    """Return the door of this edge process."""
    from serving.access.audit import FOLDER_NAME, AuditLog
    from serving.access.door import Door, DoorSettings
    from serving.access.trail import Trail

    log = AuditLog(plan.data_dir / FOLDER_NAME, plan.installation.derived("audit"))
    trail = Trail(log, plan.installation, now=now_text, where=f"edge {os.getpid()}")
    return Door(DoorSettings(rules=plan.rules, tls=plan.tls, wall_s=wall_s), trail)


def user_name() -> str:
    """Return the name of the user who runs this, or his number where he has none, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _asks(config: HearthConfig) -> bool:
    return config.access is not None or config.tls_client_ca is not None


def wall_s() -> float:
    """Return seconds since 1970, by which credentials expire."""
    return utc_now().timestamp()


def now_text() -> str:
    """Return the wall clock's time, as the audit log has it."""
    return utc_now().isoformat(timespec="milliseconds")


def permit(what: str, data_dir: Path) -> None:
    """Look whether the user of this command may, and write down what leaves a trace.

    Args:
        what: as serving/access/rights.py has it, e.g. "hearth models promote".
        data_dir: of the installation; where there is none yet, there is nothing to protect.

    Raises:
        CommandFailed: the access rules do not let him; or it cannot be written down that he does it.
    """
    from cluster.data_dir import LAYOUT_NAME
    from serving.access.rights import RIGHTS, Trace

    right = RIGHTS[what]
    if not (data_dir / LAYOUT_NAME).exists() or what == "hearth up":
        return  # which writes it down once the directory is its own
    rules = remembered_rules(data_dir)
    if rules is None:
        if right.trace is not Trace.NONE:
            note(data_dir, what)
        return
    if right.by_system:
        note(data_dir, what)
        return
    from serving.access.door import check_role
    from wire.failures import CallFailed

    principal = None
    try:
        principal = _user(rules)
        check_role(principal, right, what)
    except CallFailed as failure:
        note(data_dir, what, principal=principal, refused=failure.reason, is_needed=True)
        raise CommandFailed(
            f"{failure.status.message} ({failure.reason}); say who you are with --token or HEARTH_TOKEN, or have "
            f"user {user_name()} listed under `callers` in {rules}"
        ) from failure
    if right.trace is not Trace.NONE:
        note(data_dir, what, principal=principal, is_needed=True)


def permit_with_reason(what: str, data_dir: Path, *, right: Right, said: str) -> str:
    """Look whether the user of this command may do a part of it that not all may; write it down with his reason.

    Returns:
        Who he is.

    Raises:
        CommandFailed: the access rules do not let him; or it cannot be written down that he does it.
    """
    from serving.access.door import check_role
    from wire.failures import CallFailed

    rules = remembered_rules(data_dir)
    principal = None if rules is None else _user(rules)
    if principal is not None:
        try:
            check_role(principal, right, what)
        except CallFailed as failure:
            note(data_dir, what, principal=principal, refused=failure.reason, said=said, is_needed=True)
            raise CommandFailed(f"{failure.status.message} ({failure.reason})") from failure
    note(data_dir, what, principal=principal, said=said, is_needed=True)
    return principal.name if principal is not None else f"user:{user_name()}"


def _user(rules_path: Path) -> Principal:
    """Return who uses this command: whom his token names, or the user of this machine."""
    from cluster.credentials import credentials, token_reader
    from serving.access.principal import Principal
    from serving.access.rules import AccessUnusable, load_rules
    from serving.access.tokens import KeysWanted, Tokens
    from wire.failures import Failure, failed

    try:
        rules = load_rules(rules_path)
        token = token_reader(credentials().token)()
        if token and rules.tokens is not None:
            tokens = Tokens(rules, rules_path.parent, wall_s=wall_s)
            if rules.tokens.is_remote:
                tokens.fetch()
            return tokens.principal(token)
    except AccessUnusable as wrong:
        raise CommandFailed(str(wrong)) from wrong
    except KeysWanted:
        raise failed(Failure.TOKEN_INVALID, "the token is signed by none of the issuer's keys") from None
    user = user_name()
    rule = next((rule for rule in rules.callers if rule.user == user), None)
    return rule.principal(f"user:{user}") if rule is not None else Principal(name=f"user:{user}")


def note(
    data_dir: Path,
    what: str,
    *,
    principal: Principal | None = None,
    refused: str = "",
    said: str = "",
    is_needed: bool = False,
) -> None:
    """Write into the audit log what a user of this machine does, and the reason that he gave.

    Raises:
        CommandFailed: it cannot be written, and is needed.
    """
    from serving.access.audit import FOLDER_NAME, AuditLog, AuditUnusable
    from serving.access.rights import RIGHTS

    entry: dict[str, object] = {
        "time": now_text(),
        "who": principal.name if principal is not None else f"user:{user_name()}",
        "roles": sorted(principal.roles) if principal is not None else [],
        "did": what,
        "trace": RIGHTS[what].trace.value,
        "where": f"command {os.getpid()}",
    }
    if refused:
        entry["refused"] = refused
    if said:
        entry["note"] = said
    try:
        AuditLog(data_dir / FOLDER_NAME, installation_of(data_dir).derived("audit")).append([entry])
    except (AuditUnusable, CommandFailed) as wrong:
        if is_needed:
            raise CommandFailed(f"{wrong}; what leaves a trace is not done without it") from wrong
        say(f"warning: {wrong}")
