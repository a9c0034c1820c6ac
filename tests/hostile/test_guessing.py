"""A guesser gains nothing, whichever worker and entry point it uses, and keeps nobody else out.

Three workers share a Redis: two run uvicorn, one Daphne. All clients connect from 127.0.0.1 unless a
test says otherwise, so the guesser and its victims share an address.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from http.client import HTTPConnection
from urllib.parse import urlencode

import pytest

from signalling.protocol import CloseCode
from signalling.testing import RequestRefused, SignallingCommunicator
from tests.integration.fixtures import MakeSite
from tests.integration.servers import Site, Worker
from tests.integration.stores import Redis, running, store_fixture

LIMIT = 6
# The last failure of a guesser also reaches the limit of its address, so its delay is 32 s and not
# 1 s: long enough for the checks that follow.
LIMITS = {"FAILURE_LIMIT": LIMIT, "SHARED_FAILURE_LIMIT": LIMIT}
_numbers = itertools.count()


redis = store_fixture(Redis)  # the users of other sites have the same keys


@pytest.fixture(scope="module")
def site(make_site: MakeSite, redis: Redis) -> Site:
    site = make_site(
        server="uvicorn",
        redis=redis,
        workers=2,
        signalling=LIMITS,
    )
    site.start_worker("daphne")
    return site


@pytest.fixture(autouse=True)
def fresh(redis: Redis) -> None:
    redis.client.flushall()


async def outcome(socket: SignallingCommunicator, code: str) -> str:
    """Join a room; return the code of the refusal, or "joined"."""
    try:
        await socket.join(code)
    except RequestRefused as refusal:
        return refusal.code
    await socket.leave()
    return "joined"


async def guess(site: Site, username: str, code: str, worker: int) -> str:
    async with site.client(username, worker=worker) as socket:
        return await outcome(socket, code)


@dataclass
class Response:
    status: int
    text: str
    headers: dict[str, str] = field(repr=False)


def http(
    worker: Worker,
    method: str,
    path: str,
    body: dict[str, str] | None = None,
    *,
    headers: dict[str, str] | None = None,
    address: str = "127.0.0.1",
    form: bool = False,
) -> Response:
    kind = "x-www-form-urlencoded" if form else "json"
    encoded = (urlencode if form else json.dumps)(body) if body is not None else None
    connection = HTTPConnection(worker.host, worker.port, timeout=30, source_address=(address, 0))
    try:
        headers = {"Content-Type": f"application/{kind}", **(headers or {})}
        connection.request(method, path, encoded, headers)
        response = connection.getresponse()
        text = response.read().decode()
        return Response(response.status, text, {k.lower(): v for k, v in response.getheaders()})
    finally:
        connection.close()


def sign_in(
    worker: Worker, path: str, username: str, password: str, address: str = "127.0.0.1"
) -> Response:
    """Send a password to ``/api/token/`` or to a form, with a forged ``X-Forwarded-For``."""
    body = {"username": username, "password": password, "csrfmiddlewaretoken": "c" * 32}
    headers = {
        "Cookie": f"csrftoken={'c' * 32}",
        "X-Forwarded-For": f"203.0.113.{next(_numbers)}",
    }
    is_form = path != "/api/token/"
    return http(worker, "POST", path, body, headers=headers, address=address, form=is_form)


# --- Room codes -------------------------------------------------------------------------------


async def test_a_guesser_is_refused_on_every_worker_and_an_honest_user_on_none(site: Site) -> None:
    rooms = [site.room(host=site.user("host")) for _ in range(2)]
    answers = [
        await guess(site, "guesser", f"GUESS{number}", number % 3) for number in range(LIMIT)
    ]
    assert answers == ["room_not_found"] * LIMIT
    for worker in range(3):
        assert await guess(site, "guesser", rooms[0], worker) == "rate_limited"
        assert await guess(site, "guesser", "NOSUCH", worker) == "rate_limited"
        for username in ("honest", "host"):
            assert await guess(site, username, rooms[0], worker) == "joined"


async def test_a_member_that_guesses_is_not_locked_out_of_its_rooms(site: Site) -> None:
    room = site.room()
    assert await guess(site, "member", room, 0) == "joined"
    for number in range(LIMIT):
        assert await guess(site, "member", f"GUESS{number}", number % 3) == "room_not_found"
    assert await guess(site, "member", "NOSUCH", 1) == "rate_limited"
    assert await guess(site, "member", room, 2) == "joined"


async def test_many_accounts_at_one_address_keep_nobody_else_out(site: Site) -> None:
    room = site.room()
    for number in range(3 * LIMIT):
        assert await guess(site, f"account{number}", "NOSUCH", number % 3) == "room_not_found"
    for worker in range(3):
        assert await guess(site, "newcomer", room, worker) == "joined"


async def test_rest_pages_and_chosen_codes_count_too(site: Site) -> None:
    taken = site.room(code=f"TEAM-{next(_numbers)}")
    session = {"Cookie": f"{site.session_cookie('sneak')}; csrftoken={'c' * 32}"}
    bearer = {"Authorization": f"Bearer {site.token('sneak')}"}
    page = {"name": "", "csrfmiddlewaretoken": "c" * 32}

    def entries(worker: Worker, code: str) -> list[Response]:
        return [
            http(worker, "GET", f"/api/rooms/{code}/", headers=bearer),
            http(worker, "POST", "/api/rooms/", {"code": code}, headers=bearer),
            http(worker, "POST", "/", {**page, "new_code": code}, form=True, headers=session),
        ]

    statuses = [
        http(site.workers[n % 3], "GET", f"/api/rooms/GUESS{n}/", headers=bearer).status
        for n in range(3)
    ]
    assert statuses == [404] * 3
    statuses = [
        http(site.workers[n], "POST", "/api/rooms/", {"code": taken}, headers=bearer).status
        for n in range(2)
    ]
    assert statuses == [409] * 2
    chosen = http(
        site.workers[2], "POST", "/", {**page, "new_code": taken}, form=True, headers=session
    )
    assert chosen.status == 400
    for worker in site.workers:
        right, wrong = entries(worker, taken), entries(worker, "NOSUCH-1")
        assert [response.status for response in right + wrong] == [429] * 6
        assert all(int(response.headers["retry-after"]) >= 1 for response in right + wrong)
        assert [response.text for response in right[:2]] == [
            response.text for response in wrong[:2]
        ]
    assert await guess(site, "sneak", taken, 0) == "rate_limited"


# --- Tokens -----------------------------------------------------------------------------------


async def test_a_guesser_of_tokens_keeps_nobody_else_out(site: Site) -> None:
    for number in range(4 * LIMIT):
        forged = [("X-Forwarded-For", f"203.0.113.{number}")]
        async with site.client(token="guess", worker=number % 3, headers=forged) as guesser:
            await guesser.receive_error("token_invalid")
            assert await guesser.receive_close() == CloseCode.AUTHENTICATION
    for worker in range(3):
        async with site.client("honest", worker=worker) as honest:
            await honest.request("ping")


# --- Passwords --------------------------------------------------------------------------------


def test_passwords_are_counted_together_on_every_entry_point(site: Site) -> None:
    owner = site.user("owner")
    paths = ["/login/", "/admin/login/", "/api/token/"]
    entries = itertools.cycle(itertools.product(site.workers, paths))
    for worker, path in itertools.islice(entries, LIMIT):
        assert sign_in(worker, path, "owner", "wrong").status in {200, 401}
    for worker in site.workers:
        page = sign_in(worker, "/login/", "owner", owner.username)  # the right one
        api = sign_in(worker, "/api/token/", "owner", owner.username)
        assert (page.status, api.status) == (429, 429)
        assert int(api.headers["retry-after"]) >= 1
        assert "sessionid" not in str(page.headers)
        admin = sign_in(worker, "/admin/login/", "owner", owner.username)
        assert "Too many failed attempts" in admin.text
    # the owner, elsewhere; and another user at the address of the guesser
    assert sign_in(site.worker, "/login/", "owner", "owner", address="127.0.0.2").status == 302
    site.user("neighbour")
    assert sign_in(site.worker, "/login/", "neighbour", "neighbour").status == 302


# --- Outages ----------------------------------------------------------------------------------


async def test_joins_go_on_and_guesses_are_counted_without_redis(
    make_site: MakeSite, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with running(Redis(tmp_path_factory.mktemp("redis"))) as redis:
        site = make_site(
            redis=redis,
            server="uvicorn",
            channel_layer={"BACKEND": "signalling.layers.LocalChannelLayer"},
            signalling=LIMITS,
        )
        room = site.room()
        redis.stop()
        async with site.client("guesser") as guesser, site.client("honest") as honest:
            for number in range(LIMIT):
                assert await outcome(guesser, f"GUESS{number}") == "room_not_found"
            assert await outcome(guesser, room) == "rate_limited"
            assert await outcome(honest, room) == "joined"
        assert site.worker.output().count("Cache unavailable") == 1
