"""`hearth explain`: the story of a decision, from the moment to the reason."""

from datetime import tzinfo

import grpc
from google.protobuf import json_format
from rich.markup import escape
from rich.table import Table

from cluster.client import CALL_DEADLINE_S, connect, explain_failure
from cluster.commands.wording import (
    action_lines,
    feature_text,
    score_text,
    term_scores_text,
    terms_text,
    way_text,
    when,
    zone_of,
)
from cluster.errors import CommandFailed
from cluster.output import print_json, stdout_console
from hearth.v1 import household_pb2, household_pb2_grpc
from household.money import worth_text


def explain(household: str, *, decision_id: str, target: str, as_json: bool, identifier: str = "") -> int:
    """Print a decision of a household, its newest if none is named; return the exit code."""
    record = fetch(household, identifier=identifier, decision_id=decision_id, target=target)
    if as_json:
        print_json(json_format.MessageToDict(record, preserving_proto_field_name=True))
        return 0
    tell(record)
    if not decision_id:
        _tell_journeys(where_it_is(household, identifier=identifier, target=target), zone_of(record.time_zone))
    return 0


def where_it_is(household: str, *, target: str, identifier: str = "") -> list[household_pb2.JourneyInstance]:
    """Return a household's instances of journeys with states.

    Raises:
        CommandFailed: Hearth does not say.
    """
    with connect(target) as channel:
        stub = household_pb2_grpc.HouseholdServiceStub(channel)
        try:
            whom = household_pb2.GetRequest(household=household, identifier=identifier)
            return list(stub.Get(whom, timeout=CALL_DEADLINE_S).instances)
        except grpc.RpcError as failed:
            raise explain_failure(failed, doing="explaining", target=target) from failed


def _tell_journeys(instances: list[household_pb2.JourneyInstance], zone: tzinfo) -> None:
    for one in instances:
        whose = f", member {one.member}" if one.member else ""
        until = f"until {when(one.due_at, zone)} at most" if not one.ending else f"ended by {one.ending}"
        told = f"{one.journey}{whose}: in '{one.state}' since {when(one.since, zone)}, {until}"
        stdout_console().print(f"[bold]journey[/bold]: {escape(told)}")


def fetch(household: str, *, decision_id: str, target: str, identifier: str = "") -> household_pb2.DecisionRecord:
    """Return the record of a decision.

    Raises:
        CommandFailed: there is none.
    """
    request = household_pb2.ExplainRequest(household=household, identifier=identifier, decision_id=decision_id)
    whom = household_pb2.GetRequest(household=household, identifier=identifier)
    with connect(target) as channel:
        stub = household_pb2_grpc.HouseholdServiceStub(channel)
        try:
            answer = stub.Explain(request, timeout=CALL_DEADLINE_S)
            if answer.found:
                record: household_pb2.DecisionRecord = answer.decision
                return record
            is_known = stub.Get(whom, timeout=CALL_DEADLINE_S).known
        except grpc.RpcError as failed:
            raise explain_failure(failed, doing="explaining", target=target) from failed
    named = f"household {household}" if household else f"the household of {identifier}"
    if answer.dropped:
        what = f"decision {decision_id}" if decision_id else "the newest decision"
        raise CommandFailed(
            f"{what} of {named} is older than the log is kept, so it cannot be explained any more "
            "(setting log_retention_hours)"
        )
    if not is_known:
        raise CommandFailed(f"no signal has named {named} yet, so nothing was decided for it")
    if decision_id:
        raise CommandFailed(f"{named} has no decision {decision_id}; without --decision its newest is shown")
    asking = household or f"--identifier {identifier}"
    raise CommandFailed(f"nothing was decided for {named} yet; ask with `hearth decide {asking} --channel app`")


def tell(record: household_pb2.DecisionRecord) -> None:
    """Print the story."""
    console, zone = stdout_console(), zone_of(record.time_zone)
    asked = f"asked on {record.channel}" if record.channel else "unasked"
    member = f", member {record.member}" if record.member else ""
    decided_at = when(record.decided_at, zone)
    console.print(f"[bold]{escape(record.household)}[/bold]{escape(member)}: decided {decided_at}, {escape(asked)}")
    request = f", request {record.request_id}" if record.request_id else ", by no request"
    console.print(escape(f"  decision {record.decision_id}{request}"))
    if record.playbook_missing:
        console.print(
            escape(f"  playbook {record.playbook_version}, under which it was decided, is in no log and no snapshot ")
            + "any more: features, kinds and families cannot be named"
        )
    _tell_moments(record, zone)
    _tell_features(record)
    _tell_candidates(record)
    _tell_slate(record, zone)
    _tell_arms(record, zone)
    console.print(f"[bold]why[/bold]: {escape(', '.join(record.reasons))}")
    notes = [
        f"playbook {record.playbook_version}",
        f"scored by {record.model_version or '-'}{way_text(record.scored_by)}",
    ]
    notes += [f"chosen with probability {record.propensity:.4g}"] if record.propensity else []
    notes += ["degraded: a model was in force and could not be used"] if record.degraded else []
    notes += ["withheld: a control household, recorded and never shown"] if record.withheld else []
    console.print(escape("  " + ", ".join(notes)))


def _tell_moments(record: household_pb2.DecisionRecord, zone: tzinfo) -> None:
    console = stdout_console()
    if not record.moments:
        console.print("[bold]moment[/bold]: none; the household was asked about")
    for moment in record.moments:
        because = f", by event {moment.event_id}" if moment.event_id else ""
        console.print(f"[bold]moment[/bold]: {escape(moment.journey)} at {when(moment.time, zone)}{escape(because)}")


def _tell_features(record: household_pb2.DecisionRecord) -> None:
    if not record.features:
        return
    table = Table("feature", "value as of then", title="what was known", title_justify="left", box=None)
    for feature in record.features:
        table.add_row(escape(feature.name), escape(feature_text(feature)))
    stdout_console().print(table)


def _tell_candidates(record: household_pb2.DecisionRecord) -> None:
    if not record.candidates:
        stdout_console().print("[bold]candidates[/bold]: none")
        return
    table = Table(
        "candidate",
        "P(accept)",
        f"value, {record.currency or 'minor units'}",
        "made of",
        "what spoke against it",
        title="what was weighed",
        title_justify="left",
        box=None,
    )
    nothing = household_pb2.Candidate(offer="nothing", value=0.0)
    ranked = sorted(
        (nothing, *record.candidates), key=lambda one: (bool(one.vetoes), -one.value if one.HasField("value") else 0.0)
    )
    for candidate in ranked:
        score = f"{candidate.score:.4f}" if candidate.HasField("score") else "-"
        value = worth_text(candidate.value, record.currency) if candidate.HasField("value") else "-"
        made_of = terms_text(candidate.terms, record.currency) if candidate.HasField("terms") else ""
        table.add_row(escape(candidate.offer), score, value, escape(made_of), escape(", ".join(candidate.vetoes)))
    stdout_console().print(table)
    for scarce in record.scarce:
        price = f"a unit was priced at {worth_text(scarce.price, record.currency)}"
        left = f"{scarce.left} left of the partition's share, {scarce.used} taken"
        stdout_console().print(escape(f"  budget {scarce.budget}: {price}, {left}"))
    for one in record.shadow_scores:
        of_term = f" of {one.term}" if one.term else ""
        gave = f"  in shadow, {one.model_version}{of_term} gave {one.offer} {score_text(one.score)}"
        stdout_console().print(escape(gave))
    for scored in record.term_scores:
        stdout_console().print(escape(f"  {term_scores_text(scored, record)}"))


def _tell_slate(record: household_pb2.DecisionRecord, zone: tzinfo) -> None:
    console = stdout_console()
    if record.stands:
        stood = f"that of decision {record.stands} stood, and was served again (--decision tells why)"
        console.print(f"[bold]slate[/bold]: {escape(stood)}")
    else:
        console.print("[bold]slate[/bold]" if record.slate else "[bold]slate[/bold]: empty")
    shown = list(record.slate)
    if record.HasField("answered") and all(one.action_id != record.answered.action_id for one in shown):
        shown.append(record.answered)
    for action in shown:
        for line in action_lines(action, zone):
            console.print("  " + escape(line))
    if record.HasField("answered"):
        console.print(escape(f"  answered on {record.channel} with action {record.answered.action_id}"))
    if record.send_channel and record.slate:
        console.print(escape(f"  {_sending(record, zone)}"))
    for note in record.rules:
        console.print(escape(f"  {_rule(note, zone)}"))
    for withdrawal in record.withdrawals:
        console.print(escape(f"  took back action {withdrawal.action_id}: {withdrawal.reason}"))


def _tell_arms(record: household_pb2.DecisionRecord, zone: tzinfo) -> None:
    console = stdout_console()
    for one in record.arms:
        drawn = f"{one.layer}, {one.share_bp / 100:g}% by salt {one.salt}, playbook {one.playbook_version}"
        arm = f"{one.arm} ({drawn}, since {when(one.met_at, zone)})"
        console.print(f"[bold]experiment[/bold]: {escape(one.experiment)}: {escape(arm)}")
    for ghost in record.ghosts:
        what = f"{ghost.offer} on {ghost.channel} at {when(ghost.time, zone)}, for {', '.join(ghost.experiments)}"
        console.print(f"[bold]withheld[/bold]: {escape(what)}")


def _sending(record: household_pb2.DecisionRecord, zone: tzinfo) -> str:
    """Return where the first action went out unasked, or where and when it is to."""
    action_id = record.slate[0].action_id
    if record.handed_over_channel:
        return f"went out on {record.handed_over_channel} at {when(record.handed_over_at, zone)}: action {action_id}"
    held = f"not before {when(record.send_not_before, zone)}, " if record.HasField("send_not_before") else ""
    otherwise = f"; else on {', '.join(record.fallback_channels)}" if record.fallback_channels else ""
    until = when(record.send_before, zone)
    return f"to go out on {record.send_channel}{otherwise}: action {action_id}, {held}before {until}"


def _rule(note: household_pb2.RuleNote, zone: tzinfo) -> str:
    """Return what a rule of the contact policy spoke against, what counted, and when it would pass."""
    counted = f", counting {', '.join(note.contacts)}" if note.contacts else ""
    passes = f"would pass at {when(note.passes_at, zone)}" if note.HasField("passes_at") else "no time lets it pass"
    return f"rule {note.rule} ({note.effect}) spoke against {note.offer} on {note.channel}{counted}; {passes}"
