"""Authentication and allowed origins, on Daphne and on uvicorn."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import jwt
import pytest
from django.conf import settings
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken
from websockets.exceptions import InvalidHandshake, InvalidStatus

from signalling.testing import RequestRefused, SignallingCommunicator, access_token
from tests.documents import rows
from tests.integration.fixtures import MakeSite
from tests.integration.servers import ORIGIN, Site

PROTOCOL = "signalling.v1"
KEY = str(settings.SIMPLE_JWT["SIGNING_KEY"])


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def site(request: pytest.FixtureRequest, make_site: MakeSite) -> Site:
    return make_site(server=request.param, signalling={"AUTHENTICATION_TIMEOUT": 2})


@pytest.fixture(scope="module")
def cookie(site: Site) -> str:
    """The session cookie of a browser in which Alice has signed in."""
    return site.session_cookie("alice")


async def assert_is_alice(client: SignallingCommunicator, site: Site) -> None:
    """Assert that a socket belongs to Alice: it accepts her token as a renewal, and not Bob's."""
    renewed = await client.request("authenticate", {"token": site.token("alice")})
    assert renewed["userInfo"] == {"username": "alice"}
    with pytest.raises(RequestRefused, match="token_subject_mismatch"):
        await client.request("authenticate", {"token": site.token("bob")})
    await client.join(site.room())


async def assert_refused(client: SignallingCommunicator, code: str) -> None:
    await client.receive_error(code)
    assert await client.receive_close() == 4401


# --- Five sources -------------------------------------------------------------------------------


async def test_a_token_in_the_header_authenticates(site: Site) -> None:
    async with site.client("alice") as alice:
        await assert_is_alice(alice, site)


async def test_a_token_in_the_subprotocol_authenticates_and_is_not_echoed(site: Site) -> None:
    offered = [PROTOCOL, f"bearer.{site.token('alice')}"]
    async with site.anonymous_client(subprotocols=offered) as alice:
        assert alice.subprotocol == PROTOCOL
        await assert_is_alice(alice, site)


async def test_subprotocols_may_be_sent_in_several_lines(site: Site) -> None:
    """RFC 6455, section 11.3.4."""
    line = ("Sec-WebSocket-Protocol", f"bearer.{site.token('alice')}")
    async with site.anonymous_client(subprotocols=[PROTOCOL], headers=[line]) as alice:
        assert alice.subprotocol == PROTOCOL
        await assert_is_alice(alice, site)


async def test_a_token_in_the_query_authenticates(site: Site) -> None:
    async with site.anonymous_client(query=f"?token={site.token('alice')}") as alice:
        await assert_is_alice(alice, site)


async def test_a_session_authenticates_a_page_of_the_same_origin(site: Site, cookie: str) -> None:
    own = site.worker.http_url
    async with site.anonymous_client(headers=[("Cookie", cookie)], origin=own) as alice:
        await assert_is_alice(alice, site)


async def test_cookies_may_be_sent_in_several_lines(site: Site, cookie: str) -> None:
    """RFC 9113, section 8.2.3: some proxies pass them on as HTTP/2 has them."""
    lines = [("Cookie", "a=1, 2"), ("Cookie", cookie), ("Cookie", "b=3")]
    async with site.anonymous_client(headers=lines, origin=site.worker.http_url) as alice:
        await assert_is_alice(alice, site)


async def test_an_authenticate_event_authenticates(site: Site) -> None:
    async with site.anonymous_client() as alice:
        await alice.send("authenticate", {"token": site.token("alice")})
        answer = await alice.receive("authenticated")
        assert answer["userInfo"] == {"username": "alice"}
        assert answer["expiresAt"]
        await assert_is_alice(alice, site)


@pytest.mark.parametrize("origin", [None, ORIGIN], ids=["no origin", "another allowed origin"])
async def test_a_session_is_ignored_for_other_origins(
    site: Site, cookie: str, origin: str | None
) -> None:
    async with site.anonymous_client(headers=[("Cookie", cookie)], origin=origin) as anonymous:
        await anonymous.send("join:room", {"roomCode": site.room()})
        await assert_refused(anonymous, "authentication_required")


async def test_a_socket_without_a_token_is_closed_after_the_timeout(site: Site) -> None:
    async with site.anonymous_client() as anonymous:
        await assert_refused(anonymous, "authentication_required")


async def test_a_socket_that_authenticates_in_time_stays_open(site: Site) -> None:
    async with site.anonymous_client() as silent, site.anonymous_client() as alice:
        await alice.request("authenticate", {"token": site.token("alice")})
        await assert_refused(silent, "authentication_required")  # the timeout has passed for both
        await alice.receive_nothing()


# --- Precedence: the first source that is present counts ----------------------------------------

HEADER, SUBPROTOCOL, QUERY, SESSION = range(4)


@pytest.mark.parametrize(
    ("first", "second"),
    [*itertools.combinations((HEADER, SUBPROTOCOL, QUERY, SESSION), 2)],
)
async def test_the_first_source_counts(site: Site, cookie: str, first: int, second: int) -> None:
    def client(tokens: dict[int, str]) -> SignallingCommunicator:
        bearer = [f"bearer.{tokens[SUBPROTOCOL]}"] if SUBPROTOCOL in tokens else []
        return site.client(
            token=tokens.get(HEADER),
            subprotocols=[PROTOCOL, *bearer],
            query=f"?token={tokens[QUERY]}" if QUERY in tokens else "",
            headers=[("Cookie", cookie)] if SESSION in tokens else [],
            origin=site.worker.http_url,
        )

    if second != SESSION:  # the session is always valid
        async with client({first: site.token("alice"), second: "bad"}) as alice:
            await assert_is_alice(alice, site)
    async with client({first: "bad", second: site.token("alice")}) as refused:
        await assert_refused(refused, "token_invalid")


# --- Bad tokens ---------------------------------------------------------------------------------


def with_claims(**claims: Any) -> Callable[[Site], str]:
    """Return a maker of correctly signed tokens with these claims; ``None`` removes a claim."""

    def make(site: Site) -> str:
        payload = {**AccessToken.for_user(site.user("alice")).payload, **claims}
        kept = {name: value for name, value in payload.items() if value is not None}
        # Encoded by hand: PyJWT refuses to encode some of these claims.
        text = json.dumps(kept).encode()
        return jwt.PyJWS().encode(text, KEY, algorithm="HS256")

    return make


def signed(key: str, algorithm: str) -> Callable[[Site], str]:
    def make(site: Site) -> str:
        payload = AccessToken.for_user(site.user("alice")).payload
        return jwt.encode(payload, key, algorithm=algorithm)

    return make


def inactive(site: Site) -> str:
    return access_token(site.database.user(is_active=False))


def revoked(site: Site) -> str:
    user = site.database.user()
    token = access_token(user)
    user.set_password("new")
    site.database.save(user)
    return token


def deleted(site: Site) -> str:
    user = site.database.user()
    token = access_token(user)
    site.database.run(user.delete, using=site.database.alias)
    return token


BAD_TOKENS: dict[str, Callable[[Site], str]] = {
    "empty": lambda site: "",
    "word": lambda site: "word",
    "dots": lambda site: "a.b.c",
    "refresh token": lambda site: str(RefreshToken.for_user(site.user("alice"))),
    "inactive user": inactive,
    "deleted user": deleted,
    "new password": revoked,
    "expired": with_claims(exp=int(time.time()) - 1),
    "user_id abc": with_claims(user_id="abc"),
    "user_id too large": with_claims(user_id=10**30),
    "user_id list": with_claims(user_id=[1]),
    "user_id object": with_claims(user_id={"pk": 1}),
    "user_id with NUL": with_claims(user_id="1\x00"),
    "no user_id": with_claims(user_id=None),
    "exp too large": with_claims(exp=1e300),
    "exp infinite": with_claims(exp=float("inf")),
    "exp in the year 300000": with_claims(exp=2**43),
    "exp text": with_claims(exp="x"),
    "exp list": with_claims(exp=[]),
    "no exp": with_claims(exp=None),
    "no jti": with_claims(jti=None),
    "no type": with_claims(token_type=None),
    "not valid yet": with_claims(nbf=int(time.time()) + 3600),
    "nbf text": with_claims(nbf="x"),
    "iat text": with_claims(iat="x"),
    "unsigned": signed("", "none"),
    "HS512": signed(KEY, "HS512"),
    "another key": signed("another" * 8, "HS256"),
}


TOKEN_MATRIX = {name: cells for name, *cells in rows("docs/security.md", "Token matrix")}
"""What each entry point answers to each bad token: REST, header, subprotocol, query, authenticate."""


def test_the_token_matrix_names_every_bad_token() -> None:
    assert list(TOKEN_MATRIX) == list(BAD_TOKENS)


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")  # for HS512
@pytest.mark.parametrize("name", BAD_TOKENS)
async def test_every_entry_point_refuses_a_bad_token(site: Site, name: str) -> None:
    token = BAD_TOKENS[name](site)
    rest, *codes = TOKEN_MATRIX[name]
    sockets = [
        site.client(token=token),
        site.anonymous_client(subprotocols=[PROTOCOL, f"bearer.{token}"]),
        site.anonymous_client(query=f"?token={token}"),
        site.anonymous_client(),
    ]
    for socket, code in zip(sockets, codes, strict=True):
        async with socket as client:
            if socket is sockets[-1]:
                await client.send("authenticate", {"token": token})
            elif code == "authentication_required":  # it has no token
                await client.send("ping")
            await assert_refused(client, code)
    assert str(await asyncio.to_thread(rest_status, site, token)) == rest


def rest_status(site: Site, token: str) -> int:
    """Return the status of a request to the REST API with this token."""
    request = Request(
        f"{site.worker.http_url}/api/rooms/", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        with urlopen(request, timeout=10) as response:
            return int(response.status)
    except HTTPError as error:
        return error.code


async def test_an_inactive_users_session_is_refused(site: Site) -> None:
    user = site.user("former")
    cookie = site.session_cookie("former")
    user.is_active = False
    site.database.save(user)
    own = site.worker.http_url
    async with site.anonymous_client(headers=[("Cookie", cookie)], origin=own) as client:
        await client.send("ping")
        # Django's backend ignores the session of an inactive user.
        await assert_refused(client, "authentication_required")


# --- No token in a log --------------------------------------------------------------------------


@pytest.mark.parametrize("origin", [None, "http://evil.example"], ids=["accepted", "refused"])
async def test_a_token_in_the_query_is_not_logged(site: Site, origin: str | None) -> None:
    token = site.token("alice")
    client = site.anonymous_client(query=f"?token=x-{token}&a=b&token={token}", origin=origin)
    if origin is None:
        async with client:
            await client.request("ping")
    else:
        with pytest.raises(InvalidStatus):
            await client.connect()
    async with site.client("alice") as alice:
        await alice.request("ping")  # earlier requests have been logged
    log = site.worker.output()
    assert "/ws/signalling/" in log
    assert token.split(".")[2] not in log


# --- Origins ------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", [None, ORIGIN, ORIGIN.upper(), "own"])
async def test_an_allowed_origin_can_join(site: Site, origin: str | None) -> None:
    if origin == "own":
        origin = site.worker.http_url
    async with site.client("alice", origin=origin) as alice:
        await alice.join(site.room())


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "*",
        "http://evil.example",
        "http://localhost",
        "http://localhost:5174",
        "https://localhost:5173",
        "http://localhost:5173.evil.example",
        "http://evil-localhost:5173",
        "http://localhost.evil.example:5173",
        "http://localhost:5173@evil.example",
        "http://evil@127.0.0.1",
        "http://127.0.0.1:1",
        "http://[",
        "http://[::1",
        "http://localhost:port",
        "localhost:5173",
        "file://",
        "javascript:alert(1)",
    ],
)
async def test_a_foreign_origin_is_refused_in_the_handshake(site: Site, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await site.client("alice", origin=origin).connect()
    # Daphne itself refuses malformed origins, with 400.
    assert refused.value.response.status_code in (400, 403)


@pytest.mark.parametrize("second", [ORIGIN, "http://evil.example"])
async def test_two_origins_are_refused(site: Site, second: str) -> None:
    client = site.client("alice", origin=ORIGIN, headers=[("Origin", second)])
    with pytest.raises(InvalidHandshake) as refused:
        await client.connect()
    assert isinstance(refused.value, InvalidStatus)
    assert refused.value.response.status_code in (400, 403)


async def test_a_foreign_page_cannot_open_a_socket_with_a_users_cookies(
    site: Site, cookie: str
) -> None:
    for origin in ("http://evil.example", "null"):
        with pytest.raises(InvalidStatus):
            await site.anonymous_client(headers=[("Cookie", cookie)], origin=origin).connect()
