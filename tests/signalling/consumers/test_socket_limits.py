"""A user, and an address, may open only so many sockets."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User

from signalling.protocol import CloseCode
from signalling.throttling import occupancy
from tests.conftest import access_token
from tests.signalling.consumers.conftest import Configure
from tests.signalling.sockets import AppSocket, connected

pytestmark = pytest.mark.django_db(transaction=True)


async def test_the_next_socket_of_a_user_is_told_why(
    configure: Configure, alice: User, bob: User
) -> None:
    configure(SOCKETS_PER_USER=2)
    async with connected(alice), connected(alice) as second:
        async with connected(alice) as third:
            assert (await third.receive_error("rate_limited"))["retryAfter"] > 0
            assert await third.receive_close() == CloseCode.FLOOD
        async with connected(bob) as other:
            await other.request("ping")
        await second.request("ping")
    async with connected(alice) as again:
        await again.request("ping")
    assert len(occupancy.users) == 0


async def test_a_socket_that_authenticates_later_counts_too(
    configure: Configure, alice: User
) -> None:
    configure(SOCKETS_PER_USER=1)
    token = {"token": access_token(alice)}
    late = AppSocket()
    await late.connect()
    async with connected(alice):
        await late.send("authenticate", token)
        await late.receive_error("rate_limited")
        assert await late.receive_close() == CloseCode.FLOOD
    await late.disconnect()
    late = AppSocket()
    await late.connect()
    for _ in range(2):
        assert (await late.request("authenticate", token))["event"] == "authenticated"
    async with connected(alice) as third:
        await third.receive_error("rate_limited")
    await late.disconnect()


async def test_further_sockets_of_an_address_are_rejected(
    configure: Configure, alice: User
) -> None:
    configure(SOCKETS_PER_ADDRESS=1)
    async with connected(alice, address="8.8.8.8"):
        assert await AppSocket(address="8.8.8.8").is_denied()
        assert await AppSocket(address="::ffff:8.8.8.8").is_denied()  # a dual-stack socket
        async with connected(alice, address="8.8.4.4"):
            pass
    async with connected(alice, address="8.8.8.8"):
        assert len(occupancy.addresses) == 1
    assert len(occupancy.addresses) == 0


async def test_the_addresses_of_an_ipv6_network_count_together(
    configure: Configure, alice: User
) -> None:
    configure(SOCKETS_PER_ADDRESS=1)
    async with connected(alice, address="2a00:1450:4001:81b::1"):
        assert await AppSocket(address="2a00:1450:4001:81b:ffff::2").is_denied()
        async with connected(alice, address="2a00:1450:4001:81c::1"):
            pass


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.0.0.1", "172.17.0.1", "fd00::1", ""])
async def test_an_address_that_may_be_a_proxy_is_not_limited(
    configure: Configure, alice: User, address: str
) -> None:
    configure(SOCKETS_PER_ADDRESS=1)
    async with connected(alice, address=address), connected(alice, address=address):
        pass


async def test_the_clients_of_a_trusted_proxy_are_limited(
    configure: Configure, alice: User
) -> None:
    """Also in a private network."""
    configure(SOCKETS_PER_ADDRESS=1, TRUSTED_PROXIES=["10.0.0.1"])
    near: dict[str, Any] = {
        "address": "10.0.0.1",
        "headers": {"x-forwarded-for": "1.1.1.1, 10.0.0.7"},
    }
    far: dict[str, Any] = {"address": "10.0.0.1", "headers": {"x-forwarded-for": "10.0.0.8"}}
    async with connected(alice, **near), connected(alice, **far):
        assert await AppSocket(**near).is_denied()


async def test_a_server_that_can_send_a_status_sends_429(configure: Configure, alice: User) -> None:
    configure(SOCKETS_PER_ADDRESS=1)
    async with connected(alice, address="8.8.8.8"):
        socket = AppSocket(address="8.8.8.8", query="?token=secret")
        socket.scope["extensions"] = {"websocket.http.response": {}}
        await socket.communicator.send_input({"type": "websocket.connect"})
        start = await socket.communicator.receive_output(5)
        assert (start["type"], start["status"]) == ("websocket.http.response.start", 429)
        assert (await socket.communicator.receive_output(5))["body"] == b""
        assert socket.scope["query_string"] == b""  # the server logs it
