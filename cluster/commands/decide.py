"""`hearth decide`: ask for the next best action of a household."""

import grpc
from google.protobuf import json_format

from cluster.client import CALL_DEADLINE_S, connect, explain_failure
from cluster.commands.wording import action_lines, way_text, when
from cluster.identity import fresh_id
from cluster.output import print_json
from hearth.v1 import decision_pb2, decision_pb2_grpc


def decide(
    household: str,
    *,
    channel: str,
    member: str,
    request_id: str | None,
    target: str,
    as_json: bool,
    identifier: str = "",
) -> int:
    """Ask once, print the answer, return the exit code."""
    request = decision_pb2.DecideRequest(
        request_id=request_id or fresh_id("cli"),
        household=household,
        identifier=identifier,
        member=member,
        channel=channel,
    )
    with connect(target) as open_channel:
        try:
            answer = decision_pb2_grpc.DecisionServiceStub(open_channel).Decide(request, timeout=CALL_DEADLINE_S)
        except grpc.RpcError as failed:
            raise explain_failure(failed, doing=f"deciding on channel {channel}", target=target) from failed
    if as_json:
        print_json(json_format.MessageToDict(answer, preserving_proto_field_name=True))
        return 0
    if answer.HasField("action"):
        for line in action_lines(answer.action):
            print(line)
    else:
        print("nothing for now")
    again = " (as this request was answered before)" if answer.repeated_request else ""
    print(f"why: {', '.join(answer.reasons)}{again}")
    degraded = ", degraded: a model is in force and could not be used" if answer.degraded else ""
    print(
        f"decision {answer.decision_id or '-'} as of {when(answer.decided_at)}, playbook {answer.playbook_version}, "
        f"scored by {answer.model_version or '-'}{way_text(answer.scored_by)}{degraded}"
    )
    return 0
