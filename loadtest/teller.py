"""Tells a story step by step: sends what happened to its household, asks, and keeps each answer and its reasons."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from hearth.v1 import decision_pb2, household_pb2, signal_pb2
from household.money import amount_text
from loadtest.gateway import Gateway

US_PER_SECOND = 1_000_000
US_PER_MINUTE = 60 * US_PER_SECOND
US_PER_HOUR = 60 * US_PER_MINUTE
US_PER_DAY = 24 * US_PER_HOUR
TITLE = "S1, low balance: the third balance check within seven days"

MEMBER = "M1"

TRIES = 20
"""Fresh households to try before all of them are in the control group: at a share of 10 % once in 1e20 runs."""

SHOWN_FEATURES = (
    "member.balance_checks_7d",
    "member.line_type",
    "member.wallet_active",
    "member.evening_streams",
    "member.top_streaming_pack",
    "household.revenue_minor_90d",
)

INDENT = " " * 18
StoryValue = str | float | bool


class StoryWentWrong(Exception):
    """Hearth did not take a signal of the story; says which and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoryStep:
    """One thing that happened, and what came back if something was asked."""

    time: str
    what: str
    channel: str = ""
    answer: str = ""
    reasons: list[str] = field(default_factory=list)
    action: dict[str, StoryValue] = field(default_factory=dict)
    expected: str = ""
    ok: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def as_line(self) -> str:
        """Return it for people."""
        line = f"{self.time[:16].replace('T', ' '):<16}  {self.what}"
        if self.answer:
            reasons = f"  [{', '.join(self.reasons)}]" if self.reasons else ""
            line += f"\n{INDENT}-> {self.answer}{reasons}"
        return line if self.ok else f"{line}\n{INDENT}!! expected {self.expected}"


@dataclass(slots=True)
class Story:
    """A story while it is told."""

    household: str
    steps: list[StoryStep] = field(default_factory=list)
    explanation: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether everything came as expected so far."""
        return all(step.ok for step in self.steps)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON; `lines` is the same for people."""
        return {
            "title": TITLE,
            "household": self.household,
            "ok": self.ok,
            "steps": [step.as_dict() for step in self.steps],
            "explanation": self.explanation,
            "lines": self.lines(),
        }

    def lines(self) -> list[str]:
        """Return the story for people."""
        told = [line for step in self.steps for line in step.as_line().splitlines()]
        return [*told, *explanation_lines(self.explanation)]


def as_text_time(time_us: int) -> str:
    """Return an event time in UTC."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)).isoformat()


def explanation_lines(explanation: dict[str, Any]) -> list[str]:
    """Return an explanation for people."""
    if not explanation:
        return []
    lines = [
        f"Why, of decision {explanation['decision_id']}:",
        f"  playbook   {explanation['playbook_version']}",
        f"  scored by  {explanation['model_version']}, chosen with probability {explanation['propensity']:g}",
    ]
    lines += [f"  reason     {reason}" for reason in explanation["reasons"]]
    lines += [f"  {name:<28} {value}" for name, value in explanation["features"].items() if name in SHOWN_FEATURES]
    for candidate in explanation["candidates"]:
        verdict = (
            ", ".join(candidate["vetoes"])
            or f"P(accept) {candidate['score']:.3f}, worth {candidate['value']:.1f} cents"
        )
        lines.append(f"  candidate  {candidate['offer']:<24} {verdict}")
    return lines


class Teller:
    """Plays a story's steps for one household."""

    def __init__(self, gateway: Gateway, household: str, start_us: int) -> None:
        self._gateway = gateway
        self._start_us = start_us
        self._number = 0
        self.story = Story(household=household)

    def at(self, day: int, hour: int, minute: int = 0) -> int:
        """Return a time of the story."""
        return self._start_us + day * US_PER_DAY + hour * US_PER_HOUR + minute * US_PER_MINUTE

    def signal(self, kind: str, time_us: int, *, member: str = MEMBER, **values: StoryValue) -> signal_pb2.Signal:
        """Return a signal of the story's household."""
        self._number += 1
        signal = signal_pb2.Signal(
            event_id=f"{self.story.household}-{self._number}", type=kind, household=self.story.household, member=member
        )
        signal.time.FromMicroseconds(time_us)
        for name, value in values.items():
            match value:
                case bool():
                    signal.fields[name].flag = value
                case str():
                    signal.fields[name].text = value
                case _:
                    signal.fields[name].number = value
        return signal

    async def tell(self, what: str, *signals: signal_pb2.Signal) -> None:
        """Ingest signals and note the step.

        Raises:
            StoryWentWrong: not all of them were applied.
        """
        answer = await self._gateway.ingest_signals(signals)
        self._check_applied(what, len(signals), answer.counts, [one.reason for one in answer.rejections])
        newest = signals[-1].time
        self.story.steps.append(StoryStep(time=as_text_time(newest.ToMicroseconds()), what=what))

    async def ask(
        self, what: str, channel: str, expected: str, *signals: signal_pb2.Signal, offer: str = ""
    ) -> decision_pb2.DecideResponse:
        """Ask Decide, with signals if there are any, and note whether the answer is the one expected.

        Args:
            what: what the member does, for people.
            channel: which channel asks.
            expected: the answer the story wants, for people.
            signals: sent with the question.
            offer: the offer that must be answered; empty for nothing at all.

        Raises:
            StoryWentWrong: a signal was not applied.
        """
        self._number += 1
        request = decision_pb2.DecideRequest(
            request_id=f"{self.story.household}-{self._number}",
            household=self.story.household,
            member=MEMBER,
            channel=channel,
            signals=signals,
        )
        answer = await self._gateway.decide(request)
        self._check_applied(what, len(signals), answer.signal_counts, [one.reason for one in answer.rejections])
        self.story.steps.append(
            StoryStep(
                time=as_text_time(answer.decided_at.ToMicroseconds()),
                what=what,
                channel=channel,
                answer=action_text(answer.action) if answer.HasField("action") else "nothing for now",
                reasons=list(answer.reasons),
                action=action_values(answer.action) if answer.HasField("action") else {},
                expected=expected,
                ok=answer.action.offer == offer and bool(answer.reasons),
            )
        )
        return answer

    def note(self, step: StoryStep) -> None:
        """Add a step that was played otherwise."""
        self.story.steps.append(step)

    @staticmethod
    def _check_applied(what: str, sent: int, counts: signal_pb2.SignalCounts, reasons: list[str]) -> None:
        if counts.applied != sent:
            hint = "; the story needs a Hearth on the stream clock" if counts.late or "FUTURE" in reasons else ""
            raise StoryWentWrong(
                f"{what}: of {sent} signals {counts.applied} applied, {counts.late} late, {reasons}{hint}"
            )


def action_text(action: decision_pb2.Action) -> str:
    """Return an action for people."""
    price = f" for {amount_text(action.price_minor, action.currency)}" if action.price_minor else ""
    return f"{action.offer}{price} on {action.treatment.channel}: “{action.treatment.text}” (action {action.action_id})"


def action_values(action: decision_pb2.Action) -> dict[str, StoryValue]:
    """Return what matters of an action for JSON."""
    return {
        "action_id": action.action_id,
        "offer": action.offer,
        "price_minor": action.price_minor,
        "currency": action.currency,
        "channel": action.treatment.channel,
        "text": action.treatment.text,
        "journey": action.journey,
        "status": decision_pb2.ActionStatus.Name(action.status),
        **{f"parameter_{name}": value for name, value in action.treatment.parameters.items()},
    }


def explanation_values(record: household_pb2.DecisionRecord) -> dict[str, Any]:
    """Return an explanation for JSON."""
    return {
        "decision_id": record.decision_id,
        "decided_at": as_text_time(record.decided_at.ToMicroseconds()),
        "reasons": list(record.reasons),
        "moments": [{"journey": one.journey, "member": one.member, "event_id": one.event_id} for one in record.moments],
        "playbook_version": record.playbook_version,
        "model_version": record.model_version,
        "propensity": record.propensity,
        "withheld": record.withheld,
        "features": {one.name: one.label or (one.value if one.HasField("value") else None) for one in record.features},
        "candidates": [
            {"offer": one.offer, "score": one.score, "value": one.value, "vetoes": list(one.vetoes)}
            for one in record.candidates
        ],
    }
