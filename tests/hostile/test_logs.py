"""No log of a server contains an access token or a cookie, at any level."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.hostile.exchange import exchange, request
from tests.integration.fixtures import MakeSite
from tests.integration.servers import ServerName, Site
from tests.integration.wire import client_frame, handshake

OPAQUE, COOKIE = "0p4que-t0ken", "c00kie-secret"


@pytest.mark.parametrize(
    ("server", "options"),
    [
        ("daphne", ["-v", "3"]),
        ("uvicorn", ["--log-level", "trace"]),
    ],
)
async def test_no_credentials_are_logged(
    make_site: MakeSite, server: ServerName, options: list[str]
) -> None:
    site: Site = make_site(workers=0)
    worker = site.start_worker(server, *options)
    token = site.token("alice")
    cookie = f"Cookie: sessionid={COOKIE}"
    for secret in (token, OPAQUE):
        bearer = f"Authorization: Bearer {secret}"
        authenticate = json.dumps({"event": "authenticate", "data": {"token": secret}})
        handshakes = [
            handshake(site, secret, cookie),
            handshake(site, None, f"Sec-WebSocket-Protocol: signalling.v1, bearer.{secret}"),
            handshake(site, target=f"/ws/signalling/?token={secret}"),
            handshake(site, None, "Origin: http://evil.test", target=f"/ws/?token={secret}"),
        ]
        requests = [
            request(f"GET /login/?token={secret}", cookie),
            request(f"GET /login/?next=/&token={secret}&a=b", bearer),
            request(f"POST /none/?token={secret}", "Content-Length: 0"),
        ]
        answers = await asyncio.gather(
            *(exchange(site, data, within=1) for data in handshakes + requests),
            exchange(site, client_frame(authenticate.encode()), is_socket=True, within=1),
        )
        assert all(answer.data for answer in answers)
    worker.stop()
    log = worker.output()
    assert "/login/" in log
    for secret in (token, OPAQUE, COOKIE, token[:30]):
        assert secret not in log, [line for line in log.splitlines() if secret in line]
