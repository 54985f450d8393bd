"""PlaybookService: what those who write playbooks ask, handed to the coordinator, and told as it answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from hearth.v1 import playbook_pb2
from serving.access.principal import ANYBODY, Principal
from serving.admin import check_local
from serving.boundary import Limits
from wire.failures import Failure, failed

logger = logging.getLogger(__name__)

AskPlaybook: TypeAlias = Callable[[str, Mapping[str, Any], Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""(method, request, who asks) → response, as JSON has them, or `{"refused": why}`; cluster/playbook_desk.py."""

TIMEOUT_S: Final = 60.0
"""For a call whose client sets no deadline: a playbook is compiled, and every shard lays it out."""

Response = TypeVar("Response", bound=Message)


class PlaybookServices:
    """The calls of PlaybookService."""

    def __init__(self, ask: AskPlaybook | None) -> None:
        """`ask`: the coordinator; None where there is none."""
        self._ask_coordinator = ask

    async def push(self, request: playbook_pb2.PushRequest, limits: Limits) -> playbook_pb2.PushResponse:
        """Put a version into force."""
        return await self._ask("Push", request, limits, playbook_pb2.PushResponse())

    async def halt(self, request: playbook_pb2.HaltRequest, limits: Limits) -> playbook_pb2.HaltResponse:
        """Pause or stop a journey, or let it go on."""
        return await self._ask("Halt", request, limits, playbook_pb2.HaltResponse())

    async def submit(self, request: playbook_pb2.SubmitRequest, limits: Limits) -> playbook_pb2.SubmitResponse:
        """Keep a draft."""
        return await self._ask("Submit", request, limits, playbook_pb2.SubmitResponse())

    async def approve(self, request: playbook_pb2.ApproveRequest, limits: Limits) -> playbook_pb2.ApproveResponse:
        """Say yes or no to a draft."""
        return await self._ask("Approve", request, limits, playbook_pb2.ApproveResponse())

    async def show(
        self, request: playbook_pb2.ShowPlaybookRequest, limits: Limits
    ) -> playbook_pb2.ShowPlaybookResponse:
        """Tell how things stand."""
        return await self._ask("ShowPlaybook", request, limits, playbook_pb2.ShowPlaybookResponse())

    async def _ask(self, method: str, request: Message, limits: Limits, response: Response) -> Response:
        if limits.principal is ANYBODY:
            check_local(limits.peer)
        if self._ask_coordinator is None:
            raise failed(Failure.NO_COORDINATOR, "nobody keeps a playbook here")
        plain = json_format.MessageToDict(request, preserving_proto_field_name=True)
        try:
            async with asyncio.timeout(min(limits.timeout_s, TIMEOUT_S)):
                told = dict(await self._ask_coordinator(method, plain, asker_of(limits.principal, plain)))
        except Exception as wrong:  # noqa: BLE001 - whatever is wrong with it, asking again is the remedy
            logger.warning("the coordinator does not answer: %s", str(wrong).partition("\n")[0])
            text = "the coordinator does not answer at present; asking again is safe"
            raise failed(Failure.NO_COORDINATOR, text) from None
        if "refused" in told:
            raise failed(Failure.PLAYBOOK_REFUSED, str(told["refused"]))
        return json_format.ParseDict(told, response)


def asker_of(principal: Principal, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return who asks: whom he has proven to be, or where nobody is asked the name that he gives."""
    if principal is ANYBODY:
        return {"name": f"user:{request.get('by') or 'anybody'}", "roles": [], "is_proven": False}
    return {"name": principal.name, "roles": sorted(principal.roles), "is_proven": True}
