"""A stolen session or token, and the sockets that were opened with it, on two workers.

One worker is Daphne and one is uvicorn. Changes are made through the pages of the first worker, so
the second one learns of them through Redis; or in the database, where no signal is sent.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session

from signalling.testing import RequestRefused, SignallingCommunicator, access_token
from tests.hostile.browser import Browser
from tests.integration.fixtures import MakeSite, watched
from tests.integration.servers import Site

PROMISE = 5.0
"""Seconds after which no worker serves a revoked identity."""

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def site(make_site: MakeSite) -> Site:
    hook = "tests.integration.hooks.is_not_banned"
    site = make_site(
        engine="postgresql", redis=True, signalling={"CAN_JOIN": hook, "CAN_STAY": hook}
    )
    watched.append(site.start_worker("uvicorn"))
    return site


@pytest.fixture(scope="module")
def admin(site: Site) -> Browser:
    """The browser of an administrator."""
    root = site.user("root")
    root.is_staff = root.is_superuser = True
    site.database.save(root)
    return Browser(site, "root")


@pytest.fixture(scope="module")
def banned(site: Site) -> int:
    """The primary key of a group whose members may not be in rooms."""
    groups = Group.objects.using(site.database.alias)
    return site.database.run(lambda: groups.create(name="banned").pk)


@pytest.fixture
def victim(site: Site) -> User:
    """A user of this test."""
    return site.user(f"victim{next(_numbers)}")


@pytest.fixture
async def sockets(site: Site, victim: User) -> AsyncIterator[list[SignallingCommunicator]]:
    """A socket on each worker, opened with a token of the victim."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(site.client(victim.username, worker=worker))
            for worker in (0, 1)
        ]


@contextmanager
def in_time() -> Iterator[None]:
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun <= PROMISE


async def assert_closed(socket: SignallingCommunicator, code: str, close: int = 4401) -> None:
    await socket.wait_for("error", within=PROMISE, code=code)
    assert await socket.receive_close(within=PROMISE) == close


async def change_password(admin: Browser, user: User, banned: int) -> None:
    form = {"password1": "battery staple", "password2": "battery staple"}
    await admin.post(f"/admin/auth/user/{user.pk}/password/", **form, usable_password="true")


async def deactivate(admin: Browser, user: User, banned: int) -> None:
    await admin.post(f"/admin/auth/user/{user.pk}/change/", **details(user))


async def delete(admin: Browser, user: User, banned: int) -> None:
    await admin.post(f"/admin/auth/user/{user.pk}/delete/", post="yes")


async def ban(admin: Browser, user: User, banned: int) -> None:
    form = details(user) | {"is_active": "on", "groups": banned}
    await admin.post(f"/admin/auth/user/{user.pk}/change/", **form)


def details(user: User) -> dict[str, Any]:
    return {"username": user.username, "date_joined_0": "2026-01-01", "date_joined_1": "12:00"}


@pytest.mark.parametrize(
    ("act", "code", "close"),
    [
        (change_password, "token_revoked", 4401),
        (deactivate, "user_inactive", 4401),
        (delete, "removed", 4403),
        (ban, "forbidden", 4403),
    ],
)
async def test_an_administrator_ends_all_sockets_of_a_user(
    site: Site,
    admin: Browser,
    banned: int,
    victim: User,
    sockets: list[SignallingCommunicator],
    act: Callable[[Browser, User, int], Any],
    code: str,
    close: int,
) -> None:
    room = site.room()
    async with (
        site.client("bystander") as bystander,
        site.client(victim.username, worker=1) as away,
    ):
        await bystander.join(room)
        for socket in (*sockets, away):
            await socket.join(room, resumable=True)
        token = away.room["resumeToken"]
        await away.reset()
        await bystander.wait_for("peer:away", peerId=away.peer_id)
        await act(admin, victim, banned)
        with in_time():
            for socket in sockets:
                await assert_closed(socket, code, close)
            for socket in (*sockets, away):
                await bystander.wait_for("peer:left", peerId=socket.peer_id)
        if act in (change_password, ban):  # with a token that is valid now
            fresh = site.database.run(User.objects.using(site.database.alias).get, pk=victim.pk)
            async with site.client(token=access_token(fresh)) as again:
                with pytest.raises(RequestRefused, match=r"resume_expired|forbidden|removed"):
                    await again.resume(room, token)
        bystander.clear()
        await bystander.receive_nothing()


@pytest.mark.parametrize("column", ["is_active", "password"])
async def test_a_change_without_a_signal_ends_sockets_too(
    site: Site, victim: User, sockets: list[SignallingCommunicator], column: str
) -> None:
    change = {"is_active": False} if column == "is_active" else {"password": "!"}
    rows = User.objects.using(site.database.alias).filter(pk=victim.pk)
    site.database.run(lambda: rows.update(**change))
    with in_time():
        for socket in sockets:
            await assert_closed(
                socket, "user_inactive" if "is_active" in change else "token_revoked"
            )


async def test_a_sign_out_ends_the_sockets_of_a_stolen_session(site: Site, victim: User) -> None:
    here, elsewhere = Browser(site, victim.username), Browser(site, victim.username)
    async with here.socket(0) as first, here.socket(1) as second, elsewhere.socket(1) as other:
        await here.post("/logout/")
        with in_time():
            for socket in (first, second):
                await assert_closed(socket, "token_revoked")
        await other.receive_nothing()


async def test_a_deleted_session_ends_its_sockets(site: Site, victim: User) -> None:
    browser = Browser(site, victim.username)
    async with browser.socket(0) as first, browser.socket(1) as second:
        await first.request("ping")
        sessions = Session.objects.using(site.database.alias)
        site.database.run(
            lambda: [
                session.delete()
                for session in sessions.all()
                if session.get_decoded().get("_auth_user_id") == str(victim.pk)
            ]
        )
        with in_time():
            for socket in (first, second):
                await assert_closed(socket, "token_revoked")


async def test_a_user_who_changes_the_password_keeps_the_call_and_ends_the_others(
    site: Site, victim: User, sockets: list[SignallingCommunicator]
) -> None:
    victim.is_staff = True  # the page is one of the admin
    site.database.save(victim)
    here, stolen = Browser(site, victim.username), Browser(site, victim.username)
    async with here.socket(0) as first, here.socket(1) as second, stolen.socket(1) as other:
        room = site.room()
        for socket in (first, second):
            await socket.join(room)
        form = {"new_password1": "battery staple", "new_password2": "battery staple"}
        await here.post("/admin/password_change/", old_password=victim.username, **form)
        with in_time():
            for socket in (*sockets, other):
                await assert_closed(socket, "token_revoked")
        second.clear()
        first.clear()
        for socket in (first, second):
            await socket.receive_nothing()
        await here.post("/logout/")
        with in_time():
            for socket in (first, second):
                await assert_closed(socket, "token_revoked")


async def test_a_demoted_staff_user_fails_the_next_staff_check(site: Site, victim: User) -> None:
    victim.is_staff = True
    site.database.save(victim)
    async with site.client(victim.username, worker=1) as socket:
        await socket.join(site.room())
        await socket.request("room:mode", {"mode": "p2p"})
        rows = User.objects.using(site.database.alias).filter(pk=victim.pk)
        site.database.run(lambda: rows.update(is_staff=False))
        with pytest.raises(RequestRefused, match="forbidden"):
            await socket.request("room:mode", {"mode": "p2p"})
