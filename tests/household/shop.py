"""A small shop to decide in: one plan with a moment (S1) and a contact (J2), and a partition that speaks in verbs."""

from dataclasses import replace

from household.apply import Applied, apply_decision, apply_delivery, apply_epoch, apply_signals, apply_tick
from household.columns.program import Op
from household.decide import decide, prepare
from household.deciding.draft import Ask, Draft, Scores
from household.decision import Decision
from household.decision_bytes import encode_decision
from household.delivery import DeliveryNote, DeliveryStep
from household.events import RESERVED_TYPES
from household.plan import (
    NONE,
    Channel,
    ContactCap,
    ContactPolicy,
    EventField,
    EventType,
    Feature,
    FeatureKind,
    Field,
    FieldKind,
    Journey,
    Offer,
    Plan,
    Program,
    Scope,
    Segment,
    SegmentPrice,
    Treatment,
    Trigger,
)
from household.state import PartitionState
from household.tables.actions import LiveAction
from tests.household.oracle import Event, batch_of

S = 1_000_000
MINUTE, HOUR, DAY = 60 * S, 3_600 * S, 86_400 * S

NOON_US = 1_750_075_200 * S
"""Monday 2025-06-16, 12:00 UTC."""

APP, PUSH, SMS, IVR = range(4)
FILM, MUSIC, WALLET, BROADBAND = range(4)
CHECK, VISIT, CONSENT, ACTIVATE = range(4)


def _program(text: str, *code: tuple[int, float]) -> Program:
    return Program(text=text, ops=tuple(int(op) for op, _ in code), args=tuple(arg for _, arg in code))


def _on(*channels: int) -> tuple[Treatment, ...]:
    return tuple(Treatment(name=f"on_{channel}", channel=channel, text="…") for channel in channels)


def _equals(text: str, feature: int, value: float) -> Program:
    return _program(text, (Op.FEATURE, feature), (Op.CONST, value), (Op.EQUAL, 0.0))


THIRD_CHECK, HAS_CONSENT, NO_WALLET, IS_YOUNG = range(4)

LOW_BALANCE = Trigger(events=(CHECK,), program=THIRD_CHECK, cooldown_us=7 * DAY, scope=Scope.MEMBER)

PLAN = Plan(
    name="shop",
    fields=(Field(name="is_on", kind=FieldKind.FLAG), Field(name="age", kind=FieldKind.NUMBER)),
    event_types=(
        EventType(name="app.balance_check", source="app", action_window_us=15 * MINUTE),
        EventType(name="app.visit", source="app"),
        EventType(name="app.consent", source="app", fields=(EventField(field=0), EventField(field=1))),
        EventType(name="wallet.activated", source="wallet"),
        *(EventType(name=name, source="hearth") for name in RESERVED_TYPES),
    ),
    programs=(
        _program("checks >= 3", (Op.FEATURE, 0.0), (Op.CONST, 3.0), (Op.GREATER_EQUAL, 0.0)),
        _equals("consent", 1, 1.0),
        _equals("no wallet", 2, 0.0),
        _program("age < 27", (Op.FEATURE, 3.0), (Op.CONST, 27.0), (Op.LESS, 0.0)),
    ),
    features=(
        Feature(
            name="member.checks_7d",
            kind=FeatureKind.NEWEST_TIMES,
            scope=Scope.MEMBER,
            result="int",
            events=(CHECK,),
            keep=3,
            span_us=7 * DAY,
        ),
        Feature(
            name="member.push_consent",
            kind=FeatureKind.PROFILE,
            scope=Scope.MEMBER,
            result="bool",
            events=(CONSENT,),
            field=0,
        ),
        Feature(
            name="household.has_wallet",
            kind=FeatureKind.PRODUCT_HELD,
            scope=Scope.HOUSEHOLD,
            result="bool",
            events=(ACTIVATE,),
        ),
        Feature(
            name="member.age",
            kind=FeatureKind.PROFILE,
            scope=Scope.MEMBER,
            result="double",
            events=(CONSENT,),
            field=1,
        ),
    ),
    segments=(Segment(name="young", program=IS_YOUNG),),
    channels=(
        Channel(name="app", inbound=True, outbound=False),
        Channel(name="push", inbound=False, outbound=True, consent=HAS_CONSENT, cost_minor=1, quiet_hours=True),
        Channel(name="sms", inbound=False, outbound=True, cost_minor=5, quiet_hours=True),
        Channel(name="ivr", inbound=True, outbound=False, consent=HAS_CONSENT),
    ),
    families=("content", "wallet", "broadband"),
    offers=(
        Offer(
            name="film_topup",
            kind="offer",
            family="content",
            price_minor=900,
            segment_prices=(SegmentPrice(segment=0, price_minor=700),),
            margin_minor=1_000,
            prior_acceptance=0.2,
            treatments=_on(APP, PUSH, SMS, IVR),
        ),
        Offer(
            name="music_topup",
            kind="offer",
            family="content",
            margin_minor=1_000,
            prior_acceptance=0.1,
            treatments=_on(APP),
        ),
        Offer(
            name="wallet",
            kind="offer",
            family="wallet",
            margin_minor=500,
            prior_acceptance=0.3,
            eligible=NO_WALLET,
            standing=True,
            treatments=_on(APP, IVR),
        ),
        Offer(
            name="broadband",
            kind="offer",
            family="broadband",
            margin_minor=400,
            prior_acceptance=0.2,
            excludes=(WALLET,),
            standing=True,
            treatments=_on(APP),
        ),
    ),
    journeys=(
        Journey(
            name="low_balance",
            trigger=LOW_BALANCE,
            offers=(FILM, MUSIC),
            outbound=(PUSH, SMS),
        ),
        Journey(name="inbound", contact_events=(VISIT,), offers=(WALLET, BROADBAND)),
    ),
    policy=ContactPolicy(
        caps=(
            ContactCap(name="one a day", scope=Scope.MEMBER, channels=(PUSH, SMS), window_us=DAY, most=1),
            ContactCap(name="three a week", scope=Scope.HOUSEHOLD, channels=(PUSH, SMS), window_us=7 * DAY, most=3),
        ),
        decline_offer_us=90 * DAY,
        decline_family_us=7 * DAY,
    ),
)


def with_offer(plan: Plan, index: int, **changes: object) -> Plan:
    """Return the plan with one offer changed."""
    offers = list(plan.offers)
    offers[index] = replace(offers[index], **changes)  # type: ignore[arg-type]
    return replace(plan, offers=tuple(offers))


def with_journey(plan: Plan, name: str, **changes: object) -> Plan:
    """Return the plan with one journey changed."""
    journeys = [replace(one, **changes) if one.name == name else one for one in plan.journeys]  # type: ignore[arg-type]
    return replace(plan, journeys=tuple(journeys))


EAGER = with_journey(PLAN, "low_balance", trigger=replace(LOW_BALANCE, cooldown_us=0))
"""The same, whose moment may come back at once."""


class Shop:
    """A partition, its owner's clock and its log, in one."""

    def __init__(self, plan: Plan = PLAN, *, stream_clock: bool = False, now_us: int = NOON_US) -> None:
        self.state = PartitionState(plan=plan, stream_clock=stream_clock)
        self.now_us = now_us
        self.epoch = 1
        self.offset = 0
        self.event_count = 0
        apply_epoch(self.state, epoch=1)

    # --- what comes in ---------------------------------------------------------------------------------------------

    def event(self, name: str, *, household: str = "home", member: str = "anna", ago_us: int = 0, **more: object):
        """Return an event of a type as of now (or some time ago)."""
        self.event_count += 1
        plan = self.state.plan
        values = tuple((plan.field_by_name[key], float(more.pop(key))) for key in ("is_on", "age") if key in more)  # type: ignore[arg-type]
        return Event(
            id=b"%d" % self.event_count,
            household=household.encode(),
            member=member.encode(),
            kind=plan.event_type_by_name[name],
            time_us=self.now_us - ago_us,
            values=values,
            **more,  # type: ignore[arg-type]
        )

    def fold(self, *events: Event) -> Applied:
        """Fold events as one batch."""
        applied = apply_signals(self.state, batch_of(self.state.plan, list(events)), stamp_us=self.now_us)
        assert not applied.statuses.any(), "a story's events are sound"
        return applied

    def signal(self, name: str, **more: object) -> Applied:
        """One event happens now."""
        return self.fold(self.event(name, **more))  # type: ignore[arg-type]

    def report(self, outcome: str, action_id: str, **more: object) -> bool:
        """A gateway reports an outcome; return whether it changed anything."""
        return self.signal(f"hearth.{outcome}", action_id=action_id, **more).effects[0]

    def note(self, action_id: str, step: DeliveryStep, channel: str, *, reason: str = "") -> None:
        """The owner notes a step of an outbound action."""
        note = DeliveryNote(action_id=action_id, step=step, channel=channel, reason=reason)
        assert apply_delivery(self.state, [note], epoch=self.epoch, stamp_us=self.now_us)

    def pass_time(self, elapsed_us: int) -> None:
        """Let time pass, then tick."""
        self.now_us += elapsed_us
        assert apply_tick(self.state, epoch=self.epoch, stamp_us=self.now_us)

    def third_check(self, **who: str) -> Applied:
        """Fire the moment of story S1."""
        return self.fold(*(self.event("app.balance_check", ago_us=ago * MINUTE, **who) for ago in (2, 1, 0)))

    # --- what goes out ---------------------------------------------------------------------------------------------

    def draft(
        self,
        channel: int = NONE,
        *,
        household: str = "home",
        member: str = "anna",
        request_id: str = "",
        with_types: tuple[int, ...] | None = None,
    ) -> Draft:
        """Prepare a decision; without a channel, one that moments call for."""
        contacts = {event for journey in self.state.plan.journeys for event in journey.contact_events}
        types = frozenset(with_types or ())
        ask = Ask(
            household=household.encode(),
            member=member.encode(),
            channel=channel,
            request_id=request_id,
            is_contact=channel != NONE and (with_types is None or bool(types & contacts)),
            contact_types=types,
        )
        return prepare(self.state, ask)

    def open_channel(self, *, member: str = "anna") -> int:
        """Return on which channel a moment's action may go out now, of the one who would get it; NONE for none."""
        return next((one.channel for one in self.draft(NONE, member=member).outlets if not one.against), NONE)

    def weigh(self, draft: Draft, scores: dict[int, float] | None = None) -> Decision:
        """Decide over a draft, by the priors unless scores are given."""
        offers = self.state.plan.offers
        by_offer = {index: offers[index].prior_acceptance for index in draft.to_score}
        by_offer.update({index: score for index, score in (scores or {}).items() if index in by_offer})
        return decide(
            self.state,
            draft,
            Scores(by_offer=by_offer, model_version="prior", degraded=False),
            epoch=self.epoch,
            schema_hash="",
        )

    def record(self, decision: Decision) -> bool:
        """Fold a decision at the next offset; return False if it is void."""
        self.offset += 1
        payload = encode_decision(decision, member_keys={})
        return apply_decision(self.state, decision, payload, epoch=self.epoch, offset=self.offset, stamp_us=self.now_us)

    def decide(self, channel: int = NONE, *, scores: dict[int, float] | None = None, **who: object) -> Decision:
        """Prepare, weigh and fold a decision."""
        decision = self.weigh(self.draft(channel, **who), scores)  # type: ignore[arg-type]
        assert self.record(decision)
        return decision

    def offered(self, decision: Decision) -> str:
        """Return the offer that a decision answered with, or nothing."""
        return next((one.offer for one in self.slate_of(decision) if one.action_id == decision.answered), "")

    def slate_of(self, decision: Decision):
        """Return the actions of a decision, or of the one that stands in its place."""
        if not decision.stands:
            return decision.slate
        household, _ = self.state.find(decision.household)
        return next(
            slate.decision.slate for slate in self.state.slates.of(household) if slate.decision_id == decision.stands
        )

    def action(self, decision: Decision, position: int = 0) -> LiveAction:
        """Return what has become of a decision's action."""
        return self.state.actions[decision.slate[position].action_id]

    def vetoes(self, channel: int = APP, **who: object) -> dict[str, tuple[str, ...]]:
        """Return what speaks against each candidate."""
        draft = self.draft(channel, **who)  # type: ignore[arg-type]
        return {self.state.plan.offers[index].name: against for index, against in draft.vetoes.items()}

    def action_status(self, action_id: str) -> str:
        """Return what has become of an action."""
        return self.state.actions[action_id].status
