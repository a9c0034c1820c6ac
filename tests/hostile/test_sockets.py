"""A user, and an address, that open as many sockets as they can."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from signalling.protocol import CloseCode
from tests.hostile.attacker import Attacker
from tests.hostile.settings import SERVERS, WITH_LIMITS
from tests.integration.fixtures import MakeSite
from tests.integration.servers import Site

MOST = 5
TRIES = 60


@pytest.fixture(scope="module", params=SERVERS)
def site(request: pytest.FixtureRequest, make_site: MakeSite) -> Site:
    """The clients are behind a proxy, since addresses of this machine are not limited."""
    limits = {"SOCKETS_PER_USER": MOST, "SOCKETS_PER_ADDRESS": MOST}
    return make_site(
        server=request.param,
        signalling={**WITH_LIMITS, **limits, "TRUSTED_PROXIES": ["127.0.0.0/8"]},
    )


def sockets(site: Site, *addresses: str, user: str | None) -> list[Attacker]:
    token = None if user is None else site.token(user)
    return [
        Attacker(site, token=token, headers=(f"X-Forwarded-For: {address}",))
        for address in addresses
    ]


async def test_a_user_from_many_addresses(site: Site) -> None:
    async with AsyncExitStack() as stack:
        mallory = sockets(site, *[f"198.51.100.{n}" for n in range(TRIES)], user="mallory")
        await asyncio.gather(*(stack.enter_async_context(socket) for socket in mallory))
        assert {socket.status for socket in mallory} == {101}
        for socket in mallory:
            await socket.send("ping")
            await socket.answers(1)
        refused = [socket for socket in mallory if socket.errors]
        assert len(refused) == TRIES - MOST
        for socket in refused:
            assert await socket.closed() == CloseCode.FLOOD
            assert socket.errors == {"rate_limited": 1}
        async with site.client("alice") as alice:
            await alice.request("ping")


async def test_strangers_from_one_address(site: Site) -> None:
    """Before they have authenticated, and with any address of an IPv6 network."""
    refusal = 429 if site.worker.name == "uvicorn" else 403
    async with AsyncExitStack() as stack:
        addresses = [f"2001:db8:1:2::{n:x}" for n in range(TRIES)]
        strangers = sockets(site, *addresses, user=None)
        await asyncio.gather(*(stack.enter_async_context(socket) for socket in strangers))
        statuses = [socket.status for socket in strangers]
        assert statuses.count(101) == MOST
        assert statuses.count(refusal) == TRIES - MOST
        (neighbour,) = sockets(site, "2001:db8:1:3::1", user="alice")
        async with neighbour:
            assert neighbour.status == 101


async def test_a_socket_that_closes_makes_room(site: Site) -> None:
    address = "203.0.113.7"
    async with AsyncExitStack() as stack:
        mine = sockets(site, *[address] * MOST, user=None)
        for socket in mine:
            await stack.enter_async_context(socket)
        (refused,) = sockets(site, address, user=None)
        async with refused:
            assert refused.status != 101
    async with asyncio.timeout(5):
        while True:
            (again,) = sockets(site, address, user=None)
            async with again:
                if again.status == 101:
                    return
