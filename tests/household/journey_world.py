"""A partition whose journeys have states, and who decides, sends and lets time pass there: a story in a few lines."""

import textwrap
from pathlib import Path
from typing import Any

from household.apply import apply_signals
from household.deciding.hand_over import next_step
from household.decision import Decision
from household.delivery import DeliveryStep
from household.events import Status
from household.plan import FieldKind, Plan
from household.tables.instances import Instance
from playbooks.compiler import compile_playbook
from tests.household.oracle import Event, batch_of
from tests.household.shop import Shop

START = """
playbook: {name: mini, time_zone: Europe/Berlin, clock: {lateness: 1d, future: 5m, request_window: 1d}}
fields: {amount: number, loan: text, kind: [coffee, airport]}
events:
  app.visit: {source: app}
  app.consent: {source: app}
  app.refusal: {source: app}
  wallet.topup: {source: wallet, fields: {amount: optional}}
  wallet.payment: {source: wallet, fields: {amount: optional, kind: optional}}
  loan.asked: {source: wallet, fields: {loan: required}}
  loan.paid: {source: wallet, fields: {loan: required, amount: optional}}
features:
  member.consents: {kind: product_held, events: app.consent, off_events: app.refusal}
  household.payments: {kind: count, events: wallet.payment}
  household.topups: {kind: newest_times, events: wallet.topup, keep: 3, span: 7d}
families: [wallet]
channels:
  app: {inbound: true}
  push: {outbound: true, quiet_hours: true, consent: member.consents}
  sms: {outbound: true, consent: member.consents}
contact_policy:
  caps: {day: {scope: member, window: 1d, most: 2}}
  quiet_hours: {from: "21:00", to: "09:00"}
offers:
  invite: {kind: offer, family: wallet, margin: 5, prior: 20%, treatments: {push: Try it, sms: Try it, app: Try it}}
  remind: {kind: offer, family: wallet, margin: 5, prior: 20%, valid: 14d, treatments: {push: Still there}}
  shown: {kind: offer, family: wallet, margin: 5, prior: 20%, valid: 3d, treatments: {app: Only here}}
"""

HEAD = """
  title: A story
  owner: wallet team
  contact_class: offer
  purpose: marketing
  budget: 9
  control: {control}
  outbound: [push]
"""


def playbook_text(journey: str, *, control: str = "0%", name: str = "story", more: str = "", without: str = "") -> str:
    """Return a playbook with one journey, of which the keys beyond the usual ones are given."""
    written = {without} | {line.split(":")[0] for line in textwrap.dedent(journey).splitlines() if line[:1].strip()}
    usual = [line for line in HEAD.format(control=control).splitlines() if line.strip().split(":")[0] not in written]
    body = textwrap.indent("\n".join(usual), "  ") + "\n" + textwrap.indent(textwrap.dedent(journey), "    ")
    return f"{START}{more}\njourneys:\n  {name}:\n{body}"


def plan_of(folder: Path, journey: str, **how: str) -> Plan:
    """Return the plan of such a playbook."""
    path = folder / "playbook.yaml"
    path.write_text(playbook_text(journey, **how))
    return compile_playbook(path)


class Story(Shop):
    """A household, anna in it, and what happens to her."""

    def event(self, name: str, *, household: str = "home", member: str = "anna", ago_us: int = 0, **more: Any) -> Event:
        self.event_count += 1
        plan, values = self.state.plan, []
        for field, value in more.items():
            if field in plan.field_by_name:
                declared = plan.fields[plan.field_by_name[field]]
                number = declared.values.index(value) if declared.kind is FieldKind.ENUM else value
                values.append((plan.field_by_name[field], float(number)))
        return Event(
            id=more.get("id", b"%d" % self.event_count),
            household=household.encode(),
            member=member.encode(),
            kind=plan.event_type_by_name[name],
            time_us=self.now_us - ago_us,
            values=tuple(values),
            **{key: value for key, value in more.items() if key in ("action_id", "channel")},
        )

    def happens(self, name: str, *, after_us: int = 0, **more: Any) -> None:
        """Let something happen, so much later."""
        if after_us:
            self.pass_time(after_us)
        self.signal(name, **more)

    def signal_again(self, event: Event) -> str:
        """Send an event once more; return what became of it."""
        applied = apply_signals(self.state, batch_of(self.state.plan, [event]), stamp_us=self.now_us)
        return Status(int(applied.statuses[0])).name

    def decide_all(self, *, member: str = "anna") -> Decision | None:
        """Decide what is pending for a member; None for nothing."""
        household, _ = self.state.find(b"home")
        if household < 0 or not self.state.pending.of(household):
            return None
        return self.decide(member=member)

    def send_all(self) -> list[str]:
        """Hand over what may go out now; return the offers."""
        names = [one.name for one in self.state.plan.channels]
        sent = []
        for outbound in list(self.state.outbox):
            note = next_step(self.state, outbound.action_id, names)
            if note is None or outbound.handed_us:
                continue
            sent.append(self.state.actions[outbound.action_id].offer)
            self.note(note.action_id, note.step, note.channel, reason=note.reason)
            if note.step is not DeliveryStep.HANDED:
                sent.pop()
        return sent

    def says(self) -> list[str]:
        """Decide and send as a live Hearth would; return the offers that went out."""
        self.decide_all()
        return self.send_all()

    @property
    def instances(self) -> list[Instance]:
        """All there are, in the order in which they entered."""
        return sorted(self.state.instances, key=lambda one: (one.entered_us, one.number))

    @property
    def where(self) -> list[str]:
        """Where each is: its state, and why it ended if it has."""
        return [one.step if one.ending == "LIVE" else f"{one.step}:{one.ending}" for one in self.instances]
