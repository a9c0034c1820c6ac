"""A handshake that the application neither accepts nor rejects."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import MagicMock

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from signalling.servers.limits import Deadlines, limits
from signalling.servers.uvicorn import SignallingProtocol
from tests.patience import PATIENCE

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
)


async def answer(monkeypatch: pytest.MonkeyPatch, *, accepts: bool) -> MagicMock:
    """Return the transport of a handshake, after the deadline for its acceptance."""
    events: list[str] = []
    ended = asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if accepts:
            await send({"type": "websocket.accept"})
        while not events or events[-1] != "websocket.disconnect":
            events.append((await receive())["type"])
        ended.set()

    monkeypatch.setattr(limits(), "accepts", Deadlines(0.02))
    state = ServerState()
    protocol = SignallingProtocol(
        Config(application, interface="asgi3", log_config=None, ws_ping_interval=None), state, {}
    )
    transport = MagicMock()
    transport.is_closing.return_value = False
    transport.get_write_buffer_size.return_value = 0

    def close() -> None:
        if not protocol.disconnected:
            protocol.connection_lost(None)

    transport.close.side_effect = close
    protocol.connection_made(transport)
    protocol.data_received(HANDSHAKE)
    if accepts:
        await asyncio.sleep(0.1)  # five times the deadline, which must not matter
        close()
    async with asyncio.timeout(PATIENCE):
        await ended.wait()
    transport.written = b"".join(call.args[0] for call in transport.write.call_args_list)
    return transport


async def test_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = await answer(monkeypatch, accepts=False)
    assert transport.written.startswith(b"HTTP/1.1 503 ")


async def test_an_accepted_socket_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = await answer(monkeypatch, accepts=True)
    assert transport.written.startswith(b"HTTP/1.1 101 ")
    assert b" 503 " not in transport.written
