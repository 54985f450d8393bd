"""Laws: the gateway page names every public call and every reason; its client runs as printed, and retries under the
same request_id.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from hearth.v1 import decision_pb2 as wire
from hearth.v1 import decision_pb2_grpc
from household.deciding.reasons import Reason


@pytest.mark.parametrize("reason", list(Reason))
def test_a_table_of_the_page_tells_every_reason(repository: Path, reason: Reason):
    page = (repository / "docs" / "gateway.md").read_text(encoding="utf-8")
    assert any(line.startswith("|") and f"`{reason}`" in line for line in page.splitlines())
    assert reason == reason.name, "what logs hold"


class Unsteady(decision_pb2_grpc.DecisionServiceServicer):
    """Answers the second attempt of each call, and remembers all."""

    def __init__(self) -> None:
        self.decide_requests: list[wire.DecideRequest] = []
        self.report_requests: list[wire.ReportRequest] = []

    def Decide(self, request, context):
        self.decide_requests.append(request)
        if len(self.decide_requests) == 1:
            detail = Any()
            detail.Pack(error_details_pb2.RetryInfo(retry_delay=Duration(nanos=1_000_000)))
            status = status_pb2.Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message="x", details=[detail])
            context.abort_with_status(rpc_status.to_status(status))
        action = wire.Action(action_id="a-1", treatment=wire.Treatment(text="One tap, topped up."))
        return wire.DecideResponse(action=action, reasons=["MOMENT:low_balance"])

    def Report(self, request, context):
        self.report_requests.append(request)
        if len(self.report_requests) == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "draining")
        return wire.ReportResponse(effective=True)


@pytest.fixture
def unsteady() -> Iterator[tuple[Unsteady, str]]:
    service = Unsteady()
    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    decision_pb2_grpc.add_DecisionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield service, f"127.0.0.1:{port}"
    server.stop(grace=None).wait()


def test_the_page_names_every_public_call(repository: Path):
    page = (repository / "docs" / "gateway.md").read_text()
    protos = "".join(path.read_text() for path in (repository / "protos" / "hearth" / "v1").glob("*.proto"))

    calls = re.findall(r"^  rpc (\w+)\(", protos, re.MULTILINE)

    assert [call for call in calls if not re.search(rf"`\w+Service\.{call}`", page)] == []


def test_the_client_of_the_page_retries_under_one_request_id(
    repository: Path, tmp_path: Path, unsteady: tuple[Unsteady, str]
):
    service, target = unsteady
    page = (repository / "docs" / "gateway.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    client = tmp_path / "client.py"
    client.write_text(code)

    command = [sys.executable, str(client), target, "household-7"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr
    assert result.stdout == "One tap, topped up. ['MOMENT:low_balance']\n"
    assert len(service.decide_requests) == len(service.report_requests) == 2
    assert len({request.request_id for request in service.decide_requests}) == 1
    assert len({request.request_id for request in service.report_requests}) == 1
    assert service.report_requests[1].action_id == "a-1"
    assert len([line for line in code.splitlines() if line]) <= 30
