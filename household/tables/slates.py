"""The actions that stand for a member (or the household) until an outcome, an expiry or a new moment."""

from dataclasses import asdict, dataclass, field

from household.decision import Decision, Moment
from household.decision_bytes import decode_decision
from household.later import spoken
from household.tables.contract import (
    Bytes,
    Declaration,
    Digest,
    Due,
    MemberRow,
    Naming,
    Owner,
    Plain,
    Shape,
    Text,
    TimeUs,
)
from household.tables.decision_text import decision_of_text, is_text


@dataclass(slots=True)
class Slate:
    """A slate that stands. Replaced, never changed."""

    member: MemberRow
    """Whose it is; NO_MEMBER for the household as a whole."""
    decision_id: Text
    valid_until_us: TimeUs
    payload: Bytes
    """The decision as its record holds it. Most slates are replaced or expire without anybody looking at more than
    their time."""
    _decision: Decision | None = field(default=None, compare=False, repr=False)

    @property
    def decision(self) -> Decision:
        """The decision that made it."""
        if self._decision is None:
            payload = self.payload
            self._decision = decision_of_text(payload) if is_text(payload) else decode_decision(payload)[0]
        return self._decision


def slate_of_decision(decision: Decision, payload: bytes, member: int) -> Slate:
    """Return the slate that a decision of a record puts up for a member, or with NO_MEMBER for the household."""
    return Slate(
        member,
        decision.decision_id,
        max(action.valid_until_us for action in decision.slate),
        payload,
        decision,
    )


def _told(slate: Slate, naming: Naming) -> Plain:
    return {
        "member": naming.member(slate.member),
        "until": slate.valid_until_us,
        "decision": told_decision(slate.decision),
    }


def told_moment(moment: Moment) -> Plain:
    """The member's row is left out: it is a partition's own, and a decision that was read from a log has none."""
    return {
        "moment_id": moment.moment_id,
        "journey": moment.journey,
        "event_id": moment.event_id.decode("latin-1"),
        "event_type": moment.event_type,
        "time_us": moment.time_us,
    }


def told_decision(decision: Decision) -> Plain:
    """Return all of a decision as plain values, for a digest."""
    plain = spoken(decision)
    plain["household"], plain["member"] = decision.household.decode("latin-1"), decision.member.decode("latin-1")
    plain["moments"] = [told_moment(moment) for moment in decision.moments]
    plain["candidates"] = [spoken(candidate) for candidate in decision.candidates]
    plain["slate"] = [spoken(action) for action in decision.slate]
    if decision.withdrawals:
        plain["withdrawals"] = [asdict(one) for one in decision.withdrawals]
    if decision.rules:
        plain["rules"] = [asdict(one) for one in decision.rules]
    if decision.arms:
        plain["arms"] = [asdict(one) for one in decision.arms]
    if decision.ghosts:
        plain["ghosts"] = [asdict(one) for one in decision.ghosts]
    if decision.scarce:
        plain["scarce"] = [asdict(one) for one in decision.scarce]
    if decision.shadows:
        plain["shadows"] = [spoken(one) for one in decision.shadows]
    if decision.term_scores:
        plain["term_scores"] = [asdict(one) for one in decision.term_scores]
    if decision.request_hash:
        plain["request_hash"] = decision.request_hash.hex()
    plain["state_vector"] = decision.state_vector.astype("<f4").tobytes().hex()
    return plain


SLATES = Declaration(
    name="slates",
    row=Slate,
    owner=Owner.HOUSEHOLD,
    key=("member",),
    due=(Due(column="valid_until_us"),),
    digest=Digest(section="slates", shape=Shape.SET, told=_told),
)
