"""`hearth household`: who belongs to a household, and what a person says of who belongs together."""

import grpc
from google.protobuf import json_format
from google.protobuf.message import Message
from rich.markup import escape
from rich.table import Table

from cluster.client import CALL_DEADLINE_S, connect, explain_failure
from cluster.commands.wording import action_lines, feature_text, when
from cluster.errors import CommandFailed, UsageWrong
from cluster.identity import fresh_id
from cluster.output import print_json, stdout_console
from hearth.v1 import household_pb2, household_pb2_grpc


def show(household: str, *, identifier: str, is_whole: bool, target: str, as_json: bool) -> int:
    """Print what is known of a household; return the exit code."""
    request = household_pb2.GetRequest(household=household, identifier=identifier, whole_identifiers=is_whole)
    with connect(target) as channel:
        try:
            answer = household_pb2_grpc.HouseholdServiceStub(channel).Get(request, timeout=CALL_DEADLINE_S)
        except grpc.RpcError as failed:
            raise explain_failure(failed, doing="looking at a household", target=target) from failed
    if as_json:
        _print(answer)
    elif answer.known:
        _tell(answer)
    if answer.known:
        return 0
    if as_json:
        return 1
    named = f"household {household}" if household else f"identifier {identifier}"
    raise CommandFailed(f"nothing is known of {named}: no signal and no graph event has named it")


def _tell(answer: household_pb2.GetResponse) -> None:
    console = stdout_console()
    orphan = ", an orphan: nobody is known to hold the identifier" if answer.orphan else ""
    closed = f", closed at {when(answer.closed_at)}" if answer.HasField("closed_at") else ""
    as_of = f"as of {when(answer.as_of)}, partition {answer.partition}"
    console.print(f"[bold]{escape(answer.household)}[/bold]{escape(orphan + closed)}: {as_of}")
    if answer.aliases:
        console.print(escape(f"  also known as {', '.join(answer.aliases)}"))
    for subject in answer.subjects:
        console.print(f"[bold]{escape(subject.name)}[/bold]")
        for one in subject.identifiers:
            until = f" until {when(one.until)}" if one.HasField("until") else ""
            sure = "" if one.probability >= 1.0 else f", with probability {one.probability:g} only"
            console.print(escape(f"  {one.identifier} from {when(getattr(one, 'from'))}{until}{sure}"))
    for product in answer.products:
        lines = "" if product.lines == 1 else f", on {product.lines} lines"
        console.print(escape(f"  holds {product.product} ({', '.join(product.families)}){lines}"))
    for action in answer.live_actions:
        for line in action_lines(action):
            console.print("  " + escape(line))
    table = Table("feature", "whose", "value", title="what is known", title_justify="left", box=None)
    for feature in answer.features:
        table.add_row(escape(feature.name), "", escape(feature_text(feature)))
    for member in answer.members:
        for feature in member.features:
            table.add_row(escape(feature.name), escape(member.member), escape(feature_text(feature)))
    console.print(table)
    for waiting in answer.quarantine:
        console.print(f"[bold]in quarantine[/bold]: {escape(_quarantined(waiting))}")


def _quarantined(one: household_pb2.Quarantined) -> str:
    evidence = f", {one.evidence}" if one.evidence else ""
    return f"{one.cause}: {one.kind} of {' and '.join(one.about)} at {when(one.time)}: {one.why}{evidence}"


def quarantine(cause: str, *, limit: int, target: str, as_json: bool) -> int:
    """Print what waits for a person's word; return the exit code."""
    if cause:
        raise UsageWrong(f"a list is of all causes; to confirm this one: hearth household quarantine confirm {cause}")
    request = household_pb2.QuarantineRequest(limit=limit)
    with connect(target) as channel:
        try:
            answer = household_pb2_grpc.HouseholdServiceStub(channel).Quarantine(request, timeout=CALL_DEADLINE_S)
        except grpc.RpcError as failed:
            raise explain_failure(failed, doing="listing the quarantine", target=target) from failed
    if as_json:
        _print(answer)
        return 0
    for one in answer.quarantine:
        print(_quarantined(one))
    print(f"{answer.total} in quarantine, {len(answer.quarantine)} shown")
    return 0


def merge(
    household: str, other: str, *, cause: str, note: str, request_id: str | None, target: str, as_json: bool
) -> int:
    """Say that two households are one; return the exit code."""
    request = household_pb2.ChangeRequest(request_id=request_id or fresh_id("cli"), note=note)
    request.merge.household, request.merge.other, request.merge.cause = household, other, cause
    answer = _change(request, doing="merging households", target=target, as_json=as_json)
    if answer.effective and not as_json:
        print(f"{household} and {other} are one household, {answer.household}")
        print(f"to take it back: hearth household unmerge {answer.cause}")
    return int(not answer.effective)


def unmerge(cause: str, *, note: str, request_id: str | None, target: str, as_json: bool) -> int:
    """Take back all merges of a cause; return the exit code."""
    request = household_pb2.ChangeRequest(request_id=request_id or fresh_id("cli"), note=note, unmerge=cause)
    answer = _change(request, doing="taking a merge back", target=target, as_json=as_json)
    if answer.effective and not as_json:
        print(f"what was merged for {cause} was not")
    return int(not answer.effective)


def confirm(cause: str, *, note: str, request_id: str | None, target: str, as_json: bool) -> int:
    """Say that what is in quarantine for a cause is right; return the exit code."""
    if not cause:
        raise UsageWrong("which one? `hearth household quarantine list` names the causes")
    request = household_pb2.ChangeRequest(request_id=request_id or fresh_id("cli"), note=note, confirm=cause)
    answer = _change(request, doing="confirming", target=target, as_json=as_json)
    if answer.effective and not as_json:
        print(f"what was in quarantine for {cause} holds")
    return int(not answer.effective)


def _change(
    request: household_pb2.ChangeRequest, *, doing: str, target: str, as_json: bool
) -> household_pb2.ChangeResponse:
    with connect(target) as channel:
        try:
            answer: household_pb2.ChangeResponse = household_pb2_grpc.HouseholdServiceStub(channel).Change(
                request, timeout=CALL_DEADLINE_S
            )
        except grpc.RpcError as failed:
            raise explain_failure(failed, doing=doing, target=target) from failed
    if as_json:
        _print(answer)
    elif not answer.effective:
        because = f": {answer.detail}" if answer.detail else ""
        raise CommandFailed(f"nothing was changed, {answer.reason}{because}")
    return answer


def _print(message: Message) -> None:
    print_json(json_format.MessageToDict(message, preserving_proto_field_name=True))
