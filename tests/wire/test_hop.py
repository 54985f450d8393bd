"""Laws: a shard answers edges of its own installation and nobody else, whatever the socket; beyond this machine nothing
goes unencrypted, and both ends prove themselves by the secret alone.
"""

import asyncio
import socket
from pathlib import Path

import grpc
import grpc.aio
import pytest

from hearth.internal.v1 import shard_pb2, shard_pb2_grpc
from wire import hop
from wire.failures import Failure, reason_of, told_status
from wire.frames import EDGE_OPTIONS, SHARD_OPTIONS
from wire.installation import METADATA_KEY, Installation

OURS, ANOTHERS = Installation(b"o" * 32), Installation(b"a" * 32)


class Answers(shard_pb2_grpc.ShardServiceServicer):
    async def Deliver(self, request, context):
        yield shard_pb2.DeliverResponse()


async def asked(channel: grpc.aio.Channel, introduction: hop.Metadata) -> None:
    async with channel:
        stub = shard_pb2_grpc.ShardServiceStub(channel)
        call = stub.Deliver(shard_pb2.DeliverRequest(), metadata=introduction, timeout=10)
        assert await call.read() is not grpc.aio.EOF
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


def own_address() -> str:
    """An address of this machine that others may reach, without asking anybody for it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            pytest.skip("this machine has no address but loopback")


async def serving(address: str) -> tuple[grpc.aio.Server, str]:
    server = hop.shard_server(SHARD_OPTIONS, OURS)
    shard_pb2_grpc.add_ShardServiceServicer_to_server(Answers(), server)
    port = hop.listen(server, address, OURS)
    await server.start()
    return server, address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"


@pytest.mark.parametrize("kind", ["unix", "loopback"])
def test_who_does_not_know_the_pass_word_is_refused(tmp_path: Path, kind: str):
    async def test() -> None:
        server, address = await serving(f"unix:{tmp_path}/s" if kind == "unix" else "127.0.0.1:0")
        await asked(hop.channel(address, EDGE_OPTIONS, OURS), hop.introduction(OURS))
        for said in ((), ((METADATA_KEY, ""),), hop.introduction(ANOTHERS)):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await asked(hop.channel(address, EDGE_OPTIONS, ANOTHERS), said)
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert reason_of(told_status(refused.value)) == Failure.WRONG_INSTALLATION.reason
        await server.stop(None)

    asyncio.run(test())


def test_beyond_this_machine_it_is_encrypted_and_another_installation_does_not_come_about():
    async def test() -> None:
        server, address = await serving(f"{own_address()}:0")
        await asked(hop.channel(address, EDGE_OPTIONS, OURS), hop.introduction(OURS))
        for channel in (
            hop.channel(address, EDGE_OPTIONS, ANOTHERS),
            grpc.aio.insecure_channel(address, options=EDGE_OPTIONS),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await asked(channel, hop.introduction(OURS))
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        await server.stop(None)

    asyncio.run(test())


@pytest.mark.parametrize("installation", [OURS, None])
def test_who_speaks_a_later_version_is_refused_by_name_and_who_says_none_is_not(
    tmp_path: Path, installation: Installation | None
):
    async def test() -> None:
        server = hop.shard_server(SHARD_OPTIONS, installation)
        shard_pb2_grpc.add_ShardServiceServicer_to_server(Answers(), server)
        hop.listen(server, address := f"unix:{tmp_path}/s", installation)
        await server.start()
        said = hop.introduction(installation)
        without = tuple(pair for pair in said if pair[0] != hop.VERSION_KEY)
        assert without != said
        for known in (said, without):
            await asked(hop.channel(address, EDGE_OPTIONS, installation), known)
        for later in (str(hop.WIRE_VERSION + 1), "two"):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await asked(hop.channel(address, EDGE_OPTIONS, installation), (*without, (hop.VERSION_KEY, later)))
            assert reason_of(told_status(refused.value)) == Failure.WIRE_TOO_NEW.reason
            assert f"version {later}" in str(refused.value.details())
        await server.stop(None)

    asyncio.run(test())


def test_the_secret_is_shown_by_nothing():
    shown = {repr(OURS), OURS.pass_word, OURS.derived("audit").hex(), OURS.pseudonym("h")}
    assert not any("o" * 8 in text or (b"o" * 32).hex() in text for text in shown)
    assert len({OURS.derived(purpose) for purpose in ("hop", "audit", "pseudonym")}) == 3
