"""Moments that are pending until a decision names them, and those that a decision has settled."""

from dataclasses import dataclass

from household.decision import Moment
from household.tables.contract import Declaration, Digest, Naming, Owner, Plain, Shape, Text, TimeUs
from household.tables.slates import told_moment

SETTLED_MOMENTS_KEPT = 64
"""Moment ids remembered per household; a decision is void only against moments this recent."""


@dataclass(slots=True)
class SettledMoment:
    """A moment that was decided. Replaced, never changed."""

    moment_id: Text
    settled_us: TimeUs
    """`now` when its decision was folded."""


def _told(moment: Moment, naming: Naming) -> Plain:
    return told_moment(moment) | {"member": naming.member(moment.member)}


PENDING = Declaration(
    name="pending",
    row=Moment,
    owner=Owner.HOUSEHOLD,
    digest=Digest(section="pending", shape=Shape.LIST, told=_told),
)

SETTLED = Declaration(
    name="settled",
    row=SettledMoment,
    owner=Owner.HOUSEHOLD,
    key=("moment_id",),
    newest=SETTLED_MOMENTS_KEPT,
    digest=Digest(section="settled", shape=Shape.MAP, told=lambda one, _: (one.moment_id, one.settled_us)),
)
