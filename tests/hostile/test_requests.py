"""HTTP requests and opening handshakes that are slow, too large, or not HTTP."""

from __future__ import annotations

import asyncio
import socket
import struct

import psutil
import pytest

from tests.hostile.exchange import exchange, request
from tests.hostile.settings import SERVERS, WITH_LIMITS
from tests.integration.fixtures import MakeSite
from tests.integration.servers import Site
from tests.integration.traffic import memory, wait_until
from tests.integration.wire import handshake

MB = 1024 * 1024
SECONDS = 0.6
MOST = 20
LIMITS = {"HEAD_SECONDS": SECONDS, "BODY_SECONDS": SECONDS, "PENDING_REQUESTS": MOST}
BODY = 200_000
LOGIN = "GET /login/"
POST = ("POST /api/token/", "Content-Type: application/json")
CHUNK = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"


@pytest.fixture(scope="module", params=SERVERS)
def site(request: pytest.FixtureRequest, make_site: MakeSite) -> Site:
    return make_site(server=request.param, signalling={**WITH_LIMITS, **LIMITS, "BODY_BYTES": BODY})


def head(site: Site) -> bytes:
    """Return a handshake whose last line is missing."""
    return handshake(site)[:-2]


# --- Slow ---------------------------------------------------------------------------------------


async def test_requests_have_deadlines(site: Site) -> None:
    """However often a byte arrives."""
    page = request(LOGIN)
    slow = {
        "nothing": ((), 0),
        "half a request line": ((b"GET /lo",), 408),
        "half a handshake": ((head(site),), 408),
        "a header of a handshake, byte by byte": ((head(site), *[b"x"] * 50), 408),
        "half a body": ((request(*POST, "Content-Length: 500"), *[b"x"] * 50), 408),
        "half a chunk": (
            (request(*POST, "Transfer-Encoding: chunked"), *[b"1\r\nx\r\n"] * 50),
            408,
        ),
        "half a second request": ((page, b"GET /lo", *[b"g"] * 50), 200),
    }
    answers = await asyncio.gather(
        *(exchange(site, *pieces, every=0.1) for pieces, _ in slow.values())
    )
    for (name, (_, status)), answer in zip(slow.items(), answers, strict=True):
        assert (answer.ended, answer.was_reset) == (True, False), name
        assert answer.status == status, name
        assert SECONDS * 0.9 < answer.seconds < SECONDS + 1.5, name
    assert answers[-1].data.count(b" 408 ") == 1


async def test_slow_connections_are_in_nobodys_way(site: Site) -> None:
    """See ``tests/signalling/servers/test_limits.py`` for which ones make room for others."""
    slow = [asyncio.create_task(exchange(site, b"GET /")) for _ in range(3 * MOST)]
    answer = await exchange(site, request(LOGIN, "Connection: close"))
    assert answer.status == 200
    assert all(answer.ended for answer in await asyncio.gather(*slow))


async def test_connections_that_are_reset_leave_nothing_behind(site: Site) -> None:
    """uvloop does not report a reset that arrives together with data."""
    server = psutil.Process(site.worker.pid)
    before = server.num_fds()
    for data in (b"GET /lo", request(LOGIN), handshake(site)):
        for _ in range(20):
            with socket.create_connection((site.worker.host, site.worker.port)) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.sendall(data)
    await wait_until(lambda: server.num_fds() <= before + 3, "the end of the connections")


# --- Too large ----------------------------------------------------------------------------------


async def test_heads_are_limited(site: Site) -> None:
    before = memory(site.worker)
    many = [f"X-{number}: x" for number in range(130)]
    for data in (
        request(LOGIN, *many),
        request(LOGIN, "X: " + "x" * 17_000),
        request(LOGIN, *[f"X-{number}: {'x' * 3000}" for number in range(6)]),
        handshake(site, None, *many),
        handshake(site, None, "Cookie: " + "x" * 17_000),
        handshake(site, None, *[f"X-{number}: {'x' * 3000}" for number in range(6)]),
        request(LOGIN, "X: " + "x" * 20 * MB),  # still being sent when it is answered
    ):
        answer = await exchange(site, data)
        assert (answer.status, answer.ended, answer.was_reset) == (431, True, False), data[:60]
    assert memory(site.worker) - before < 8 * MB


async def test_a_head_within_the_limits_is_read(site: Site) -> None:
    headers = [f"X-{number}: {'x' * 100}" for number in range(90)]
    assert (await exchange(site, request(LOGIN, "Connection: close", *headers))).status == 200
    cookie = "Cookie: " + "x" * 7_000
    assert (await exchange(site, handshake(site, None, cookie), within=0.3)).status == 101


async def test_a_client_does_not_choose_where_the_site_is_mounted(site: Site) -> None:
    """A proxy that hides ``/admin/`` would let ``/x/admin/`` pass, and a cache would keep our links."""
    for path in ("/x", "//evil.example"):
        data = request("GET /x/login/", f"Daphne-Root-Path: {path}", "Connection: close")
        assert (await exchange(site, data)).status == 404
    answer = await exchange(site, request(LOGIN, "Daphne-Root-Path: /x", "Connection: close"))
    assert answer.status == 200
    assert b'"/x' not in answer.data


async def test_bodies_are_limited(site: Site) -> None:
    before = memory(site.worker)
    for data in (
        request(*POST, "Content-Length: 200001"),
        request(*POST, f"Content-Length: {20 * MB}", body=b"x" * 20 * MB),
        request(*POST, "Transfer-Encoding: chunked", body=CHUNK * 4),
        request(*POST, "Transfer-Encoding: chunked", body=CHUNK * 300),
    ):
        answer = await exchange(site, data)
        assert (answer.status, answer.ended, answer.was_reset) == (413, True, False), data[:100]
    assert memory(site.worker) - before < 8 * MB


async def test_a_body_within_the_limit_is_read(site: Site) -> None:
    close = "Connection: close"
    for data in (
        request(*POST, close, f"Content-Length: {BODY}", body=b"x" * BODY),
        request(*POST, close, "Transfer-Encoding: chunked", body=CHUNK * 3 + b"0\r\n\r\n"),
    ):
        assert (await exchange(site, data)).status == 400  # it is not JSON


# --- Charsets -----------------------------------------------------------------------------------


async def test_charsets_that_take_quadratic_time_are_refused(site: Site) -> None:
    """Before the body: Django would decode it with them."""
    for line in ("POST /api/token/", LOGIN, "POST /login/"):
        for headers in (
            ["Content-Type: application/json; charset=punycode"],
            ['content-type: multipart/form-data; boundary=x; CHARSET="punycode"'],
            ["Content-Type: text/plain; charset=utf-8", "Content-Type: a/b; charset=punycode"],
            ['Content-Type: text/plain; x="' + ";" * 8_000],
        ):
            answer = await exchange(site, request(line, *headers, f"Content-Length: {BODY}"))
            assert (answer.status, answer.ended, answer.was_reset) == (415, True, False), headers
    usual = "Content-Type: application/json; charset=UTF-8"
    answer = await exchange(site, request(POST[0], usual, "Connection: close"))
    assert answer.status == 400  # it is not JSON


async def test_cookies_that_take_quadratic_time_are_refused(site: Site) -> None:
    cookie = 'Cookie: a="' + "\\" * 8_000 + '"'
    answer = await exchange(site, request(LOGIN, cookie))
    assert (answer.status, answer.ended, answer.was_reset) == (431, True, False)


# --- Not HTTP -----------------------------------------------------------------------------------


async def test_what_is_not_http_is_a_bad_request(site: Site) -> None:
    for data in (
        handshake(site, None, "Sec-WebSocket-Protocol: \u20ac"),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",  # the begin of TLS
        b"G\xc9T /login/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /\xc9 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /login/ HTTP/9\r\nHost: localhost\r\n\r\n",
        request(LOGIN, "no header"),
        request(*POST, "Transfer-Encoding: chunked", body=b"zz\r\n"),
    ):
        assert (await exchange(site, data, within=0.5)).status == 400, data


async def test_a_handshake_with_headers_that_are_not_ascii(site: Site) -> None:
    for header in (b"Sec-WebSocket-Protocol: \xe9", b"Sec-WebSocket-Protocol: signalling.v1, \xff"):
        data = head(site) + header + b"\r\n\r\n"
        assert (await exchange(site, data, within=0.5)).status == 400, header
