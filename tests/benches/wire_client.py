"""A gRPC client that costs next to nothing: unary calls of one method on one connection, each frame written by hand.

A load that is to find out what a server does on the same processors must not spend them itself: a call of grpc.aio's
client costs about as much as the server's refusal of it. For benches only: it knows no TLS, no flow control by stream,
no compression of headers, and hears only what gRPC's own server says.
"""

import asyncio
import struct
from collections import deque
from dataclasses import dataclass
from typing import Final, cast

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE, TRUE_BINARY = 1, 4, 0xFE03
CANCEL: Final = struct.pack(">I", 8)
FIRST_WINDOW: Final = 65_535
WINDOW_MAX: Final = 2**31 - 1
STATUS: Final = b"grpc-status"
DETAILS: Final = b"grpc-status-details-bin"
SWEEP_S: Final = 0.01

OK, CANCELLED, DEADLINE_EXCEEDED, UNAVAILABLE = 0, 1, 4, 14


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call ended."""

    code: int
    details: bytes = b""
    """A google.rpc.Status, if the server sent one."""


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream) + payload


class WireChannel(asyncio.Protocol):
    """One connection, one method."""

    def __init__(self, method: str, authority: str, timeout_s: float) -> None:
        self._headers = header_block(method, authority, timeout_s)
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._next_stream = 1
        self._open: dict[int, asyncio.Future[Ended]] = {}
        self._deadlines: deque[tuple[float, int]] = deque()
        self._window = FIRST_WINDOW
        self._unsent: deque[tuple[int, bytes]] = deque()
        """Messages that wait for the server to have room."""
        self._written: list[bytes] = []
        self.ready: asyncio.Future[None] = self._loop.create_future()

    @classmethod
    async def connect(cls, address: str, method: str, timeout_s: float) -> "WireChannel":
        host, _, port = address.rpartition(":")
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_connection(lambda: cls(method, address, timeout_s), host, int(port))
        await channel.ready
        return channel

    def ask(self, message: bytes) -> "asyncio.Future[Ended]":
        """Send a call; the future is done when it ends, at the latest when its time runs out."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        ended = self._open[stream] = self._loop.create_future()
        self._deadlines.append((self._loop.time() + self._timeout_s, stream))
        self._write(frame(HEADERS, END_HEADERS, stream, self._headers))
        self._unsent.append((stream, b"\0" + struct.pack(">I", len(message)) + message))
        self._send_messages()
        return ended

    def close(self) -> None:
        self._sweeping.cancel()
        self._transport.close()

    # --- asyncio's side ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        settings = ((HEADER_TABLE_SIZE, 0), (INITIAL_WINDOW_SIZE, WINDOW_MAX), (TRUE_BINARY, 1))
        self._write(PREFACE + frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *one) for one in settings)))
        self._write(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WINDOW_MAX - FIRST_WINDOW)))
        self._sweeping = self._loop.call_later(SWEEP_S, self._sweep)

    def connection_lost(self, _error: Exception | None) -> None:
        for ended in self._open.values():
            if not ended.done():
                ended.set_result(Ended(UNAVAILABLE))
        self._open.clear()

    def data_received(self, data: bytes) -> None:
        received, at = self._received, 0
        received += data
        while len(received) - at >= 9:
            head, flags, stream = struct.unpack_from(">IBI", received, at)
            end = at + 9 + (head >> 8)
            if len(received) < end:
                break
            self._take(head & 0xFF, flags, stream, bytes(received[at + 9 : end]))
            at = end
        del received[:at]

    # --- HTTP/2 ------------------------------------------------------------------------------------------------------

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == HEADERS and flags & END_STREAM:
            self._end(stream, ended_by(payload))
        elif kind == RST_STREAM:
            self._end(stream, Ended(CANCELLED))
        elif kind == WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(payload, "big")
            self._send_messages()
        elif kind == PING and not flags & ACK:
            self._write(frame(PING, ACK, 0, payload))
        elif kind == SETTINGS and not flags & ACK:
            self._write(frame(SETTINGS, ACK, 0, b""))
            if not self.ready.done():
                self.ready.set_result(None)

    def _end(self, stream: int, ended: Ended) -> None:
        future = self._open.pop(stream, None)
        if future is not None and not future.done():
            future.set_result(ended)

    def _send_messages(self) -> None:
        while self._unsent and len(self._unsent[0][1]) <= self._window:
            stream, message = self._unsent.popleft()
            if stream in self._open:
                self._window -= len(message)
                self._write(frame(DATA, END_STREAM, stream, message))

    def _write(self, data: bytes) -> None:
        """Write what comes in one turn of the loop together."""
        if not self._written:
            self._loop.call_soon(self._flush)
        self._written.append(data)

    def _flush(self) -> None:
        self._transport.write(b"".join(self._written))
        self._written.clear()

    def _sweep(self) -> None:
        now_s = self._loop.time()
        while self._deadlines and self._deadlines[0][0] <= now_s:
            _, stream = self._deadlines.popleft()
            if stream in self._open:
                self._write(frame(RST_STREAM, 0, stream, CANCEL))
                self._end(stream, Ended(DEADLINE_EXCEEDED))
        self._sweeping = self._loop.call_later(SWEEP_S, self._sweep)


def header_block(method: str, authority: str, timeout_s: float) -> bytes:
    """Return the headers of a call, none of them in a table of the server's."""

    def text(value: str) -> bytes:
        assert len(value) < 127
        return bytes((len(value),)) + value.encode()

    post, http, path, name, kind = b"\x83", b"\x86", b"\x04", b"\x01", b"\x0f\x10"  # of HPACK's static table
    pieces = (post, http, path, text(method), name, text(authority), kind, text("application/grpc"))
    others = (("te", "trailers"), ("grpc-timeout", f"{round(1e3 * timeout_s)}m"))
    return b"".join(pieces) + b"".join(b"\0" + text(key) + text(value) for key, value in others)


def ended_by(trailers: bytes) -> Ended:
    """Return what the trailers of gRPC's server say, which writes names and numbers as they are."""
    value, name_end = b"", 0
    while (at := trailers.find(STATUS, name_end)) >= 0:
        name_end = at + len(STATUS)
        if trailers[at - 1] == len(STATUS):
            length = trailers[name_end]
            value = trailers[name_end + 1 : name_end + 1 + length]
            break
    details, at = b"", trailers.find(DETAILS)
    if at >= 0:
        length, at = prefixed(trailers, at + len(DETAILS))
        details = trailers[at + 1 : at + length]  # after a zero that says: not in base64
    return Ended(int(value) if value else OK, details)


def prefixed(block: bytes, at: int) -> tuple[int, int]:
    """Return a length of HPACK, and where what it measures begins."""
    length = block[at] & 0x7F
    at += 1
    if length == 0x7F:
        shift = 0
        while True:
            length += (block[at] & 0x7F) << shift
            shift += 7
            at += 1
            if not block[at - 1] & 0x80:
                break
    return length, at
