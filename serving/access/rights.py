"""Who may do what: one table of all that can be asked of Hearth, calls of the public port and commands alike.

tests/laws/test_rights.py holds that every RPC and every command stands in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final


class Role(StrEnum):
    """What somebody is to Hearth."""

    GATEWAY = "gateway"
    """A program that serves channels: its own only."""
    SOURCE = "source"
    """A program that sends signals."""
    MARKETER = "marketer"
    APPROVER = "approver"
    DATA_SCIENTIST = "data_scientist"
    SRE = "sre"
    AUDITOR = "auditor"


class Trace(Enum):
    """What an allowed call or command leaves in the audit log. Refused ones always leave an entry."""

    NONE = "none"
    """The work of gateways and sources, of which the log itself tells."""
    LOOK = "look"
    """Somebody looks at a household."""
    CHANGE = "change"
    """Somebody changes how Hearth runs or decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """Who may, and what it leaves."""

    roles: frozenset[Role]
    trace: Trace = Trace.NONE
    by_system: bool = False
    """A command that needs no data of an installation, or is there before it: the operating system says who may."""


def _may(*roles: Role, trace: Trace = Trace.NONE, by_system: bool = False) -> Right:
    return Right(roles=frozenset(roles), trace=trace, by_system=by_system)


_PROGRAMS: Final = (Role.GATEWAY, Role.SOURCE)
_ALL: Final = tuple(Role)
_LOOKING: Final = (Role.MARKETER, Role.APPROVER, Role.DATA_SCIENTIST, Role.AUDITOR)

WITHOUT_CONTROL: Final = Right(roles=frozenset({Role.APPROVER}), trace=Trace.CHANGE)
"""To say of a journey that it may go without a control group: `hearth readiness --without-control`."""

RIGHTS: Final[Mapping[str, Right]] = {
    # Calls of the public port, by full name.
    "/hearth.v1.SignalService/Ingest": _may(*_PROGRAMS),
    "/hearth.v1.SignalService/IngestStream": _may(*_PROGRAMS),
    "/hearth.v1.SignalService/Describe": _may(*_ALL),
    "/hearth.v1.DecisionService/Decide": _may(Role.GATEWAY),
    "/hearth.v1.DecisionService/Report": _may(Role.GATEWAY),
    "/hearth.v1.DeliveryService/Subscribe": _may(Role.GATEWAY),
    "/hearth.v1.DeliveryService/Ack": _may(Role.GATEWAY),
    "/hearth.v1.HouseholdService/Get": _may(*_LOOKING, trace=Trace.LOOK),
    "/hearth.v1.HouseholdService/Explain": _may(*_LOOKING, trace=Trace.LOOK),
    "/hearth.v1.HouseholdService/Decisions": _may(*_LOOKING, trace=Trace.LOOK),
    "/hearth.v1.HouseholdService/Quarantine": _may(*_LOOKING, trace=Trace.LOOK),
    "/hearth.v1.HouseholdService/Change": _may(Role.APPROVER, trace=Trace.CHANGE),
    "/hearth.v1.PlaybookService/Push": _may(Role.MARKETER, Role.APPROVER, trace=Trace.CHANGE),
    "/hearth.v1.PlaybookService/Halt": _may(Role.MARKETER, Role.APPROVER, Role.SRE, trace=Trace.CHANGE),
    "/hearth.v1.PlaybookService/Submit": _may(Role.MARKETER, Role.APPROVER, trace=Trace.CHANGE),
    "/hearth.v1.PlaybookService/Approve": _may(Role.MARKETER, Role.APPROVER, trace=Trace.CHANGE),
    "/hearth.v1.PlaybookService/ShowPlaybook": _may(*_LOOKING, Role.SRE),
    "/hearth.v1.AdminService/Snapshot": _may(Role.SRE, trace=Trace.CHANGE),
    "/hearth.v1.AdminService/Reject": _may(Role.SOURCE, Role.SRE),
    "/hearth.v1.AdminService/ConfirmClock": _may(Role.SRE, trace=Trace.CHANGE),
    "/hearth.v1.AdminService/Scale": _may(Role.SRE, trace=Trace.CHANGE),
    "/hearth.v1.AdminService/Rebalance": _may(Role.SRE, trace=Trace.CHANGE),
    "/hearth.v1.AdminService/Drain": _may(Role.SRE, trace=Trace.CHANGE),
    "/hearth.v1.AdminService/Restart": _may(Role.SRE, trace=Trace.CHANGE),
    "/hearth.v1.AdminService/ShowPlacement": _may(Role.SRE, Role.AUDITOR),
    "/grpc.health.v1.Health/Check": _may(*_ALL),
    "/grpc.health.v1.Health/Watch": _may(*_ALL),
    # Commands. Those that call a running Hearth are checked there, by the calls they make.
    "hearth up": _may(Role.SRE, trace=Trace.CHANGE, by_system=True),
    "hearth demo": _may(*_ALL, by_system=True),
    "hearth status": _may(*_ALL, by_system=True),
    "hearth top": _may(Role.SRE, Role.AUDITOR),
    "hearth support-bundle": _may(Role.SRE, trace=Trace.LOOK),
    "hearth drill": _may(Role.SRE, trace=Trace.CHANGE),
    "hearth ingest": _may(*_PROGRAMS),
    "hearth capture": _may(Role.SOURCE),
    "hearth decide": _may(Role.GATEWAY),
    "hearth explain": _may(*_LOOKING, trace=Trace.LOOK),
    "hearth household show": _may(*_LOOKING, trace=Trace.LOOK),
    "hearth household merge": _may(Role.APPROVER, trace=Trace.CHANGE),
    "hearth household unmerge": _may(Role.APPROVER, trace=Trace.CHANGE),
    "hearth household quarantine": _may(*_LOOKING, trace=Trace.CHANGE),
    "hearth features": _may(*_LOOKING, trace=Trace.LOOK),
    "hearth doctor": _may(*_ALL, by_system=True),
    "hearth repair": _may(Role.SRE, trace=Trace.CHANGE),
    "hearth snapshot": _may(Role.SRE, trace=Trace.CHANGE),
    "hearth backup": _may(Role.SRE, trace=Trace.CHANGE),
    "hearth restore": _may(Role.SRE, trace=Trace.CHANGE, by_system=True),
    "hearth verify": _may(Role.SRE, Role.AUDITOR),
    "hearth scale": _may(Role.SRE, trace=Trace.CHANGE),
    "hearth rebalance": _may(Role.SRE, trace=Trace.CHANGE),
    "hearth drain": _may(Role.SRE, trace=Trace.CHANGE),
    "hearth restart": _may(Role.SRE, trace=Trace.CHANGE),
    "hearth playbook check": _may(*_ALL, by_system=True),
    "hearth playbook test": _may(*_ALL, by_system=True),
    "hearth playbook simulate": _may(*_LOOKING, trace=Trace.LOOK),
    "hearth playbook push": _may(Role.MARKETER, Role.APPROVER, trace=Trace.CHANGE),
    "hearth playbook rollback": _may(Role.MARKETER, Role.APPROVER, trace=Trace.CHANGE),
    "hearth playbook history": _may(*_LOOKING, Role.SRE),
    "hearth playbook diff": _may(*_LOOKING, Role.SRE),
    "hearth playbook pull": _may(*_LOOKING, Role.SRE),
    "hearth playbook affects": _may(*_ALL, by_system=True),
    "hearth playbook pause": _may(Role.MARKETER, Role.APPROVER, Role.SRE, trace=Trace.CHANGE),
    "hearth playbook stop": _may(Role.MARKETER, Role.APPROVER, Role.SRE, trace=Trace.CHANGE),
    "hearth playbook resume": _may(Role.MARKETER, Role.APPROVER, Role.SRE, trace=Trace.CHANGE),
    "hearth playbook submit": _may(Role.MARKETER, Role.APPROVER, trace=Trace.CHANGE),
    "hearth playbook approve": _may(Role.APPROVER, trace=Trace.CHANGE),
    "hearth playbook reject": _may(Role.MARKETER, Role.APPROVER, trace=Trace.CHANGE),
    "hearth playbook drafts": _may(*_LOOKING, Role.SRE),
    "hearth models train": _may(Role.DATA_SCIENTIST, trace=Trace.CHANGE),
    "hearth models dataset": _may(Role.DATA_SCIENTIST, Role.AUDITOR, trace=Trace.LOOK),
    "hearth models leaks": _may(*_ALL, by_system=True),
    "hearth models list": _may(Role.DATA_SCIENTIST, Role.MARKETER, Role.APPROVER, Role.SRE, Role.AUDITOR),
    "hearth models promote": _may(Role.DATA_SCIENTIST, trace=Trace.CHANGE),
    "hearth models register": _may(Role.DATA_SCIENTIST, trace=Trace.CHANGE),
    "hearth models shadow": _may(Role.DATA_SCIENTIST, trace=Trace.CHANGE),
    "hearth models canary": _may(Role.DATA_SCIENTIST, trace=Trace.CHANGE),
    "hearth models follow": _may(Role.DATA_SCIENTIST, trace=Trace.CHANGE),
    "hearth models retire": _may(Role.DATA_SCIENTIST, trace=Trace.CHANGE),
    "hearth models rollback": _may(Role.DATA_SCIENTIST, Role.SRE, trace=Trace.CHANGE),
    "hearth models show": _may(Role.DATA_SCIENTIST, Role.MARKETER, Role.APPROVER, Role.SRE, Role.AUDITOR),
    "hearth models compare": _may(Role.DATA_SCIENTIST, Role.APPROVER, Role.AUDITOR),
    "hearth models watch": _may(Role.DATA_SCIENTIST, Role.SRE, Role.AUDITOR),
    "hearth models report": _may(Role.DATA_SCIENTIST, Role.APPROVER, Role.AUDITOR),
    "hearth models evaluate": _may(Role.DATA_SCIENTIST, Role.APPROVER, Role.AUDITOR),
    "hearth models uplift": _may(*_ALL, by_system=True),
    "hearth kpis": _may(*_LOOKING),
    "hearth experiments": _may(*_LOOKING, trace=Trace.LOOK),
    "hearth readiness": _may(*_LOOKING),
    "hearth export kpis": _may(*_LOOKING),
    "hearth report": _may(*_LOOKING),
    "hearth export assignments": _may(Role.DATA_SCIENTIST, Role.AUDITOR, trace=Trace.LOOK),
    "hearth log export": _may(Role.DATA_SCIENTIST, Role.AUDITOR, trace=Trace.LOOK),
    "hearth rejects list": _may(Role.SRE, Role.DATA_SCIENTIST, Role.AUDITOR, trace=Trace.LOOK),
    "hearth rejects show": _may(Role.SRE, Role.DATA_SCIENTIST, Role.AUDITOR, trace=Trace.LOOK),
    "hearth rejects replay": _may(Role.SRE, Role.SOURCE, trace=Trace.CHANGE),
    "hearth clock confirm": _may(Role.SRE, trace=Trace.CHANGE),
    "hearth audit list": _may(Role.AUDITOR, trace=Trace.LOOK),
    "hearth audit verify": _may(Role.AUDITOR, Role.SRE),
}
