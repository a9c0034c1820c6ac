"""Headers of a handshake that arrive in several lines."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from rooms.models import Room
from signalling.middleware import OriginMiddleware
from tests.conftest import access_token
from tests.signalling.sockets import AppSocket

ORIGIN = "http://localhost"


@pytest.mark.parametrize("is_token_first", [False, True])
@pytest.mark.django_db(transaction=True)
async def test_the_subprotocol_and_the_token_may_be_in_separate_lines(
    room: Room, bob: User, is_token_first: bool
) -> None:
    """RFC 6455, section 11.3.4."""
    lines = [b"signalling.v1", f"bearer.{access_token(bob)}".encode()]
    socket = AppSocket()
    socket.scope["headers"] = [
        (b"sec-websocket-protocol", line) for line in sorted(lines, reverse=not is_token_first)
    ]
    assert await socket.connect() == "signalling.v1"
    await socket.join()
    await socket.disconnect()


@pytest.mark.parametrize("hosts", [0, 2])
def test_an_origin_is_own_only_with_one_host(hosts: int) -> None:
    headers = [(b"origin", ORIGIN.encode()), *[(b"host", b"localhost")] * hosts]
    assert not OriginMiddleware(None).allows({"headers": headers}, ORIGIN)
