"""The sockets of ``signalling.servers.uvicorn``."""

from __future__ import annotations

import socket
from unittest.mock import Mock

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from signalling.servers.uvicorn import SignallingProtocol


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
async def test_short_frames_leave_at_once(family: socket.AddressFamily) -> None:
    """With ``--fd``, Nagle's algorithm held an answer back until the client had sent more."""
    config = Config(Mock(), log_config=None)
    config.load()
    with socket.socket(family) as connection:
        transport = Mock()
        transport.get_extra_info = {"socket": connection}.get
        SignallingProtocol(config, ServerState(), {}).connection_made(transport)
        if family == socket.AF_INET:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
