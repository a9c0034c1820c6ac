"""Frames as the network may deliver them: complete, split anywhere, several at once, fragmented."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import struct
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.integration.fixtures import MakeSite
from tests.integration.servers import ServerName, Site

TEXT, CONTINUATION, PING = 0x1, 0x0, 0x9


def frame(payload: bytes, *, opcode: int = TEXT, final: bool = True) -> bytes:
    """Return a masked client frame (RFC 6455, 5.2)."""
    mask = os.urandom(4)
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack("!H", size)
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return bytes([opcode | (0x80 if final else 0)]) + length + mask + masked


def request(number: int, rng: random.Random) -> Iterator[bytes]:
    """Yield the frames of one ``ping`` event: one, two fragments, or one after a WebSocket ping."""
    padding = "x" * rng.choice((0, 0, 0, 80, 200, 9_000))
    text = json.dumps({"event": "ping", "id": number, "data": {"é": padding}}).encode()
    match rng.randrange(6):
        case 0:
            yield frame(b"are you there?", opcode=PING)
            yield frame(text)
        case 1:
            cut = rng.randrange(1, len(text))
            yield frame(text[:cut], final=False)
            yield frame(text[cut:], opcode=CONTINUATION)
        case _:
            yield frame(text)


def split(stream: bytes, rng: random.Random) -> Iterator[bytes]:
    """Yield the stream in pieces of random sizes."""
    while stream:
        size = rng.choice((1, 2, 3, 7, 60, 300, 5_000, 100_000))
        yield stream[:size]
        stream = stream[size:]


async def pongs(reader: asyncio.StreamReader) -> AsyncIterator[int]:
    """Yield the ids of the answers in the order of arrival."""
    while True:
        first, second = await reader.readexactly(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", await reader.readexactly(2))
        payload = await reader.readexactly(size)
        if first & 0xF == TEXT:
            answer = json.loads(payload)
            assert answer["event"] == "pong", answer
            yield answer["id"]


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def site(request: pytest.FixtureRequest, make_site: MakeSite) -> Site:
    server: ServerName = request.param
    return make_site(server=server)


@pytest.mark.parametrize("seed", range(6))
async def test_every_request_is_answered_once_and_in_order(site: Site, seed: int) -> None:
    rng = random.Random(seed)
    host, port = site.worker.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET /ws/signalling/ HTTP/1.1\r\nHost: {site.worker.address}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        f"Authorization: Bearer {site.token('alice')}\r\n\r\n".encode()
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    count = 120
    stream = b"".join(part for number in range(count) for part in request(number, rng))

    async def send() -> None:
        for piece in split(stream, rng):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)  # let the server read each piece separately

    sending = asyncio.create_task(send())
    answered: list[int] = []
    async with asyncio.timeout(30):
        async for number in pongs(reader):
            answered.append(number)
            if len(answered) == count:
                break
    await sending
    assert answered == list(range(count))
    writer.close()
