"""Frames as the network may deliver them: complete, split anywhere, several at once, fragmented."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.integration.fixtures import MakeSite
from tests.integration.servers import ServerName, Site
from tests.integration.wire import CONTINUATION, PING, TEXT, client_frame, handshake, server_frames


def frame(payload: bytes, **options: Any) -> bytes:
    """Return a frame of a client, with a random mask."""
    return client_frame(payload, mask=os.urandom(4), **options)


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
    buffer = bytearray()
    while received := await reader.read(65_536):
        buffer += received
        for opcode, payload in server_frames(buffer):
            if opcode == TEXT:
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
    writer.write(handshake(site, site.token("alice")))
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
