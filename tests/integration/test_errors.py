"""Every error code and every close code, provoked on both servers. PROTOCOL.md lists them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from signalling.protocol import CloseCode, ErrorCode
from signalling.testing import RequestRefused
from tests.integration import hooks
from tests.integration.fixtures import Logs, MakeSite
from tests.integration.provocations import closes, errors
from tests.integration.provocations.stage import CLOSES, ERRORS, Stage
from tests.integration.servers import ServerName, Site
from tests.integration.stores import PostgreSQL, Redis, running

assert closes
assert errors  # importing them registers their provocations

CLOSE_THE_SOCKET = {
    ErrorCode.AUTHENTICATION_REQUIRED,
    ErrorCode.TOKEN_INVALID,
    ErrorCode.TOKEN_EXPIRED,
    ErrorCode.TOKEN_REVOKED,
    ErrorCode.USER_INACTIVE,
}


CLOSED = {ErrorCode.PEER_BUSY, ErrorCode.REMOVED, ErrorCode.EVICTED}


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def server(request: pytest.FixtureRequest) -> ServerName:
    name: ServerName = request.param
    return name


@pytest.fixture(scope="module")
def redis(server: ServerName, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A Redis for each server: failures are counted in it, by user and by address."""
    with running(Redis(tmp_path_factory.mktemp("redis"))) as redis:
        yield redis


@pytest.fixture(scope="module")
def site(make_site: MakeSite, server: ServerName) -> Site:
    """A site with a join policy."""
    return make_site(
        server=server,
        signalling={
            "CAN_JOIN": "tests.integration.hooks.can_join",
            "BYTE_BURST": 100_000_000,
            "STALL_SECONDS": 0.5,
        },
    )


@pytest.fixture(scope="module")
def strict(make_site: MakeSite, server: ServerName, redis: Redis) -> Site:
    """A site with low limits and short timeouts, on Redis."""
    return make_site(
        server=server,
        redis=redis,
        signalling={
            "AUTHENTICATION_TIMEOUT": 1,
            "HEARTBEAT_TIMEOUT": 1,
            "VIOLATIONS": 5,
            "FRAME_BURST": 30,
            "FRAME_RATE": 10,
            "FLOOD_FRAMES": 20,
            "SFU": hooks.BROKEN_SFU,
            "OFFER_RATE": 1,
            "FAILURE_LIMIT": 3,
            "SHARED_FAILURE_LIMIT": 3,
            "TRUSTED_PROXIES": ["127.0.0.1"],
            "SEATS_PER_USER": 1,
        },
    )


@pytest.fixture(scope="module")
def fragile(make_site: MakeSite, server: ServerName) -> Site:
    """A site whose database can be stopped."""
    return make_site(server=server, engine="postgresql")


@pytest.fixture
async def stage(
    site: Site,
    strict: Site,
    fragile: Site,
    postgresql: PostgreSQL,
    redis: Redis,
    logs: Logs,
) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        yield Stage(site, strict, fragile, postgresql, redis, logs, stack)


@pytest.mark.parametrize("code", ERRORS)
async def test_error_code(code: ErrorCode, stage: Stage) -> None:
    client = await ERRORS[code](stage)
    error = await client.receive_error(code, within=10)
    assert error["message"]
    if code in CLOSE_THE_SOCKET:
        assert await client.receive_close() == CloseCode.AUTHENTICATION
    elif code not in CLOSED:
        while client.unread:
            await client.receive_error(code)
        await client.receive_nothing()


def test_every_error_code_is_provoked() -> None:
    assert set(ERRORS) == set(ErrorCode)


async def test_an_error_names_its_request_by_id_and_event(site: Site) -> None:
    async with site.client() as alice:
        for request_id in (1, "one", 1.5):
            frame = {"event": "join:room", "data": {"roomCode": "NOSUCH"}, "id": request_id}
            await alice.send_raw(json.dumps(frame))
            error = await alice.receive_error("room_not_found")
            assert error["event"] == "join:room"
            assert json.loads(alice.last_frame)["id"] == request_id


async def test_a_refused_frame_is_answered_with_its_id_and_the_failing_path(site: Site) -> None:
    async with site.client() as alice:
        with pytest.raises(RequestRefused) as refused:
            await alice.request("join:room", {"roomCode": []})
        assert refused.value.details["path"] == "$.data.roomCode"
        assert refused.value.details["event"] == "join:room"
        with pytest.raises(RequestRefused, match="unknown_event"):
            await alice.request("join:everything")


async def test_internal_errors_have_a_reference_that_is_in_the_log(site: Site, logs: Logs) -> None:
    async with site.client() as alice:
        with pytest.raises(RequestRefused) as refused:
            await alice.join(site.room(name=hooks.BROKEN))
    assert refused.value.code == "internal"
    assert "broken on purpose" not in json.dumps(refused.value.details)
    logs.expect(refused.value.details["reference"])


@pytest.mark.parametrize("code", CLOSES)
async def test_close_code(code: CloseCode, stage: Stage) -> None:
    client = await CLOSES[code](stage)
    assert await client.receive_close() == code


def test_every_close_code_is_provoked() -> None:
    assert set(CLOSES) == set(CloseCode)


async def test_a_frame_over_64_kib_closes_the_socket(site: Site, make_site: MakeSite) -> None:
    async with site.client() as alice:
        await alice.send_raw(json.dumps({"event": "ping", "data": {"x": "x" * 65_536}}))
        # The server's own limit, before the frame is read.
        assert await alice.receive_close() == 1009
    async with make_site(server="stock-uvicorn").client() as bob:
        await bob.send_raw(json.dumps({"event": "ping", "data": {"x": "x" * 65_536}}))
        await bob.receive_error("message_too_large")
        assert await bob.receive_close() == CloseCode.PROTOCOL_VIOLATIONS


async def test_guesses_of_room_codes_are_throttled(strict: Site) -> None:
    room = strict.room()
    async with strict.client("guesser", address="127.0.0.2") as guesser:
        for number in range(3):
            with pytest.raises(RequestRefused, match="room_not_found"):
                await guesser.join(f"GUESS{number}")
        with pytest.raises(RequestRefused) as refused:
            await guesser.join(room)
        assert refused.value.code == "rate_limited"
        assert refused.value.details["retryAfter"] >= 1
        await guesser.receive_nothing()
    async with strict.client("alice") as alice:  # from another address
        await alice.join(room)


async def test_guesses_of_tokens_are_throttled(strict: Site) -> None:
    forwarded: dict[str, Any] = {"headers": [("X-Forwarded-For", "203.0.113.7")]}
    for _ in range(3):
        async with strict.client(token="guess", **forwarded) as guesser:
            assert "retryAfter" not in await guesser.receive_error("token_invalid")
    async with strict.client(token="guess", **forwarded) as guesser:
        assert (await guesser.receive_error("token_invalid"))["retryAfter"] >= 1
        assert await guesser.receive_close() == CloseCode.AUTHENTICATION
    async with strict.client("alice", **forwarded) as alice:
        await alice.request("ping")  # a valid token is not a guess, whatever its address
